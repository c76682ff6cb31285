import Crypto
import Glibc
import Linux

/// The addresses between a node and the networks of its contracts: 256 grids on one machine get ranges of their own,
/// 100.64.0.0/10 in parts of /18.
///
/// A range is claimed by a symbolic link, named by its number, to the grid's folder of this boot; while that folder is
/// there, nobody else takes the range.
struct LinkRanges: Sendable {
    private static let claims = "/run/zero/links"
    private static let count = 256

    private let path: String
    private let runRoot: String

    init(_ folder: GridFolder) { (path, runRoot) = (folder.path, folder.runRoot) }

    private static func text(_ index: Int) -> String { "100.\(64 + index / 4).\(index % 4 * 64).0/18" }

    /// What a new grid asks for first: always the same for the same folder.
    var preferred: String { Self.text(Int(SHA256.hash(Array(path.utf8)).bytes[0])) }

    /// Claims `wanted`, or the next range that is free. A range that is none of the 256 was chosen by hand and is kept.
    func claim(_ wanted: String) throws -> String {
        guard let first = (0..<Self.count).first(where: { Self.text($0) == wanted }) else { return wanted }
        try File.makeDirectories(runRoot, mode: 0o755)
        try File.makeDirectories(Self.claims, mode: 0o755)
        for step in 0..<Self.count {
            let index = (first + step) % Self.count
            if try claim(index) { return Self.text(index) }
        }
        throw CommandError(
            .failed, "no addresses are left for another grid", why: "\(Self.count) grids run on this machine",
            next: "`zero down` one of them")
    }

    private func claim(_ index: Int) throws -> Bool {
        let link = "\(Self.claims)/\(index)"
        while symlink(runRoot, link) != 0 {
            guard errno == EEXIST else { throw SystemError("symlink", link, Errno(errno)) }
            let owner = Self.owner(link)
            if owner == runRoot { return true }
            if let owner, File.exists(owner) { return false }
            // Of a grid that is gone.
            unlink(link)
        }
        return true
    }

    private static func owner(_ link: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(link, &buffer, buffer.count)
        return count < 0 ? nil : String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Gives back what the grid claimed.
    func release() {
        for name in (try? File.list(Self.claims)) ?? [] where Self.owner("\(Self.claims)/\(name)") == runRoot {
            unlink("\(Self.claims)/\(name)")
        }
    }
}

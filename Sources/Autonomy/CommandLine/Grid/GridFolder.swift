import Crypto
import Glibc
import Linux
import Terminal

/// A grid on this machine: where its things lie, and what its node is started with.
struct GridFolder: Sendable {
    static let defaultPath = "/var/lib/zero"

    let path: String
    let node = "node-1"

    init(_ context: Context) {
        let configured = (try? context.home.grid())?.folder
        path = Home.absolute(context.invocation.option("grid") ?? configured ?? GridFolder.defaultPath)
    }

    var state: String { "\(path)/\(node)" }
    /// Of this boot: named by the folder, so that grids do not meet.
    var runRoot: String { "/run/zero/" + String(SHA256.hash(Array(path.utf8)).hex.prefix(8)) }
    var run: String { "\(runRoot)/\(node)" }
    var settings: String { "\(state)/core/settings.conf" }
    func socket(_ service: String) -> String { "\(run)/\(service).sock" }

    /// Whether anything of the grid was ever here.
    var exists: Bool { File.exists(state) }

    /// Its settings as they were written: `key = value` a line.
    func readSettings() throws -> [String: String] {
        guard File.exists(settings) else { return [:] }
        var values: [String: String] = [:]
        for line in try File.readText(settings, limit: 1 << 20).split(separator: "\n") where !line.hasPrefix("#") {
            guard let equals = line.firstIndex(of: "=") else { continue }
            values[trimmed(line[..<equals])] = trimmed(line[line.index(after: equals)...])
        }
        return values
    }

    func write(_ settings: [String: String]) throws {
        try File.makeDirectories(File.parent(self.settings), mode: 0o755)
        let lines =
            ["# Written by `zero up`; its options change it."]
            + settings.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" }
        try File.writeDurably(self.settings, Array((lines.joined(separator: "\n") + "\n").utf8), mode: 0o644)
    }

    private func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}

/// Where the programs and unit files of the grid are.
struct Installation: Sendable {
    let bin: String
    let share: String
    var units: String { share + "/units" }

    /// `$ZERO_BIN` and `$ZERO_SHARE`; else beside this executable: `../share/zero` where installed, `Packaging` in a clone.
    static func find() throws -> Installation {
        let own = File.parent(executable())
        let bin = Environment.value("ZERO_BIN").map(Home.absolute) ?? own
        guard File.exists(bin + "/zero-watch"), File.exists(bin + "/zero-core") else {
            throw CommandError(
                .failed, "the daemons are not here", why: "\(bin) has no zero-watch and zero-core",
                next: "build all of it with `make`, or set $ZERO_BIN")
        }
        if let share = Environment.value("ZERO_SHARE").map(Home.absolute) {
            return Installation(bin: bin, share: share)
        }
        var candidates = [Home.absolute(own + "/../share/zero")]
        var folder = own
        while folder != "/" {
            candidates.append(folder + "/Packaging")
            folder = File.parent(folder)
        }
        guard let share = candidates.first(where: { File.exists($0 + "/units/identity.unit") }) else {
            throw CommandError(
                .failed, "the unit files are not here", why: "looked in \(candidates.joined(separator: ", "))",
                next: "set $ZERO_SHARE")
        }
        return Installation(bin: bin, share: share)
    }

    private static func executable() -> String {
        var buffer = [CChar](repeating: 0, count: 4_096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return "/usr/bin/zero" }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

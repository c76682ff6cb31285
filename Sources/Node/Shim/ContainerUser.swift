internal import CLinux
internal import Glibc
internal import Linux

/// Looks a user up in the container's own `/etc/passwd` and `/etc/group`, never leaving its root folder.
struct ContainerUser: Equatable {
    var uid: UInt32
    var gid: UInt32
    var groups: [UInt32]
    var home: String?

    /// Images with larger tables than this are not looked through.
    private static let tableMax = 1 << 20

    /// `user` as numbers; `root` is an open folder.
    static func find(_ user: ContainerSpec.User, root: Int32) throws(ShimError) -> ContainerUser {
        switch user {
        case .numbers(let uid, let gid, let groups):
            let home = entries("etc/passwd", root).first { $0.count > 5 && $0[2] == "\(uid)" }?[5]
            return ContainerUser(uid: uid, gid: gid, groups: groups, home: home)
        case .named(let name): return try named(name, root)
        }
    }

    private static func named(_ text: String, _ root: Int32) throws(ShimError) -> ContainerUser {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let users = entries("etc/passwd", root)
        let found =
            users.first { $0.count > 5 && $0[0] == parts[0] }
            ?? users.first { $0.count > 5 && $0[2] == parts[0] }
        let uid = found.flatMap { number($0[2]) } ?? number(parts[0])
        guard let uid else { throw ShimError("user", "the image has no user “\(parts[0])”") }
        var gid = found.flatMap { number($0[3]) } ?? 0
        var groups: [UInt32] = []
        let table = entries("etc/group", root)
        if parts.count > 1 {
            let group = table.first { $0.count > 2 && $0[0] == parts[1] }
            guard let number = group.flatMap({ number($0[2]) }) ?? number(parts[1]) else {
                throw ShimError("user", "the image has no group “\(parts[1])”")
            }
            gid = number
        } else if let name = found?[0] {
            // Docker gives the groups of the table only where the image names none.
            groups = table.filter { $0.count > 3 && $0[3].split(separator: ",").contains { $0 == name } }
                .compactMap { number($0[2]) }.filter { $0 != gid }
        }
        return ContainerUser(uid: uid, gid: gid, groups: groups, home: found?[5])
    }

    private static func number(_ text: String) -> UInt32? {
        guard let value = UInt32(text), value < UInt32.max else { return nil }
        return value
    }

    private static func entries(_ path: String, _ root: Int32) -> [[String]] {
        let raw = zg_container_open(root, path, Int32(ZG_OPEN_READ), Int32(ZG_PATH_ROOTED))
        guard raw >= 0 else { return [] }
        let file = Descriptor(raw)
        // A FIFO or device in an image must not be read.
        guard let status = try? File.status(of: file.raw), status.isRegular, status.size <= tableMax,
            let bytes = try? file.readAll(limit: tableMax, path)
        else { return [] }
        return bytes.split(separator: 10).map { line in
            line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
                .map { String(decoding: $0, as: UTF8.self) }
        }
    }
}

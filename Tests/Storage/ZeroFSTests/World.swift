import CanonicalJSON
import Crypto
import Flist
import Glibc
import Linux
import Testing

/// A store, a tree in it and a `zero-fs` that mounts it.
final class World {
    let folder: String
    let store: StoreServer
    let root: ChunkReference
    private(set) var pid: pid_t = 0
    private var device: Int32 = -1
    /// The pieces of each file that was made, by name.
    private(set) var pieces: [String: [SizedReference]] = [:]

    var mountpoint: String { folder + "/mnt" }
    var log: String { (try? File.readText(folder + "/log")) ?? "" }

    static var program: String? {
        var buffer = [CChar](repeating: 0, count: 4_096)
        let count = max(0, readlink("/proc/self/exe", &buffer, 4_095))
        let own = File.parent(String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self))
        let bundle = CommandLine.arguments.first.map { File.parent($0) } ?? "."
        let places = [getenv("ZERO_BIN").map { String(cString: $0) }, bundle, File.parent(bundle), own]
        return places.compactMap { $0 }.map { $0 + "/zero-fs" }.first { access($0, X_OK) == 0 }
    }

    /// Mounting needs the right to.
    static var canMount: Bool { getuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 && program != nil }

    init(_ files: [String: [UInt8]], secret: ConvergenceSecret = .publicImages) throws {
        var template = Array("/tmp/zero-fs-test-XXXXXX".utf8CString)
        folder = String(cString: try #require(mkdtemp(&template)))
        try File.makeDirectories(folder + "/mnt")
        store = try StoreServer(folder + "/store.sock")
        let store = store
        var pieces: [String: [SizedReference]] = [:]
        let attributes = FileAttributes(mode: 0o755, uid: 0, gid: 0, modified: FileTime(seconds: 1_700_000_000))
        let tree = TreeNode(attributes, .directory([:]))
        for (path, content) in files {
            var cut: [SizedReference] = []
            var cutter = ContentCutter()
            let emit = { (chunk: [UInt8]) throws(FlistError) in
                let sealed = try ChunkCodec.seal(chunk, .content, secret)
                store.add(sealed)
                cut.append(SizedReference(size: UInt64(chunk.count), chunk: sealed.reference))
            }
            try content.withUnsafeBytes { try cutter.add($0, emit) }
            try cutter.finish(emit)
            pieces[path] = cut
            let names = path.split(separator: "/").map { Array($0.utf8) }
            var directory = tree
            for name in names.dropLast() {
                let next = directory.child(name) ?? TreeNode(attributes, .directory([:]))
                directory.setChild(name, next)
                directory = next
            }
            let file = TreeNode(
                FileAttributes(
                    mode: 0o4711, uid: 12, gid: 34, modified: FileTime(seconds: 1_600_000_000, nanoseconds: 5),
                    extended: [ExtendedAttribute(name: Array("user.kind".utf8), value: Array(path.utf8))]),
                .file(cut))
            directory.setChild(names[names.count - 1], file)
            if path == "hard/one" { tree.setChild(Array("two".utf8), file) }
        }
        tree.setChild(Array("link".utf8), TreeNode(attributes, .symbolicLink(Array("hard/one".utf8))))
        var builder = FlistBuilder(secret) { chunk throws(FlistError) in store.add(chunk) }
        root = try builder.write(tree).root
        self.pieces = pieces
    }

    deinit {
        if pid > 0 { end(SIGKILL) }
        umount2(mountpoint, Int32(MNT_DETACH))
        if device >= 0 { close(device) }
        store.stop()
        try? File.removeTree(folder)
    }

    /// Starts `zero-fs` and waits until it serves. With `keeping`, the device stays open here for a successor.
    func mount(wait: Int = 20_000, cache: Bool = false, keeping: Bool = false, root: ChunkReference? = nil) throws {
        let chosen = root ?? self.root
        var order: JSONValue = [
            "root": .string(chosen.id.hex), "key": .string(chosen.key.hex), "store": .string("unix:" + store.path),
            "mountpoint": .string(mountpoint), "store_wait_ms": .integer(Int64(wait)),
            "session": .string(folder + "/session"),
        ]
        if cache { order["cache"] = .string(folder + "/cache") }
        try File.write(folder + "/order.json", order.canonicalBytes)
        if keeping, device < 0 { device = open("/dev/fuse", O_RDWR) }
        let before = log.utf8.count
        try spawn(keeping ? ["ZERO_FDS=fuse:\(device)"] : [])
        try #require(eventually { isServing(after: before) }, "\(log)")
    }

    private func isServing(after before: Int) -> Bool {
        let new = String(decoding: log.utf8.dropFirst(before), as: UTF8.self)
        return new.contains(" mounted at=") || new.contains("took over")
    }

    private func spawn(_ environment: [String]) throws {
        let program = try #require(World.program)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_addopen(&actions, 2, folder + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        let words: [String] = [program, "mount", "--config", folder + "/order.json"]
        let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for copy in arguments + variables { free(copy) } }
        #expect(posix_spawn(&pid, program, &actions, nil, arguments, variables) == 0)
        posix_spawn_file_actions_destroy(&actions)
    }

    /// Ends `zero-fs`; returns its exit status, -1 for a signal.
    @discardableResult func end(_ signal: Int32) -> Int32 {
        kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
        return status & 0x7f == 0 ? status >> 8 & 0xff : -1
    }

    func read(_ path: String) throws -> [UInt8] { try File.read(mountpoint + "/" + path) }

    var isMounted: Bool { ((try? File.readText("/proc/self/mountinfo")) ?? "").contains(" \(mountpoint) ") }
}

func eventually(milliseconds: Int = 15_000, _ condition: () -> Bool) -> Bool {
    for _ in 0..<(milliseconds / 20) {
        if condition() { return true }
        usleep(20_000)
    }
    return condition()
}

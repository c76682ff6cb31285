import CLinux
import Glibc
import Linux

/// The process that starts zero-core again and holds its descriptors meanwhile.
struct Watch {
    /// Our end of the pair; -1 while there is none.
    var socket: Int32 = -1
    var source: UInt32 = 0
    /// Its process.
    var pid: Int32 = 0
    /// The program, empty where nobody watches.
    var program = ""
    var respawnAt: UInt64?
    /// The zero-core before this one died while it shut down.
    var wasLeaving = false
}

// MARK: Messages: `store <name>` with a descriptor, `drop <name>`, `leaving`, `bye`

extension Core {
    /// Takes over what zero-watch hands to a new zero-core through the environment.
    func takeStoredDescriptors() {
        func value(_ name: String) -> String { getenv(name).map { String(cString: $0) } ?? "" }
        watch.program = value("ZERO_WATCH_PROGRAM")
        watch.wasLeaving = value("ZERO_WATCH_LEAVING") == "1"
        if let socket = Int32(value("ZERO_WATCH_FD")), socket > 2 {
            _ = zg_close_on_exec(socket, 1)
            _ = zg_socket_nonblocking(socket, 1)
            watch.socket = socket
            watch.source = watchSource(socket, .watch)
            var (pid, uid, gid): (Int32, UInt32, UInt32) = (0, 0, 0)
            // The peer of a socket pair is who made it.
            if zg_peer(socket, &pid, &uid, &gid) >= 0 { watch.pid = pid }
        }
        for item in value("ZERO_WATCH_STORE").split(separator: ",") {
            let parts = item.split(separator: ":").map(String.init)
            guard parts.count == 2, let fd = Int32(parts[1]), fd > 2 else { continue }
            _ = zg_close_on_exec(fd, 1)
            if let found = StoredDescriptors.parse(parts[0]) {
                stored.put(found.key, found.name, fd)
            } else {
                close(fd)
            }
        }
    }

    func sayToWatch(_ message: String, descriptor: Int32? = nil) {
        guard watch.socket >= 0 else { return }
        let bytes = Array(message.utf8)
        let descriptors = descriptor.map { [$0] } ?? []
        let result = zg_send(watch.socket, bytes, bytes.count, descriptors, descriptors.count)
        if result < 0 { log.warning("watch", ("error", "\(Errno(Int32(-result)))")) }
    }

    /// The watcher says nothing: its socket is readable when it is dead.
    func readWatch() {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = Glibc.read(watch.socket, &buffer, buffer.count)
        if count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR)) { return }
        log.warning("watch-gone")
        unwatch(watch.socket, watch.source)
        close(watch.socket)
        (watch.socket, watch.pid) = (-1, 0)
        watch.respawnAt = Core.clock() + Time.second
    }

    /// Starts a new watcher, which watches us by our pid and gets every kept descriptor again.
    func respawnWatch() {
        watch.respawnAt = nil
        guard !watch.program.isEmpty, !supervisor.isShuttingDown else { return }
        do throws(SystemError) {
            try startWatch()
            log.info("watch-started", ("pid", "\(watch.pid)"))
            for item in stored.all { sayToWatch("store \(item.name)", descriptor: item.fd) }
        } catch {
            log.error("watch-failed", ("error", "\(error)"))
            watch.respawnAt = Core.clock() + 10 * Time.second
        }
    }

    private func startWatch() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try checked("socketpair", "", zg_packet_pair(&ends))
        let ours = Descriptor(ends[0])
        let theirs = Descriptor(ends[1])
        let input = try Descriptor.open("/dev/null", O_RDONLY)
        // As it was started, so that a link to the newest version stays one.
        let first = CommandLine.arguments.first ?? ""
        let program = first.hasPrefix("/") ? first : Core.executable() ?? first
        let arguments =
            [watch.program, "--adopt", "\(getpid())", "--core", program] + CommandLine.arguments.dropFirst()
        var how = zg_spawn_t()
        (how.capabilities, how.netns, how.input) = (UInt64.max, -1, input.raw)
        (how.output, how.errors, how.failure) = (STDOUT_FILENO, STDERR_FILENO, -1)
        var gate: Int32 = -1
        let environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        let pid = try checked(
            "fork", "zero-watch", Core.spawn(&how, arguments, environment, [theirs.raw], &gate))
        try checked("start", "zero-watch", zg_spawn_release(gate))
        watch.pid = pid
        watch.socket = ours.release()
        watch.source = watchSource(watch.socket, .watch)
    }

    /// The path of this program.
    static func executable() -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return nil }
        let path = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.hasSuffix(" (deleted)") ? String(path.dropLast(10)) : path
    }

    // MARK: Keeping

    /// Keeps a descriptor for the next process of `key`, here and in the watcher.
    func store(_ key: ProcessKey, _ name: String, _ fd: Int32) {
        _ = zg_close_on_exec(fd, 1)
        stored.put(key, name, fd)
        sayToWatch("store \(StoredDescriptors.name(key, name))", descriptor: fd)
    }

    func dropStored(_ key: ProcessKey) {
        for name in stored.drop(key) { sayToWatch("drop \(StoredDescriptors.name(key, name))") }
    }
}

import CLinux
import Glibc
import Linux

/// What would keep a grid from starting, found before anything is started.
struct Preflight: Sendable {
    let folder: GridFolder
    let settings: [String: String]

    /// Throws the first thing that is in the way.
    func check() throws {
        try Preflight.checkReachable(folder.path)
        // What outlived an earlier zero-core still has the ports.
        if Leftovers(folder: folder).hasProcesses { return }
        try checkPort("ledger", "ledger-port", settings["ledger_port"], address: "127.0.0.1")
        try checkPort("gateway", "http-port", settings["http_port"], address: settings["http_address"] ?? "127.0.0.1")
    }

    /// Daemons run under accounts of their own: each folder on the way has to let them pass.
    static func checkReachable(_ path: String) throws {
        var way = ""
        for part in [""] + path.split(separator: "/").map(String.init) {
            way += part.isEmpty ? "/" : way == "/" ? part : "/" + part
            guard let status = try? File.status(way) else { return }
            guard status.isDirectory else {
                throw CommandError(
                    .failed, "\(way) is not a folder", why: "the grid is to be in \(path)",
                    next: "choose another --grid")
            }
            if status.mode & 0o001 == 0 {
                throw CommandError(
                    .failed, "the daemons cannot reach \(path)",
                    why: "\(way) is closed to other accounts (mode \(String(status.permissions, radix: 8))), and each"
                        + " daemon runs under one of its own",
                    next: "chmod o+x \(way), or choose another --grid")
            }
        }
    }

    private func checkPort(_ service: String, _ option: String, _ text: String?, address: String) throws {
        guard let port = text.flatMap({ UInt16($0) }) else { return }
        let socket = zg_tcp_listen(address, port, 1)
        if socket >= 0 {
            close(socket)
            return
        }
        if -socket == EADDRINUSE {
            throw CommandError(
                .failed, "port \(port) is in use",
                why: "something else listens on \(address):\(port), where the"
                    + " \(service) of this grid is to listen",
                next: "stop it, or choose another: zero up --\(option) PORT")
        }
        throw CommandError(
            .failed, "the \(service) cannot listen on \(address):\(port)", why: "\(Errno(-socket))",
            next: option == "http-port" ? "choose another --http-address or --http-port" : "choose another --\(option)")
    }
}

internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux
internal import RESP

/// One program that `SHIM.EXEC` runs in the container.
struct ShimExec {
    /// Whose request it is.
    var client: Int32
    /// The runtime that starts it, until it did.
    var runtime: Int32
    /// The program, once it runs.
    var pid: Int32?
    /// Receives its terminal, where it has one.
    var console: Int32
    /// Files of its start are `exec-<n>.…`.
    var files: String
    /// The client went away: nobody waits for it.
    var isCancelled = false
}

extension Shim {
    /// `SHIM.EXEC {args, env?, cwd?, user?, tty?}` with three descriptors (none with a terminal).
    func exec(_ descriptor: Int32, _ body: JSONValue) {
        guard phase == .running else { return refuse(descriptor, "NOTRUNNING", "the container does not run") }
        guard clients[descriptor]?.exec == nil else { return refuse(descriptor, "BUSY", "one program a connection") }
        guard execs.count < ShimLimits.execs else { return refuse(descriptor, "BUSY", "too many programs run already") }
        do {
            let request = try ExecRequest(body)
            let passed = clients[descriptor]?.descriptors ?? []
            guard passed.count == (request.terminal ? 0 : 3) else {
                return refuse(descriptor, "BADREQUEST", "three descriptors, or none with a terminal")
            }
            try begin(request, descriptor, passed)
            for descriptor in passed { close(descriptor) }
            clients[descriptor]?.descriptors = []
        } catch let error as JSONError {
            refuse(descriptor, "BADREQUEST", "\(error)")
        } catch {
            refuse(descriptor, "FAILED", "\(error)")
        }
    }

    private func begin(_ request: ExecRequest, _ descriptor: Int32, _ passed: [Int32]) throws {
        execCount += 1
        let name = "exec-\(execCount)"
        let files = "\(paths.hidden)/\(name)"
        var bundle = makeBundle()
        if let wanted = request.user {
            let folder = try root.openPlain(paths.rootfs)
            bundle = Bundle(
                spec: bundle.spec, paths: paths, user: try ContainerUser.find(wanted, root: folder.raw),
                seccomp: seccomp, initPath: bundle.initPath, limitsSwap: bundle.limitsSwap, fileLimit: bundle.fileLimit)
        }
        let process = bundle.process(
            request.arguments, environment: request.environment, directory: request.directory ?? order.spec.directory,
            terminal: request.terminal)
        try File.write("\(files).json", process.canonicalBytes)
        var command = ["exec", "--detach", "--process", "\(files).json", "--pid-file", "\(files).pid"]
        var console: Int32 = -1
        if request.terminal {
            let folder = Descriptor(try checked("open", paths.hidden, zg_open_directory(paths.hidden)))
            console = try checked("listen", files, zg_container_listen(folder.raw, "\(name).tty"))
            command += ["--console-socket", "\(files).tty"]
        }
        do {
            let streams = request.terminal ? [-1, -1, -1] : passed
            let pid = try runtime.begin(command + [paths.id], log: "\(files).log", descriptors: streams)
            execs[pid] = ShimExec(client: descriptor, runtime: pid, console: console, files: files)
            clients[descriptor]?.exec = pid
        } catch {
            if console >= 0 { close(console) }
            removeFiles(files)
            throw error
        }
    }

    /// A child ended: was it the runtime of such a program, or the program?
    func execChildEnded(_ pid: Int32, _ status: Int32) -> Bool {
        if let exec = execs[pid], exec.pid == nil {
            execStarted(exec, status)
            return true
        }
        guard let (key, exec) = execs.first(where: { $0.value.pid == pid }) else { return false }
        finish(key, exec, .success(status))
        return true
    }

    private func execStarted(_ exec: ShimExec, _ status: Int32) {
        guard status == 0, let text = try? File.readText("\(exec.files).pid", limit: 32), let pid = Int32(text) else {
            let reason = Runtime.complaint("\(exec.files).log") ?? "the runtime ended with status \(status)"
            finish(exec.runtime, exec, .failure(ShimError("exec", reason)))
            return
        }
        var terminal: [Int32] = []
        if exec.console >= 0 {
            let master = zg_container_console(exec.console)
            if master >= 0 { terminal = [master] }
        }
        execs[exec.runtime]?.pid = pid
        if let status = strays.removeValue(forKey: pid) {
            send(exec.client, passing: terminal) { $0.value(.push([.text("exec"), .integer(Int64(pid))])) }
            finish(exec.runtime, exec, .success(status))
            return
        }
        if exec.isCancelled { _ = zg_kill(pid, SIGKILL) }
        send(exec.client, passing: terminal) { $0.value(.push([.text("exec"), .integer(Int64(pid))])) }
    }

    private func finish(_ key: Int32, _ exec: ShimExec, _ result: Result<Int32, ShimError>) {
        execs[key] = nil
        if exec.console >= 0 { close(exec.console) }
        removeFiles(exec.files)
        guard !exec.isCancelled else { return }
        clients[exec.client]?.exec = nil
        switch result {
        case .success(let status): reply(exec.client, ["exit": .integer(Int64(status))])
        case .failure(let error): refuse(exec.client, Self.code(error.message), error.message)
        }
    }

    /// What a shell would tell apart: no such program (127), and one that cannot be run (126).
    private static func code(_ complaint: String) -> String {
        let isMissing = ["executable file not found", "no such file or directory"].contains { complaint.contains($0) }
        if complaint.contains("exec") || complaint.contains("stat "), isMissing { return "NOPROGRAM" }
        return ["permission denied", "exec format error", "is a directory"].contains { complaint.contains($0) }
            ? "NOEXEC" : "FAILED"
    }

    private func removeFiles(_ files: String) {
        for suffix in ["json", "pid", "log", "tty"] { unlink("\(files).\(suffix)") }
    }

    /// The client is gone: its program is killed, and forgotten when it ends.
    func cancelExec(_ key: Int32) {
        guard let exec = execs[key] else { return }
        execs[key]?.isCancelled = true
        if let pid = exec.pid { _ = zg_kill(pid, SIGKILL) }
    }

    /// The container ended, and with it everything in it.
    func killExecs() {
        for exec in execs.values { if let pid = exec.pid { _ = zg_kill(pid, SIGKILL) } }
    }
}

/// The body of `SHIM.EXEC`.
struct ExecRequest {
    var arguments: [String]
    var environment: [String: String] = [:]
    var directory: String?
    var user: ContainerSpec.User?
    var terminal: Bool

    init(_ value: JSONValue) throws(JSONError) {
        var reader = try ObjectReader(value, "exec")
        arguments = try reader.strings("args")
        for (name, text) in try reader.optionalObject("env") ?? [:] {
            guard let text = text.string, ContainerSpec.isVariable(name), !text.utf8.contains(0) else {
                throw .unexpected(key: name, subject: "env of exec", expected: "a variable", found: text.canonicalText)
            }
            environment[name] = text
        }
        directory = try reader.optionalString("cwd")
        user = try reader.optionalString("user").map { .named($0) }
        terminal = try reader.optionalBool("tty") ?? false
        try reader.finish()
        guard let program = arguments.first, !program.isEmpty, arguments.allSatisfy({ !$0.utf8.contains(0) }) else {
            throw .unexpected(key: "args", subject: "exec", expected: "at least a program", found: "[]")
        }
        guard directory.map(ContainerSpec.isPlainPath) ?? true else {
            throw .unexpected(key: "cwd", subject: "exec", expected: "an absolute path", found: directory ?? "")
        }
    }
}

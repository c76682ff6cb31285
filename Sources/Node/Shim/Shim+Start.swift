internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux
internal import RESP

extension Shim {
    /// Makes the container: everything up to the runtime, which then works by itself.
    func begin() {
        state.attempt += 1
        become(.preparing)
        do throws(ShimError) {
            let descriptors = try prepare()
            defer { for descriptor in descriptors { close(descriptor) } }
            let secret = descriptors.count > 2 ? ["--preserve-fds", "1"] : []
            unlink(paths.runtimeLog)
            unlink(paths.pidFile)
            let pid = try runtime.begin(
                ["create", "--bundle", paths.bundle, "--pid-file", paths.pidFile] + secret + [paths.id],
                log: paths.runtimeLog, descriptors: [-1] + descriptors)
            phase = .creating(runtime: pid, deadline: Clock.monotonicNanoseconds() + ShimLimits.runtime)
        } catch {
            fail("\(error)")
        }
    }

    /// Mount, configuration, pipes and secrets; returns the descriptors from 1 on.
    private func prepare() throws(ShimError) -> [Int32] {
        clearRuntime()
        unlink(paths.endRecord)
        identity = order.spec.identity
        try root.prepareLayer(order.spec.identity)
        try root.checkVolumes(order.spec)
        if ImageMount.isOther(at: paths.image, than: order.spec.imageRoot) {
            throw ShimError("mount", "another image is still mounted")
        }
        try root.mount()
        imageDevice = root.imageDevice
        try writeBundle()
        var descriptors: [Int32] = []
        do throws(ShimError) {
            for path in [paths.outputPipe, paths.errorPipe] {
                let keeper = zg_container_fifo_keeper(path)
                if keeper < 0 { throw ShimError("pipe", "\(path): \(Errno(-keeper))") }
                descriptors.append(keeper)
            }
            if !order.spec.secrets.isEmpty { descriptors.append(try openSecrets()) }
            return descriptors
        } catch {
            for descriptor in descriptors { close(descriptor) }
            throw error
        }
    }

    private func writeBundle() throws(ShimError) {
        do {
            let folder = try root.openPlain(paths.rootfs)
            user = try ContainerUser.find(order.spec.user, root: folder.raw)
            let bundle = makeBundle()
            for (name, text) in bundle.files {
                try File.write("\(paths.bundle)/\(name)", Array(text.utf8), mode: 0o644)
                try File.changeMode("\(paths.bundle)/\(name)", 0o644)
            }
            try File.write("\(paths.bundle)/config.json", bundle.config.canonicalBytes)
        } catch let error as ShimError {
            throw error
        } catch {
            throw ShimError("bundle", "\(error)")
        }
    }

    func makeBundle() -> Bundle {
        var soft: UInt64 = 0
        var hard: UInt64 = 0
        if zg_container_file_limit(&soft, &hard) < 0 { hard = 1024 }
        return Bundle(
            spec: order.spec, paths: paths, user: user, seccomp: seccomp, initPath: settings.initHelper,
            limitsSwap: ControlGroup.countsSwap, fileLimit: hard)
    }

    /// The secrets in a memfd, opened by the node's identity process; nothing of them passes through this one.
    private func openSecrets() throws(ShimError) -> Int32 {
        let spec = order.spec
        let sealed = spec.secrets.mapValues { secret -> JSONValue in
            var value: JSONValue = ["sealed": .string(secret.sealed)]
            value["box"] = secret.box.map { .string($0) }
            return value
        }
        let body: JSONValue = [
            "contract": .string(spec.contract), "workload": .string(spec.workload), "secrets": .object(sealed),
        ]
        let client = RESPClient(unix: paths.identitySocket)
        do {
            let words = [Array("IDENTITY.OPEN".utf8), body.canonicalBytes]
            let reply = try client.exchange(words, deadline: .seconds(5))
            for extra in reply.descriptors.dropFirst() { close(extra) }
            if let failure = reply.value.failure {
                if let first = reply.descriptors.first { close(first) }
                throw ShimError("secrets", "\(failure.code) \(failure.message)")
            }
            guard let descriptor = reply.descriptors.first else {
                throw ShimError("secrets", "zero-identity sent no descriptor")
            }
            return descriptor
        } catch let error as ShimError {
            throw error
        } catch {
            throw ShimError("secrets", "\(error)")
        }
    }

    /// Removes what an earlier run left with the runtime.
    func clearRuntime() {
        if File.exists(paths.runtimeState) {
            do {
                try runtime.run(["delete", "--force", paths.id], log: "\(paths.hidden)/delete.log")
            } catch {
                report("error", "delete", ["id": paths.id, "error": "\(error)"])
            }
        }
        unlink(paths.record)
    }

    /// The runtime ended: the container is made, or started, or neither.
    func runtimeEnded(_ status: Int32) {
        switch phase {
        case .creating where status == 0: startMade()
        case .starting where status == 0: startedNow()
        case .creating, .starting:
            let reason = Runtime.complaint(paths.runtimeLog) ?? "the runtime ended with status \(status)"
            fail("start: \(reason)")
        default: break
        }
    }

    /// Knows the container's process, writes it down, lets it run.
    private func startMade() {
        guard let text = try? File.readText(paths.pidFile, limit: 32), let pid = Int32(text),
            let found = ProcessIdentity(pid: pid)
        else {
            fail("start: the runtime left no process")
            return
        }
        if strays.removeValue(forKey: pid) != nil {
            fail("start: the process ended before it was started")
            return
        }
        take(found, isChild: true)
        state.started = Clock.wallMilliseconds()
        writeRecord()
        startProgram()
    }

    /// Lets the program run. `runc start` does nothing but read its FIFO and remove it (so does `crun`), which is done here at
    /// once and saves a fifth of a start; should that not work, the runtime is asked.
    func startProgram() {
        if openGate() { return startedNow() }
        do throws(ShimError) {
            let pid = try runtime.begin(["start", paths.id], log: paths.runtimeLog, descriptors: [-1, -1, -1])
            phase = .starting(runtime: pid, deadline: Clock.monotonicNanoseconds() + ShimLimits.runtime)
        } catch {
            fail("\(error)")
        }
    }

    private func openGate() -> Bool {
        let path = "\(paths.runtimeState)/exec.fifo"
        let raw = zg_open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0)
        guard raw >= 0 else { return false }
        let gate = Descriptor(raw)
        var byte: UInt8 = 0
        // The container's process writes one byte as soon as somebody reads.
        guard zg_poll(gate.raw, UInt32(ZG_READABLE), 2000) & Int32(ZG_READABLE) != 0, read(gate.raw, &byte, 1) == 1
        else {
            return false
        }
        return unlink(path) == 0
    }

    /// The program runs.
    func startedNow() {
        startedAt = Clock.monotonicNanoseconds()
        phase = .running
        state.starts += 1
        state.exit = nil
        probe = ProbeState()
        state.pid = process.map { Int64($0.pid) }
        become(.running)
        if !wantsRun || identity != order.spec.identity { stop() }
    }

    /// Opens what is needed to watch a process.
    func take(_ found: ProcessIdentity, isChild: Bool) {
        process = found
        self.isChild = isChild
        pidfd = zg_pidfd_open(found.pid)
        netns = zg_open("/proc/\(found.pid)/ns/net", O_RDONLY, 0)
        state.pid = Int64(found.pid)
    }

    /// A step failed: everything is taken down and tried again after a while.
    func fail(_ reason: String) {
        if process != nil { killContainer() }
        forgetProcess()
        clearRuntime()
        readPipes()
        try? root.detach()
        state.exit = nil
        retry(.failed, reason)
    }

    /// Waits for the next try, or for nothing when the container is not to run.
    func retry(_ name: ShimState.Name, _ reason: String) {
        guard wantsRun else {
            settle()
            return
        }
        let shift = min(max(state.attempt, 1) - 1, 20)
        let pause = min(ShimLimits.backoffFirst << shift, ShimLimits.backoffMax)
        phase = .waiting(until: Clock.monotonicNanoseconds() + pause)
        become(name, reason: reason, next: Clock.wallMilliseconds() + pause / 1_000_000)
    }

    /// Writes down what a new shim needs to take this container over.
    private func writeRecord() {
        guard let process, let identity else { return }
        var record: JSONValue = [
            "boot": .string(Clock.bootIdentity()), "pid": .integer(Int64(process.pid)),
            "start": .string("\(process.startTime)"), "identity": identity, "state": state.json,
            "user": [
                "uid": .integer(Int64(user.uid)), "gid": .integer(Int64(user.gid)),
                "groups": .array(user.groups.map { .integer(Int64($0)) }), "home": .string(user.home ?? ""),
            ],
        ]
        record["image"] = imageDevice.map { .integer($0) }
        do {
            try File.writeAtomically(paths.record, record.canonicalBytes)
        } catch {
            report("error", "record", ["error": "\(error)"])
        }
    }
}

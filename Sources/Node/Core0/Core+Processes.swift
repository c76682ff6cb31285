import Bus
import CLinux
import Glibc
import Linux

// MARK: Starting

extension Core {
    /// Everything that a unit says, with variables filled in.
    private struct Plan {
        var arguments: [String] = []
        var environment: [String] = []
        var netns: String?
    }

    func spawn(_ key: ProcessKey) {
        let unit = supervisor.definition(key)
        do {
            let plan = try plan(key, unit)
            let pid = try start(key, unit, plan)
            log.info("started", ("unit", "\(key)"), ("pid", "\(pid)"))
            process(.started(key, pid: pid))
            // The record with the readiness follows from the supervisor.
        } catch {
            log.error("start-failed", ("unit", "\(key)"), ("reason", "\(error)"))
            process(.startFailed(key, reason: "\(error)"))
        }
    }

    private func settings() throws(UnitError) -> [String: String] {
        let path = "\(options.state)/core/settings.conf"
        guard File.exists(path) else { return [:] }
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try File.read(path, limit: Limits.unitBytesMax)
        } catch {
            throw UnitError("settings.conf", "\(error)")
        }
        let text = try UnitText(bytes, subject: "settings.conf")
        return Dictionary(text.entries.map { ($0.key, $0.value) }) { first, _ in first }
    }

    private func plan(_ key: ProcessKey, _ unit: UnitDefinition) throws -> Plan {
        var values = try settings()
        (values["state"], values["run"]) = (options.state, options.run)
        (values["bin"], values["share"], values["unit"]) = (options.bin, options.share, unit.name)
        let variables = Variables(values, instance: key.instance)
        let subject = "\(unit.name).unit"
        var plan = Plan()
        for word in unit.exec { plan.arguments.append(try variables.fill(word, subject)) }
        plan.environment = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/",
            "ZERO_UNIT=\(unit.name)",
        ]
        if let instance = key.instance { plan.environment.append("ZERO_INSTANCE=\(instance)") }
        for word in unit.environment { plan.environment.append(try variables.fill(word, subject)) }
        plan.netns = try unit.netns.map { pattern throws(UnitError) in try variables.fill(pattern, subject) }
        for directory in unit.directories {
            let path = try variables.fill(directory.path, subject)
            let owner = (directory.owner ?? unit.account).uid
            try File.makeDirectories(File.parent(path))
            try checked("directory", path, zg_directory(path, directory.mode, owner, owner))
        }
        return plan
    }

    private func start(_ key: ProcessKey, _ unit: UnitDefinition, _ plan: Plan) throws(SystemError) -> Int32 {
        let input = try Descriptor.open("/dev/null", O_RDONLY)
        let logPath = logPath(key)
        let output = Descriptor(try checked("open", logPath, zg_open_append(logPath)))
        var netns: Int32 = -1
        if let path = plan.netns { netns = try Descriptor.open(path, O_RDONLY).release() }
        defer { if netns >= 0 { close(netns) } }
        var ends: [Int32] = [-1, -1]
        try checked("pipe", "", zg_notify_pipe(&ends))
        let writer = Descriptor(ends[1])
        var notice: Int32 = ends[0]
        defer { if notice >= 0 { close(notice) } }

        var descriptors: [Int32] = [unit.notifies ? writer.raw : -1]
        var environment = plan.environment
        if unit.notifies { environment.append("ZERO_NOTIFY_FD=3") }
        let kept = stored.of(key)
        if !kept.isEmpty {
            let list = kept.enumerated().map { "\($0.element.name):\($0.offset + 4)" }
            environment.append("ZERO_FDS=" + list.joined(separator: ","))
            descriptors += kept.map(\.fd)
        }
        var how = zg_spawn_t()
        (how.uid, how.gid) = (unit.account.uid, unit.account.uid)
        (how.capabilities, how.no_new_privs) = (unit.capabilities, unit.noNewPrivileges ? 1 : 0)
        (how.netns, how.input, how.output, how.errors) = (netns, input.raw, output.raw, output.raw)
        (how.failure, how.file_limit, how.data_limit) = (writer.raw, unit.fileLimit, unit.memory)
        var gate: Int32 = -1
        let pid = try checked(
            "fork", "\(key)", Core.spawn(&how, plan.arguments, environment, descriptors, &gate))
        // The child waits: nothing runs that is not in a record. If we die now, it ends by itself.
        let identity = ProcessIdentity(pid: pid)
        var running = RunningProcess(
            pid: pid, startTime: identity?.startTime ?? 0, uid: unit.account.uid, started: Core.clock())
        running.program = plan.arguments.first ?? ""
        do throws(SystemError) {
            try records.write(record(key, running))
        } catch {
            close(gate)
            throw error
        }
        try checked("start", "\(key)", zg_spawn_release(gate))
        processes[key] = running
        keysByPid[pid] = key
        processes[key]?.notice = (notice, watchSource(notice, .notice(key)))
        notice = -1
        return pid
    }

    /// `zg_spawn` with Swift's strings and arrays.
    static func spawn(
        _ how: inout zg_spawn_t, _ arguments: [String], _ environment: [String], _ descriptors: [Int32],
        _ gate: inout Int32
    ) -> Int32 {
        let path = strdup(arguments.first ?? "")
        let argv = arguments.map { strdup($0) } + [nil]
        let envp = environment.map { strdup($0) } + [nil]
        defer { for pointer in argv + envp + [path] { free(pointer) } }
        let groups = [Core.commonGroup]
        return argv.withUnsafeBufferPointer { argv in
            envp.withUnsafeBufferPointer { envp in
                descriptors.withUnsafeBufferPointer { descriptors in
                    groups.withUnsafeBufferPointer { groups in
                        how.path = UnsafePointer(path)
                        (how.arguments, how.environment) = (argv.baseAddress, envp.baseAddress)
                        (how.groups, how.group_count) = (groups.baseAddress, groups.count)
                        (how.descriptors, how.descriptor_count) = (descriptors.baseAddress, descriptors.count)
                        return zg_spawn(&how, &gate)
                    }
                }
            }
        }
    }
}

// MARK: Readiness and end

extension Core {
    func readNotice(_ key: ProcessKey) {
        guard let running = processes[key], let notice = running.notice else { return }
        var text = running.noticeText
        var failure = running.failure
        var buffer = [UInt8](repeating: 0, count: 512)
        var isOpen = true
        while isOpen {
            let count = Glibc.read(notice.fd, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { break }
            if count == 0 { isOpen = false }
            if text.count + count > Limits.noticeBytesMax { isOpen = false }
            text += buffer[..<max(0, count)]
        }
        var isReady = false
        while let end = text.firstIndex(of: 0x0a) {
            let line = String(decoding: text[..<end], as: UTF8.self)
            text.removeSubrange(...end)
            if line == "READY=1" { isReady = true }
            if line.hasPrefix("ERROR=run program:") {
                failure = "run \(running.program)" + line.dropFirst(17)
            } else if line.hasPrefix("ERROR=") {
                failure = String(line.dropFirst(6))
            }
        }
        processes[key]?.noticeText = text
        processes[key]?.failure = failure
        // The pipe of a unit that says nothing closes when its program runs.
        if !isOpen, failure == nil, !supervisor.definition(key).notifies { isReady = true }
        if isReady || !isOpen { closeNotice(key) }
        if isReady { process(.ready(key)) }
    }

    private func closeNotice(_ key: ProcessKey) {
        guard let notice = processes[key]?.notice else { return }
        unwatch(notice.fd, notice.source)
        close(notice.fd)
        processes[key]?.notice = nil
    }

    /// Takes every dead child: units, orphans that became ours, the watcher.
    func reap() {
        while true {
            var status: Int32 = 0
            let pid = zg_child_peek(&status)
            guard pid > 0 else { return }
            let key = keysByPid[pid]
            // The zombie still holds its number: nobody else can have the group's.
            if key != nil { _ = zg_kill(-pid, SIGKILL) }
            _ = zg_child_reap(pid)
            if let key { ended(key, ExitStatus(raw: status)) }
        }
    }

    func adoptedEnded(_ key: ProcessKey) {
        guard let running = processes[key], let pidfd = running.pidfd else { return }
        var status: Int32 = 0
        _ = zg_kill(-running.pid, SIGKILL)
        // The kernel tells once its parent, the watcher, took it; that is about to happen.
        var isKnown = false
        for _ in 0..<10 where !isKnown {
            isKnown = zg_pidfd_exit(pidfd.fd, &status) >= 0
            if !isKnown { usleep(2_000) }
        }
        ended(key, isKnown ? ExitStatus(raw: status) : .unknown)
    }

    private func ended(_ key: ProcessKey, _ status: ExitStatus) {
        readNotice(key)
        guard let running = processes[key] else { return }
        closeNotice(key)
        if let pidfd = running.pidfd {
            unwatch(pidfd.fd, pidfd.source)
            close(pidfd.fd)
        }
        processes[key] = nil
        keysByPid[running.pid] = nil
        log.info("ended", ("unit", "\(key)"), ("pid", "\(running.pid)"), ("how", running.failure ?? "\(status)"))
        process(.exited(key, status, said: running.failure))
    }

    func sendSignal(_ key: ProcessKey, _ pid: Int32, _ number: Int32) {
        log.info("signal", ("unit", "\(key)"), ("pid", "\(pid)"), ("signal", Signals.name(number)))
        let result = processes[key]?.pidfd.map { zg_pidfd_signal($0.fd, number) } ?? zg_kill(pid, number)
        if result < 0, result != -ESRCH { log.error("signal", ("unit", "\(key)"), ("error", "\(Errno(-result))")) }
    }
}

// MARK: Records and adoption

extension Core {
    /// What the next zero-core has to know of a process.
    private func record(_ key: ProcessKey, _ running: RunningProcess?) -> ProcessRecord {
        var record = ProcessRecord(key, boot: records.boot)
        if let running {
            (record.pid, record.startTime, record.uid) = (running.pid, running.startTime, running.uid)
            record.started = running.started / Time.millisecond
        }
        guard let entry = supervisor.entries[key] else { return record }
        (record.row, record.restarts) = (entry.row, entry.restarts)
        if running == nil { record.started = entry.started / Time.millisecond }
        if case .running = entry.phase { record.isReady = true }
        if case .ended(let status) = entry.phase { record.ended = status.raw }
        record.isStopping = supervisor.isStopping(key)
        record.reason = entry.reason ?? ""
        return record
    }

    func writeRecord(_ key: ProcessKey) {
        guard supervisor.entries[key] != nil else { return }
        do throws(SystemError) {
            try records.write(record(key, processes[key]))
        } catch {
            log.error("record", ("unit", "\(key)"), ("error", "\(error)"))
        }
    }

    /// Goes on with what an earlier zero-core of this boot left.
    func adoptProcesses() {
        for record in records.load({ log.warning("record-ignored", ("error", $0)) }) {
            let key = record.key
            var found = Supervisor.Adopted()
            (found.row, found.restarts) = (record.row, record.restarts)
            found.started = record.started * Time.millisecond
            found.reason = record.reason.isEmpty ? nil : record.reason
            found.ended = record.ended.map { ExitStatus(recorded: $0) }
            found.isStopping = record.isStopping
            guard record.pid > 0 else {
                process(.adopted(key, found))
                continue
            }
            found.pid = record.pid
            found.isReady = adopt(record)
            process(.adopted(key, found))
            if processes[key] == nil {
                log.info("ended", ("unit", "\(key)"), ("pid", "\(record.pid)"), ("how", "\(ExitStatus.unknown)"))
                process(.exited(key, .unknown, said: nil))
            } else {
                log.info("adopted", ("unit", "\(key)"), ("pid", "\(record.pid)"))
            }
        }
    }

    /// Takes a living process over; returns whether it counts as ready.
    private func adopt(_ record: ProcessRecord) -> Bool {
        let key = record.key
        let identity = ProcessIdentity(pid: record.pid, startTime: record.startTime)
        let pidfd = zg_pidfd_open(record.pid)
        guard pidfd >= 0 else { return false }
        // Only after the pidfd is open does the start time prove that it is of this very process.
        guard identity.isAlive else {
            close(pidfd)
            return false
        }
        var running = RunningProcess(
            pid: record.pid, startTime: record.startTime, uid: record.uid,
            started: record.started * Time.millisecond)
        running.pidfd = (pidfd, watchSource(pidfd, .adopted(key)))
        processes[key] = running
        keysByPid[record.pid] = key
        guard !record.isReady, supervisor.definition(key).notifies else { return true }
        // Its readiness pipe is still open on its side: what it wrote meanwhile is in there.
        let path = "/proc/\(record.pid)/fd/3"
        guard let status = try? File.status(path), status.mode & S_IFMT == S_IFIFO else { return true }
        let notice = zg_open(path, O_RDONLY | O_NONBLOCK, 0)
        guard notice >= 0 else { return true }
        processes[key]?.notice = (notice, watchSource(notice, .notice(key)))
        return false
    }
}

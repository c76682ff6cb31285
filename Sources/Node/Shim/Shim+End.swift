internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux

extension Shim {
    /// Asks the container to end; it is killed when its time is over.
    func stop(seconds: Int64? = nil) {
        switch phase {
        case .running:
            let signal = SignalName.number(order.spec.stopSignal) ?? SIGTERM
            let grace = (seconds ?? order.spec.stopSeconds) * 1_000_000_000
            phase = .stopping(killAt: Clock.monotonicNanoseconds() + grace)
            state.ready = false
            save()
            if grace == 0 || zg_container_signal(pidfd, signal) < 0 { killContainer() }
        case .stopping(let killAt):
            // Another request may only shorten the time.
            if let seconds {
                let limit = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
                phase = .stopping(killAt: min(killAt, limit))
            }
        case .waiting: settle()
        case .ended: if isLeaving || order.desire != .run { settle() }
        case .creating, .starting: break  // `startedNow` or `fail` sees `wantsRun`.
        }
    }

    /// The whole pid namespace ends with its first process.
    func killContainer() {
        if pidfd >= 0 { _ = zg_container_signal(pidfd, SIGKILL) }
    }

    func forgetProcess() {
        if pidfd >= 0 { close(pidfd) }
        if netns >= 0 { close(netns) }
        (pidfd, netns) = (-1, -1)
        process = nil
    }

    /// The container's first process ended; a nil status is one that nobody could learn.
    func ended(_ status: Int32?) {
        let wasStopping = if case .stopping = phase { true } else { false }
        if case .starting(let runtime, _) = phase {
            // A short program may end before the runtime that started it.
            var ignored: Int32 = 0
            if zg_container_wait(runtime, 2000, &ignored) < 0 { _ = zg_kill(runtime, SIGKILL) }
            state.starts += 1
        }
        if Clock.monotonicNanoseconds() - startedAt > ShimLimits.healthy, startedAt > 0 { state.attempt = 0 }
        let memoryKills = ControlGroup.memoryKills(paths.controlGroup)
        readPipes()
        log.flush(time: Clock.wallNanoseconds())
        stopProbe()
        killExecs()
        forgetProcess()
        clearRuntime()
        try? root.detach()
        startedAt = 0
        state.exit = status.map(Int64.init)
        if !wantsRun {
            settle()
        } else if wasStopping {
            // Replaced by another container: at once.
            state.attempt = 0
            phase = .waiting(until: 0)
        } else {
            follow(status, memoryKills: memoryKills)
        }
    }

    /// What the restart policy says.
    private func follow(_ status: Int32?, memoryKills: Int64) {
        var reason = status.map { "ended with status \($0)" } ?? "ended, exit status not known"
        if let status, status > 128 { reason = "ended by signal \(status - 128)" }
        if memoryKills > 0, status != 0 { reason += ", out of memory" }
        switch order.spec.restart {
        case .always: retry(status == 0 ? .waiting : .failed, reason)
        case .onFailure where status != 0: retry(.failed, reason)
        case .onFailure, .never:
            stayEnded(status == 0 ? .stopped : .failed, reason)
        }
    }

    /// It ended and its policy is not to start it again: neither is a new shim to do so, nor another boot.
    func stayEnded(_ name: ShimState.Name, _ reason: String) {
        phase = .ended
        endedByPolicy = true
        become(name, reason: reason)
        guard let identity else { return }
        do {
            try File.writeDurably(
                paths.endRecord, JSONValue.object(["identity": identity, "state": state.json]).canonicalBytes)
        } catch {
            report("error", "record", ["error": "\(error)"])
        }
    }

    /// Stopped because that is wanted.
    func settle() {
        phase = .ended
        endedByPolicy = false
        clearRuntime()
        try? root.detach()
        become(.stopped, reason: order.desire == .run ? "asked to stop" : nil)
        if isLeaving { return }
        for client in waitingForStop { reply(client, state.json) }
        waitingForStop = []
    }

    /// Takes every child that ended.
    func reap() {
        var status: Int32 = 0
        while true {
            let pid = zg_container_reap(&status)
            guard pid > 0 else { return }
            childEnded(pid, status)
        }
    }

    private func childEnded(_ pid: Int32, _ status: Int32) {
        if pid == process?.pid {
            ended(status)
            return
        }
        if probe.pid == pid {
            probeEnded(status)
            return
        }
        switch phase {
        case .creating(let runtime, _) where runtime == pid, .starting(let runtime, _) where runtime == pid:
            runtimeEnded(status)
            return
        default: break
        }
        if execChildEnded(pid, status) { return }
        if strays.count >= ShimLimits.strays { strays.removeAll() }
        strays[pid] = status
    }

    /// An adopted container ended: it was not our child, the kernel may know its status.
    func adoptedEnded() {
        var status: Int32 = 0
        let known = zg_container_pidfd_status(pidfd, &status) == 0
        ended(known ? status : nil)
    }
}

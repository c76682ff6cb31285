internal import CLinux
internal import Glibc
internal import Linux

/// Where the readiness probe stands.
struct ProbeState {
    var pid: Int32?
    var due: Int64 = 0
    var failures = 0
    var wait: Int64 = ShimLimits.probeSoon
}

extension Shim {
    /// Starts a probe in the container's network when one is due.
    func probeIfDue(_ now: Int64) {
        guard phase == .running, probe.pid == nil, let ready = order.spec.ready, netns >= 0, now >= probe.due else {
            return
        }
        let pid =
            if let path = ready.http {
                zg_container_probe(netns, ready.port, path, ShimLimits.probeTimeout)
            } else {
                zg_container_probe(netns, ready.port, nil, ShimLimits.probeTimeout)
            }
        if pid > 0 { probe.pid = pid } else { probe.due = now + ShimLimits.probeLater }
    }

    func probeEnded(_ status: Int32) {
        probe.pid = nil
        guard phase == .running else { return }
        let now = Clock.monotonicNanoseconds()
        if status == Int32(ZG_PROBE_READY) {
            probe.failures = 0
            probe.due = now + ShimLimits.probeLater
            probe.wait = ShimLimits.probeSoon
            if !state.ready {
                state.ready = true
                become(.running)
            }
            return
        }
        probe.failures += 1
        let text = Self.probeText(status)
        if state.ready, probe.failures >= ShimLimits.probeFailures {
            state.ready = false
            become(.running, reason: text)
        } else if !state.ready, state.reason != text {
            become(.running, reason: text)
        }
        // A container that takes long to begin is asked less and less often.
        probe.due = now + probe.wait
        probe.wait = min(probe.wait * 5 / 4, ShimLimits.probeLater)
    }

    func stopProbe() {
        if let pid = probe.pid { _ = zg_kill(pid, SIGKILL) }
        probe = ProbeState()
    }

    private static func probeText(_ status: Int32) -> String {
        switch status {
        case Int32(ZG_PROBE_REFUSED): "not ready: nothing answers on its port"
        case Int32(ZG_PROBE_STATUS): "not ready: it answers with an error"
        case Int32(ZG_PROBE_NETWORK): "not ready: its network cannot be entered"
        case Int32(ZG_PROBE_PROTOCOL): "not ready: what answers is not HTTP"
        default: "not ready: no answer in time"
        }
    }
}

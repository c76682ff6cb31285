import CLinux
import LogEngine

/// When hooks run, and `HOOKS`.
extension Server {
    /// Tells the hook program of an event.
    mutating func hook(_ event: String, _ arguments: [String] = []) {
        guard operations.hooks.options.program != nil else { return }
        let descriptors = operations.hooks.add(event, arguments, now: monotonic)
        watchHooks(descriptors)
    }

    /// Looks after hooks, at the end of one and once a second while one runs.
    mutating func lookAfterHooks() { watchHooks(operations.hooks.look(now: monotonic)) }

    private mutating func watchHooks(_ descriptors: [Int32]) {
        for descriptor in descriptors {
            _ = zg_epoll_control(epoll, 1, descriptor, UInt32(ZG_READABLE), Self.hookToken)
        }
        if operations.hooks.isBusy { armTimer() }
    }

    /// What happened since the last turn that hooks are told of.
    mutating func noticeEvents() {
        let active = engine.activeSegment
        if active != operations.noticedSegment {
            hook("segment-sealed", ["\(settings.data)/\(LogEngine.fileName(segment: operations.noticedSegment))"])
            operations.noticedSegment = active
        }
    }

    /// `HOOKS`: name, arguments, pid, start, end, status of those that run and that ended within a minute.
    mutating func listHooks(_ connection: UnsafeMutablePointer<Connection>) {
        lookAfterHooks()
        let all = operations.hooks.recent + operations.hooks.current
        connection.pointee.array(all.count)
        for run in all {
            connection.pointee.array(6)
            connection.pointee.bulk(run.event)
            connection.pointee.array(run.arguments.count)
            for argument in run.arguments { connection.pointee.bulk(argument) }
            connection.pointee.integer(UInt64(max(0, run.pid)))
            connection.pointee.integer(UInt64(max(0, run.started)))
            connection.pointee.integer(UInt64(max(0, run.ended)))
            connection.pointee.put(run.status < 0 ? ":-" : ":")
            connection.pointee.put("\(run.status.magnitude)\r\n")
        }
    }
}

extension Connection {
    mutating func put(_ text: String) {
        var text = text
        text.withUTF8 { put(bytes: UnsafeRawBufferPointer($0)) }
    }
}

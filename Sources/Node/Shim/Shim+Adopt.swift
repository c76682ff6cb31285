internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux

extension Shim {
    /// Takes up a container that an earlier shim started, should it still be there.
    func adopt() {
        guard let record = Self.document(paths.record) else {
            if let end = Self.document(paths.endRecord), end["identity"] == order.spec.identity,
                let told = end["state"],
                let old = try? ShimState(told)
            {
                (phase, endedByPolicy, identity) = (.ended, true, order.spec.identity)
                let own = state
                state = old
                (state.shim, state.generation) = (own.shim, own.generation)
            }
            return
        }
        guard record["boot"]?.string == Clock.bootIdentity(),
            let pid = record["pid"]?.integer.flatMap({ Int32(exactly: $0) }),
            let start = record["start"]?.string.flatMap({ UInt64($0) })
        else {
            unlink(paths.record)
            return
        }
        restore(record)
        let found = ProcessIdentity(pid: pid, startTime: start)
        guard found.isAlive else {
            lostWhileAway()
            return
        }
        take(found, isChild: false)
        // The pidfd may be of a later process with the number; now that it is open, that cannot change any more.
        guard found.isAlive else {
            forgetProcess()
            lostWhileAway()
            return
        }
        report("info", "adopted", ["id": paths.id, "pid": "\(pid)"])
        if File.exists("\(paths.runtimeState)/exec.fifo") {
            startProgram()
        } else {
            startedAt = Clock.monotonicNanoseconds()
            phase = .running
            become(.running)
            if identity != order.spec.identity { stop() }
        }
    }

    /// It ended while no shim was there: nobody knows how.
    private func lostWhileAway() {
        clearRuntime()
        try? root.detach()
        state.exit = nil
        if order.spec.restart == .never {
            stayEnded(.stopped, "ended while its shim was away; exit status not known")
        } else {
            retry(.failed, "ended while its shim was away; exit status not known")
        }
    }

    private static func document(_ path: String) -> JSONValue? {
        guard let bytes = try? File.read(path, limit: 8 << 20) else { return nil }
        return try? JSONValue(parsing: bytes)
    }

    private func restore(_ record: JSONValue) {
        identity = record["identity"]
        imageDevice = record["image"]?.integer
        if let told = Self.document(paths.stateFile) ?? record["state"],
            let old = try? ShimState(told)
        {
            state.attempt = old.attempt
            state.started = old.started
            state.since = old.since
            state.name = old.name
            state.starts = old.starts
        }
        if let table = record["user"]?.object {
            let number = { (key: String) -> UInt32 in table[key]?.integer.flatMap { UInt32(exactly: $0) } ?? 0 }
            user = ContainerUser(
                uid: number("uid"), gid: number("gid"),
                groups: (table["groups"]?.array ?? []).compactMap { $0.integer.flatMap { UInt32(exactly: $0) } },
                home: table["home"]?.string)
        }
    }
}

import Bus
import CanonicalJSON
import Glibc
import RESP

/// An event that carries the token of who waits for its outcome.
struct LaterEvent {
    let key: ProcessKey?
    let make: (Int) -> Supervisor.Event
}

// MARK: The verbs

extension Core {
    enum Answer {
        case now(RESPValue)
        case later(LaterEvent, PendingAnswer.Question)

        static func json(_ value: JSONValue) -> Answer { .now(.bulk(value.canonicalBytes)) }
    }

    static let verbs = [
        "CORE.STATUS", "CORE.METRICS", "CORE.START", "CORE.STOP", "CORE.RESTART", "CORE.SIGNAL", "CORE.RELOAD",
        "CORE.STORE-FD", "CORE.SHUTDOWN", "PING",
    ]

    /// One request, from whom it comes being checked here.
    func answer(_ request: BusRequest, _ connection: Connection) throws(BusError) -> Answer {
        switch request.verb {
        case "CORE.STATUS": return .json(try status(request))
        case "CORE.METRICS":
            try requireRoot(request)
            return .now(.text(metrics()))
        case "CORE.START": return try start(request)
        case "CORE.STOP": return try stop(request)
        case "CORE.RESTART": return try restart(request)
        case "CORE.SIGNAL": return try signal(request)
        case "CORE.RELOAD": return try reload(request)
        case "CORE.STORE-FD": return try storeDescriptor(request, connection)
        case "CORE.SHUTDOWN":
            try requireRoot(request)
            try request.read { _ throws(JSONError) in }
            return .later(LaterEvent(key: nil) { .shutDown(token: $0) }, .shutDown)
        default:
            let near = nearest(to: request.verb, among: Core.verbs).map { "; did you mean \($0)?" } ?? ""
            throw .unknown("core has no verb \(request.verb)" + near)
        }
    }

    private func requireRoot(_ request: BusRequest) throws(BusError) {
        guard request.peer.uid == 0 else { throw .denied("\(request.verb) is for root") }
    }

    /// The unit and instance that a body names, both checked.
    private func key(_ unit: String, _ instance: String?) throws(BusError) -> ProcessKey {
        let key = ProcessKey(unit, instance)
        if let instance, !UnitDefinition.isInstance(instance) {
            throw .badRequest("“\(instance)” is no instance's name")
        }
        if let known = supervisor.units.units[unit] {
            guard known.isTemplate == (instance != nil) else {
                throw .badRequest(known.isTemplate ? "\(unit) needs an instance" : "\(unit) has no instances")
            }
        } else if supervisor.entries[key] == nil {
            if let error = supervisor.units.invalid[unit] { throw .failed("\(error)") }
            let near = nearest(to: unit, among: supervisor.units.units.keys).map { "; did you mean “\($0)”?" } ?? ""
            throw .notFound("there is no unit “\(unit)”" + near)
        }
        return key
    }

    private func requireRight(_ request: BusRequest, _ key: ProcessKey) throws(BusError) {
        if request.peer.uid == 0 { return }
        if let account = request.peer.account, supervisor.definition(key).startedBy.contains(account) { return }
        throw .denied(
            "\(request.verb) of \(key.unit) is not for \(request.peer.account?.name ?? "uid \(request.peer.uid)")")
    }

    /// Reads `{unit, instance?, …}` and checks the caller's right to it.
    private func target<Extra>(
        _ request: BusRequest, _ extra: (inout ObjectReader) throws(JSONError) -> Extra
    ) throws(BusError) -> (ProcessKey, Extra) {
        let (unit, instance, more) = try request.read { reader throws(JSONError) in
            (try reader.string("unit"), try reader.optionalString("instance"), try extra(&reader))
        }
        let key = try key(unit, instance)
        try requireRight(request, key)
        return (key, more)
    }

    private func requireNoShutdown() throws(BusError) {
        if supervisor.isShuttingDown { throw .unavailable("the node is shutting down") }
    }

    private func start(_ request: BusRequest) throws(BusError) -> Answer {
        let (key, _) = try target(request) { _ throws(JSONError) in }
        try requireNoShutdown()
        guard supervisor.entries[key] != nil || supervisor.entries.count < Limits.instancesMax else {
            throw .failed("more than \(Limits.instancesMax) processes")
        }
        return .later(LaterEvent(key: key) { .start(key, token: $0) }, .start)
    }

    private func stop(_ request: BusRequest) throws(BusError) -> Answer {
        let (key, forget) = try target(request) { reader throws(JSONError) in try reader.optionalBool("forget") }
        return .later(LaterEvent(key: key) { .stop(key, token: $0) }, .stop(forget: forget ?? false))
    }

    private func restart(_ request: BusRequest) throws(BusError) -> Answer {
        try requireNoShutdown()
        if request.body == .object([:]) {
            try requireRoot(request)
            reloadUnits()
            for key in supervisor.entries.keys.sorted() {
                guard supervisor.definition(key).kind == .control, supervisor.entries[key]?.isLive == true else {
                    continue
                }
                process(.restart(key, token: nil))
            }
            return .json(.object([:]))
        }
        let (key, _) = try target(request) { _ throws(JSONError) in }
        guard supervisor.entries[key] != nil else { throw .notFound("\(key) was not started") }
        reloadUnits()
        return .later(LaterEvent(key: key) { .restart(key, token: $0) }, .restart)
    }

    private func signal(_ request: BusRequest) throws(BusError) -> Answer {
        let (key, name) = try target(request) { reader throws(JSONError) in try reader.string("signal") }
        guard let number = Signals.asked[name] else {
            throw .badRequest("signal must be HUP, USR1 or USR2, not “\(name)”")
        }
        guard let running = processes[key] else { throw .notFound("\(key) does not run") }
        sendSignal(key, running.pid, number)
        return .json(.object([:]))
    }

    private func reload(_ request: BusRequest) throws(BusError) -> Answer {
        try requireRoot(request)
        try request.read { _ throws(JSONError) in }
        try requireNoShutdown()
        let set = reloadUnits()
        let invalid = set.invalid.sorted { $0.key < $1.key }.map { name, error in
            JSONValue.object(["name": .string(name), "reason": .string("\(error)")])
        }
        return .json(.object(["units": .integer(Int64(set.units.count)), "invalid": .array(invalid)]))
    }

    private func storeDescriptor(_ request: BusRequest, _ connection: Connection) throws(BusError) -> Answer {
        let (unit, instance, name) = try request.read { reader throws(JSONError) in
            (try reader.string("unit"), try reader.optionalString("instance"), try reader.string("name"))
        }
        let key = try key(unit, instance)
        guard let running = processes[key], running.pid == request.peer.pid else {
            throw .denied("only the process of \(key) itself keeps descriptors for it")
        }
        guard StoredDescriptors.isName(name) else { throw .badRequest("“\(name)” is no descriptor's name") }
        guard connection.descriptors.count == 1 else {
            throw .badRequest("one descriptor must come with the request, not \(connection.descriptors.count)")
        }
        guard stored.hasRoom(key, name) else { throw .failed("too many kept descriptors") }
        store(key, name, connection.descriptors.removeFirst())
        return .json(.object([:]))
    }

    /// Nothing of a process has to be kept: it was stopped for good.
    func forget(_ key: ProcessKey) {
        guard processes[key] == nil else { return }
        dropStored(key)
        if key.instance != nil { removeLogs(key) }
    }
}

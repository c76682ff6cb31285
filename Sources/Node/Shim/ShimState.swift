public import CanonicalJSON

/// What `zero-compute` wants of a shim: the content of `spec.json`.
public struct ShimOrder: Sendable, Equatable {
    /// What should be.
    public enum Desire: String, Sendable {
        /// The container runs.
        case run
        /// The container does not run; its layer and logs stay.
        case stop
        /// Nothing of it is left; the shim ends.
        case remove
    }
    /// The version of the file's format.
    public static let format: Int64 = 1
    /// What should be.
    public var desire: Desire
    /// Counts the changes; comes back in the state.
    public var generation: Int64
    /// The container.
    public var spec: ContainerSpec
    /// With `remove`: also takes away an image that its server left mounted when it died.
    public var unmounts = false

    /// An order.
    public init(_ desire: Desire, generation: Int64, _ spec: ContainerSpec) {
        (self.desire, self.generation, self.spec) = (desire, generation, spec)
    }

    /// Reads the file's document.
    public init(_ value: JSONValue) throws(JSONError) {
        var reader = try ObjectReader(value, "spec.json")
        let format = try reader.integer("format")
        guard format == Self.format else {
            throw .unexpected(key: "format", subject: "spec.json", expected: "\(Self.format)", found: "\(format)")
        }
        let desire = try reader.string("desired")
        guard let wanted = Desire(rawValue: desire) else {
            throw .unexpected(key: "desired", subject: "spec.json", expected: "run, stop or remove", found: desire)
        }
        self.init(wanted, generation: try reader.integer("generation"), try ContainerSpec(reader.value("spec")))
        unmounts = try reader.optionalBool("unmount") ?? false
        try reader.finish()
    }

    /// The file's document.
    public var json: JSONValue {
        var value: JSONValue = [
            "format": .integer(Self.format), "desired": .string(desire.rawValue), "generation": .integer(generation),
            "spec": spec.json,
        ]
        if unmounts { value["unmount"] = true }
        return value
    }
}

/// What a shim says of its container: the reply to `SHIM.STATE` and the content of `state.json`.
public struct ShimState: Sendable, Equatable {
    /// States of a workload, as everywhere in Zero Grid.
    public enum Name: String, Sendable, CaseIterable {
        /// It will be tried, at `next`.
        case waiting
        /// Being made.
        case preparing
        /// Its program runs.
        case running
        /// It ended badly or could not be made; tried again at `next` where there is one.
        case failed
        /// It ended, or was asked to.
        case stopped
        /// Nothing is left.
        case removed
    }
    /// The state.
    public var name: Name
    /// Why, where that is not plain.
    public var reason: String?
    /// Tries in a row since it last was healthy for 10 s.
    public var attempt: Int64
    /// When the next try is, Unix milliseconds.
    public var next: Int64?
    /// When the program was started, Unix milliseconds.
    public var started: Int64?
    /// When this state began, Unix milliseconds.
    public var since: Int64
    /// Whether the probe succeeds; without a probe, whether it runs.
    public var ready: Bool
    /// The container's first process, as the node numbers it.
    public var pid: Int64?
    /// Exit status of the last run; 128+n after signal n.
    public var exit: Int64?
    /// The order that this state belongs to.
    public var generation: Int64
    /// Starts so far since the shim first saw this container.
    public var starts: Int64
    /// The shim's own process.
    public var shim: Int64

    /// A container that nothing was done for yet.
    public init(generation: Int64, shim: Int64, since: Int64) {
        (self.generation, self.shim, self.since) = (generation, shim, since)
        (name, attempt, ready, starts) = (.waiting, 0, false, 0)
    }

    /// Reads the document of `SHIM.STATE`.
    public init(_ value: JSONValue) throws(JSONError) {
        var reader = try ObjectReader(value, "shim state")
        let text = try reader.string("state")
        guard let name = Name(rawValue: text) else {
            throw .unexpected(key: "state", subject: "shim state", expected: "a state", found: text)
        }
        self.name = name
        reason = try reader.optionalString("reason")
        attempt = try reader.integer("attempt")
        next = try reader.optionalInteger("next")
        started = try reader.optionalInteger("started")
        since = try reader.integer("since")
        ready = try reader.bool("ready")
        pid = try reader.optionalInteger("pid")
        exit = try reader.optionalInteger("exit")
        generation = try reader.integer("generation")
        starts = try reader.integer("starts")
        shim = try reader.integer("shim")
        // A newer shim may say more.
    }

    /// The document.
    public var json: JSONValue {
        var value: [String: JSONValue] = [
            "state": .string(name.rawValue), "attempt": .integer(attempt), "since": .integer(since),
            "ready": .bool(ready), "generation": .integer(generation), "starts": .integer(starts),
            "shim": .integer(shim),
        ]
        value["reason"] = reason.map { .string($0) }
        value["next"] = next.map { .integer($0) }
        value["started"] = started.map { .integer($0) }
        value["pid"] = pid.map { .integer($0) }
        value["exit"] = exit.map { .integer($0) }
        return .object(value)
    }
}

/// What went wrong in a step of making a container.
struct ShimError: Error, CustomStringConvertible {
    /// The step, such as `mount`.
    let step: String
    /// What happened.
    let message: String
    init(_ step: String, _ message: String) { (self.step, self.message) = (step, message) }
    var description: String { "\(step): \(message)" }
}

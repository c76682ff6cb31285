public import Bus
public import Linux

/// Why a route could not be brought to what is asked.
public enum GatewayError: Error, Sendable, CustomStringConvertible {
    /// A request that can never be fulfilled.
    case invalid(String)
    /// Another contract has the name.
    case taken(name: String, contract: String)
    /// Every slot is used.
    case full(slots: Int)
    /// The proxy does not answer now; what was asked is kept and follows when it does.
    case proxy(String)
    /// A step of the system failed.
    case system(SystemError)
    /// The file of routes is not what it should be.
    case damaged(path: String, reason: String)

    /// One line for people.
    public var description: String {
        switch self {
        case .invalid(let why): why
        case .taken(let name, let contract): "the name \(name) is routed for contract \(contract)"
        case .full(let slots): "all \(slots) routes of this gateway are used"
        case .proxy(let why): "the proxy does not do it yet: \(why)"
        case .system(let error): "\(error)"
        case .damaged(let path, let reason): "\(path) \(reason)"
        }
    }

    /// The error as the bus carries it.
    public var onBus: BusError {
        let code =
            switch self {
            case .invalid: "BADREQUEST"
            case .taken: "CONFLICT"
            case .full: "NOSPACE"
            case .proxy: "UNAVAILABLE"
            case .system, .damaged: "FAILED"
            }
        return BusError(code: code, message: description)
    }
}

public import CanonicalJSON
public import RESP

/// Why a request on the bus failed: a stable code in capitals and a sentence. Travels as `-CODE message`.
public struct BusError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Such as `DENIED`; capitals, digits and hyphens.
    public let code: String
    /// A sentence for people that names the subject.
    public let message: String

    /// A code of the service's own and a sentence.
    public init(code: String, message: String) {
        self.code = String(code.unicodeScalars.filter { $0 != " " && $0 != "\r" && $0 != "\n" }.map { Character($0) })
        self.message = message
    }

    /// `CODE message`.
    public var description: String { "\(code) \(message)" }

    /// The caller's account may not use the verb.
    public static func denied(_ message: String) -> BusError { BusError(code: "DENIED", message: message) }
    /// No such verb.
    public static func unknown(_ message: String) -> BusError { BusError(code: "UNKNOWN", message: message) }
    /// The request's body is not what the verb takes.
    public static func badRequest(_ message: String) -> BusError { BusError(code: "BADREQUEST", message: message) }
    /// What the request names is not there.
    public static func notFound(_ message: String) -> BusError { BusError(code: "NOTFOUND", message: message) }
    /// The request contradicts what is there.
    public static func conflict(_ message: String) -> BusError { BusError(code: "CONFLICT", message: message) }
    /// The service tried and could not.
    public static func failed(_ message: String) -> BusError { BusError(code: "FAILED", message: message) }
    /// The service cannot do it now; asking again later may help.
    public static func unavailable(_ message: String) -> BusError { BusError(code: "UNAVAILABLE", message: message) }
    /// The deadline passed.
    public static func deadline(_ message: String) -> BusError { BusError(code: "DEADLINE", message: message) }
    /// The service's socket could not be reached.
    public static func unreachable(_ message: String) -> BusError { BusError(code: "UNREACHABLE", message: message) }

    /// True for failures of the way to the service, not of the request: nothing is known about what it did.
    public var isTransport: Bool { ["UNREACHABLE", "DEADLINE", "CLOSED", "MALFORMED"].contains(code) }

    /// A refusal of a request's body.
    public init(_ error: JSONError) { self = .badRequest("\(error)") }

    /// A failure of the connection.
    public init(_ error: RESPClientError) {
        switch error {
        case .unreachable, .refused: self = .unreachable("\(error)")
        case .late: self = .deadline("\(error)")
        case .closed, .broken: self.init(code: "CLOSED", message: "\(error)")
        case .malformed: self.init(code: "MALFORMED", message: "\(error)")
        }
    }

    /// What a handler threw, as it is told to the caller.
    public init(reporting error: any Error) {
        switch error {
        case let error as BusError: self = error
        case let error as JSONError: self.init(error)
        case is CancellationError: self = .unavailable("the service is stopping")
        default: self = .failed("\(error)")
        }
    }
}

internal import RESP

/// One command for one backend.
struct Request: Sendable {
    /// The backend's number.
    let backend: UInt16
    /// What is sent before the value, as the protocol has it, the value's length included.
    let head: [UInt8]
    /// The value, sent from where it lies.
    let payload: Payload?
    /// What is sent after it.
    let tail: [UInt8]

    /// A command of short arguments.
    init(_ backend: UInt16, _ arguments: [[UInt8]]) {
        self.backend = backend
        var writer = RESPWriter(.two)
        writer.command(arguments)
        (head, payload, tail) = (writer.take(), nil, [])
    }

    /// `SET key value`, the value from where it lies.
    static func set(_ backend: UInt16, _ key: [UInt8], _ value: Payload) -> Request {
        Request(backend, before: [Array("SET".utf8), key], value)
    }

    /// `GET key`.
    static func get(_ backend: UInt16, _ key: [UInt8]) -> Request { Request(backend, [Array("GET".utf8), key]) }

    /// `GET key FROM a TO b`.
    static func get(_ backend: UInt16, _ key: [UInt8], _ range: Range<Int>) -> Request {
        Request(
            backend,
            [
                Array("GET".utf8), key, Array("FROM".utf8), Array("\(range.lowerBound)".utf8), Array("TO".utf8),
                Array("\(range.upperBound)".utf8),
            ])
    }

    /// `DEL key…`.
    static func delete(_ backend: UInt16, _ keys: [[UInt8]]) -> Request { Request(backend, [Array("DEL".utf8)] + keys) }

    private init(_ backend: UInt16, before arguments: [[UInt8]], _ value: Payload) {
        self.backend = backend
        var head = Array("*\(arguments.count + 1)\r\n".utf8)
        for argument in arguments {
            head += Array("$\(argument.count)\r\n".utf8)
            head += argument
            head += [13, 10]
        }
        head += Array("$\(value.count)\r\n".utf8)
        (self.head, payload, tail) = (head, value, [13, 10])
    }
}

/// What became of a request.
enum Outcome: Sendable {
    /// The backend answered; perhaps with an error.
    case reply(RESPValue)
    /// It was not reached, or the connection broke: whether it did it is not known.
    case unreachable(String)

    /// The value of a `GET`; nil where there is none, or no good answer.
    var bytes: [UInt8]? {
        if case .reply(let value) = self { value.bytes } else { nil }
    }

    /// Whether the answer is `OK`, or another that is no error.
    var isDone: Bool {
        if case .reply(let value) = self { value.failure == nil } else { false }
    }

    /// Whether the backend answered at all.
    var isAnswered: Bool { if case .reply = self { true } else { false } }

    /// Why it is no success, for people.
    var problem: String {
        switch self {
        case .reply(let value): value.failure.map { "\($0.code) \($0.message)" } ?? "an unexpected answer"
        case .unreachable(let reason): reason
        }
    }
}

/// Requests that were sent together.
protocol Pending: AnyObject, Sendable {
    /// Waits until all are answered, the time is over, or, once `enough` says that what is there will do, `lingering` milliseconds more.
    /// What is missing then is nil; such a request may still be done later.
    func wait(milliseconds: Int64, lingering: Int64, enough: ([Outcome?]) -> Bool) -> [Outcome?]
}

/// The Zero-DBs of a store. A simulator stands in for the real ones.
protocol Backends: AnyObject, Sendable {
    /// Sends requests, all at once.
    func start(_ requests: [Request]) -> any Pending

    /// The epoch of all writes from now on, on connections that are there and on new ones.
    func setEpoch(_ epoch: UInt64)
}

extension Backends {
    /// Sends requests and waits for them.
    func perform(
        _ requests: [Request], milliseconds: Int64, lingering: Int64 = 0, enough: ([Outcome?]) -> Bool = { _ in false }
    ) -> [Outcome?] {
        if requests.isEmpty { return [] }
        return start(requests).wait(milliseconds: milliseconds, lingering: lingering, enough: enough)
    }
}

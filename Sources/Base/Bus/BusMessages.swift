public import CanonicalJSON
import Glibc

/// Who is at the other end of a bus connection, as the kernel says.
public struct BusPeer: Sendable, Hashable {
    /// Process id when it connected.
    public let pid: Int32
    /// User id when it connected.
    public let uid: UInt32
    /// Group id when it connected.
    public let gid: UInt32

    /// Known credentials; for tests.
    public init(pid: Int32, uid: UInt32, gid: UInt32) { (self.pid, self.uid, self.gid) = (pid, uid, gid) }

    /// The daemon account, if it is one.
    public var account: Account? { Account(rawValue: uid) }
}

/// One request as its handler sees it.
public struct BusRequest: Sendable {
    /// The verb in capitals, such as `NETWORK.ENSURE`.
    public let verb: String
    /// The JSON argument; an empty object when there was none.
    public let body: JSONValue
    /// Who asks.
    public let peer: BusPeer

    /// A request; for tests.
    public init(verb: String, body: JSONValue, peer: BusPeer) {
        (self.verb, self.body, self.peer) = (verb, body, peer)
    }

    /// A reader of the body's fields, whose errors name the verb.
    public func reader() throws(BusError) -> ObjectReader {
        do throws(JSONError) {
            return try ObjectReader(body, verb)
        } catch {
            throw BusError(error)
        }
    }

    /// Reads the body's fields and refuses unknown ones; errors become `BADREQUEST`.
    public func read<Value>(_ take: (inout ObjectReader) throws(JSONError) -> Value) throws(BusError) -> Value {
        do throws(JSONError) {
            var reader = try ObjectReader(body, verb)
            let value = try take(&reader)
            try reader.finish()
            return value
        } catch {
            throw BusError(error)
        }
    }
}

/// What a handler answers: JSON or text, and at most one descriptor, which the server closes once it was sent.
public struct BusReply: Sendable, ExpressibleByDictionaryLiteral {
    let payload: [UInt8]
    let descriptor: Int32?

    /// A JSON reply; `descriptor` now belongs to the server.
    public init(_ body: JSONValue, descriptor: Int32? = nil) {
        (payload, self.descriptor) = (body.canonicalBytes, descriptor)
    }

    /// A reply that is not JSON, such as metrics.
    public init(text: String) { (payload, descriptor) = (Array(text.utf8), nil) }

    /// The empty object.
    public static var ok: BusReply { BusReply(.object([:])) }

    /// A JSON object written out, so that a handler may just return `["port": 80]`.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self.init(.object(Dictionary(elements, uniquingKeysWith: { _, last in last })))
    }

    func dispose() { if let descriptor { _ = close(descriptor) } }
}

import CanonicalJSON
public import Crypto
public import Flist
import Linux
public import RESP

/// What to mount, where, and from which store: a JSON file that `zero-compute` writes.
public struct MountOrder: Sendable {
    /// How the root chunk's key is had.
    public enum Key: Sendable, Equatable {
        /// It is written in the order: a public image.
        case clear(ChunkKey)
        /// It is sealed to the node; `zero-identity` opens it for this workload.
        case sealed(String, contract: String, workload: String)
    }

    /// The id of the flist's root chunk.
    public let root: Digest
    /// What opens it.
    public let key: Key
    /// The socket of `zero-identity`, for sealed keys.
    public let identity: String?
    /// Where it appears.
    public let mountpoint: String
    /// Where chunks come from.
    public let store: RESPClient.Endpoint
    /// The namespace to select there; nil where the socket is bound to one.
    public let namespace: String?
    /// A folder for fetched chunks, shared by mounts; nil for none.
    public let cache: String?
    /// Bytes of that folder.
    public let cacheMax: Int64
    /// How long a read waits for an absent store before it fails.
    public let storeWaitMilliseconds: Int
    /// Where the session's first message is kept for a process that takes over; nil for nowhere.
    public let session: String?

    /// What a node's folders decide where the file says nothing.
    public struct Defaults: Sendable {
        /// The store's socket.
        public var store: String?
        /// The folder for chunks.
        public var cache: String?
        /// The session file.
        public var session: String?
        /// The socket of the service that opens keys of private images.
        public var identity: String?

        /// Nothing decided.
        public init(store: String? = nil, cache: String? = nil, session: String? = nil, identity: String? = nil) {
            (self.store, self.cache, self.session, self.identity) = (store, cache, session, identity)
        }
    }

    /// Half a minute: a Zero-DB that is replaced by a newer version is away for a second or two.
    public static let storeWaitDefault = 30_000
    /// A gigabyte: some images of a few hundred megabytes.
    public static let cacheMaxDefault: Int64 = 1 << 30

    /// Reads the file at `path`.
    public init(path: String, _ defaults: Defaults = Defaults()) throws(MountError) {
        let bytes: [UInt8]
        do { bytes = try File.read(path, limit: 1 << 20) } catch { throw .order(path, "\(error)") }
        do throws(JSONError) {
            try self.init(try JSONValue(parsing: bytes), path, defaults)
        } catch { throw .order(path, "\(error)") }
    }

    /// Reads a document.
    init(_ value: JSONValue, _ subject: String, _ defaults: Defaults) throws(JSONError) {
        var fields = try ObjectReader(value, subject)
        if let format = try fields.optionalInteger("format"), format != 1 {
            throw fields.refuse("format", "1", found: .integer(format))
        }
        let root = try fields.string("root")
        guard let id = Digest(hex: root) else {
            throw fields.refuse("root", "64 hexadecimal digits", found: .string(root))
        }
        self.root = id
        key = try Self.key(&fields)
        identity = try fields.optionalString("identity") ?? defaults.identity
        if let at = try fields.optionalString("at") {
            mountpoint = at
        } else {
            mountpoint = try fields.string("mountpoint")
        }
        guard mountpoint.hasPrefix("/") else {
            throw fields.refuse("mountpoint", "an absolute path", found: .string(mountpoint))
        }
        let store = try fields.optionalString("store") ?? defaults.store.map { "unix:" + $0 } ?? ""
        guard let endpoint = Self.endpoint(store) else {
            throw fields.refuse("store", "unix:/path or host:port", found: .string(store))
        }
        self.store = endpoint
        namespace = try fields.optionalString("namespace") ?? (defaults.store == nil ? nil : "images")
        cache = try fields.optionalString("cache") ?? defaults.cache
        cacheMax = try fields.optionalInteger("cache_max") ?? Self.cacheMaxDefault
        let wait = try fields.optionalInteger("store_wait_ms") ?? Int64(Self.storeWaitDefault)
        guard (0...86_400_000).contains(wait) else {
            throw fields.refuse("store_wait_ms", "0 to a day", found: .integer(wait))
        }
        storeWaitMilliseconds = Int(wait)
        session = try fields.optionalString("session") ?? defaults.session
        try fields.finish()
    }

    /// `key`, or `sealed`; one of them.
    private static func key(_ fields: inout ObjectReader) throws(JSONError) -> Key {
        guard let sealed = fields.optionalValue("sealed") else {
            guard let key = ChunkKey(hex: try fields.string("key")) else {
                throw fields.refuse("key", "64 hexadecimal digits", found: "(a secret)")
            }
            return .clear(key)
        }
        guard fields.optionalValue("key") == nil else {
            throw fields.refuse("sealed", "no key beside it", found: "(a secret)")
        }
        var inner = try ObjectReader(sealed, "the sealed key")
        let key = Key.sealed(
            try inner.string("key"), contract: try inner.string("contract"), workload: try inner.string("workload"))
        try inner.finish()
        return key
    }

    /// `unix:/path`, `/path` or `host:port`.
    public static func endpoint(_ text: String) -> RESPClient.Endpoint? {
        if text.hasPrefix("unix:/") { return .unix(String(text.dropFirst(5))) }
        if text.hasPrefix("/") { return .unix(text) }
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            let port = UInt16(text[text.index(after: colon)...]), port > 0
        else { return nil }
        return .tcp(host: String(text[..<colon]), port: port)
    }
}

/// Why a flist is not mounted.
public enum MountError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The order cannot be read.
    case order(String, String)
    /// The key of a private image cannot be had.
    case sealed(String)
    /// A step of mounting failed.
    case system(String, Int32)
    /// The flist's first chunk cannot be had.
    case flist(FlistError)

    /// One line for people.
    public var description: String {
        switch self {
        case .order(let path, let reason): "order \(path): \(reason)"
        case .sealed(let reason): "the image's key cannot be opened: \(reason)"
        case .system(let step, let code): "\(step): \(Errno(code))"
        case .flist(let error): "\(error)"
        }
    }
}

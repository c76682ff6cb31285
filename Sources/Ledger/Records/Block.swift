import Bytes
public import CanonicalJSON
public import Crypto

/// A batch of records that the ledger agreed on.
public struct Block: Hashable, Sendable {
    /// Counts from 1 without gaps.
    public let height: Int64
    /// Unix milliseconds, greater than its parent's.
    public let time: Int64
    /// Hash of the block before; the ledger id for the first.
    public let parent: Digest
    /// In the order in which they are applied.
    public let records: [Record]
    /// Root of the RFC 6962 tree over record ids, this block's included.
    public let logRoot: Digest
    /// Root of the state after this block.
    public let stateRoot: Digest
    /// SHA-256 of the canonical bytes.
    public let hash: Digest
    /// The block as it is stored and sent.
    public let canonicalBytes: [UInt8]

    /// A block of these parts.
    public init(
        height: Int64, time: Int64, parent: Digest, records: [Record], logRoot: Digest, stateRoot: Digest
    ) {
        (self.height, self.time, self.parent, self.records) = (height, time, parent, records)
        (self.logRoot, self.stateRoot) = (logRoot, stateRoot)
        let value: JSONValue = [
            "height": .integer(height), "time": .integer(time), "parent": .digest(parent),
            "records": .array(records.map(\.value)), "log_root": .digest(logRoot), "state_root": .digest(stateRoot),
        ]
        canonicalBytes = value.canonicalBytes
        hash = SHA256.hash(canonicalBytes)
    }

    /// Decodes a block from its canonical bytes.
    public init(canonical bytes: [UInt8]) throws(RecordError) {
        let value: JSONValue
        do { value = try JSONValue(canonical: bytes) } catch { throw .encoding(error) }
        try self.init(value, bytes: bytes)
    }

    /// Decodes a block.
    public init(_ value: JSONValue) throws(RecordError) { try self.init(value, bytes: value.canonicalBytes) }

    private init(_ value: JSONValue, bytes: [UInt8]) throws(RecordError) {
        let elements: [JSONValue]
        do {
            var fields = try ObjectReader(value, "a block")
            height = try fields.integer("height", in: Bounds.positive)
            time = try fields.integer("time", in: Bounds.positive)
            parent = try fields.digest("parent")
            logRoot = try fields.digest("log_root")
            stateRoot = try fields.digest("state_root")
            elements = try fields.array("records")
            try fields.finish()
        } catch { throw .schema(error) }
        var records: [Record] = []
        for element in elements { records.append(try Record(element)) }
        self.records = records
        canonicalBytes = bytes
        hash = SHA256.hash(bytes)
    }

    /// Equal documents.
    public static func == (left: Block, right: Block) -> Bool { left.hash == right.hash }
    /// By identity of content.
    public func hash(into hasher: inout Hasher) { hasher.combine(hash) }
}

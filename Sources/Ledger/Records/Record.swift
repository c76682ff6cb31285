import Bytes
public import CanonicalJSON
public import Crypto

/// A key's signature in an envelope.
public struct RecordSignature: Hashable, Sendable {
    /// The key that signed.
    public let by: PublicKey
    /// 64 bytes of Ed25519.
    public let bytes: [UInt8]

    /// A signature by `by`.
    public init(by: PublicKey, bytes: [UInt8]) { (self.by, self.bytes) = (by, bytes) }

    var value: JSONValue { ["by": .key(by), "sig": .base64(bytes)] }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a signature")
        by = try fields.publicKey("by")
        bytes = try fields.optionalBase64("sig", limit: 64) ?? []
        guard bytes.count == 64 else { throw fields.refuse("sig", "Base64 of 64 bytes", found: value) }
        try fields.finish()
    }

    /// The signatures of a document: sorted by key, each key once, at most `limit`.
    static func list(_ values: [JSONValue], limit: Int, subject: String) throws(JSONError) -> [RecordSignature] {
        var found: [RecordSignature] = []
        for value in values {
            let next = try RecordSignature(value)
            if let last = found.last, last.by.address >= next.by.address {
                throw .unexpected(
                    key: "signatures", subject: subject, expected: "sorted by key, each key once",
                    found: "\(next.by.address) after \(last.by.address)")
            }
            found.append(next)
        }
        guard found.count <= limit else {
            throw .unexpected(
                key: "signatures", subject: subject, expected: "at most \(limit)", found: "\(found.count)")
        }
        return found
    }
}

/// One signed entry of the ledger, decoded and of a known shape. Signatures are checked by `verify`.
public struct Record: Hashable, Sendable {
    /// The identity that speaks: its first key.
    public let author: PublicKey
    /// The agent key that signed for it.
    public let key: PublicKey
    /// How many records this key signed, this one included.
    public let seq: Int64
    /// What it says.
    public let body: RecordBody
    /// Sorted by key, each key once.
    public let signatures: [RecordSignature]
    /// SHA-256 of the canonical bytes without signatures.
    public let id: Digest
    /// The record as it is stored, sent and hashed.
    public let canonicalBytes: [UInt8]

    /// What kind of record this is.
    public var kind: RecordKind { body.kind }
    /// The envelope as a document.
    public var value: JSONValue {
        var value = draft.value
        value["signatures"] = .array(signatures.map(\.value))
        return value
    }
    /// The record without its signatures.
    public var draft: RecordDraft { RecordDraft(author: author, key: key, seq: seq, body: body) }

    /// Decodes a record. Bytes that are not canonical, unknown kinds and unknown fields are refused.
    public init(canonical bytes: [UInt8]) throws(RecordError) {
        guard bytes.count <= RecordLimits.recordBytes else {
            throw .tooLarge(bytes: bytes.count, limit: RecordLimits.recordBytes)
        }
        let value: JSONValue
        do { value = try JSONValue(canonical: bytes) } catch { throw .encoding(error) }
        try self.init(value, bytes: bytes)
    }

    /// Decodes a record from a document.
    public init(_ value: JSONValue) throws(RecordError) {
        let bytes = value.canonicalBytes
        guard bytes.count <= RecordLimits.recordBytes else {
            throw .tooLarge(bytes: bytes.count, limit: RecordLimits.recordBytes)
        }
        try self.init(value, bytes: bytes)
    }

    private init(_ value: JSONValue, bytes: [UInt8]) throws(RecordError) {
        let signatures: [RecordSignature]
        do {
            let found = try ObjectReader(value, "a record").signatureValues()
            signatures = try RecordSignature.list(found, limit: RecordLimits.signatures, subject: "a record")
        } catch { throw .schema(error) }
        var unsigned = value
        unsigned["signatures"] = nil
        let draft = try RecordDraft(unsigned)
        self.init(draft, signatures: signatures, unsigned: draft.canonicalBytes, bytes: bytes)
    }

    init(_ draft: RecordDraft, signatures: [RecordSignature], unsigned: [UInt8], bytes: [UInt8]) {
        (author, key, seq, body) = (draft.author, draft.key, draft.seq, draft.body)
        self.signatures = signatures
        id = SHA256.hash(unsigned)
        canonicalBytes = bytes
    }

    /// Checks every signature over this record for `ledger`; the one of `key` must be among them.
    public func verify(ledger: Digest) throws(RecordError) {
        guard signatures.contains(where: { $0.by == key }) else { throw .unsigned(by: key) }
        let message = draft.signingMessage(ledger: ledger)
        for signature in signatures where !signature.by.verifies(signature.bytes, of: message) {
            throw .badSignature(by: signature.by)
        }
    }

    /// The same record with another signature: a member that admits it, or a friend that helps to recover.
    public func adding(_ signature: RecordSignature) -> Record {
        draft.signed(signatures.filter { $0.by != signature.by } + [signature])
    }

    /// Equal documents.
    public static func == (left: Record, right: Record) -> Bool { left.canonicalBytes == right.canonicalBytes }
    /// By identity of content.
    public func hash(into hasher: inout Hasher) { hasher.combine(id) }
}

extension ObjectReader {
    fileprivate func signatureValues() throws(JSONError) -> [JSONValue] {
        var copy = self
        return try copy.array("signatures")
    }
}

/// A record before it is signed.
public struct RecordDraft: Hashable, Sendable {
    /// The identity that speaks.
    public let author: PublicKey
    /// The agent key that will sign.
    public let key: PublicKey
    /// One more than the last record of this key.
    public let seq: Int64
    /// What it says.
    public let body: RecordBody

    /// A record to sign. `key` is the author's own first key where nothing else is said.
    public init(author: PublicKey, key: PublicKey? = nil, seq: Int64, body: RecordBody) {
        (self.author, self.key, self.seq, self.body) = (author, key ?? author, seq, body)
    }

    /// Decodes an envelope without signatures, as the identity service gets it to sign.
    public init(_ value: JSONValue) throws(RecordError) {
        do {
            var fields = try ObjectReader(value, "a record")
            let version = try fields.integer("v")
            guard version == 1 else { throw RecordError.version(version) }
            let kind = try fields.string("kind")
            author = try fields.publicKey("author")
            key = try fields.publicKey("key")
            seq = try fields.integer("seq", in: Bounds.positive)
            let body = try fields.value("body")
            try fields.finish()
            self.body = try RecordBody(kind: RecordDraft.known(kind), body)
        } catch let error as JSONError {
            throw .schema(error)
        } catch let error as RecordError {
            throw error
        } catch {
            throw .schema(.unexpected(key: "", subject: "a record", expected: "a record", found: "\(error)"))
        }
    }

    private static func known(_ kind: String) throws(RecordError) -> RecordKind {
        if let known = RecordKind(rawValue: kind) { return known }
        if RecordKind.notInForce.contains(kind) { throw .notInForce(kind) }
        throw .unknownKind(kind, nearest: nearest(to: kind, among: RecordKind.allCases.map(\.rawValue)))
    }

    /// The envelope without signatures.
    public var value: JSONValue {
        [
            "author": .key(author), "body": body.value, "key": .key(key), "kind": .string(body.kind.rawValue),
            "seq": .integer(seq), "v": 1,
        ]
    }
    /// What the record id is the hash of.
    public var canonicalBytes: [UInt8] { value.canonicalBytes }
    /// The id of the record that this becomes.
    public var id: Digest { SHA256.hash(canonicalBytes) }
    /// What a signature covers.
    public func signingMessage(ledger: Digest) -> [UInt8] {
        SigningMessage.bytes(kind: body.kind.rawValue, ledger: ledger, document: canonicalBytes)
    }

    /// Signs with every given key for `ledger`.
    public func signed(by keys: SigningKey..., ledger: Digest) -> Record {
        let message = signingMessage(ledger: ledger)
        return signed(keys.map { RecordSignature(by: $0.publicKey, bytes: $0.sign(message)) })
    }

    /// The record with signatures that were made elsewhere, in any order.
    public func signed(_ signatures: [RecordSignature]) -> Record {
        let sorted = signatures.sorted { $0.by.address < $1.by.address }
        var value = value
        let unsigned = value.canonicalBytes
        value["signatures"] = .array(sorted.map(\.value))
        return Record(self, signatures: sorted, unsigned: unsigned, bytes: value.canonicalBytes)
    }
}

public import CanonicalJSON
public import Crypto

/// What a grid's ledger admits and how much of it. Fixed by the genesis document.
public struct LedgerRules: Hashable, Sendable {
    /// How an identity that was never seen gets in.
    public enum Admission: String, CaseIterable, Hashable, Sendable {
        /// By its own identity record, a few in a block.
        case open
        /// By an identity record that a member signed too.
        case members
    }

    /// How an identity that was never seen gets in.
    public let admission: Admission
    /// New identities in one block.
    public let identitiesPerBlock: Int64
    /// Records in one block.
    public let blockRecords: Int64
    /// Bytes of all records in one block.
    public let blockBytes: Int64
    /// Bytes of one record.
    public let recordBytes: Int64
    /// Records of one identity in one block.
    public let identityBlockRecords: Int64
    /// Bytes of one identity's records in one block.
    public let identityBlockBytes: Int64
    /// Contracts of one identity that are not over yet.
    public let openContracts: Int64
    /// Names that one identity holds or has reserved.
    public let names: Int64
    /// Images of one identity.
    public let images: Int64
    /// Blocks after a commit within which the name must be revealed.
    public let revealBlocks: Int64
    /// Milliseconds after its expiry in which a name can be renewed by its holder only.
    public let nameGrace: Int64
    /// The furthest expiry of a name or contract, in milliseconds from now.
    public let horizon: Int64

    /// What a grid on one machine uses: everybody may write, nobody may fill the disk.
    public static let local = LedgerRules()

    /// Rules; every value has the default of a local grid.
    public init(
        admission: Admission = .open, identitiesPerBlock: Int64 = 16, blockRecords: Int64 = 256,
        blockBytes: Int64 = 1 << 20, recordBytes: Int64 = 64 << 10, identityBlockRecords: Int64 = 64,
        identityBlockBytes: Int64 = 256 << 10, openContracts: Int64 = 256, names: Int64 = 64, images: Int64 = 1024,
        revealBlocks: Int64 = 100, nameGrace: Int64 = 30 * 86_400_000, horizon: Int64 = 5 * 366 * 86_400_000
    ) {
        (self.admission, self.identitiesPerBlock) = (admission, identitiesPerBlock)
        (self.blockRecords, self.blockBytes, self.recordBytes) = (blockRecords, blockBytes, recordBytes)
        (self.identityBlockRecords, self.identityBlockBytes) = (identityBlockRecords, identityBlockBytes)
        (self.openContracts, self.names, self.images) = (openContracts, names, images)
        (self.revealBlocks, self.nameGrace, self.horizon) = (revealBlocks, nameGrace, horizon)
    }

    /// The rules as a document.
    public var value: JSONValue {
        [
            "admission": .string(admission.rawValue), "identities_per_block": .integer(identitiesPerBlock),
            "block_records": .integer(blockRecords), "block_bytes": .integer(blockBytes),
            "record_bytes": .integer(recordBytes), "identity_block_records": .integer(identityBlockRecords),
            "identity_block_bytes": .integer(identityBlockBytes), "open_contracts": .integer(openContracts),
            "names": .integer(names), "images": .integer(images), "reveal_blocks": .integer(revealBlocks),
            "name_grace_ms": .integer(nameGrace), "horizon_ms": .integer(horizon),
        ]
    }

    /// Decodes rules; each must be stated.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "rules")
        admission = try fields.word("admission", Admission.self)
        identitiesPerBlock = try fields.integer("identities_per_block", in: Bounds.positive)
        blockRecords = try fields.integer("block_records", in: Bounds.positive)
        blockBytes = try fields.integer("block_bytes", in: Bounds.positive)
        recordBytes = try fields.integer("record_bytes", in: 1...Int64(RecordLimits.recordBytes))
        identityBlockRecords = try fields.integer("identity_block_records", in: Bounds.positive)
        identityBlockBytes = try fields.integer("identity_block_bytes", in: Bounds.positive)
        openContracts = try fields.integer("open_contracts", in: Bounds.positive)
        names = try fields.integer("names", in: Bounds.positive)
        images = try fields.integer("images", in: Bounds.positive)
        revealBlocks = try fields.integer("reveal_blocks", in: Bounds.positive)
        nameGrace = try fields.integer("name_grace_ms", in: Bounds.amount)
        horizon = try fields.integer("horizon_ms", in: Bounds.positive)
        try fields.finish()
    }
}

/// The document that a ledger begins with. Its hash is the ledger's id.
public struct Genesis: Hashable, Sendable {
    /// The only format there is.
    public static let format = "zero-ledger/1"
    /// The most members a ledger can have.
    public static let memberLimit = 64

    /// The identities that sign checkpoints.
    public let members: [PublicKey]
    /// Makes every grid another one.
    public let nonce: Digest
    /// What is admitted.
    public let rules: LedgerRules

    /// A new ledger's beginning. Members are sorted.
    public init(members: [PublicKey], nonce: Digest, rules: LedgerRules = .local) {
        self.members = members.sorted { $0.address < $1.address }
        (self.nonce, self.rules) = (nonce, rules)
    }

    /// The genesis as a document.
    public var value: JSONValue {
        [
            "format": .string(Genesis.format), "members": .array(members.map { .key($0) }),
            "nonce": .digest(nonce), "rules": rules.value,
        ]
    }
    /// The bytes whose hash is the ledger id.
    public var canonicalBytes: [UInt8] { value.canonicalBytes }
    /// The ledger id.
    public var id: Digest { SHA256.hash(canonicalBytes) }
    /// How many members' signatures a checkpoint needs: more than half.
    public var majority: Int { members.count / 2 + 1 }

    /// Decodes a genesis document from its canonical bytes.
    public init(canonical bytes: [UInt8]) throws(RecordError) {
        let value: JSONValue
        do { value = try JSONValue(canonical: bytes) } catch { throw .encoding(error) }
        do { try self.init(value) } catch { throw .schema(error) }
    }

    /// Decodes a genesis document.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a genesis document")
        let format = try fields.string("format")
        guard format == Genesis.format else {
            throw fields.refuse("format", "“\(Genesis.format)”", found: .string(format))
        }
        members = try fields.publicKeys("members", limit: Genesis.memberLimit)
        nonce = try fields.digest("nonce")
        rules = try LedgerRules(fields.value("rules"))
        try fields.finish()
        guard !members.isEmpty, members.map(\.address) == members.map(\.address).sorted() else {
            throw fields.refuse("members", "at least one, sorted", found: .integer(Int64(members.count)))
        }
    }
}

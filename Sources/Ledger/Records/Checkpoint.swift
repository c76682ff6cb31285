public import CanonicalJSON
public import Crypto

/// The signed root of everything up to one block.
public struct Checkpoint: Hashable, Sendable {
    /// The ledger.
    public let ledger: Digest
    /// The block's height; 0 before the first block.
    public let height: Int64
    /// The block's time; 0 before the first block.
    public let time: Int64
    /// Hash of the block's canonical bytes; the ledger id before the first block.
    public let block: Digest
    /// How many records there are.
    public let size: Int64
    /// Root of the RFC 6962 tree over record ids.
    public let logRoot: Digest
    /// Root of the sparse Merkle tree over current state.
    public let stateRoot: Digest
    /// The members in force.
    public let members: [PublicKey]
    /// Sorted by key, each key once.
    public let signatures: [RecordSignature]

    /// A checkpoint, signed or not.
    public init(
        ledger: Digest, height: Int64, time: Int64, block: Digest, size: Int64, logRoot: Digest, stateRoot: Digest,
        members: [PublicKey], signatures: [RecordSignature] = []
    ) {
        (self.ledger, self.height, self.time, self.block) = (ledger, height, time, block)
        (self.size, self.logRoot, self.stateRoot, self.members) = (size, logRoot, stateRoot, members)
        self.signatures = signatures.sorted { $0.by.address < $1.by.address }
    }

    /// What is signed, as a document.
    public var unsignedValue: JSONValue {
        [
            "ledger": .digest(ledger), "height": .integer(height), "time": .integer(time), "block": .digest(block),
            "size": .integer(size), "log_root": .digest(logRoot), "state_root": .digest(stateRoot),
            "members": .array(members.map { .key($0) }),
        ]
    }
    /// The checkpoint with its signatures, as a document.
    public var value: JSONValue {
        var value = unsignedValue
        value["signatures"] = .array(signatures.map(\.value))
        return value
    }
    /// What a signature covers.
    public var signingMessage: [UInt8] {
        SigningMessage.bytes(
            kind: SigningMessage.checkpoint, ledger: ledger, document: unsignedValue.canonicalBytes)
    }

    /// The same checkpoint with these signatures.
    public func signed(_ signatures: [RecordSignature]) -> Checkpoint {
        Checkpoint(
            ledger: ledger, height: height, time: time, block: block, size: size, logRoot: logRoot,
            stateRoot: stateRoot, members: members, signatures: signatures)
    }

    /// Decodes a checkpoint, with or without signatures.
    public init(_ value: JSONValue) throws(RecordError) {
        do {
            var fields = try ObjectReader(value, "a checkpoint")
            ledger = try fields.digest("ledger")
            height = try fields.integer("height", in: Bounds.amount)
            time = try fields.integer("time", in: Bounds.amount)
            block = try fields.digest("block")
            size = try fields.integer("size", in: Bounds.amount)
            logRoot = try fields.digest("log_root")
            stateRoot = try fields.digest("state_root")
            members = try fields.publicKeys("members", limit: Genesis.memberLimit)
            signatures = try RecordSignature.list(
                fields.optionalArray("signatures") ?? [], limit: Genesis.memberLimit, subject: "a checkpoint")
            try fields.finish()
        } catch { throw .schema(error) }
    }

    /// Checks that a majority of the members of `genesis` signed this checkpoint, of that ledger.
    public func verify(_ genesis: Genesis) throws(CheckpointError) {
        guard ledger == genesis.id else { throw .anotherLedger(ledger, expected: genesis.id) }
        guard members == genesis.members else { throw .members }
        let message = signingMessage
        for signature in signatures {
            guard members.contains(signature.by) else { throw .stranger(signature.by) }
            guard signature.by.verifies(signature.bytes, of: message) else { throw .badSignature(signature.by) }
        }
        guard signatures.count >= genesis.majority else {
            throw .tooFewSignatures(signatures.count, need: genesis.majority)
        }
    }
}

/// Why a checkpoint proves nothing.
public enum CheckpointError: Error, Equatable, Sendable {
    /// It is of another ledger.
    case anotherLedger(Digest, expected: Digest)
    /// It names other members than the ones in force.
    case members
    /// Someone who is no member signed.
    case stranger(PublicKey)
    /// This member's signature does not verify.
    case badSignature(PublicKey)
    /// Fewer than a majority signed.
    case tooFewSignatures(Int, need: Int)
}

extension CheckpointError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .anotherLedger(let found, let expected): "the checkpoint is of ledger \(found.hex), not \(expected.hex)"
        case .members: "the checkpoint names other members than the ones in force"
        case .stranger(let key): "the checkpoint is signed by \(key.address), who is no member"
        case .badSignature(let key): "the checkpoint's signature of member \(key.address) does not verify"
        case .tooFewSignatures(let count, let need): "\(count) members signed the checkpoint, \(need) are needed"
        }
    }
}

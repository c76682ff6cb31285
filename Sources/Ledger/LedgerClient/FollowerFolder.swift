import Bytes
import CanonicalJSON
import Crypto
import LedgerState
import Linux
import Records

/// What a follower keeps on disk: the genesis document, a verified snapshot, and the highest block it ever saw.
struct FollowerFolder: Sendable {
    let path: String

    private var genesisPath: String { path + "/genesis.json" }
    private var snapshotPath: String { path + "/snapshot" }
    private var highestPath: String { path + "/highest.json" }

    /// The stored genesis document, where it is the one of `id`.
    func genesis(_ id: Digest) -> Genesis? {
        guard let bytes = try? File.read(genesisPath), let genesis = try? Genesis(canonical: bytes) else { return nil }
        return genesis.id == id ? genesis : nil
    }

    /// The stored snapshot, verified again; nil where there is none or it is not good.
    func snapshot(_ genesis: Genesis) -> (LedgerChain, Checkpoint)? {
        guard let bytes = try? File.read(snapshotPath, limit: LedgerClient.answerBytesMax) else { return nil }
        return try? LedgerSnapshot.read(bytes, genesis: genesis)
    }

    /// Height and hash of the highest block that was ever seen of the ledger `id`.
    func highest(_ id: Digest) -> (height: Int64, block: Digest)? {
        guard let bytes = try? File.read(highestPath), let value = try? JSONValue(parsing: bytes),
            value["ledger"]?.string == id.hex, let height = value["height"]?.integer,
            let block = value["block"]?.string.flatMap({ Digest(hex: $0) })
        else { return nil }
        return (height, block)
    }

    func store(_ genesis: Genesis) throws(SystemError) {
        try File.makeDirectories(path, mode: 0o700)
        try File.writeDurably(genesisPath, genesis.canonicalBytes)
    }

    func store(_ chain: LedgerChain, _ checkpoint: Checkpoint) throws(SystemError) {
        try File.writeDurably(snapshotPath, LedgerSnapshot.bytes(chain, checkpoint))
    }

    /// Survives the death of this process; after a power loss the snapshot still bounds how far back one can be led.
    func store(highest checkpoint: Checkpoint) throws(SystemError) {
        let value: JSONValue = [
            "ledger": .digest(checkpoint.ledger), "height": .integer(checkpoint.height),
            "block": .digest(checkpoint.block),
        ]
        try File.writeAtomically(highestPath, value.canonicalBytes)
    }
}

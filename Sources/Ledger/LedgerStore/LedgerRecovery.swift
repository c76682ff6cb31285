import CanonicalJSON
import Crypto
import LedgerState
import Merkle
import Records
import Service

/// Brings a ledger back from its store: the newest good snapshot, then every block after it, each checked.
struct LedgerRecovery: Sendable {
    let archive: LedgerArchive
    let genesis: Genesis
    let log: Log

    /// What was found.
    struct Found: Sendable {
        var chain: LedgerChain
        var tree: LogTree
        /// Missing where the ledger died between a block and its checkpoint.
        var checkpoint: Checkpoint?
        /// Entries of the log whose tiles are stored.
        var tiled: Int
    }

    /// Reads everything. Damage of a block is thrown: nothing is served on top of it. Damage of a snapshot is not.
    func run() throws -> Found {
        var found = try base()
        let start = found.chain.height
        while let bytes = try archive.rawBlock(found.chain.height + 1) { try append(bytes, to: &found) }
        log.info(
            "recovered",
            ["height": found.chain.height, "records": found.tree.size, "replayed": found.chain.height - start])
        return found
    }

    private func base() throws -> Found {
        for note in try archive.snapshotNotes().reversed() {
            do {
                let (chain, checkpoint, tree) = try archive.snapshot(note, genesis)
                return Found(chain: chain, tree: tree, checkpoint: checkpoint, tiled: tree.size)
            } catch let damage as Damage {
                log.error("damaged", ["place": damage.place, "key": damage.key, "reason": damage.reason])
            }
        }
        let chain = LedgerChain(genesis: genesis)
        let first = try archive.checkpoint(0, genesis)
        return Found(chain: chain, tree: LogTree(), checkpoint: first?.0, tiled: 0)
    }

    private func append(_ bytes: [UInt8], to found: inout Found) throws {
        let height = found.chain.height + 1
        let key = StorageKey.block(height)
        func damage(_ reason: any CustomStringConvertible) -> Damage {
            Damage(place: "block \(height)", key: key, reason: "\(reason)")
        }
        let signed = try archive.checkpoint(height, genesis)
        if let signed, signed.0.block != SHA256.hash(bytes) {
            throw damage("its bytes are not those that were signed")
        }
        let block: Block
        do { block = try Block(canonical: bytes) } catch { throw damage(error) }
        do { try found.chain.replay(block) } catch { throw damage(error) }
        if let signed {
            do { try found.chain.check(signed.0) } catch {
                throw Damage(place: "checkpoint \(height)", key: StorageKey.checkpoint(height), reason: "\(error)")
            }
        }
        for record in block.records { found.tree.append(record.id.bytes) }
        found.checkpoint = signed?.0
    }
}

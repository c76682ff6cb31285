import CanonicalJSON
import Crypto
import LedgerState
import Linux
import Merkle
import Records
import Service
import Synchronization

/// How far snapshots have got; one is stored at a time.
final class SnapshotPlan: Sendable {
    struct State {
        var tiled: Int
        var height: Int64
        var isBusy = false
    }
    let state: Mutex<State>

    init(tiled: Int, height: Int64) { state = Mutex(State(tiled: tiled, height: height)) }
}

extension LedgerEngine {
    /// Reads the store until there is something to go on from; nil where it is damaged.
    func recover(_ genesis: Genesis) async throws -> LedgerRecovery.Found? {
        let recovery = LedgerRecovery(archive: archive, genesis: genesis, log: log)
        var nobody: [Ticket] = []
        var found: LedgerRecovery.Found
        do {
            found = try await insist(&nobody) { try await runBlocking { try recovery.run() } }
        } catch let damage as Damage {
            note(damage)
            shared.withLock { $0.phase = .damaged(damage) }
            // It stays, so that its status can be asked; zero-core need not start it again and again.
            while !Task.isCancelled { try await Task.sleep(for: .seconds(3600)) }
            return nil
        }
        let checkpoint = try await signed(found)
        found.checkpoint = checkpoint
        let published = Published(chain: found.chain, checkpoint: checkpoint, tree: found.tree)
        shared.withLock { $0.published = published }
        heights.reached(found.chain.height)
        await index?.catchUp(ledger: genesis.id, height: found.chain.height) { [archive] height in
            try archive.rawBlock(height).map { try Block(canonical: $0) }
        }
        return found
    }

    /// The checkpoint of what was found, signed anew where the ledger died before it was stored.
    private func signed(_ found: LedgerRecovery.Found) async throws -> Checkpoint {
        if let checkpoint = found.checkpoint { return checkpoint }
        var nobody: [Ticket] = []
        let unsigned = found.chain.checkpoint
        let (signer, archive) = (signer, archive)
        return try await insist(&nobody) {
            let checkpoint = unsigned.signed([try await signer.sign(unsigned)])
            try await runBlocking {
                try archive.storage.create(StorageKey.checkpoint(unsigned.height), checkpoint.value.canonicalBytes)
            }
            return checkpoint
        }
    }

    /// Stores the published state. A failure only makes the next start slower.
    func storeSnapshot(_ plan: SnapshotPlan) async {
        let isFree = plan.state.withLock { state in
            defer { state.isBusy = true }
            return !state.isBusy
        }
        guard isFree, let published = shared.withLock({ $0.published }) else { return }
        let (archive, log) = (archive, log)
        let size = Int(published.checkpoint.size)
        await runBlocking {
            do {
                let tiled = plan.state.withLock { $0.tiled }
                let (tiles, rest) = LedgerArchive.tiles(published.tree, since: tiled, upTo: size)
                try archive.store(published.chain, published.checkpoint, tiles: tiles, rest: rest)
                plan.state.withLock { ($0.tiled, $0.height) = (size, published.chain.height) }
                log.info("snapshot", ["height": published.chain.height, "keys": published.chain.state.count])
            } catch { log.warn("snapshot failed", ["height": published.chain.height, "reason": "\(error)"]) }
            plan.state.withLock { $0.isBusy = false }
        }
    }

    /// Remembers and reports damage.
    func note(_ damage: Damage) {
        let isNew = shared.withLock { shared in
            guard !shared.damages.contains(damage) else { return false }
            shared.damages.append(damage)
            return true
        }
        if isNew { log.error("damaged", ["place": damage.place, "key": damage.key, "reason": damage.reason]) }
    }

    /// Reads every stored block once and reports the damaged ones.
    func scrub() async {
        guard let height = height, let genesis = shared.withLock({ $0.published?.chain.genesis }) else { return }
        let archive = archive
        for next in stride(from: Int64(1), through: height, by: 1) {
            if Task.isCancelled { return }
            do {
                _ = try await runBlocking { try archive.line(next, genesis) }
            } catch let damage as Damage { note(damage) } catch { try? await Task.sleep(for: .seconds(5)) }
            try? await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Lines of `/v1/blocks` from a height on, waiting for the first one.
    func blocks(from height: Int64, wait: Duration) async throws -> [[UInt8]] {
        guard let top = self.height else { throw unavailable }
        guard height <= top + 1 else {
            throw LedgerErrors.ahead(height: height, top: top)
        }
        if height > top { await heights.wait(for: height, limit: wait) }
        let (last, recent, genesis) = shared.withLock { shared in
            let published = shared.published
            return (published?.chain.height ?? 0, published?.recent ?? [:], published?.chain.genesis)
        }
        guard let genesis, height <= last else { return [] }
        var lines: [[UInt8]] = []
        var bytes = 0
        for next in height...min(last, height + StoreLimits.answerBlocks - 1) where bytes < StoreLimits.answerBytes {
            let line: [UInt8]
            if let known = recent[next] {
                line = known
            } else {
                do { line = try await runBlocking { [archive] in try archive.line(next, genesis) } } catch let damage
                    as Damage
                {
                    note(damage)
                    // What comes before the damage is served; the damage itself never.
                    if lines.isEmpty { throw damage }
                    break
                }
            }
            bytes += line.count
            lines.append(line)
        }
        return lines
    }
}

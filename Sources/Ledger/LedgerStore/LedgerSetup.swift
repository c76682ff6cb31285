import Crypto
import LedgerClient
import Linux
import Records
import Service

/// What happens before a ledger recovers: its namespace is taken, its genesis document found or made.
struct LedgerSetup: Sendable {
    let storage: any LedgerStorage
    let signer: any CheckpointSigner
    let folder: String
    let log: Log
    let admission: LedgerRules.Admission
    /// Told what is waited for, and nil when that is over.
    var waits: @Sendable (String?) -> Void = { _ in }

    /// Waits for Zero-DB and the identity service, then returns what the ledger began with.
    func run() async throws -> Genesis {
        let epoch = try await insist { try nextEpoch() }
        try await insist { try storage.open(epoch: epoch) }
        let stored = try await insist { try storage.get(StorageKey.genesis) }
        let path = folder + "/genesis.json"
        let filed = try await runBlocking { File.exists(path) ? try File.read(path) : nil }
        if let filed, stored == nil {
            throw LedgerErrors.notFound(
                path,
                "the blocks of ledger \(SHA256.hash(filed).hex) are gone from Zero-DB; to begin a new ledger, remove \(path)"
            )
        }
        if let filed, let stored, filed != stored {
            throw LedgerErrors.badRequest(
                path, "Zero-DB has ledger \(SHA256.hash(stored).hex), \(path) is of \(SHA256.hash(filed).hex)")
        }
        if let stored {
            let genesis = try Genesis(canonical: stored)
            if filed == nil { try await runBlocking { try File.writeDurably(path, stored, mode: 0o644) } }
            return genesis
        }
        let member = try await member()
        let genesis = Genesis(
            members: [member], nonce: SHA256.hash(Random.bytes(32)), rules: LedgerRules(admission: admission))
        try await insist { try storage.create(StorageKey.genesis, genesis.canonicalBytes) }
        try await runBlocking { try File.writeDurably(path, genesis.canonicalBytes, mode: 0o644) }
        log.info("new ledger", ["id": genesis.id.hex, "admission": admission.rawValue])
        return genesis
    }

    /// A number greater than that of every writer before.
    private func nextEpoch() throws -> UInt64 {
        let path = folder + "/epoch"
        let last = File.exists(path) ? UInt64(try File.readText(path)) ?? 0 : 0
        let next = max(last + 1, UInt64(Clock.wallMilliseconds()))
        try File.writeDurably(path, Array("\(next)".utf8))
        return next
    }

    private func member() async throws -> PublicKey {
        var isFirst = true
        while true {
            do { return try await signer.member() } catch {
                if isFirst { log.warn("waiting", ["for": "identity", "reason": "\(error)"]) }
                isFirst = false
                waits("the identity service does not answer: \(error)")
                try await Task.sleep(for: StoreLimits.retryMax)
            }
        }
    }

    private func insist<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        var isFirst = true
        while true {
            let (what, reason): (String, String)
            do {
                let value = try await runBlocking(body)
                if !isFirst { waits(nil) }
                return value
            } catch let error as SystemError where error.errno == .noSpace {
                (what, reason) = ("space", "\(error)")
            } catch let error as StorageError {
                guard case .away = error else { throw error }
                (what, reason) = ("db", "\(error)")
            }
            if isFirst { log.warn("waiting", ["for": what, "reason": reason]) }
            isFirst = false
            waits(reason)
            try await Task.sleep(for: StoreLimits.retryFirst)
        }
    }
}

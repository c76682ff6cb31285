public import Crypto
import LedgerState
public import Records

/// Writes records of one agent key, one after the other, and keeps count of their sequence.
public actor LedgerWriter {
    /// How many times a record is numbered again when another writer of the same key was quicker.
    private static let renumberingsMax = 5

    private let client: LedgerClient
    private let author: PublicKey
    private let key: PublicKey
    private let sign: @Sendable (RecordDraft, Digest) async throws -> [RecordSignature]
    private var last: Int64?
    private let turnstile = Turnstile()

    /// A writer that has its records signed by `sign`, which gets the ledger id too.
    public init(
        _ client: LedgerClient, author: PublicKey, key: PublicKey? = nil,
        sign: @escaping @Sendable (RecordDraft, Digest) async throws -> [RecordSignature]
    ) {
        (self.client, self.author, self.key, self.sign) = (client, author, key ?? author, sign)
    }

    /// A writer that has the key itself.
    public init(_ client: LedgerClient, author: PublicKey, key: SigningKey) {
        self.init(client, author: author, key: key.publicKey) { draft, ledger in
            [RecordSignature(by: key.publicKey, bytes: key.sign(draft.signingMessage(ledger: ledger)))]
        }
    }

    /// Signs and writes one record; returns it once it is in a durable block.
    ///
    /// Throws what `sign` throws, or a `LedgerError`.
    @discardableResult
    public func write(
        _ body: RecordBody, deadline: Duration = .seconds(30)
    ) async throws -> (record: Record, receipt: RecordReceipt) {
        await turnstile.enter()
        defer { turnstile.leave() }
        for attempt in 1... {
            let seq: Int64
            if let last { seq = last + 1 } else { seq = try await client.sequence(key) + 1 }
            let draft = RecordDraft(author: author, key: key, seq: seq, body: body)
            let record = draft.signed(try await sign(draft, client.id))
            last = nil
            do {
                let receipt = try await client.submit(record, deadline: deadline)
                last = seq
                return (record, receipt)
            } catch {
                let isMiscounted = error.admission == .replayed || error.admission == .skipped
                if error.admission != nil, !isMiscounted { last = seq - 1 }
                guard isMiscounted, attempt < LedgerWriter.renumberingsMax else { throw error }
            }
        }
        throw LedgerError(LedgerError.unavailable, key.address, "no record could be numbered")
    }
}

/// An answer over HTTP.
public struct LedgerAnswer: Sendable {
    /// HTTP status.
    public let status: Int
    /// The whole body.
    public let body: [UInt8]

    /// An answer.
    public init(status: Int, body: [UInt8]) { (self.status, self.body) = (status, body) }
}

/// How requests reach a ledger; over HTTPS, or in tests without a network.
public protocol LedgerTransport: Sendable {
    /// Sends a request, `path` with its query, and waits for the whole answer.
    func exchange(
        _ method: String, _ path: String, body: [UInt8], deadline: Duration
    ) async throws(LedgerError) -> LedgerAnswer
}

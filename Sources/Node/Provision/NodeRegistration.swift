internal import LedgerState
public import Crypto
public import LedgerClient
public import Records
public import Service

/// Makes the ledger know this node: its identity with the keys that sign results, and what it has to give.
public struct NodeRegistration: Sendable {
    private let node: PublicKey
    private let body: NodeBody
    private let writer: LedgerWriter
    private let log: Log

    /// A node and what it says of itself.
    public init(node: PublicKey, body: NodeBody, writer: LedgerWriter, log: Log) {
        (self.node, self.body, self.writer, self.log) = (node, body, writer, log)
    }

    /// Writes what the ledger lacks or has otherwise; tried again until it is there.
    public func run(_ follower: LedgerFollower) async {
        while !Task.isCancelled {
            guard let state = await follower.state(deadline: .seconds(60), where: { _ in true }) else { continue }
            do {
                if state.identity(node) == nil { try await writer.write(.identity(.node(node))) }
                if state.node(node)?.body != body {
                    try await writer.write(.node(body))
                    log.info("node registered", ["node": node.address, "cpu": body.capacity.cpu])
                }
                return
            } catch {
                log.warn("node not registered", ["reason": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }
}

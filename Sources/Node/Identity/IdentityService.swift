public import Bus
internal import Bytes
internal import CanonicalJSON
internal import Crypto
internal import Linux
internal import Records

/// The verbs of `IDENTITY.*`: who the node is, signatures for its daemons, secrets for its workloads.
public struct IdentityService: Sendable {
    private let key: NodeKey

    /// Told of everything that was signed or opened: an event and what it was about, never a value.
    public typealias Journal = @Sendable (_ event: Event) -> Void

    /// Something that the service did or refused.
    public enum Event: Sendable {
        /// Signed a document of this purpose for this account; `subject` is its kind or height.
        case signed(purpose: String, subject: String, account: String)
        /// Opened secrets of these names for this account.
        case opened(contract: String, workload: String, names: [String], account: String)
        /// Refused to do so.
        case refused(verb: String, account: String, reason: String)
    }

    private let journal: Journal

    /// A service that signs with `key`.
    public init(_ key: NodeKey, journal: @escaping Journal) { (self.key, self.journal) = (key, journal) }

    /// Adds the verbs to the service's bus socket.
    public func register(on server: BusServer) {
        let node = key.address
        let sealing = Hex.encode(key.sealing.publicKey.bytes)
        server.on("NODE", from: Account.every) { _ in ["node": .string(node), "sealing": .string(sealing)] }
        server.on("SIGN", from: [.ledger, .provision]) { request in try journaled(request) { try sign(request) } }
        server.on("OPEN", from: [.mount, .storage]) { request in try journaled(request) { try open(request) } }
        server.provideStatus { ["node": .string(node), "sealing": .string(sealing)] }
    }

    private func journaled(_ request: BusRequest, _ body: () throws -> BusReply) throws -> BusReply {
        do {
            return try body()
        } catch {
            let reason = (error as? BusError)?.message ?? "\(error)"
            journal(.refused(verb: request.verb, account: name(request.peer), reason: reason))
            throw error
        }
    }

    private func sign(_ request: BusRequest) throws(BusError) -> BusReply {
        let asked = try request.read { reader throws(JSONError) in
            (
                purpose: try reader.string("purpose"), ledger: try reader.optionalString("ledger"),
                document: try reader.value("document")
            )
        }
        let policy = SigningPolicy(node: key.signing.publicKey)
        let message = try policy.message(
            purpose: asked.purpose, document: asked.document, ledger: asked.ledger, account: request.peer.account)
        let signature = key.signing.sign(message)
        let kind = asked.document["kind"]?.string
        let height = asked.document["height"]?.integer.map { "height \($0)" }
        journal(
            .signed(purpose: asked.purpose, subject: kind ?? height ?? "", account: name(request.peer)))
        return [
            "by": .string(key.address), "sig": .string(Base64.encode(signature)),
        ]
    }

    private func open(_ request: BusRequest) throws -> BusReply {
        let asked = try request.read { reader throws(JSONError) in
            (
                contract: try reader.string("contract"), workload: try reader.string("workload"),
                secrets: try reader.object("secrets")
            )
        }
        guard Digest(hex: asked.contract) != nil else {
            throw BusError.badRequest("contract must be 64 lower-case hexadecimal digits")
        }
        let secrets = try SecretOpener.read(asked.secrets)
        var values = try SecretOpener(key: key.sealing).open(secrets, contract: asked.contract)
        let names = secrets.map(\.name)
        defer { for name in names { if values[name] != nil { wipe(&values[name, default: []]) } } }
        let descriptor = try SecretDescriptor.make(values)
        journal(
            .opened(
                contract: asked.contract, workload: asked.workload, names: names, account: name(request.peer)))
        return BusReply(["names": .array(names.map { .string($0) })], descriptor: descriptor)
    }

    private func name(_ peer: BusPeer) -> String { peer.account?.name ?? "uid \(peer.uid)" }
}

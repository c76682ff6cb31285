internal import Bus
internal import Bytes
internal import CanonicalJSON
internal import Crypto
internal import LedgerClient
internal import Linux
internal import Records
internal import Service

/// The program `zero-provision`: what the ledger proves to be current becomes real on this node.
public enum ProvisionDaemon {
    private static let options = [
        Option.text("ledger", "file with url, pin and id of the ledger (default: <run>/ledger.json)"),
        Option.text("country", "two letters of the country the node stands in"),
        Option.text("farm", "address of the farmer whose farm the node belongs to"),
    ]

    /// Runs the daemon.
    public static func main() -> Never {
        Daemon.main("zero-provision", options: options) { context in
            let identity = context.bus("identity")
            let answer = try await identity.call("IDENTITY.NODE", deadline: .seconds(30))
            guard let address = answer["node"]?.string,
                let sealing = answer["sealing"]?.string.flatMap({ Hex.decode($0) })
            else { throw BusError(code: "MALFORMED", message: "IDENTITY.NODE did not name the node") }
            let node = try PublicKey(address: address)
            let endpoint = try await endpoint(context)
            let client = LedgerClient(endpoint)
            let follower = LedgerFollower(client, folder: context.folder + "/ledger")
            let writer = LedgerWriter(client, author: node) { draft, ledger in
                [try await signature(draft, ledger, identity)]
            }
            let services = NodeServices(
                storage: context.bus("storage"), network: context.bus("network"), compute: context.bus("compute"),
                gateway: context.bus("gateway"), ledger: endpoint.id)
            let provisioner = Provisioner(
                node: node, services: services, writer: writer, folder: context.folder, log: context.log)
            let body = NodeBody(
                capacity: NodeCapacity.measure(pool: context.state), country: context.settings.optional("country"),
                farm: try context.settings.optional("farm").map { try PublicKey(address: $0) }, sealing: sealing,
                arch: NodeCapacity.arch)
            let registration = NodeRegistration(node: node, body: body, writer: writer, log: context.log)
            context.server.provideStatus { await provisioner.status() }
            try await run(context, follower, provisioner, registration)
        }
    }

    private static func run(
        _ context: DaemonContext, _ follower: LedgerFollower, _ provisioner: Provisioner,
        _ registration: NodeRegistration
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await follower.run() }
            group.addTask { await provisioner.follow(follower) }
            group.addTask { await registration.run(follower) }
            group.addTask { await watch(follower, context.log) }
            group.addTask {
                try await context.serve()
                throw CancellationError()
            }
            while try await group.next() != nil {}
        }
    }

    /// Says in the log when the ledger cannot be reached or is refused: nothing new is acted on meanwhile.
    private static func watch(_ follower: LedgerFollower, _ log: Log) async {
        var last: LedgerFollower.Status?
        while !Task.isCancelled {
            let now = follower.status
            if now != last {
                switch now {
                case .starting: break
                case .following: log.info("ledger followed", ["height": follower.checkpoint?.height ?? 0])
                case .unreachable(let error): log.warn("ledger unreachable", ["reason": "\(error)"])
                case .refused(let error): log.error("ledger refused", ["reason": "\(error)"])
                }
            }
            last = now
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// Where the ledger is; written by `zero-ledger` on a member, by hand or by the image elsewhere.
    private static func endpoint(_ context: DaemonContext) async throws -> LedgerEndpoint {
        let path = context.settings.optional("ledger") ?? "\(context.run)/ledger.json"
        var isFirst = true
        while true {
            do {
                return try LedgerEndpoint(try JSONValue(parsing: try File.read(path, limit: 65_536)))
            } catch {
                try Task.checkCancellation()
                if isFirst {
                    context.log.info("waiting for the ledger's address", ["file": path, "reason": "\(error)"])
                }
                isFirst = false
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private static func signature(
        _ draft: RecordDraft, _ ledger: Digest, _ identity: BusClient
    ) async throws -> RecordSignature {
        let reply = try await identity.call(
            "IDENTITY.SIGN", ["purpose": "record", "document": draft.value, "ledger": .string(ledger.hex)])
        guard let by = reply["by"]?.string, let bytes = reply["sig"]?.string.flatMap({ Base64.decode($0) }) else {
            throw BusError(code: "MALFORMED", message: "IDENTITY.SIGN did not return a signature")
        }
        return RecordSignature(by: try PublicKey(address: by), bytes: bytes)
    }
}

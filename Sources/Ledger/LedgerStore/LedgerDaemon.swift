import Bus
import CanonicalJSON
import Crypto
import HTTP
import LedgerClient
import Linux
import Records
public import Service
import Synchronization

/// The program `zero-ledger`: wires store, engine, door and bus together.
public enum LedgerDaemon {
    /// What the program may be told besides the folders.
    public static let options: [Option] = [
        .text("listen", "address and port of the HTTPS door", default: "127.0.0.1:7440"),
        .choice(
            "admission", "who lets new identities in; only for a new ledger", of: ["open", "members"], default: "open"),
    ]

    /// Runs until it is told to stop.
    public static func run(_ context: DaemonContext) async throws {
        let (address, port) = try listen(context.settings.text("listen"))
        let folder = context.folder
        let tls = try await runBlocking { try TLSIdentity.load(folder: folder) }
        let storage = ZeroDBStorage(path: context.run + "/db.sock")
        let signer = IdentitySigner(identity: context.bus("identity"))
        let index = RecordIndex(path: folder + "/index.sqlite", log: context.log)
        let engine = LedgerEngine(storage: storage, signer: signer, index: index, log: context.log)
        serveBus(context, engine, tls.pin)
        context.metrics.gauge("zero_ledger_height", "Height of the last block.") { engine.height ?? 0 }
        context.metrics.gauge("zero_ledger_records", "Records in the log.") { engine.checkpoint?.size ?? 0 }
        context.metrics.gauge("zero_ledger_refused", "Records refused since the start.") {
            engine.refused.load(ordering: .relaxed)
        }
        context.metrics.gauge("zero_ledger_damages", "Stored blocks found damaged.") { Int64(engine.damages.count) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await context.server.run() }
            group.addTask {
                // The door is open from the start: who comes too early is told so.
                let server = try HTTPServer(
                    .init(
                        address: address, port: port, tls: (tls.certificate, tls.key),
                        bodyMax: RecordLimits.recordBytes + 1024)
                ) { request in await LedgerService(engine: engine).answer(request) }
                defer { server.stop() }
                Daemon.ready()
                let setup = LedgerSetup(
                    storage: storage, signer: signer, folder: folder, log: context.log,
                    admission: LedgerRules.Admission(rawValue: context.settings.text("admission")) ?? .open,
                    waits: { reason in
                        engine.shared.withLock { $0.phase = reason.map { .waiting($0) } ?? .starting }
                    })
                let genesis = try await setup.run()
                let endpoint = LedgerEndpoint(url: "https://\(address):\(server.port)", pin: tls.pin, id: genesis.id)
                let path = context.run + "/ledger.json"
                try await runBlocking { try File.writeAtomically(path, endpoint.value.canonicalBytes, mode: 0o644) }
                context.log.info("listening", ["url": endpoint.url, "ledger": genesis.id.hex])
                async let scrubbing: Void = scrub(engine)
                try await engine.run(genesis: genesis)
                await scrubbing
            }
            // Whichever ends first ends the other: the bus, a takeover by another ledger, a stop.
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private static func scrub(_ engine: LedgerEngine) async {
        while engine.phase != .serving, !Task.isCancelled { try? await Task.sleep(for: .seconds(1)) }
        await engine.scrub()
    }

    private static func serveBus(_ context: DaemonContext, _ engine: LedgerEngine, _ pin: String) {
        context.server.provideStatus {
            let (phase, reason): (String, String?) =
                switch engine.phase {
                case .starting: ("starting", nil)
                case .stopped: ("stopped", nil)
                case .serving: ("serving", nil)
                case .waiting(let reason): ("waiting", reason)
                case .damaged(let damage): ("damaged", damage.description)
                }
            return .members([
                "phase": .string(phase), "reason": reason.map { .string($0) }, "pin": .string(pin),
                "checkpoint": engine.checkpoint?.value,
                "damages": .array(engine.damages.map(\.value)),
            ])
        }
    }

    private static func listen(_ text: String) throws -> (String, UInt16) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]),
            colon > text.startIndex
        else { throw LedgerErrors.badRequest("listen", "--listen is address:port, not “\(text)”") }
        return (String(text[..<colon]), port)
    }
}

import Bus
import CanonicalJSON
import Contracts
import Crypto
import Glibc
import LedgerClient
import LedgerState
import Linux
import Terminal

/// `zero up`: starts the local grid in the background and waits until it is ready.
struct UpCommand {
    let context: Context
    private let folder: GridFolder

    init(_ context: Context) {
        self.context = context
        folder = GridFolder(context)
    }

    /// Names of `settings.conf`, the options that set them, and what they are where nothing else was said.
    private static let settings: [(key: String, option: String, standard: String)] = [
        ("http_address", "http-address", "127.0.0.1"), ("http_port", "http-port", "8080"),
        ("ledger_port", "ledger-port", "7600"),
        ("pool_size", "pool-size", "auto"), ("domain", "domain", "localhost"),
    ]

    /// How long it waits for workloads of an earlier run, in nanoseconds: they come back by themselves, sooner or later.
    private static let workloadsNanoseconds: Int64 = 10_000_000_000

    func run() async throws {
        let begin = Clock.monotonicNanoseconds()
        guard geteuid() == 0 else {
            throw CommandError(
                .failed, "`zero up` needs root", why: "it gives each daemon an account of its own and makes networks",
                next: "sudo -E zero up")
        }
        let installation = try Installation.find()
        let end = Clock.monotonicNanoseconds() + (try context.seconds("timeout", default: 60)) * 1_000_000_000
        let settings = try settings()
        let core = CoreClient(folder)
        let progress = Progress("starting the grid in \(folder.path)", on: context.console)
        do {
            let isUp = try await core.units() != nil
            if isUp {
                try checkUnchanged(settings)
            } else {
                try await runBlocking { [folder] in try Preflight(folder: folder, settings: settings).check() }
                try await start(installation, settings)
            }
            try await waitForDaemons(core, progress, end)
            let grid = try await configure(settings, progress, end)
            let took = (Clock.monotonicNanoseconds() - begin) / 1_000_000
            progress.finish(isUp ? "the grid is up" : "the grid is ready after \(took / 1_000).\(took % 1_000 / 100) s")
            try await firstIdentity()
            await runBlocking { [home = context.home] in home.giveToOwner() }
            if !isUp { await waitForWorkloads(grid, end) }
            report(grid, isNew: !isUp, milliseconds: took)
        } catch {
            progress.fail()
            throw error
        }
    }

    private func settings() throws -> [String: String] {
        var values = try folder.readSettings()
        for (key, option, standard) in UpCommand.settings {
            guard let given = context.invocation.option(option) else {
                values[key] = values[key] ?? standard
                continue
            }
            values[key] = try UpCommand.checked(key, option, given)
        }
        values["link_range"] = values["link_range"] ?? LinkRanges(folder).preferred
        // Who may put images into the store: whoever asked for root.
        values["user"] = Environment.value("SUDO_UID").flatMap { UInt32($0) }.map { "\($0)" } ?? values["user"] ?? "0"
        guard values["http_port"] != values["ledger_port"] else {
            throw CommandError(
                .usage, "the gateway and the ledger cannot both have port \(values["http_port"] ?? "")",
                next: "choose another --http-port or --ledger-port")
        }
        return values
    }

    private static func checked(_ key: String, _ option: String, _ text: String) throws -> String {
        switch key {
        case "http_port", "ledger_port":
            guard let port = Int(text), (1...65_535).contains(port) else {
                throw CommandError(.usage, "`--\(option) \(text)` is not a port", why: "ports are 1 to 65535")
            }
            return String(port)
        case "pool_size":
            if text == "auto" { return text }
            guard let bytes = Units.size(text), bytes >= 1 << 30 else {
                throw CommandError(
                    .usage, "`--\(option) \(text)` is not a size", why: "1 GiB at least", next: "write it as 10 GiB")
            }
            return Units.sizeText(bytes)
        case "http_address":
            guard IPv4Address(text) != nil || text == "::" || text == "::1" else {
                throw CommandError(
                    .usage, "`--\(option) \(text)` is not an address", next: "write it as 127.0.0.1 or 0.0.0.0")
            }
            return text
        default:
            guard
                text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy({
                    Names.isLabel(String($0), limit: 63)
                })
            else {
                throw CommandError(.usage, "`--\(option) \(text)` is not a name", next: "write it as example.org")
            }
            return text
        }
    }

    /// Options that differ from what runs would silently do nothing.
    private func checkUnchanged(_ settings: [String: String]) throws {
        let current = try folder.readSettings()
        for (key, option, _) in UpCommand.settings
        where context.invocation.option(option) != nil && current[key] != settings[key] {
            throw CommandError(
                .exists, "the grid runs with another --\(option)", why: "it is \(current[key] ?? "unset") now",
                next: "`zero down`, then `zero up --\(option) …`")
        }
    }

    private func start(_ installation: Installation, _ settings: [String: String]) async throws {
        try File.makeDirectories(folder.state, mode: 0o755)
        try File.makeDirectories(folder.state + "/log", mode: 0o755)
        var settings = settings
        settings["link_range"] = try LinkRanges(folder).claim(settings["link_range"] ?? "")
        try folder.write(settings)
        let words = [
            "--core", installation.bin + "/zero-core", "--background", "--state", folder.state, "--run", folder.run,
            "--units", installation.units, "--bin", installation.bin, "--share", installation.share,
        ]
        let watch = installation.bin + "/zero-watch"
        let output = try await runBlocking { try Subprocess.run(watch, words, timeout: 60) }
        guard output.status == 0 else {
            throw CommandError(
                .failed, "zero-core did not start",
                why: output.errorText.isEmpty ? "status \(output.status)" : output.errorText,
                next: "look at \(folder.state)/log/core.log")
        }
    }

    /// Waits until every unit that is not started on demand runs.
    private func waitForDaemons(_ core: CoreClient, _ progress: Progress, _ end: Int64) async throws {
        while true {
            let units = try await core.units() ?? []
            let daemons = units.filter { $0.instance == nil }
            let open = daemons.filter { !["running", "exited", "stopped"].contains($0.state) }
            if !daemons.isEmpty && open.isEmpty && daemons.contains(where: { $0.state == "running" }) { return }
            if let broken = open.first(where: { $0.restarts >= 3 || $0.state == "invalid" || $0.state == "failed" }) {
                throw failure(broken)
            }
            progress.update("waiting for " + open.map(\.title).joined(separator: ", "))
            guard Clock.monotonicNanoseconds() < end else {
                let names = open.map { "\($0.title) (\($0.state)\($0.reason.map { ": " + $0 } ?? ""))" }.joined(
                    separator: ", ")
                throw CommandError(
                    .waiting, "the grid is not ready in time", why: "still not running: \(names)", next: "`zero status`"
                )
            }
            try await Task.sleep(for: .milliseconds(40))
        }
    }

    private func failure(_ unit: UnitStatus) -> CommandError {
        let path = "\(folder.state)/log/\(unit.title).log"
        let tail = (try? File.readText(path))?.split(separator: "\n").suffix(5).joined(separator: "\n") ?? ""
        return CommandError(
            .failed, "the daemon `\(unit.title)` does not stay up",
            why: (unit.reason ?? "it ended \(unit.restarts) times") + (tail.isEmpty ? "" : "\n" + tail),
            next: "look at \(path); `\(downCommand)` stops the rest")
    }

    /// What stops this grid; the folder has to be named until `grid.json` does.
    private var downCommand: String {
        let chosen = (try? context.home.grid())?.folder ?? GridFolder.defaultPath
        return chosen == folder.path ? "zero down" : "zero down --grid \(folder.path)"
    }

    /// Learns where the ledger is and who the node is, waits until the ledger knows the node, and writes `grid.json`.
    private func configure(_ settings: [String: String], _ progress: Progress, _ end: Int64) async throws
        -> GridConfiguration
    {
        progress.update("waiting for the node to join the ledger")
        var last: any Error = CommandError(.waiting, "the ledger is not ready")
        while Clock.monotonicNanoseconds() < end {
            do {
                let endpoint = try LedgerEndpoint(
                    JSONValue(parsing: File.read(folder.run + "/ledger.json", limit: 1 << 16)))
                let reply = try await BusClient(folder.socket("identity")).call("IDENTITY.NODE")
                let node = try PublicKey(address: reply["node"]?.string ?? "")
                let client = LedgerClient(endpoint)
                if try await client.entry(.node(node)).entry != nil {
                    let grid = GridConfiguration(
                        ledgerURL: endpoint.url, ledgerPin: endpoint.pin, ledgerID: endpoint.id,
                        store: folder.run + "/images.sock",
                        domain: settings["domain"] ?? "localhost", httpPort: Int64(settings["http_port"] ?? "") ?? 8080,
                        node: node,
                        folder: folder.path)
                    try context.home.write(grid)
                    return grid
                }
                last = CommandError(.waiting, "the node \(node.address) has not joined the ledger")
            } catch { last = error }
            try await Task.sleep(for: .milliseconds(40))
        }
        throw CommandError(
            .waiting, "the grid is not ready in time", why: "\(last)",
            next: "`zero status`, and the logs in \(folder.state)/log")
    }

    /// What a grid ran before it was stopped comes back by itself; whoever starts it need not ask whether it is there already.
    private func waitForWorkloads(_ grid: GridConfiguration, _ end: Int64) async {
        guard let state = try? await LedgerSession(context, keepsState: false).state() else { return }
        let wanted = state.contracts.filter { id in
            state.contract(id)?.isOver == false && state.placement(id)?.body.nodes.contains(grid.node) == true
        }.map(\.hex)
        guard !wanted.isEmpty else { return }
        let progress = Progress("waiting for what ran before", on: context.console)
        let bus = BusClient(folder.socket("provision"))
        let limit = min(end, Clock.monotonicNanoseconds() + UpCommand.workloadsNanoseconds)
        let patience = Clock.monotonicNanoseconds() + UpCommand.workloadsNanoseconds / 3
        while Clock.monotonicNanoseconds() < limit {
            let contracts = (try? await bus.call("PROVISION.STATUS"))?["contracts"]?.array ?? []
            let found = contracts.filter { wanted.contains($0["contract"]?.string ?? "") }
            let states = found.flatMap { ($0["workloads"]?.object ?? [:]).values.compactMap { $0["state"]?.string } }
            // Right after a start something may fail once for what is not there yet.
            let mayFail = Clock.monotonicNanoseconds() > patience
            let done = states.count { ["running", "stopped"].contains($0) || (mayFail && $0 == "failed") }
            if found.count == wanted.count, done == states.count {
                return progress.finish("\(states.count { $0 != "failed" }) of \(states.count) workloads run")
            }
            progress.update("waiting for what ran before: \(done) of \(states.count)")
            try? await Task.sleep(for: .milliseconds(100))
        }
        progress.fail("not everything that ran before runs yet; see `zero status`")
    }

    /// Makes the identity `default` where there is none and a passphrase can be had.
    private func firstIdentity() async throws {
        let keys = KeyRing(folder: context.home.identities)
        guard try keys.names().isEmpty else { return }
        let passphrase = Passphrase(context)
        guard passphrase.isGiven || context.console.isInteractive else {
            context.console.note("no identity yet, and no passphrase for one; next: zero identity new default")
            return
        }
        let identity = try await IdentityCommand.create("default", RecoveryWords.generate(), keys, passphrase)
        context.console.note("made the identity `default`: \(identity.address.address)")
        context.console.note(
            "its 24 recovery words are not shown here; write them down with: zero identity export default")
    }

    private func report(_ grid: GridConfiguration, isNew: Bool, milliseconds: Int64) {
        context.console.emit(
            [
                "grid": .string(folder.path), "node": .string(grid.node.address), "ledger": .string(grid.ledgerURL),
                "ledger_id": .string(grid.ledgerID.hex), "gateway": .string(grid.url("<name>")),
                "ready_ms": .integer(milliseconds),
                "started": .bool(isNew),
            ],
            """
            Grid     \(folder.path)
            Node     \(grid.node.address)
            Ledger   \(grid.ledgerURL)  \(grid.ledgerID.hex.prefix(16))
            Gateway  \(grid.url("<name>"))
            """ + "\n")
        context.console.progress("next: zero image import <path>, zero deploy <contract>; zero down stops it")
    }
}

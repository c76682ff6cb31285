import Bus
import Glibc
import Linux

/// What a daemon program takes on its command line, and its help.
struct Program {
    let service: String
    let options: [Option]
    let folders: Daemon.Folders
    let commands: [DaemonCommand]

    var allOptions: [Option] {
        let node: [Option] =
            folders == .node
            ? [
                .required("state", "the node's folder on disk"),
                .required("run", "the node's folder of this boot, where sockets are"),
            ] : [.text("state", "the node's folder on disk"), .text("run", "the node's folder of this boot")]
        return node + options + [
            .choice(
                "log-level", "events below it are not logged", of: LogLevel.allCases.map { "\($0)" }, default: "info"),
            .choice("log-format", "how lines of the log look", of: ["text", "json"], default: "text"),
            .text("config", "a file of “key = value” lines"),
        ]
    }

    var environmentPrefix: String { "ZERO_\(String(service.uppercased().map { $0 == "-" ? "_" : $0 }))_" }

    var help: String {
        var text = "Usage: zero-\(service) [command] [options]\n\nOptions:\n"
        let rows =
            allOptions.map { ("--\($0.name)\($0.placeholder)", Self.explained($0)) }
            + [
                ("--print-config", "print the settings and where each came from, and end"),
                ("--version", "print the version and end"), ("--help", "print this and end"),
            ]
        let width = rows.map(\.0.count).max() ?? 0
        for (flag, meaning) in rows { text += "  \(Self.padded(flag, width))  \(meaning)\n" }
        if !commands.isEmpty { text += "\nCommands:\n" }
        for command in commands { text += "  \(Self.padded(command.name, width))  \(command.help)\n" }
        text += "\nEach option can also be set in the environment (\(environmentPrefix)<OPTION>) and in the file that\n"
        return text + "--config names; flags win over the environment, that over the file, that over the default.\n"
    }

    private static func explained(_ option: Option) -> String {
        if option.isRequired { return option.help + " (required)" }
        if case .flag = option.kind { return option.help }
        return option.help + (option.fallback.map { " (default \($0))" } ?? "")
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// Reads the command line; ends the program where that was all it asked for, or where it is wrong.
    func prepare(_ arguments: [String], _ environment: [String: String]) -> (DaemonContext, DaemonCommand?) {
        var rest = Array(arguments.dropFirst())
        if rest.contains("--help") || rest.contains("-h") { finish(help) }
        if rest.contains("--version") { finish("zero-\(service) \(Daemon.version)\n") }
        let command = commands.first { $0.name == rest.first }
        if command != nil { rest.removeFirst() }
        let printsConfig = rest.contains("--print-config")
        rest.removeAll { $0 == "--print-config" }
        do throws(SettingsError) {
            let settings = try Settings(
                options: allOptions, arguments: rest, environment: environment, prefix: environmentPrefix,
                readFile: { path throws(SettingsError) in try Self.readConfig(path) })
            if printsConfig { finish(settings.printed()) }
            let context = context(settings)
            if folders == .node, command == nil { try makeFolders(context) }
            return (context, command)
        } catch {
            let message = Array("zero-\(service): \(error)\n".utf8)
            _ = message.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
            exit(2)
        }
    }

    private func context(_ settings: Settings) -> DaemonContext {
        let level = LogLevel(name: settings.text("log-level")) ?? .info
        let run = settings.optional("run") ?? ""
        return DaemonContext(
            name: service, state: settings.optional("state") ?? "", run: run, settings: settings,
            log: Log(service: service, level: level, isJSON: settings.text("log-format") == "json"),
            server: BusServer(service: service, socketPath: "\(run)/\(service).sock"), metrics: Metrics())
    }

    /// `zero-core` makes these before it starts a unit; this is for a daemon that is started by hand.
    private func makeFolders(_ context: DaemonContext) throws(SettingsError) {
        do throws(SystemError) {
            try File.makeDirectories(context.state, mode: 0o755)
            try File.makeDirectories(context.run, mode: 0o755)
            try File.makeDirectories(context.folder, mode: 0o700)
        } catch {
            throw SettingsError(description: "\(error)")
        }
    }

    private static func readConfig(_ path: String) throws(SettingsError) -> String {
        do throws(SystemError) {
            return try File.readText(path, limit: 1 << 20)
        } catch {
            throw SettingsError(description: "--config: \(error)")
        }
    }

    private func finish(_ text: String) -> Never {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
        exit(0)
    }
}

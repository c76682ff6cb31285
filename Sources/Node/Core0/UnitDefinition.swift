import Bus
import CLinux
import CanonicalJSON
import Glibc

/// How one program is started and kept running: what a unit file says.
struct UnitDefinition: Equatable, Sendable {
    enum Kind: String, Sendable { case control, data }
    enum Restart: String, Sendable { case always, onFailure = "on-failure", never }
    struct Directory: Equatable, Sendable {
        let path: String
        let mode: UInt32
        /// nil: the account of the unit.
        let owner: Account?
    }

    /// The unit's name; a template's ends with `@`.
    let name: String
    var description = ""
    var exec: [String] = []
    var account = Account.root
    /// Bit n is capability n; all bits leave root as it is.
    var capabilities: UInt64 = 0
    var noNewPrivileges = true
    var directories: [Directory] = []
    var environment: [String] = []
    var netns: String?
    var after: [String] = []
    var kind = Kind.control
    /// Accounts that may start, stop and signal it; not empty means that it is started only when asked.
    var startedBy: [Account] = []
    var notifies = false
    var readyTimeout = 30 * Time.second
    var restart = Restart.always
    var stopSignal = SIGTERM
    /// How it is asked to make way for a new process of the same unit; nil: as it is asked to stop.
    var replaceSignal: Int32?
    var stopTimeout = 10 * Time.second
    var logMax: UInt64 = 4 << 20
    var memory: UInt64 = 0
    var fileLimit: UInt64 = 1024

    var isTemplate: Bool { name.hasSuffix("@") }
    /// Whether it waits for `CORE.START`.
    var isAsked: Bool { !startedBy.isEmpty }

    /// A stand-in for a process whose unit file is gone.
    init(missing name: String) { self.name = name }
}

extension UnitDefinition {
    private static let letters = Set("abcdefghijklmnopqrstuvwxyz0123456789".utf8)

    /// Whether it can be the name of a unit, with the `@` of a template.
    static func isName(_ name: String) -> Bool {
        let stem = name.hasSuffix("@") ? name.utf8.dropLast() : name.utf8[...]
        guard let first = stem.first, (0x61...0x7a).contains(first), stem.count <= 32 else { return false }
        return stem.allSatisfy { letters.contains($0) || $0 == 0x2d }
    }

    /// Whether it can be the name of an instance: one component of a path, no surprises in it.
    static func isInstance(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= 80 else { return false }
        func isWord(_ byte: UInt8) -> Bool { letters.contains(byte) || (0x41...0x5a).contains(byte) }
        return isWord(first) && name.utf8.allSatisfy { isWord($0) || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f }
    }

    /// Reads the file of the unit `name`.
    init(_ bytes: [UInt8], name: String) throws(UnitError) {
        self.init(missing: name)
        let subject = "\(name).unit"
        guard UnitDefinition.isName(name) else {
            throw UnitError(subject, "the name of a unit is [a-z][a-z0-9-]{0,31}, of a template with @ after it")
        }
        let text = try UnitText(bytes, subject: subject)
        for entry in text.entries { try set(entry, subject) }
        let given = Set(text.entries.map(\.key))
        for required in ["exec", "account"] where !given.contains(required) {
            throw UnitError(subject, "“\(required)” is missing")
        }
        if isTemplate, !isAsked {
            throw UnitError(subject, "a template needs “started_by”: which accounts may start instances")
        }
        if capabilities == UInt64.max, account != .root {
            throw UnitError(subject, "“capabilities = all” is for the account root only")
        }
        try checkVariables(subject)
    }

    private func checkVariables(_ subject: String) throws(UnitError) {
        for pattern in exec + directories.map(\.path) + environment + (netns.map { [$0] } ?? []) {
            for variable in try Variables.names(in: pattern, subject) where !isTemplate {
                guard variable == "instance" || variable.hasPrefix("instance:") else { continue }
                throw UnitError(subject, "{\(variable)} is for templates only")
            }
        }
    }

    private static let keys = [
        "description", "exec", "account", "capabilities", "no_new_privs", "directories", "environment", "netns",
        "after",
        "kind", "started_by", "ready", "ready_timeout", "restart", "stop_signal", "replace_signal", "stop_timeout",
        "log_max", "memory", "no_file",
    ]

    private mutating func set(_ entry: UnitText.Entry, _ subject: String) throws(UnitError) {
        switch entry.key {
        case "description": description = entry.value
        case "exec":
            exec = try entry.words(subject)
            guard let program = exec.first, program.hasPrefix("/") || program.hasPrefix("{") else {
                throw UnitError(subject, line: entry.line, "“exec” begins with the absolute path of a program")
            }
        case "account": account = try UnitDefinition.account(entry.value, entry, subject)
        case "capabilities": capabilities = try UnitDefinition.capabilities(entry, subject)
        case "no_new_privs": noNewPrivileges = try entry.choice(subject, [("yes", true), ("no", false)])
        case "directories": directories = try UnitDefinition.directories(entry, subject)
        case "environment": environment = try UnitDefinition.environment(entry, subject)
        case "netns": netns = entry.value
        case "after": after = try entry.words(subject)
        case "kind": kind = try entry.choice(subject, [("control", .control), ("data", .data)])
        case "started_by":
            for word in try entry.words(subject) {
                startedBy.append(try UnitDefinition.account(word, entry, subject))
            }
        default: try setLife(entry, subject)
        }
    }

    private mutating func setLife(_ entry: UnitText.Entry, _ subject: String) throws(UnitError) {
        switch entry.key {
        case "ready": notifies = try entry.choice(subject, [("notify", true), ("none", false)])
        case "ready_timeout": readyTimeout = try entry.duration(subject)
        case "restart":
            restart = try entry.choice(subject, [("always", .always), ("on-failure", .onFailure), ("never", .never)])
        case "stop_signal": stopSignal = try entry.choice(subject, Signals.stopping)
        case "replace_signal": replaceSignal = try entry.choice(subject, Signals.stopping)
        case "stop_timeout": stopTimeout = try entry.duration(subject)
        case "log_max": logMax = try entry.size(subject)
        case "memory": memory = try entry.size(subject)
        case "no_file": fileLimit = try entry.number(subject, 16...1_048_576)
        default:
            let near = nearest(to: entry.key, among: UnitDefinition.keys).map { "; did you mean “\($0)”?" } ?? ""
            throw UnitError(subject, line: entry.line, "unknown key “\(entry.key)”" + near)
        }
    }

    private static func account(_ name: String, _ entry: UnitText.Entry, _ subject: String) throws(UnitError) -> Account
    {
        if let found = Account(name: name) { return found }
        let near = nearest(to: name, among: Account.allCases.map(\.name)).map { "; did you mean “\($0)”?" } ?? ""
        throw UnitError(subject, line: entry.line, "“\(name)” in “\(entry.key)” is not an account" + near)
    }

    private static func capabilities(_ entry: UnitText.Entry, _ subject: String) throws(UnitError) -> UInt64 {
        if entry.value == "all" { return UInt64.max }
        var set: UInt64 = 0
        for word in try entry.words(subject) {
            let number = zg_capability(word)
            guard number >= 0 else { throw UnitError(subject, line: entry.line, "“\(word)” is not a capability") }
            set |= 1 << UInt64(number)
        }
        return set
    }

    private static func environment(_ entry: UnitText.Entry, _ subject: String) throws(UnitError) -> [String] {
        let words = try entry.words(subject)
        for word in words {
            guard let equals = word.firstIndex(of: "="), equals != word.startIndex else {
                throw UnitError(subject, line: entry.line, "“\(word)” in “environment” is not NAME=value")
            }
        }
        return words
    }

    private static func directories(_ entry: UnitText.Entry, _ subject: String) throws(UnitError) -> [Directory] {
        var found: [Directory] = []
        for word in try entry.words(subject) {
            // Colons inside of {…} belong to the variable.
            var depth = 0
            let parts = word.split(omittingEmptySubsequences: false) { letter in
                if letter == "{" { depth += 1 } else if letter == "}" { depth -= 1 }
                return letter == ":" && depth == 0
            }
            .map(String.init)
            let mode = parts.count > 1 ? UInt32(parts[1], radix: 8) : 0o700
            guard parts.count <= 3, let mode, mode <= 0o7777, parts[0].hasPrefix("/") || parts[0].hasPrefix("{") else {
                throw UnitError(subject, line: entry.line, "“\(word)” in “directories” is not path[:mode[:account]]")
            }
            let owner = parts.count > 2 ? try account(parts[2], entry, subject) : nil
            found.append(Directory(path: parts[0], mode: mode, owner: owner))
        }
        return found
    }
}

/// Signals by the names that units and `CORE.SIGNAL` use.
enum Signals {
    static let stopping: [(String, Int32)] = [
        ("TERM", SIGTERM), ("INT", SIGINT), ("HUP", SIGHUP), ("QUIT", SIGQUIT), ("USR1", SIGUSR1), ("USR2", SIGUSR2),
        ("WINCH", SIGWINCH), ("KILL", SIGKILL),
    ]
    /// What `CORE.SIGNAL` sends.
    static let asked: [String: Int32] = ["HUP": SIGHUP, "USR1": SIGUSR1, "USR2": SIGUSR2]

    /// `SIGKILL` and the like, for reasons.
    static func name(_ number: Int32) -> String {
        if let known = stopping.first(where: { $0.1 == number }) { return "SIG" + known.0 }
        let others: [Int32: String] = [
            SIGSEGV: "SIGSEGV", SIGABRT: "SIGABRT", SIGBUS: "SIGBUS", SIGILL: "SIGILL", SIGFPE: "SIGFPE",
            SIGPIPE: "SIGPIPE", SIGTRAP: "SIGTRAP", SIGSYS: "SIGSYS", SIGXCPU: "SIGXCPU",
        ]
        return others[number] ?? "signal \(number)"
    }
}

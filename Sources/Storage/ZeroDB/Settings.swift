internal import Glibc
public import LogEngine

/// How `zero-db` is to run: its flags, checked.
public struct Settings: Sendable {
    /// A uid that may use one namespace over the Unix socket.
    public struct Allowance: Sendable, Hashable {
        /// The peer's uid.
        public var uid: UInt32
        /// Its namespace, made if it is missing.
        public var namespace: String
        /// Whether it may only read.
        public var isReadOnly: Bool
    }

    /// A listening socket that is bound to one namespace.
    public struct Door: Sendable, Hashable {
        /// The namespace, made if it is missing.
        public var namespace: String
        /// Where the socket is made.
        public var path: String
        /// The socket's mode.
        public var mode: UInt32
        /// The only uid, beside root, that may come in; nil: whoever the mode lets.
        public var uid: UInt32?
    }

    /// The device's directory.
    public var data = ""
    /// The Unix socket for administration and allowed uids.
    public var socket: String?
    /// The TCP port; nil: none.
    public var port: UInt16?
    /// The address that the port listens on.
    public var address = "127.0.0.1"
    /// When writes are durable.
    public var sync = SyncPolicy.always
    /// Milliseconds between syncs with `interval`.
    public var syncMilliseconds: UInt64 = 1000
    /// The size at which a segment ends.
    public var segmentBytes = 256 << 20
    /// Bytes of the disk that the device may use; 0: all.
    public var capacityBytes: UInt64 = 0
    /// Bytes a second that compaction reads and writes; 0: only when asked for.
    public var compactionRate: UInt64 = 64 << 20
    /// The history policy of new namespaces.
    public var history = HistoryPolicy.all
    /// Who may come over the Unix socket.
    public var allowances: [Allowance] = []
    /// Uids that administrate over the Unix socket, beside root and the own one.
    public var admins: [UInt32] = []
    /// The master whose copy this device is; nil: it is a master itself, or what it was before.
    public var replicaOf: MasterAddress?
    /// Whether records that the master does not have are given up.
    public var discardsTail = false
    /// The administrator's password at the master.
    public var replicaPassword: [UInt8]?
    /// Where that password stands.
    public var replicaPasswordFile: String?
    /// What this replica calls itself.
    public var replicaName: [UInt8] = Array("replica".utf8)
    /// Replicas that must have a write durably before it is answered.
    public var replicasRequired = 0
    /// Milliseconds that a write waits for them.
    public var replicasTimeout: UInt64 = 2000
    /// Whether writes are answered without replicas when those are late or missing.
    public var degradesWithoutReplicas = false
    /// Sockets bound to a namespace.
    public var doors: [Door] = []
    /// How other servers are met over TLS; nil: not at all.
    var peerTLS: PeerTLSSettings?

    /// The administrator's password, as what recognises it; nil: whoever reaches the TCP port administrates.
    var administrator: PasswordVerifier?
    /// What the device is.
    var profile = DeviceProfile.ssd
    /// When a quiet device is flushed and left alone; nil: the default.
    var idleFlushSeconds: UInt64?
    /// What clients may take.
    var limits = ClientLimits()
    /// Metrics over HTTP; nil: none.
    var metrics: MetricsSettings?
    var metricsAddress = "127.0.0.1"
    /// The program that is run at events.
    var hooks = HookRunner.Options()
    /// The command line from which they came.
    var arguments: [String] = []
    /// TLS; nil: none.
    var tls: TLSSettings?
    /// Where the administrator's password stands.
    public var adminPasswordFile: String?

    /// When writes are durable in namespaces whose settings do not say it.
    var durability: Durability {
        switch sync {
        case .always: .always
        case .interval: .interval(UInt32(clamping: syncMilliseconds))
        case .none: .none
        }
    }

    /// The defaults.
    public init() {}

    static let usage = """
        usage: zero-db --data DIR [options]

        Zero-DB: an append-only key-value store that speaks the Redis protocol (RESP2 and RESP3).

          --data DIR           the device's directory, made if it is missing
          --socket PATH        a Unix socket; root and the own uid administrate, others need --allow
          --port N             a TCP port
          --listen ADDRESS     the address of --port (default 127.0.0.1)
          --admin-password-file FILE
                               the administrator's password, or the line that `zero-db password` makes of it;
                               without one whoever reaches a TCP port administrates
          --tls-port N         a TCP port that speaks TLS 1.2 and 1.3, at the address of --listen
          --tls-cert FILE      its certificate and what leads to an authority, PEM
          --tls-key FILE       its private key, PEM
          --tls-client-ca FILE clients must show a certificate of one of these authorities
          --tls-allow NAME=NS[:ro]
                               whose certificate has this common name uses that namespace and nothing else;
                               again for more
          --sync WHEN          always: before a write is answered (default); interval: every second; none
          --sync-interval N    milliseconds of interval (default 1000)
          --segment-size N     bytes of a segment, 1 MiB to 4 GiB (default 268435456)
          --capacity N         bytes of the disk that the device may use (default: all)
          --history POLICY     what former versions new namespaces keep: all (default), none, last:N, for:SECONDS
          --compaction-rate N  bytes a second that compaction reads and writes (default 64M); 0: only when asked for
          --allow UID:NS[:ro]  a uid that uses one namespace over --socket; again for more
          --admin UID          a uid that administrates over --socket; again for more
          --door NS=PATH[:MODE[:UID]]
                               a Unix socket bound to one namespace, mode 0600 by default; with UID only
                               that uid and root may come in; again for more
          --replica-of MASTER  be the copy of HOST:PORT, tls:HOST:PORT or unix:PATH; --data must be empty, or
                               such a copy
          --replica-name NAME  what this replica is called in the master's INFO (default replica)
          --replica-password-file FILE
                               the administrator's password at the master
          --replica-tls-ca FILE
                               who vouches for the certificates of masters and sources that are met over TLS
          --replica-tls-cert FILE, --replica-tls-key FILE
                               the certificate that is shown to them
          --replica-tls-name NAME
                               whose certificate theirs must be (default: the host that is connected to)
          --replica-discard-tail
                               records that the master does not have are given up instead of reported
          --replicas-required N
                               answer a write when N replicas have it durably (default 0)
          --replicas-timeout MS
                               how long a write waits for them (default 2000)
          --replicas-missing refuse|answer
                               what happens without them: an error (default), or an answer as with 0
          --print-config       print the settings and stop
          --help, --version

        Without --socket and --port it listens on port 9900 of the loopback address.
        Numbers of bytes may end in K, M or G.

        """
}

/// Why the settings cannot be used; the text is for the person who wrote them.
public struct SettingsError: Error, Sendable, CustomStringConvertible {
    /// The sentence.
    public let description: String
}

extension Settings {
    /// Reads flags, `--name value` or `--name=value`.
    public init(arguments: [String]) throws(SettingsError) {
        try self.init(partial: arguments)
        if data.isEmpty { throw SettingsError(description: "--data DIR is required") }
        if let tls { try tls.check() }
        if peerTLS != nil || replicaOf?.isTLS == true { try (peerTLS ?? PeerTLSSettings()).check() }
        if socket == nil, port == nil, tls == nil, doors.isEmpty { port = 9900 }
    }

    /// Without a look at whether something is missing.
    init(partial arguments: [String]) throws(SettingsError) {
        self.init()
        var index = 0
        while index < arguments.count {
            var name = arguments[index]
            var value: String?
            if let equals = name.firstIndex(of: "="), name.hasPrefix("--") {
                value = String(name[name.index(after: equals)...])
                name = String(name[..<equals])
            }
            index += 1
            if value == nil, Self.switches.contains(name) { value = "1" }
            if value == nil {
                guard Self.names.contains(name) else { throw Self.unknown(name) }
                // Whoever forgot a value did not mean the next option.
                guard index < arguments.count, !arguments[index].hasPrefix("--") else {
                    throw Self.wrong(name, "needs a value")
                }
                value = arguments[index]
                index += 1
            }
            try set(name, value ?? "")
        }
    }

    private mutating func set(_ name: String, _ value: String) throws(SettingsError) {
        switch name {
        case "--data": data = value
        case "--socket": socket = value
        case "--port":
            guard let number = UInt16(value) else {
                throw Self.wrong(name, "is a number from 0 to 65535, not '\(value)'")
            }
            port = number
        case "--listen":
            guard Self.isAddress(value) else { throw Self.wrong(name, "is an IPv4 or IPv6 address, not '\(value)'") }
            address = value
        case "--admin-password-file": adminPasswordFile = value
        case "--tls-port", "--tls-cert", "--tls-key", "--tls-client-ca", "--tls-allow": try setTLS(name, value)
        case "--sync":
            switch value {
            case "always": sync = .always
            case "interval": sync = .interval
            case "none": sync = .none
            default: throw Self.wrong(name, "is always, interval or none, not '\(value)'")
            }
        case "--sync-interval":
            guard let number = UInt64(value), (10...60_000).contains(number) else {
                throw Self.wrong(name, "is 10 to 60000 milliseconds, not '\(value)'")
            }
            syncMilliseconds = number
        case "--segment-size":
            guard let number = Self.size(value), (1 << 20...4 << 30).contains(number) else {
                throw Self.wrong(name, "is 1M to 4G, not '\(value)'")
            }
            segmentBytes = Int(number) & ~4095
        case "--capacity":
            guard let number = Self.size(value), number == 0 || number >= 16 << 20 else {
                throw Self.wrong(name, "is 16M or more, or 0 for the whole disk, not '\(value)'")
            }
            capacityBytes = number
        case "--compaction-rate":
            guard let number = Self.size(value), number == 0 || number >= 64 << 10 else {
                throw Self.wrong(name, "is 64K or more, or 0, not '\(value)'")
            }
            compactionRate = number
        case "--history":
            guard let policy = HistoryPolicy(value) else {
                throw Self.wrong(name, "is all, none, last:N or for:SECONDS, not '\(value)'")
            }
            history = policy
        case "--allow": allowances.append(try Self.allowance(value))
        case "--admin":
            guard let uid = UInt32(value) else { throw Self.wrong(name, "is a uid, not '\(value)'") }
            admins.append(uid)
        case "--door": doors.append(try Self.door(value))
        case let name where name.hasPrefix("--replica"): try setReplication(name, value)
        default:
            if try setOperations(name, value) { return }
            throw Self.unknown(name)
        }
    }

    /// Options without a value.
    private static let switches: Set = ["--replica-discard-tail"]

    private mutating func setReplication(_ name: String, _ value: String) throws(SettingsError) {
        switch name {
        case "--replica-of":
            guard let address = MasterAddress(value) else {
                throw Self.wrong(name, "is HOST:PORT, tls:HOST:PORT or unix:PATH, not '\(value)'")
            }
            replicaOf = address
        case "--replica-name":
            guard (1...64).contains(value.utf8.count), value.utf8.allSatisfy({ (33...126).contains($0) }) else {
                throw Self.wrong(name, "is 1 to 64 printable characters without spaces")
            }
            replicaName = Array(value.utf8)
        case "--replica-password-file": replicaPasswordFile = value
        case let name where PeerTLSSettings.names.contains(name):
            var tls = peerTLS ?? PeerTLSSettings()
            tls.set(name, value)
            peerTLS = tls
        case "--replica-discard-tail": discardsTail = value == "1"
        case "--replicas-required":
            guard let number = Int(value), (0...Limits.replicasMax).contains(number) else {
                throw Self.wrong(name, "is 0 to \(Limits.replicasMax), not '\(value)'")
            }
            replicasRequired = number
        case "--replicas-timeout":
            guard let number = UInt64(value), (1...3_600_000).contains(number) else {
                throw Self.wrong(name, "is 1 to 3600000 milliseconds, not '\(value)'")
            }
            replicasTimeout = number
        case "--replicas-missing":
            guard value == "refuse" || value == "answer" else {
                throw Self.wrong(name, "is refuse or answer, not '\(value)'")
            }
            degradesWithoutReplicas = value == "answer"
        default: throw Self.unknown(name)
        }
    }

    /// The lines of replication.
    private var replicationLines: [String] {
        var lines: [String] = []
        if let replicaOf { lines += ["--replica-of \(replicaOf)"] }
        if replicaName != Array("replica".utf8) {
            lines += ["--replica-name \(String(decoding: replicaName, as: UTF8.self))"]
        }
        if let replicaPasswordFile { lines += ["--replica-password-file \(replicaPasswordFile)"] }
        lines += peerTLS?.lines ?? []
        if discardsTail { lines += ["--replica-discard-tail=1"] }
        if replicasRequired > 0 {
            lines += ["--replicas-required \(replicasRequired)", "--replicas-timeout \(replicasTimeout)"]
            if degradesWithoutReplicas { lines += ["--replicas-missing answer"] }
        }
        return lines
    }

    static func wrong(_ name: String, _ why: String) -> SettingsError {
        SettingsError(description: "\(name) \(why)")
    }

    /// Whether it is an address in digits; names are not looked up.
    static func isAddress(_ text: String) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 16)
        let bare = text.split(separator: "%", maxSplits: 1).first.map(String.init) ?? ""
        return inet_pton(AF_INET, text, &bytes) == 1 || inet_pton(AF_INET6, bare, &bytes) == 1
    }

    static func size(_ text: String) -> UInt64? {
        let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
        if let last = text.last, let unit = units[last], let number = UInt64(text.dropLast()), number < 1 << 20 {
            return number * unit
        }
        return UInt64(text)
    }

    private static func allowance(_ text: String) throws(SettingsError) -> Allowance {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || (parts.count == 3 && parts[2] == "ro"), let uid = UInt32(parts[0]),
            LogEngine.isName(Array(parts[1].utf8))
        else { throw wrong("--allow", "is UID:NAMESPACE or UID:NAMESPACE:ro, not '\(text)'") }
        return Allowance(uid: uid, namespace: parts[1], isReadOnly: parts.count == 3)
    }

    private static func door(_ text: String) throws(SettingsError) -> Door {
        let failure = wrong(
            "--door", "is NAMESPACE=PATH, NAMESPACE=PATH:MODE or NAMESPACE=PATH:MODE:UID, not '\(text)'")
        guard let equals = text.firstIndex(of: "=") else { throw failure }
        let name = String(text[..<equals])
        let parts = text[text.index(after: equals)...].split(separator: ":", omittingEmptySubsequences: false)
        guard LogEngine.isName(Array(name.utf8)), (1...3).contains(parts.count), !parts[0].isEmpty else {
            throw failure
        }
        var door = Door(namespace: name, path: String(parts[0]), mode: 0o600, uid: nil)
        if parts.count > 1 {
            guard let mode = UInt32(parts[1], radix: 8), mode <= 0o777 else { throw failure }
            door.mode = mode
        }
        if parts.count > 2 {
            guard let uid = UInt32(parts[2]) else { throw failure }
            door.uid = uid
        }
        return door
    }

    /// Every option.
    private static let names =
        [
            "--data", "--socket", "--port", "--listen", "--sync", "--sync-interval", "--segment-size", "--allow",
            "--admin", "--admin-password-file", "--tls-port", "--tls-cert", "--tls-key", "--tls-client-ca",
            "--tls-allow", "--door",
            "--replica-of", "--replica-name", "--replica-password-file", "--replica-discard-tail",
            "--replicas-required", "--replicas-timeout", "--replicas-missing",
            "--door", "--capacity", "--compaction-rate", "--history",
            "--print-config", "--help", "--version",
        ] + operationsNames + PeerTLSSettings.names

    /// An option that there is not, with the nearest one that there is.
    static func unknown(_ name: String) -> SettingsError {
        let best = names.map { ($0, distance(Array($0.utf8), Array(name.utf8))) }.min { $0.1 < $1.1 }
        let hint = best.flatMap { $0.1 <= 3 ? " (did you mean \($0.0)?)" : nil }
        return SettingsError(description: "unknown option \(name)\(hint ?? "")")
    }

    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, y) in b.enumerated() {
                let next = min(row[j + 1] + 1, row[j] + 1, diagonal + (x == y ? 0 : 1))
                diagonal = row[j + 1]
                row[j + 1] = next
            }
        }
        return row[b.count]
    }

    /// The settings by name, those that may be given again in one.
    var named: [(String, String)] {
        var found: [(String, String)] = []
        for line in text.split(separator: "\n") {
            let parts = line.dropFirst(2).split(separator: " ", maxSplits: 1).map(String.init)
            let value = parts.count > 1 ? parts[1] : ""
            if let index = found.firstIndex(where: { $0.0 == parts[0] }) {
                found[index].1 += ", " + value
            } else {
                found.append((parts[0], value))
            }
        }
        return found
    }

    /// The settings, a line each, as flags.
    public var text: String {
        var lines = ["--data \(data)"]
        if let socket { lines.append("--socket \(socket)") }
        if let port { lines += ["--port \(port)", "--listen \(address)"] }
        if let adminPasswordFile { lines.append("--admin-password-file \(adminPasswordFile)") }
        lines += (tls?.lines ?? []) + operationsLines
        lines.append("--sync \(sync == .always ? "always" : sync == .interval ? "interval" : "none")")
        if sync == .interval { lines.append("--sync-interval \(syncMilliseconds)") }
        lines.append("--segment-size \(segmentBytes)")
        lines.append("--capacity \(capacityBytes)")
        lines.append("--compaction-rate \(compactionRate)")
        lines.append("--history \(history.text)")
        for item in allowances { lines.append("--allow \(item.uid):\(item.namespace)\(item.isReadOnly ? ":ro" : "")") }
        for uid in admins { lines.append("--admin \(uid)") }
        for door in doors {
            let owner = door.uid.map { ":\($0)" } ?? ""
            lines.append("--door \(door.namespace)=\(door.path):0\(String(door.mode, radix: 8))\(owner)")
        }
        lines += replicationLines
        return lines.joined(separator: "\n") + "\n"
    }
}

/// What a client may take of the server; all of it can change while the server runs.
struct ClientLimits: Sendable, Hashable {
    /// Connections at once.
    var clients = Limits.connectionsMax
    /// Seconds without a command after which a connection is closed; 0: never.
    var idleSeconds: UInt64 = 0
    /// Seconds in which a client must take at least a byte of what waits for it.
    var slowSeconds: UInt64 = 60
    /// Bytes that may wait for one client; the largest reply fits.
    var outputBytes = 128 << 20
    /// Bytes that one command may have.
    var queryBytes = Limits.commandBytesMax
    /// Bytes of buffers of all clients together; who has most is closed first.
    var memoryBytes = 1 << 30

    /// Seconds in which a new TLS client must have shaken hands.
    static let handshakeSeconds: UInt64 = 10
}

extension Settings {
    /// Sets a limit of clients; false if the name is none.
    mutating func setLimit(_ name: String, _ value: String) throws(SettingsError) -> Bool {
        func number(_ range: ClosedRange<UInt64>) throws(SettingsError) -> UInt64 {
            guard let number = Self.size(value), range.contains(number) else {
                throw Self.wrong(name, "is \(range.lowerBound) to \(range.upperBound), not '\(value)'")
            }
            return number
        }
        switch name {
        case "--max-clients": limits.clients = Int(try number(1...UInt64(Limits.connectionsMax)))
        case "--idle-timeout": limits.idleSeconds = try number(0...31_536_000)
        case "--slow-timeout": limits.slowSeconds = try number(1...86_400)
        case "--output-limit": limits.outputBytes = Int(try number(1 << 20...16 << 30))
        case "--query-limit": limits.queryBytes = Int(try number(16 << 10...UInt64(Limits.commandBytesMax)))
        case "--client-memory": limits.memoryBytes = Int(try number(16 << 20...1 << 40))
        default: return false
        }
        return true
    }

    var limitLines: [String] {
        [
            "--max-clients \(limits.clients)", "--idle-timeout \(limits.idleSeconds)",
            "--slow-timeout \(limits.slowSeconds)", "--output-limit \(limits.outputBytes)",
            "--query-limit \(limits.queryBytes)", "--client-memory \(limits.memoryBytes)",
        ]
    }

    static let limitUsage = """
          --max-clients N      connections at once (default 20000)
          --idle-timeout N     seconds without a command after which a connection is closed (default 0: never)
          --slow-timeout N     seconds in which a client must take something of what waits for it (default 60)
          --output-limit N     bytes that may wait for one client (default 128M)
          --query-limit N      bytes of one command (default 64M)
          --client-memory N    bytes of the buffers of all clients together (default 1G)

        """
}

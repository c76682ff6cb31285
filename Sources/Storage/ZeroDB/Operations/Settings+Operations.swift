/// How numbers are shown over HTTP.
struct MetricsSettings: Sendable, Hashable {
    var port: UInt16
    var address = "127.0.0.1"
}

extension Settings {
    /// Sets what concerns operations; false if the name is none of it.
    mutating func setOperations(_ name: String, _ value: String) throws(SettingsError) -> Bool {
        switch name {
        case "--metrics-port":
            guard let number = UInt16(value), number > 0 else {
                throw Self.wrong(name, "is a number from 1 to 65535, not '\(value)'")
            }
            metrics = MetricsSettings(port: number, address: metricsAddress)
        case "--metrics-listen":
            guard Self.isAddress(value) else { throw Self.wrong(name, "is an IPv4 or IPv6 address, not '\(value)'") }
            metricsAddress = value
            metrics?.address = value
        case "--profile":
            guard let known = DeviceProfile(rawValue: value) else {
                throw Self.wrong(name, "is ssd or hdd, not '\(value)'")
            }
            profile = known
        case "--idle-flush":
            guard let number = UInt64(value), (1...3600).contains(number) else {
                throw Self.wrong(name, "is 1 to 3600 seconds, not '\(value)'")
            }
            idleFlushSeconds = number
        case "--hook": hooks.program = value
        case "--hook-timeout":
            guard let number = UInt64(value), (1...86_400).contains(number) else {
                throw Self.wrong(name, "is 1 to 86400 seconds, not '\(value)'")
            }
            hooks.timeoutSeconds = number
        case "--hooks-at-once":
            guard let number = Int(value), (1...64).contains(number) else {
                throw Self.wrong(name, "is 1 to 64, not '\(value)'")
            }
            hooks.atOnce = number
        default: return try setLimit(name, value)
        }
        return true
    }

    var operationsLines: [String] {
        var lines = ["--profile \(profile.rawValue)"]
        if let idleFlushSeconds { lines.append("--idle-flush \(idleFlushSeconds)") }
        if let metrics { lines += ["--metrics-port \(metrics.port)", "--metrics-listen \(metrics.address)"] }
        if let program = hooks.program {
            lines += [
                "--hook \(program)", "--hook-timeout \(hooks.timeoutSeconds)", "--hooks-at-once \(hooks.atOnce)",
            ]
        }
        return lines + limitLines
    }

    static let operationsNames = [
        "--config", "--profile", "--idle-flush", "--metrics-port", "--metrics-listen", "--hook", "--hook-timeout",
        "--hooks-at-once",
        "--max-clients", "--idle-timeout", "--slow-timeout", "--output-limit", "--query-limit", "--client-memory",
    ]

    static let operationsUsage = """
          --config FILE        settings as lines "name value", without the dashes; flags stand above it. SIGHUP and
                               CONFIG RELOAD read it again
          --profile ssd|hdd    hdd: what requests read is asked of the disk in the order of its places, space is
                               reserved in large pieces (default ssd)
          --idle-flush N       seconds without a write after which everything is made durable and the disk is left
                               alone until the next write (default 1)
          --metrics-port N     /metrics and /health over HTTP
          --metrics-listen A   the address of --metrics-port (default 127.0.0.1)
          --hook PROGRAM       run at events: PROGRAM EVENT DEVICE ARGUMENT…
          --hook-timeout N     seconds after which it is killed (default 60)
          --hooks-at-once N    how many run at once (default 4)

        """
}

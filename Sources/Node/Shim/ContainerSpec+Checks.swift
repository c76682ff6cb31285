internal import CanonicalJSON

extension ContainerSpec {
    /// Whether a text is the id of a container.
    public static func isIdentifier(_ id: String) -> Bool {
        let bytes = Array(id.utf8)
        guard (1...64).contains(bytes.count), bytes[0] != UInt8(ascii: "-") else { return false }
        return bytes.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    /// An absolute path without `.`, `..`, empty parts and zero bytes.
    static func isPlainPath(_ path: String) -> Bool {
        guard path.hasPrefix("/"), path.utf8.count < 4096, !path.utf8.contains(0) else { return false }
        if path == "/" { return true }
        return path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
            .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    func check() throws(JSONError) {
        try expect(Self.isIdentifier(id), "id", "lower-case letters, digits and dashes", id)
        try expect(!arguments.isEmpty, "args", "at least a program", "[]")
        try expect(arguments.count <= SpecLimits.arguments, "args", "at most \(SpecLimits.arguments) words", "more")
        try expect(arguments[0] != "", "args", "a program", "an empty word")
        for word in arguments { try expect(Self.isArgument(word), "args", "text without a zero byte", "another") }
        try expect(environment.count <= SpecLimits.variables, "env", "at most \(SpecLimits.variables)", "more")
        for (name, value) in environment {
            try expect(Self.isVariable(name) && Self.isArgument(value), "env", "variables", name)
        }
        try expect(Self.isPlainPath(directory), "cwd", "an absolute path", directory)
        try expect(Self.isHostname(hostname), "hostname", "a host name", hostname)
        if let dns { try expect(Self.isAddress(dns), "dns", "an address", dns) }
        if let address { try expect(Self.isAddress(address), "address", "an address", address) }
        if let netns { try expect(Self.isNamespace(netns), "netns", "a name under /run/netns/", netns) }
        try expect(SignalName.number(stopSignal) != nil, "stop_signal", "a signal", stopSignal)
        try expect((0...3600).contains(stopSeconds), "stop_seconds", "0 to 3600", "\(stopSeconds)")
        try expect((SpecLimits.logMin...SpecLimits.logMax).contains(logMax), "log_max", "64 KiB to 1 GiB", "\(logMax)")
        if let path = ready?.http {
            let isPath = path.hasPrefix("/") && path.utf8.count < 512 && path.utf8.allSatisfy { $0 > 32 && $0 < 127 }
            try expect(isPath, "ready", "a path that starts with /", path)
        }
        try checkLimits()
        try checkVolumes()
        try checkSecrets()
    }

    private func expect(
        _ condition: Bool, _ key: String, _ expected: String, _ found: @autoclosure () -> String
    ) throws(JSONError) {
        if !condition {
            throw .unexpected(key: key, subject: "container spec", expected: expected, found: found())
        }
    }

    private func checkLimits() throws(JSONError) {
        if let cpu = limits.cpuMilli {
            try expect((1...1_024_000).contains(cpu), "cpu_milli", "1 to 1024000", "\(cpu)")
        }
        if let memory = limits.memory {
            try expect((SpecLimits.memoryMin...(1 << 50)).contains(memory), "memory", "8 MiB or more", "\(memory)")
        }
        try expect((1...4_194_304).contains(limits.pids), "pids", "1 to 4194304", "\(limits.pids)")
    }

    private func checkVolumes() throws(JSONError) {
        try expect(volumes.count <= SpecLimits.volumes, "volumes", "at most \(SpecLimits.volumes)", "\(volumes.count)")
        let taken = ["/", "/proc", "/sys", "/dev", "/run/secrets", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]
        for volume in volumes {
            try expect(Self.isPlainPath(volume.path), "volumes", "an absolute path", volume.path)
            let isFree =
                Self.isPlainPath(volume.at) && !taken.contains(volume.at)
                && !["/proc/", "/sys/", "/dev/", "/.zero-init"].contains { volume.at.hasPrefix($0) }
            try expect(isFree, "volumes", "a place in the container that is free", volume.at)
        }
        try expect(Set(volumes.map(\.at)).count == volumes.count, "volumes", "different places", "the same twice")
    }

    private func checkSecrets() throws(JSONError) {
        try expect(secrets.count <= SpecLimits.secrets, "secrets", "at most \(SpecLimits.secrets)", "\(secrets.count)")
        for (name, secret) in secrets {
            let bytes = Array(name.utf8)
            let isName =
                (1...64).contains(bytes.count) && bytes[0] != UInt8(ascii: ".")
                && bytes.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "=") }
            try expect(isName, "secrets", "names of letters, digits, dots, dashes", name)
            for variable in secret.variables { try expect(Self.isVariable(variable), "env", "a variable", variable) }
        }
    }

    static func isVariable(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count < 256 && !name.utf8.contains(0) && !name.utf8.contains(UInt8(ascii: "="))
    }

    private static func isArgument(_ text: String) -> Bool {
        text.utf8.count <= SpecLimits.textBytes && !text.utf8.contains(0)
    }

    private static func isHostname(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        return (1...63).contains(bytes.count) && bytes[0] != UInt8(ascii: "-")
            && bytes.allSatisfy {
                isLetterOrDigit($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                    || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            }
    }

    private static func isAddress(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count < 46
            && text.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".")
                    || $0 == UInt8(ascii: ":")
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }

    /// Namespaces of containers stand directly under `/run/netns`, where only `zero-network` makes them.
    private static func isNamespace(_ path: String) -> Bool {
        guard path.hasPrefix("/run/netns/") else { return false }
        let name = path.dropFirst("/run/netns/".count)
        return !name.isEmpty && name != "." && name != ".." && !name.contains("/") && name.utf8.count < 128
            && !name.utf8.contains(0)
    }
}

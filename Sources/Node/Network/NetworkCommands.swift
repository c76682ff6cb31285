internal import CanonicalJSON
internal import Linux

/// Runs `ip` and `nft`. Blocking: called on threads of the network daemon's own.
enum NetworkCommands {
    /// Commands of `ip`, run one after the other in one process; in a namespace if one is named.
    static func ip(_ commands: [String], in namespace: String? = nil) throws(NetworkError) {
        guard !commands.isEmpty else { return }
        let place = namespace.map { ["-n", $0] } ?? []
        let input = Array((commands.joined(separator: "\n") + "\n").utf8)
        try run("ip", place + ["-batch", "-"], input: input, subject: namespace ?? "the node")
    }

    /// Applies rules in one transaction.
    static func nft(_ rules: String, in namespace: String?) throws(NetworkError) {
        let command = inside(namespace, ["nft", "-f", "-"])
        try run(
            command[0], Array(command.dropFirst()), input: Array(rules.utf8),
            subject: "\(namespace ?? "the node")'s rules")
    }

    /// A table as the kernel has it, nil where it is absent.
    static func table(_ name: String, in namespace: String?) -> String? {
        let command = inside(namespace, ["nft", "list", "table", "inet", name])
        guard let output = try? Subprocess.run(command[0], Array(command.dropFirst()), timeout: 20), output.status == 0
        else {
            return nil
        }
        return output.text
    }

    /// Interfaces of a namespace with their addresses, `a.b.c.d/n`; nil where the namespace is not usable.
    static func interfaces(in namespace: String?) -> [String: Set<String>]? {
        let place = namespace.map { ["-n", $0] } ?? []
        guard let output = try? Subprocess.run("ip", place + ["-j", "addr", "show"], timeout: 20), output.status == 0,
            let list = try? JSONValue(parsing: output.output)
        else { return nil }
        var found: [String: Set<String>] = [:]
        for entry in list.array ?? [] {
            guard let name = entry["ifname"]?.string else { continue }
            var addresses: Set<String> = []
            for address in entry["addr_info"]?.array ?? [] {
                if let local = address["local"]?.string, let length = address["prefixlen"]?.integer {
                    addresses.insert("\(local)/\(length)")
                }
            }
            if entry["flags"]?.array?.contains("UP") == true { addresses.insert("up") }
            found[name] = addresses
        }
        return found
    }

    /// Sets kernel variables of a namespace.
    static func sysctl(_ settings: [String], in namespace: String?) throws(NetworkError) {
        let command = inside(namespace, ["sysctl", "-qw"] + settings)
        try run(command[0], Array(command.dropFirst()), subject: namespace ?? "the node")
    }

    private static func inside(_ namespace: String?, _ command: [String]) -> [String] {
        guard let namespace else { return command }
        return ["ip", "netns", "exec", namespace] + command
    }

    private static func run(
        _ program: String, _ arguments: [String], input: [UInt8]? = nil, subject: String
    ) throws(NetworkError) {
        do throws(SubprocessError) {
            try Subprocess.check(program, arguments, input: input, timeout: 30)
        } catch {
            throw .command(subject: subject, reason: "\(error)")
        }
    }
}

import LogEngine

/// The properties of a namespace that `NSSET` changes beside switches and quotas: when writes are durable, what a tenant
/// may take, which former versions are kept, how much of the disk is set aside.
extension Server {
    /// What `NSSET` says about itself.
    static let properties = """
        ERR NSSET knows mode user|seq|ordered, maxsize <bytes>, password <password>|*, public|worm|lock|freeze 0|1, \
        sync always|interval:<ms>|none|default, ops|bandwidth|connections <n>, \
        history all|none|last:<n>|for:<seconds>, reservation <bytes>
        """

    /// Takes a property over into settings; false if the property or its value is not known.
    static func apply(_ property: Argument, _ value: Argument, to settings: inout NamespaceSettings) -> Bool {
        if property.isWord("SYNC") { return applySync(value, to: &settings) }
        if property.isWord("HISTORY") {
            guard let policy = HistoryPolicy(String(decoding: value.bytes, as: UTF8.self).lowercased()) else {
                return false
            }
            settings.history = policy
            return true
        }
        guard let number = value.number else { return false }
        if property.isWord("OPS") {
            settings.operationsMax = number
        } else if property.isWord("BANDWIDTH") {
            settings.bandwidthMax = number
        } else if property.isWord("RESERVATION") {
            settings.reservation = number
        } else if property.isWord("CONNECTIONS"), number <= UInt64(Limits.connectionsMax) {
            settings.connectionsMax = number
        } else {
            return false
        }
        return true
    }

    private static func applySync(_ value: Argument, to settings: inout NamespaceSettings) -> Bool {
        if value.isWord("ALWAYS") {
            settings.durability = .always
        } else if value.isWord("NONE") {
            settings.durability = Durability.none
        } else if value.isWord("DEFAULT") {
            settings.durability = nil
        } else {
            let prefix: StaticString = "INTERVAL:"
            let length = prefix.utf8CodeUnitCount
            guard value.count > length, Argument(base: value.base, count: length).isWord(prefix),
                let number = Argument(base: value.base + length, count: value.count - length).number,
                Limits.syncMilliseconds.contains(number)
            else { return false }
            settings.durability = .interval(UInt32(number))
        }
        return true
    }

    /// The lines of `NSINFO` about them.
    func properties(of settings: NamespaceSettings) -> String {
        let sync: String
        switch settings.durability {
        case nil: sync = "default"
        case .always: sync = "always"
        case .interval(let milliseconds): sync = "interval:\(milliseconds)"
        case .some(.none): sync = "none"
        }
        return """
            sync: \(sync)
            ops_per_second: \(settings.operationsMax)
            bandwidth_bytes_per_second: \(settings.bandwidthMax)
            connections_max: \(settings.connectionsMax)
            """
    }
}

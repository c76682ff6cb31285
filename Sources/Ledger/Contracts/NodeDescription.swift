public import Crypto
public import Records

/// A node and what it says about itself.
public struct NodeDescription: Hashable, Sendable {
    /// The node's identity.
    public var node: PublicKey
    /// The body of its `node` record.
    public var body: NodeBody

    /// A node by its record.
    public init(node: PublicKey, body: NodeBody) { (self.node, self.body) = (node, body) }
}

extension PlaceConstraint {
    static let countryRule = "a country is two capital letters (ISO 3166-1)"

    static func isCountry(_ text: String) -> Bool {
        text.utf8.count == 2 && text.utf8.allSatisfy { (0x41...0x5A).contains($0) }
    }

    /// The first part that `node` does not meet, as wanted and found; `nil` where all hold.
    public func conflict(with node: NodeDescription) -> (wanted: String, found: String)? {
        if let country, node.body.country != country {
            return ("country \(country)", node.body.country.map { "country \($0)" } ?? "no country")
        }
        if let farm, node.body.farm != farm {
            return ("farm \(farm.address)", node.body.farm.map { "farm \($0.address)" } ?? "no farm")
        }
        if let wanted = self.node, wanted != node.node {
            return ("node \(wanted.address)", "node \(node.node.address)")
        }
        return nil
    }
}

extension Capacity {
    /// Nothing.
    public static let zero = Capacity()

    /// The sum; limits of contracts and nodes keep it far from overflow.
    public static func + (left: Capacity, right: Capacity) -> Capacity {
        Capacity(cpu: left.cpu + right.cpu, memory: left.memory + right.memory, storage: left.storage + right.storage)
    }

    /// What is left; negative where more is taken than there is.
    public static func - (left: Capacity, right: Capacity) -> Capacity {
        Capacity(cpu: left.cpu - right.cpu, memory: left.memory - right.memory, storage: left.storage - right.storage)
    }

    /// The first resource in which this is more than `free`, with both amounts as text.
    public func excess(over free: Capacity) -> (resource: String, wanted: String, free: String)? {
        if cpu > free.cpu { return ("CPU", Units.cpuText(cpu), Units.cpuText(max(0, free.cpu))) }
        if memory > free.memory { return ("memory", Units.sizeText(memory), Units.sizeText(max(0, free.memory))) }
        if storage > free.storage { return ("storage", Units.sizeText(storage), Units.sizeText(max(0, free.storage))) }
        return nil
    }
}

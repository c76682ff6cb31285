internal import CanonicalJSON
internal import Linux

/// Which /30 of the node's link range belongs to which contract. Durable, so that addresses stay over restarts.
struct LinkAllocations: Sendable {
    private let range: NetworkRange
    private let path: String
    /// Index of the /30 by contract.
    private(set) var indices: [String: UInt32] = [:]

    /// Reads what an earlier process allocated; a damaged file is refused, not written over.
    init(range: NetworkRange, path: String) throws {
        (self.range, self.path) = (range, path)
        guard File.exists(path) else { return }
        let value = try JSONValue(canonical: try File.read(path, limit: 1 << 20))
        for (contract, index) in value["links"]?.object ?? [:] {
            if let number = index.integer, number >= 0, number < Int64(range.count / 4) {
                indices[contract] = UInt32(number)
            }
        }
    }

    /// The contract's index, allocated if need be.
    mutating func index(of contract: String) throws -> UInt32 {
        if let known = indices[contract] { return known }
        let taken = Set(indices.values)
        guard let free = (0..<(range.count / 4)).first(where: { !taken.contains($0) }) else {
            throw NetworkError.linkRangeFull(contracts: indices.count)
        }
        indices[contract] = free
        try save()
        return free
    }

    /// Gives the contract's addresses back.
    mutating func release(_ contract: String) throws {
        guard indices.removeValue(forKey: contract) != nil else { return }
        try save()
    }

    private func save() throws {
        let links = indices.mapValues { JSONValue.integer(Int64($0)) }
        try File.writeDurably(path, JSONValue.object(["links": .object(links), "v": 1]).canonicalBytes)
    }

    /// The node's end of a link.
    func hostAddress(_ index: UInt32) -> String { range.address(index * 4 + 1) }
    /// The contract's end: what gateways and Core-X clients connect to.
    func linkAddress(_ index: UInt32) -> String { range.address(index * 4 + 2) }
}

/// What can go wrong with a contract's network.
enum NetworkError: Error, CustomStringConvertible {
    /// Every /30 of the link range is in use.
    case linkRangeFull(contracts: Int)
    /// A command of `ip` or `nft` failed.
    case command(subject: String, reason: String)

    var description: String {
        switch self {
        case .linkRangeFull(let contracts):
            "the link range is full with \(contracts) contracts; give --link-range a larger one"
        case .command(let subject, let reason): "\(subject): \(reason)"
        }
    }
}

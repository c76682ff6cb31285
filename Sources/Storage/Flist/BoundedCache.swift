import Synchronization

/// Keeps what was used last, up to a total cost. Threads may share it.
public final class BoundedCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Node {
        let key: Key
        var value: Value
        var cost: Int
        var newer: Int
        var older: Int
    }

    private struct State {
        var places: [Key: Int] = [:]
        var nodes: [Node?] = []
        var free: [Int] = []
        var newest = -1
        var oldest = -1
        var cost = 0
    }

    private let limit: Int
    private let state = Mutex(State())

    /// A cache of values that cost `limit` together.
    public init(limit: Int) { self.limit = limit }

    /// What is held now.
    public var cost: Int { state.withLock { $0.cost } }

    /// The value of `key`, which then counts as used last.
    public func value(_ key: Key) -> Value? {
        state.withLock { state in
            guard let place = state.places[key], let node = state.nodes[place] else { return nil }
            Self.unlink(place, &state)
            Self.link(place, &state)
            return node.value
        }
    }

    /// Whether `key` is held; changes no order.
    public func contains(_ key: Key) -> Bool { state.withLock { $0.places[key] != nil } }

    /// Keeps `value`, and lets go of what was not used for longest. What costs more than the limit is not kept.
    public func insert(_ key: Key, _ value: Value, cost: Int) {
        guard cost <= limit else { return }
        // Values are released outside the lock.
        let released: [Value] = state.withLock { state in
            var released: [Value] = []
            if let place = state.places[key] { Self.remove(place, &state, &released) }
            let place = state.free.popLast() ?? state.nodes.count
            let node = Node(key: key, value: value, cost: cost, newer: -1, older: -1)
            if place == state.nodes.count { state.nodes.append(node) } else { state.nodes[place] = node }
            state.places[key] = place
            state.cost += cost
            Self.link(place, &state)
            while state.cost > limit, state.oldest != place { Self.remove(state.oldest, &state, &released) }
            return released
        }
        _ = released
    }

    private static func link(_ place: Int, _ state: inout State) {
        state.nodes[place]?.older = state.newest
        state.nodes[place]?.newer = -1
        if state.newest >= 0 { state.nodes[state.newest]?.newer = place }
        state.newest = place
        if state.oldest < 0 { state.oldest = place }
    }

    private static func unlink(_ place: Int, _ state: inout State) {
        guard let node = state.nodes[place] else { return }
        if node.newer >= 0 { state.nodes[node.newer]?.older = node.older } else { state.newest = node.older }
        if node.older >= 0 { state.nodes[node.older]?.newer = node.newer } else { state.oldest = node.newer }
    }

    private static func remove(_ place: Int, _ state: inout State, _ released: inout [Value]) {
        guard place >= 0, let node = state.nodes[place] else { return }
        unlink(place, &state)
        state.places[node.key] = nil
        state.nodes[place] = nil
        state.free.append(place)
        state.cost -= node.cost
        released.append(node.value)
    }
}

import LogEngine

/// A namespace of the model. Keys are numbered, so that states are compared without hashing; in a sequential namespace
/// the numbers are the ids that were given.
struct ModelNamespace {
    let id: UInt32
    let name: [UInt8]
    private(set) var settings: NamespaceSettings
    var fence: UInt64 = 0
    /// Numbers of the keys that are known, ascending.
    private(set) var numbers: [Int] = []
    private var histories: [KeyHistory] = []
    /// Damage made what it counts unknown.
    var isUncertain = false
    /// What was kept of versions up to a sequence number by the policies that were in force before.
    private var formerPolicies: [(policy: HistoryPolicy, until: UInt64)] = []

    init(id: UInt32, name: [UInt8], settings: NamespaceSettings) {
        (self.id, self.name, self.settings) = (id, name, settings)
        clear()
    }

    var isSequential: Bool { settings.mode == NamespaceMode.sequential }
    var isOrdered: Bool { settings.mode == NamespaceMode.ordered }
    /// Whether no key ever was, so that its mode may change.
    var isFresh: Bool { histories.allSatisfy { $0.versions.isEmpty } }
    /// The id that the next new value of a sequential namespace gets.
    var nextId: Int { (numbers.last ?? -1) + 1 }

    subscript(key: Int) -> KeyHistory {
        get { place(of: key).map { histories[$0] } ?? KeyHistory() }
        set {
            if let place = place(of: key) {
                histories[place] = newValue
            } else {
                let place = numbers.firstIndex { $0 > key } ?? numbers.count
                numbers.insert(key, at: place)
                histories.insert(newValue, at: place)
            }
        }
    }

    private func place(of key: Int) -> Int? {
        if !isSequential { return key < histories.count ? key : nil }
        var (low, high) = (0, numbers.count)
        while low < high {
            let middle = (low + high) / 2
            if numbers[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low < numbers.count && numbers[low] == key ? low : nil
    }

    mutating func change(to settings: NamespaceSettings, at sequence: UInt64) {
        if policy != .all { formerPolicies.append((policy, sequence)) }
        let isOther = settings.mode != self.settings.mode
        self.settings = settings
        if isOther { clear() }
    }

    /// What compaction keeps now.
    private var policy: HistoryPolicy {
        settings.isWorm || settings.isLocked || settings.isFrozen ? .all : settings.history
    }

    /// Whether compaction may have let a former version go: `newer` is the one behind it, `rank` how many are.
    func mayBeGone(_ version: KeyVersion, newer: KeyVersion, rank: Int, now: UInt64) -> Bool {
        func lets(_ policy: HistoryPolicy) -> Bool {
            switch policy {
            case .all: false
            case .last(let count): UInt64(rank) >= count
            case .duration(0): true
            case .duration(let span): newer.time &+ span <= now
            }
        }
        // A deletion that hid nothing any more went while it was the newest, and with it all that was before.
        func forgets(_ policy: HistoryPolicy) -> Bool {
            switch policy {
            case .last(1), .duration: version.value == nil
            case .all, .last: false
            }
        }
        if forgets(policy) || formerPolicies.contains(where: { version.sequence < $0.until && forgets($0.policy) }) {
            return true
        }
        return lets(policy) || formerPolicies.contains { version.sequence < $0.until && lets($0.policy) }
    }

    /// Whether compaction may have forgotten that a key ever was, because it was ended.
    func mayBeForgotten(_ key: Int) -> Bool {
        guard let newest = self[key].newest, newest.value == nil else { return false }
        return policy != .all || formerPolicies.contains { newest.sequence < $0.until }
    }

    /// Forgets all keys.
    mutating func clear() {
        numbers = isSequential ? [] : Array(0..<Keys.count)
        histories = Array(repeating: KeyHistory(), count: numbers.count)
    }

    /// A key as it is written.
    func bytes(_ key: Int) -> [UInt8] { isSequential ? Keys.id(key) : Keys.bytes(key) }

    /// The number of a key.
    func number(_ key: [UInt8]) -> Int? {
        guard isSequential else { return Keys.number(key) }
        guard key.count == 8 else { return nil }
        let id = key.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard let number = Int(exactly: id) else { return nil }
        return place(of: number).map { numbers[$0] }
    }

    /// Numbers of the keys that exist, ascending.
    var liveNumbers: [Int] {
        numbers.indices.lazy.filter { histories[$0].value != nil }.map { numbers[$0] }
    }

    /// Whether damage may hide something of a key.
    var hasUncertainKeys: Bool { histories.contains(where: \.isUncertain) }

    /// Keys that exist, and bytes of them and their values.
    var live: (entries: UInt64, bytes: UInt64) {
        var (entries, bytes): (UInt64, UInt64) = (0, 0)
        for place in histories.indices {
            guard let value = histories[place].value else { continue }
            entries += 1
            bytes += UInt64(self.bytes(numbers[place]).count + value.count)
        }
        return (entries, bytes)
    }
}

/// Keys by number: of several lengths, so that records are of several alignments.
enum Keys {
    static let count = 24
    private static let all: [[UInt8]] = (0..<count).map { number in
        Array("key-\(number)".utf8)
            + [UInt8](repeating: UInt8(65 + number), count: number % 5 == 4 ? number * 9 : number % 3)
    }

    static func bytes(_ number: Int) -> [UInt8] { all[number] }
    static func number(_ key: [UInt8]) -> Int? { all.firstIndex(of: key) }
    /// An id as a key: 8 bytes, little-endian.
    static func id(_ number: Int) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: UInt64(truncatingIfNeeded: number) >> (8 * $0)) }
    }
}

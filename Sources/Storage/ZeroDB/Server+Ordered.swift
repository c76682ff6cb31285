import LogEngine

/// Where SCAN stands in an ordered namespace: its cursor is a number, the place a key.
struct ScanCursors {
    /// So many are remembered, over all connections.
    private static let countMax = 16_384

    private var places: [UInt64: (namespace: UInt32, key: [UInt8])] = [:]
    private var newest: UInt64 = 0

    /// A number for a place.
    mutating func add(_ namespace: UInt32, _ key: [UInt8]) -> UInt64 {
        newest += 1
        places[newest] = (namespace, key)
        if newest > UInt64(Self.countMax) { places[newest - UInt64(Self.countMax)] = nil }
        return newest
    }

    /// The place of a number; nil if it was forgotten.
    func place(_ cursor: UInt64, _ namespace: UInt32) -> [UInt8]? {
        guard let place = places[cursor], place.namespace == namespace else { return nil }
        return place.key
    }
}

extension Server {
    /// A namespace's mode by name.
    static func mode(_ word: Argument) -> UInt8? {
        if word.isWord("USER") { return NamespaceMode.user }
        if word.isWord("SEQ") || word.isWord("SEQUENTIAL") { return NamespaceMode.sequential }
        return word.isWord("ORDERED") ? NamespaceMode.ordered : nil
    }
}

import Glibc

/// Descriptors that processes gave to zero-core, to get them back when they start again.
struct StoredDescriptors {
    struct Item {
        let name: String
        let fd: Int32
    }

    private var items: [ProcessKey: [Item]] = [:]
    private(set) var count = 0

    /// What is kept for a process, oldest first.
    func of(_ key: ProcessKey) -> [Item] { items[key] ?? [] }

    /// Everything that is kept, by the name that zero-watch knows it by.
    var all: [(name: String, fd: Int32)] {
        items.flatMap { key, list in list.map { (StoredDescriptors.name(key, $0.name), $0.fd) } }
    }

    static func name(_ key: ProcessKey, _ name: String) -> String { "\(key)/\(name)" }

    /// The process and the descriptor's name in a name of `all`.
    static func parse(_ text: String) -> (key: ProcessKey, name: String)? {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, let key = ProcessKey(text: parts[0]), isName(parts[1]) else { return nil }
        return (key, parts[1])
    }

    static func isName(_ name: String) -> Bool {
        (1...32).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || [0x2d, 0x2e, 0x5f].contains(byte)
            }
    }

    /// Whether one more fits, or replaces one.
    func hasRoom(_ key: ProcessKey, _ name: String) -> Bool {
        of(key).contains { $0.name == name } || (of(key).count < Limits.storedOfOneMax && count < Limits.storedMax)
    }

    /// Keeps a descriptor, which now belongs to this table; one of the same name is closed.
    mutating func put(_ key: ProcessKey, _ name: String, _ fd: Int32) {
        if let old = items[key]?.firstIndex(where: { $0.name == name }) {
            close(of(key)[old].fd)
            items[key]?[old] = Item(name: name, fd: fd)
        } else {
            items[key, default: []].append(Item(name: name, fd: fd))
            count += 1
        }
    }

    /// Closes what is kept for a process; returns the names of it.
    mutating func drop(_ key: ProcessKey) -> [String] {
        guard let list = items.removeValue(forKey: key) else { return [] }
        for item in list { close(item.fd) }
        count -= list.count
        return list.map(\.name)
    }
}

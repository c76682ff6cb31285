import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: namespaces and conditions")
struct NamespaceTests {
    @Test("Namespaces, settings and fences survive a restart; an ended one is gone, its number is not used again")
    func lifecycle() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        let ledger = try engine.createNamespace(bytes("ledger"), NamespaceSettings(), time: 1)
        let other = try engine.createNamespace(bytes("other"), NamespaceSettings(), time: 1)
        try engine.set(bytes("k"), [1], namespace: ledger)
        try engine.set(bytes("k"), [2], namespace: other)
        try engine.set(bytes("k"), [3])
        var settings = NamespaceSettings()
        settings.maxSize = 1000
        try engine.changeNamespace(ledger, settings, time: 1)
        try engine.fence(ledger, epoch: 7, time: 1)
        try engine.removeNamespace(other, time: 1)
        #expect(throws: LogError.namespaceExists) {
            _ = try engine.createNamespace(bytes("ledger"), NamespaceSettings(), time: 1)
        }
        #expect(throws: LogError.badName) { _ = try engine.createNamespace(bytes("a/b"), NamespaceSettings(), time: 1) }

        var again = try LogEngine.open(disk)
        #expect(again.namespaceNames == [bytes("default"), bytes("ledger")])
        #expect(again.information(ledger)?.settings.maxSize == 1000)
        #expect(again.information(ledger)?.fence == 7)
        #expect(try again.get(bytes("k"), namespace: ledger) == [1])
        #expect(try again.get(bytes("k")) == [3])
        #expect(throws: LogError.noNamespace) { try again.get(bytes("k"), namespace: other) }
        #expect(try again.createNamespace(bytes("other"), NamespaceSettings(), time: 1) == other + 1)
        #expect(throws: LogError.fenced(epoch: 7)) { try again.set(bytes("k"), [9], namespace: ledger) }
        #expect(throws: LogError.fenced(epoch: 7)) { try again.set(bytes("k"), [9], epoch: 6, namespace: ledger) }
        #expect(throws: LogError.fenced(epoch: 7)) { try again.fence(ledger, epoch: 6, time: 1) }
        #expect(try again.set(bytes("k"), [9], epoch: 7, namespace: ledger) > 0)
    }

    @Test("IFSEQ and IFABSENT")
    func conditions() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        let first = try engine.set(bytes("k"), [1], .absent)
        #expect(throws: LogError.exists) { try engine.set(bytes("k"), [2], .absent) }
        #expect(throws: LogError.conflict(sequence: first)) { try engine.set(bytes("k"), [2], .sequence(first + 9)) }
        #expect(throws: LogError.conflict(sequence: first)) { try engine.set(bytes("k"), [2], .sequence(0)) }
        let second = try engine.set(bytes("k"), [2], .sequence(first))
        #expect(second > first)
        let end = try engine.delete(bytes("k"))
        #expect(throws: LogError.absent) { try engine.delete(bytes("k")) }
        #expect(try bytes("k").withUnsafeBytes { try engine.version(1, $0) } == end)
        #expect(throws: LogError.conflict(sequence: 0)) { try engine.set(bytes("k"), [3], .sequence(second)) }
        try engine.set(bytes("k"), [3], .sequence(end))
        try engine.delete(bytes("k"))
        try engine.set(bytes("k"), [4], .sequence(0))
        #expect(try engine.get(bytes("k")) == [4])
    }

    @Test("A quota counts live keys and values, and gives back what is overwritten or ended")
    func quota() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        var settings = NamespaceSettings()
        settings.maxSize = 100
        let id = try engine.createNamespace(bytes("small"), settings, time: 1)
        try engine.set(bytes("a"), [UInt8](repeating: 1, count: 99), namespace: id)
        #expect(throws: LogError.quota) { try engine.set(bytes("b"), [], namespace: id) }
        try engine.set(bytes("a"), [UInt8](repeating: 1, count: 50), namespace: id)
        try engine.set(bytes("b"), [UInt8](repeating: 1, count: 48), namespace: id)
        #expect(engine.information(id)?.liveBytes == 100)
        try engine.delete(bytes("a"), namespace: id)
        #expect(engine.information(id)?.liveBytes == 49)
        #expect(engine.information(id)?.entries == 1)
    }

    @Test("Worm, lock, freeze and what is not understood are kept to")
    func modes() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        var settings = NamespaceSettings()
        try engine.set(bytes("a"), [1])
        settings.isWorm = true
        try engine.changeNamespace(1, settings, time: 1)
        #expect(throws: LogError.worm) { try engine.set(bytes("a"), [2]) }
        #expect(throws: LogError.worm) { try engine.delete(bytes("a")) }
        try engine.set(bytes("b"), [1])
        settings.isLocked = true
        try engine.changeNamespace(1, settings, time: 1)
        #expect(throws: LogError.locked) { try engine.set(bytes("c"), [2]) }
        #expect(try engine.get(bytes("a")) == [1])
        settings.isFrozen = true
        try engine.changeNamespace(1, settings, time: 1)
        #expect(throws: LogError.frozen) { try engine.get(bytes("a")) }
        let future: [UInt8] = [1, 0, 1, 0, 1, 0x77, 0x07, 2, 0, 1, 2, 0x99, 0x90, 1, 0, 5]
        let read = future.withUnsafeBytes { NamespaceSettings($0) }
        #expect(!read.isSupported)
        #expect(read.encoded.count > future.count)
        let optional: [UInt8] = [1, 0, 1, 0, 1, 0x99, 0x90, 1, 0, 5]
        #expect(optional.withUnsafeBytes { NamespaceSettings($0) }.isSupported)
        let ordered: [UInt8] = [1, 0, 1, 0, 3]
        #expect(ordered.withUnsafeBytes { NamespaceSettings($0) }.isSupported)
        // Sequential, but it does not say how ids are given; and a mode that does not exist yet.
        for other: [UInt8] in [[1, 0, 1, 0, 2], [1, 0, 1, 0, 2, 11, 0, 1, 0, 2], [1, 0, 1, 0, 4]] {
            #expect(!other.withUnsafeBytes { NamespaceSettings($0) }.isSupported)
        }
        var sequential = NamespaceSettings()
        sequential.mode = NamespaceMode.sequential
        #expect(sequential.encoded.withUnsafeBytes { NamespaceSettings($0) }.isSupported)
    }
}

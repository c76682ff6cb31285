import Crypto
import Objects
import Testing

@testable import ZeroStor

@Suite struct QuorumLogTests {
    private let keys = StoreKeys(secret: [UInt8](repeating: 7, count: 32), store: "test")
    private let quorum = LogQuorum(
        members: [1, 2, 3, 4], namespaces: [1: "s", 2: "s", 3: "s", 4: "s"], unreachable: 1, lying: 1)

    private func log(_ servers: FakeServers, height: UInt64 = 0, hash: Digest = .zero) -> QuorumLog {
        QuorumLog(FakeBackends(servers), quorum, keys: keys, height: height, hash: hash)
    }

    private func replayed(_ log: QuorumLog) throws -> [String] {
        var found: [String] = []
        try log.takeOver(random: 1) { (entry) throws(ObjectError) in
            found.append(String(decoding: entry.payload, as: UTF8.self))
        }
        return found
    }

    @Test func whatWasAppendedIsReadByTheNextWriter() throws {
        let servers = FakeServers(4)
        let first = log(servers)
        #expect(try replayed(first) == [])
        for number in 1...200 { try first.append(Array("\(number)".utf8)) }
        servers.set(.away, 2)
        #expect(try replayed(log(servers)) == (1...200).map { "\($0)" })
        // The former writer is refused from then on, also where it does not know.
        #expect(throws: ObjectError.self) { try first.append([1]) }
        #expect(try replayed(log(servers, height: 200, hash: first.hash)) == [])
    }

    @Test func oneMayBeAwayAndAnotherLie() throws {
        let servers = FakeServers(4)
        let first = log(servers)
        #expect(try replayed(first) == [])
        for number in 1...20 { try first.append(Array("\(number)".utf8)) }
        servers.set(.away, 1)
        servers.set(.flips, 2)
        #expect(try replayed(log(servers)).count == 20)
        // A head that is far too high is not believed, and old ones do not hide the new ones.
        servers.set(.none, 1, 2)
        servers.change(3) { $0.values[Array("H".utf8)] = [0, 0, 0, 9, 9, 9, 9, 9] }
        servers.change(4) { $0.values[Array("H".utf8)] = [0, 0, 0, 0, 0, 0, 0, 3] }
        #expect(try replayed(log(servers)).count == 20)
        servers.set(.away, 1, 2)
        #expect(throws: ObjectError.self) { try replayed(log(servers)) }
    }

    /// An entry that too few have may count or not; but there is one history, and it never changes afterwards.
    @Test func aHalfWrittenEntryNeverForksTheLog() throws {
        for reachable in 0...4 {
            let servers = FakeServers(4)
            let first = log(servers)
            #expect(try replayed(first) == [])
            try first.append(Array("a".utf8))
            let away = (1...4).filter { $0 > reachable }.map { UInt16($0) }
            for number in away { servers.set(.away, number) }
            let counted = (try? first.append(Array("b".utf8))) != nil
            #expect(counted == (reachable >= 3))
            for number in away { servers.set(.none, number) }
            let second = log(servers)
            let found = try replayed(second)
            if counted { #expect(found == ["a", "b"]) }
            try second.append(Array("c".utf8))
            // Whoever reads later, whichever backend is away, sees the same.
            for number in UInt16(1)...4 {
                servers.set(.away, number)
                #expect(try replayed(log(servers)) == found + ["c"])
                servers.set(.none, number)
            }
        }
    }

    @Test func whoLooksLeavesTheWriterAlone() throws {
        let servers = FakeServers(4)
        let writer = log(servers)
        #expect(try replayed(writer) == [])
        for number in 1...70 { try writer.append(Array("\(number)".utf8)) }
        func seen(_ reader: QuorumLog) throws -> [String] {
            var found: [String] = []
            try reader.follow { (entry) throws(ObjectError) in
                found.append(String(decoding: entry.payload, as: UTF8.self))
            }
            return found
        }
        let reader = log(servers)
        #expect(try seen(reader) == (1...70).map { "\($0)" })
        try writer.append(Array("71".utf8))
        #expect(try seen(reader) == ["71"] && seen(reader).isEmpty)
        // What does not count yet may be replaced: nobody learns of it.
        servers.set(.away, 1, 2)
        #expect(throws: ObjectError.self) { try writer.append(Array("lost".utf8)) }
        servers.set(.none, 1, 2)
        servers.set(.away, 4)
        #expect(try seen(reader).isEmpty && seen(log(servers)).last == "71")
        let next = log(servers)
        _ = try replayed(next)
        servers.set(.none, 4)
        try next.append(Array("72".utf8))
        #expect(try seen(reader).last == "72")
    }

    @Test func aWriterThatFailedTakesOverAnew() throws {
        let servers = FakeServers(4)
        let writer = log(servers)
        _ = try replayed(writer)
        try writer.append([1])
        servers.set(.away, 1, 2)
        #expect(throws: ObjectError.self) { try writer.append([2]) }
        #expect(throws: ObjectError.self) { try writer.append([3]) }
        servers.set(.none, 1, 2)
        try writer.takeOver(random: 5) { (_) throws(ObjectError) in }
        try writer.append([4])
        #expect(try replayed(log(servers)).last == "\u{4}")
        #expect(writer.fillGaps(limit: 100) >= 0)
    }

    /// One liar says that another one writes: it is outvoted.
    @Test func aFalseFenceStopsNobody() throws {
        let servers = FakeServers(4)
        let writer = log(servers)
        _ = try replayed(writer)
        servers.change(2) { $0.fence = .max }
        for number in 1...3 { try writer.append([UInt8(number)]) }
        #expect(try replayed(log(servers)).count == 3)
    }

    /// An entry that may not have counted is handed out only once it does.
    @Test func nobodyLearnsOfAnEntryThatDoesNotCount() throws {
        let servers = FakeServers(4)
        let first = log(servers)
        _ = try replayed(first)
        try first.append(Array("a".utf8))
        servers.set(.away, 2, 3, 4)
        #expect(throws: ObjectError.self) { try first.append(Array("b".utf8)) }
        servers.set(.none, 2, 3, 4)
        let second = log(servers)
        servers.set(.full, 3, 4)
        var found: [String] = []
        #expect(throws: ObjectError.self) {
            try second.takeOver(random: 2) { (entry) throws(ObjectError) in
                found.append(String(decoding: entry.payload, as: UTF8.self))
            }
        }
        #expect(found == ["a"])
    }

    @Test func backendsThatMissedEntriesGetThem() throws {
        let servers = FakeServers(4)
        let writer = log(servers)
        _ = try replayed(writer)
        servers.set(.away, 4)
        for number in 1...5 { try writer.append([UInt8(number)]) }
        servers.set(.none, 4)
        #expect(writer.fillGaps(limit: 100) == 5)
        #expect(servers.names(4, "L").count == 5)
        #expect(writer.gaps.values.map(\.count).reduce(0, +) == 0)
    }
}

import Glibc
import Linux
import Testing

@testable import Shim

@Suite struct LogTests {
    private func inFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/zero-log-\(getpid())-\(Clock.monotonicNanoseconds())"
        try File.makeDirectories(folder)
        defer { try? File.removeTree(folder) }
        try body(folder)
    }

    @Test func cutsLinesAndKeepsBytes() throws {
        try inFolder { folder in
            var ring = try LogRing(folder: folder, max: 1 << 20)
            ring.add(.output, Array("one\ntw".utf8)[...], time: 1)
            ring.add(.errors, [0xFF, 0x0D, 0x0A], time: 2)
            ring.add(.output, Array("o\n\n".utf8)[...], time: 3)
            ring.add(.output, [UInt8](repeating: 65, count: LogFiles.lineMax + 5)[...], time: 4)
            ring.flush(time: 5)
            var reader = LogReader(folder: folder)
            let records = try reader.tail(100)
            #expect(records.map(\.time) == [1, 2, 3, 3, 4, 5])
            #expect(records.map { $0.text.count } == [3, 2, 3, 0, LogFiles.lineMax, 5])
            #expect(records[1].stream == .errors && records[1].text == [0xFF, 0x0D])
            #expect(records.map(\.isPartial) == [false, false, false, false, true, false])
        }
    }

    @Test("what a follower reads is what was written, whatever the pieces")
    func follows() throws {
        try inFolder { folder in
            var ring = try LogRing(folder: folder, max: 64 << 10)
            var reader = LogReader(folder: folder)
            #expect(try reader.tail(5).isEmpty)
            var generator = SystemRandomNumberGenerator()
            var written: [String] = []
            var read: [String] = []
            for number in 0..<4000 {
                let line = "\(number) " + String(repeating: "x", count: Int(generator.next() % 60))
                written.append(line)
                ring.add(.output, Array((line + "\n").utf8)[...], time: Int64(number))
                if generator.next() % 20 == 0 {
                    read += try reader.more().map { String(decoding: $0.text, as: UTF8.self) }
                }
            }
            read += try reader.more().map { String(decoding: $0.text, as: UTF8.self) }
            let lost = reader.lost
            #expect(read == written && !lost)
            for name in [LogFiles.current, LogFiles.previous] {
                #expect(try File.status("\(folder)/\(name)").size <= 32 << 10)
            }
            var late = LogReader(folder: folder)
            #expect(try late.tail(7).map { String(decoding: $0.text, as: UTF8.self) } == Array(written.suffix(7)))
        }
    }

    @Test("a reader that is too slow is told that it lost lines")
    func loses() throws {
        try inFolder { folder in
            var ring = try LogRing(folder: folder, max: 64 << 10)
            ring.add(.output, Array("first\n".utf8)[...], time: 0)
            var reader = LogReader(folder: folder)
            _ = try reader.tail(1)
            for number in 0..<3000 {
                ring.add(.output, Array("\(number) xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".utf8)[...], time: 1)
            }
            _ = try reader.more()
            let lost = reader.lost
            #expect(lost)
        }
    }

    @Test(arguments: ["", "x", "1 o", "1 o F", "1 x F t", "1 o X t", "a o F t", "1oF t", "1 o F"])
    func refusesOtherLines(_ line: String) {
        #expect(LogRecord(line: Array(line.utf8)[...]) == nil)
    }
}

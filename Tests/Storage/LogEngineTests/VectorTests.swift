import Simulation
import Testing

@testable import LogEngine

#if canImport(Glibc)
import Glibc
#endif

@Suite("Log engine: the documented bytes")
struct VectorTests {
    /// The device of `Documentation/formats/zero-db-log.md`, section "Test vectors".
    func sample() throws -> (disk: SimulatedDisk, end: Int) {
        let disk = SimulatedDisk()
        var options = smallOptions()
        options.fresh = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908, 0x0123_4567_89ab_cdef)
        let time: UInt64 = 1_700_000_000_000_000_000
        var engine = try LogEngine.open(disk: disk, options: options, time: time)
        func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
        func set(_ key: String, _ value: String) throws {
            try bytes(key).withUnsafeBytes { key in
                _ = try bytes(value).withUnsafeBytes { try engine.set(1, key, $0, time: time + 1) }
            }
        }
        try set("hello", "world")
        try engine.commit(sync: true)
        try set("hello", "again")
        try engine.commit(sync: true)
        try engine.beginBatch(1, count: 2, bytes: 4, time: time + 1)
        try set("a", "1")
        try set("b", "2")
        try engine.commit(sync: true)
        _ = try bytes("hello").withUnsafeBytes { try engine.delete(1, $0, time: time + 2) }
        try engine.commit(sync: true)
        try engine.fence(1, epoch: 7, time: time + 3)
        try engine.mark(time: time + 4)
        try engine.close(time: time + 5)
        return (disk, Int(engine.logBytes))
    }

    @Test("The document's test vectors are what the engine writes")
    func vectors() throws {
        let (disk, end) = try sample()
        let image = disk.bytes(of: Format.name(segment: 1))
        #expect(image.count == end)
        let found = try documented()
        let header = Array(image.prefix(128))
        #expect(Array(image[2048..<2176]) == header)
        #expect(
            found == header + image[4096...], "the bytes are \(Self.hex(header)) \(Self.hex(Array(image[4096...])))")
        try #require(found == header + image[4096...])
        var again = try LogEngine.open(disk)
        #expect(again.report.records == 10 && again.report.wasClosed)
        #expect(try again.everything() == [bytes("a"): bytes("1"), bytes("b"): bytes("2")])
        #expect(again.information(1)?.fence == 7)
    }

    /// The bytes of all `hex` blocks of the document, comments left out.
    private func documented() throws -> [UInt8] {
        var path = "\(#filePath)"
        for _ in 0..<4 { path = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) }
        let descriptor = open(path + "/Documentation/formats/zero-db-log.md", O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: 1 << 17)
        let count = read(descriptor, &text, text.count)
        var result: [UInt8] = []
        var isHex = false
        for line in String(decoding: text.prefix(max(0, count)), as: UTF8.self).split(separator: "\n") {
            if line.hasPrefix("```") {
                isHex = line == "```hex"
            } else if isHex {
                let digits = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
                for pair in digits.split(separator: " ") { result.append(UInt8(pair, radix: 16) ?? 0) }
            }
        }
        return result
    }

    static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }
}

import Crypto
import Glibc
import ObjectIndex
import Objects
import Testing

/// Figures, not promises: `ZERO_FIGURES=1000000 swift test -c release --filter FiguresTests` prints them.
@Suite struct FiguresTests {
    private static let count = getenv("ZERO_FIGURES").flatMap { Int(String(cString: $0)) } ?? 0

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Kilobytes of a line of this process's status.
    private static func memory(_ name: String) -> Int {
        guard let stream = fopen("/proc/self/status", "r") else { return 0 }
        defer { fclose(stream) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, 256, stream) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if text.hasPrefix(name) { return Int(text.filter(\.isNumber)) ?? 0 }
        }
        return 0
    }

    private static func size(_ path: String) -> Int {
        var info = stat()
        return stat(path, &info) == 0 ? Int(info.st_size) : 0
    }

    /// The mean of several runs, in microseconds.
    private static func microseconds(_ runs: Int, _ body: (Int) throws -> Void) rethrows -> Double {
        let start = seconds()
        for run in 0..<runs { try body(run) }
        return (seconds() - start) * 1e6 / Double(runs)
    }

    /// Batches of 16 objects of 4 KiB, one stripe a batch, keys in the order of their hashes.
    private static func fill(_ fixture: inout Fixture, _ count: Int) throws {
        var dice = Dice(1)
        for batch in 0..<(count / 16) {
            let stripe = fixture.stripe([Int](repeating: 4124, count: 16))
            var operations: [Operation] = [.stripeAdd(stripe)]
            for (place, chunk) in stripe.chunks.enumerated() {
                let manifest = fixture.writer.nextSequence + 1 + UInt64(2 * place)
                let name = dice.next()
                operations.append(
                    .manifestAdd(
                        Manifest(
                            size: 4096, pieces: [.init(id: chunk.id, plainLength: 4096)],
                            sealedKeys: [UInt8](repeating: 7, count: 48))))
                operations.append(
                    .objectPut(
                        ObjectPut(
                            bucket: "bucket", key: ObjectKey("data/\(name % 1000)/\(name)-\(batch)"),
                            etag: String(repeating: "ab", count: 16), time: 1_700_000_000_000,
                            attributes: ["content-type": "application/octet-stream"],
                            segments: [Fixture.segment(manifest, 4096)], owner: "GOWNER")))
            }
            try fixture.commit(operations)
        }
    }

    @Test("A million objects", .enabled(if: count > 0))
    func million() throws {
        let count = Self.count
        let path = "/tmp/zero-index-figures-\(getpid())"
        defer { ObjectIndex.remove(path) }
        ObjectIndex.remove(path)
        var fixture = try Fixture(path)
        let before = Self.memory("VmRSS")
        let start = Self.seconds()
        try Self.fill(&fixture, count)
        let took = Self.seconds() - start
        print("insert: \(count) objects in \(took) s, \(Int(Double(count) / took)) a second in batches of 16")
        print("file: \(Self.size(path) / count) bytes an object, log \(Self.size(path + "-wal") >> 20) MiB")
        print(
            "memory: \(before >> 10) MiB before, \(Self.memory("VmRSS") >> 10) behind, peak \(Self.memory("VmHWM") >> 10)"
        )
        try lookups(fixture, count)
        let verifying = Self.seconds()
        #expect(try fixture.read { (view) throws(IndexError) in try view.verify() } == [])
        print("verify: \(Self.seconds() - verifying) s")
        let copying = Self.seconds()
        try fixture.index.snapshot(to: path + ".copy")
        print("snapshot: \(Self.seconds() - copying) s, \(Self.size(path + ".copy") / count) bytes an object")
        let opening = Self.seconds()
        do {
            let copy = try ObjectIndex(restoring: path + ".copy", path: path + ".new")
            #expect(copy.writer.nextSequence == fixture.writer.nextSequence)
        }
        print("restore: \(Self.seconds() - opening) s")
        ObjectIndex.remove(path + ".copy")
        ObjectIndex.remove(path + ".new")
        let losing = Self.seconds()
        try fixture.commit([.backendSet(Fixture.backend(3, .lost))])
        print("a backend lost: \(Self.seconds() - losing) s for \(count / 16) stripes")
    }

    private func lookups(_ fixture: Fixture, _ count: Int) throws {
        var keys: [ObjectKey] = []
        var dice = Dice(2)
        let prefixes = (0..<1000).map { _ in Array("data/\(dice.below(1000))/".utf8) }
        let page = try Self.microseconds(200) { run in
            var query = ListQuery()
            query.after = ObjectKey(prefixes[run])
            let page = try fixture.read { (view) throws(IndexError) in try view.list("bucket", query) }
            if page.entries.count < 1000 { #expect(!page.isTruncated) }
            keys += page.entries.prefix(5).map(\.key)
        }
        print("list 1000 from a random place: \(page) us")
        let joined = try Self.microseconds(20) { _ in
            var query = ListQuery()
            (query.prefix, query.delimiter) = (Array("data/".utf8), [0x2f])
            let page = try fixture.read { (view) throws(IndexError) in try view.list("bucket", query) }
            #expect(page.prefixes.count == 1000)
        }
        print("list 1000 common prefixes: \(joined) us")
        let one = try Self.microseconds(20) { _ in
            var query = ListQuery()
            query.delimiter = [0x2f]
            let page = try fixture.read { (view) throws(IndexError) in try view.list("bucket", query) }
            #expect(page.prefixes.count == 1)
        }
        print("list one common prefix over all: \(one) us")
        keys.shuffle(using: &dice)
        let version = try Self.microseconds(keys.count) { run in
            let found = try fixture.read { (view) throws(IndexError) in try view.version("bucket", keys[run]) }
            #expect(found != nil)
        }
        print("version: \(version) us")
        let whole = try Self.microseconds(keys.count) { run in
            try fixture.read { (view) throws(IndexError) in
                guard let segment = try view.version("bucket", keys[run])?.segments.first,
                    let manifest = try view.manifest(segment.manifest),
                    let chunk = try view.chunk(manifest.pieces[0].id)
                else { throw IndexError.misuse("not found") }
                _ = try view.stripe(chunk.stripe)
            }
        }
        print("version, manifest, chunk, stripe: \(whole) us")
        print("memory after reading: \(Self.memory("VmRSS") >> 10) MiB")
    }
}

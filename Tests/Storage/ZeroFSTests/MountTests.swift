import Crypto
import Flist
import Glibc
import Linux
import RESP
import Synchronization
import Testing

@testable import ZeroFS

@Suite(.enabled(if: World.canMount, "needs root, /dev/fuse and a built zero-fs"))
struct MountTests {
    private static let large = Random.bytes(3_000_000)

    private func world(secret: ConvergenceSecret = .publicImages) throws -> World {
        try World(
            ["hard/one": Array("hello".utf8), "dir/large": Self.large, "dir/other": Array("other".utf8), "empty": []],
            secret: secret)
    }

    @Test func servesTheTree() throws {
        let world = try world()
        try world.mount()
        #expect(try world.read("dir/large") == Self.large)
        #expect(try world.read("empty") == [])
        #expect(try world.read("link") == Array("hello".utf8))
        #expect(try File.list(world.mountpoint).sorted() == ["dir", "empty", "hard", "link", "two"])
        let status = try File.status(world.mountpoint + "/hard/one")
        #expect(status.permissions == 0o4711)
        #expect((status.uid, status.gid, status.links) == (12, 34, 2))
        #expect(status.modified == 1_600_000_000_000_000_005)
        #expect(try File.status(world.mountpoint + "/two").inode == status.inode)
        #expect(try File.status(world.mountpoint + "/dir").links == 2)
        let attribute = try Subprocess.run(
            "/usr/bin/getfattr", ["--only-values", "-n", "user.kind", world.mountpoint + "/dir/other"])
        #expect(attribute.output == Array("dir/other".utf8))
        #expect(throws: SystemError.self) { try world.read("missing") }
        #expect(throws: SystemError.self) { try File.write(world.mountpoint + "/new", []) }
        #expect(throws: SystemError.self) { try File.remove(world.mountpoint + "/two") }
        // Reads at odd places.
        let file = open(world.mountpoint + "/dir/large", O_RDONLY)
        defer { close(file) }
        var buffer = [UInt8](repeating: 0, count: 100_000)
        for offset in [0, 1, 65_535, 1_234_567, 2_999_999, 3_000_000, 5_000_000] {
            let got = pread(file, &buffer, buffer.count, off_t(offset))
            #expect(
                buffer[..<max(0, got)] == Self.large[min(offset, 3_000_000)..<min(offset + buffer.count, 3_000_000)])
        }
        close(file)
        #expect(world.end(SIGTERM) == 0)
        #expect(!world.isMounted)
    }

    @Test func privateImagesAreServedToo() throws {
        let secret = try #require(ConvergenceSecret(Array(repeating: 9, count: 32)))
        let world = try world(secret: secret)
        try world.mount()
        #expect(try world.read("dir/large") == Self.large)
    }

    @Test func wrongBytesAreNeverServed() throws {
        let world = try world()
        let piece = try #require(world.pieces["dir/other"]?.first).chunk.id
        world.store.change(piece) { $0?[30] ^= 4 }
        try world.mount()
        #expect(throws: SystemError.self) { try world.read("dir/other") }
        #expect(world.log.contains("path=/dir/other"))
        #expect(world.log.contains(piece.hex))
        // The rest is served, and so is this when the store has the right bytes again.
        #expect(try world.read("two") == Array("hello".utf8))
        world.store.change(piece) { $0?[30] ^= 4 }
        #expect(try world.read("dir/other") == Array("other".utf8))
        // A chunk that nobody has.
        let large = try #require(world.pieces["dir/large"]?.last).chunk.id
        world.store.change(large) { $0 = nil }
        #expect(throws: SystemError.self) { try world.read("dir/large") }
        #expect(world.log.contains("is not in the store"))
    }

    /// A store that says what is damaged is not an absent one: nobody waits, and the log names chunk, file and place.
    @Test func damageThatTheStoreReportsIsNotWaitedFor() throws {
        let world = try world()
        let piece = try #require(world.pieces["dir/other"]?.first).chunk.id
        world.store.damage(piece)
        try world.mount(wait: 20_000)
        let start = Clock.monotonicNanoseconds()
        #expect { try world.read("dir/other") } throws: { ($0 as? SystemError)?.errno.rawValue == EIO }
        #expect(Clock.monotonicNanoseconds() - start < 5_000_000_000)
        #expect(world.log.contains("path=/dir/other") && world.log.contains(piece.hex))
        #expect(world.log.contains("segment 1 offset 4096") && !world.log.contains("store is absent"))
        #expect(try world.read("two") == Array("hello".utf8))
        world.store.damage(piece, false)
        #expect(try world.read("dir/other") == Array("other".utf8))
    }

    @Test func absentStoreIsWaitedFor() throws {
        let world = try world()
        try world.mount(wait: 600)
        _ = try File.list(world.mountpoint + "/dir")
        world.store.stop()
        let start = Clock.monotonicNanoseconds()
        #expect { try world.read("dir/other") } throws: { ($0 as? SystemError)?.errno.rawValue == EIO }
        let waited = (Clock.monotonicNanoseconds() - start) / 1_000_000
        #expect((500...5_000).contains(waited), "\(waited) ms")
        world.store.start()
        #expect(try world.read("dir/other") == Array("other".utf8))
        #expect(world.log.contains("store is absent") && world.log.contains("store is back"))
    }

    @Test func readsGoOnWhenTheStoreReturns() throws {
        let world = try world()
        try world.mount(wait: 20_000)
        world.store.stop()
        let result = Reading(world.mountpoint + "/dir/large")
        usleep(400_000)
        #expect(result.bytes == nil)
        world.store.start()
        #expect(eventually { result.bytes != nil })
        #expect(result.bytes == Self.large)
    }

    /// A read that the old process took and never answered is answered by the new one.
    @Test(arguments: [SIGKILL, SIGUSR2])
    func successorAnswersWhatWasAsked(signal: Int32) throws {
        let world = try world()
        try world.mount(keeping: true)
        let open = Glibc.open(world.mountpoint + "/two", O_RDONLY)
        defer { close(open) }
        world.store.pause(true)
        let result = Reading(world.mountpoint + "/dir/large")
        let listing = Reading(world.mountpoint + "/dir/other")
        usleep(300_000)
        #expect(world.end(signal) == (signal == SIGKILL ? -1 : 0))
        #expect(world.isMounted)
        world.store.pause(false)
        try world.mount(keeping: true)
        #expect(world.log.contains("took over"))
        #expect(eventually { result.bytes != nil && listing.bytes != nil })
        #expect(result.bytes == Self.large)
        #expect(listing.bytes == Array("other".utf8))
        var buffer = [UInt8](repeating: 0, count: 5)
        #expect(pread(open, &buffer, 5, 0) == 5)
        #expect(buffer == Array("hello".utf8))
        #expect(world.end(SIGTERM) == 0)
        #expect(!world.isMounted)
    }

    /// What it took before it was asked to leave it answers itself: older kernels would not ask the successor.
    @Test func whoLeavesFinishesWhatItTook() throws {
        let world = try world()
        try world.mount(keeping: true)
        // From the first file on the kernel opens files by itself: one read is one request.
        _ = try world.read("link")
        let open = Glibc.open(world.mountpoint + "/dir/other", O_RDONLY)
        defer { close(open) }
        world.store.pause(true)
        let reading = Reader(open)
        usleep(300_000)
        let store = world.store
        startThread {
            usleep(500_000)
            store.pause(false)
        }
        #expect(world.end(SIGUSR2) == 0)
        // Nobody else is there to answer.
        #expect(eventually(milliseconds: 1_000) { reading.bytes != nil })
        #expect(reading.bytes == Array("other".utf8))
        #expect(world.log.contains("unanswered=0"))
        // What comes now waits for the successor.
        let next = Reading(world.mountpoint + "/two")
        usleep(200_000)
        #expect(next.bytes == nil)
        try world.mount(keeping: true)
        #expect(eventually { next.bytes == Array("hello".utf8) })
    }

    @Test func successorWithoutTheGreetingTakesOverToo() throws {
        let world = try world()
        try world.mount(keeping: true)
        _ = try world.read("two")
        world.end(SIGKILL)
        try File.remove(world.folder + "/session")
        try world.mount(keeping: true)
        #expect(try world.read("dir/large") == Self.large)
    }

    @Test func anotherImageIsNotTakenOver() throws {
        let world = try world()
        try world.mount(keeping: true)
        _ = try world.read("two")
        world.end(SIGKILL)
        let other = try World(["only": Array("file".utf8)])
        // Its chunks in this world's store.
        for piece in other.pieces["only"] ?? [] { _ = piece }
        let sealed = try ChunkCodec.seal(Array("file".utf8), .content, .publicImages)
        world.store.add(sealed)
        let attributes = FileAttributes(mode: 0o755, uid: 0, gid: 0, modified: FileTime(seconds: 0))
        let store = world.store
        var builder = FlistBuilder(.publicImages) { chunk throws(FlistError) in store.add(chunk) }
        let root = try builder.write(
            TreeNode(
                attributes,
                .directory([
                    Array("only".utf8): TreeNode(attributes, .file([SizedReference(size: 4, chunk: sealed.reference)]))
                ])))
        try world.mount(keeping: true, root: root.root)
        #expect(try File.list(world.mountpoint) == ["only"])
        #expect(world.log.contains("another image is mounted"))
    }

    @Test func deadMountsAreReplaced() throws {
        let world = try world()
        try world.mount()
        world.end(SIGKILL)
        #expect(throws: SystemError.self) { try world.read("two") }
        try world.mount()
        #expect(try world.read("two") == Array("hello".utf8))
    }

    @Test func cacheServesWithoutStoreAndIsChecked() throws {
        let world = try world()
        try world.mount(cache: true)
        #expect(try world.read("dir/large") == Self.large)
        #expect(try world.read("dir/other") == Array("other".utf8))
        let piece = try #require(world.pieces["dir/other"]?.first).chunk.id.hex
        let cached = "\(world.folder)/cache/\(piece.prefix(2))/\(piece)"
        #expect(eventually { File.exists(cached) })
        usleep(300_000)
        world.end(SIGTERM)
        world.store.stop()
        try world.mount(wait: 300, cache: true)
        #expect(try world.read("dir/large") == Self.large)
        world.end(SIGTERM)
        // Damage: refused, removed, fetched again.
        try File.write(cached, Array(try File.read(cached).dropLast()) + [0])
        try world.mount(wait: 300, cache: true)
        #expect(throws: SystemError.self) { try world.read("dir/other") }
        #expect(world.log.contains("cached chunk is damaged"))
        world.store.start()
        #expect(try world.read("dir/other") == Array("other".utf8))
    }

    @Test func oneFetchForManyReaders() throws {
        let world = try world()
        try world.mount()
        _ = try File.list(world.mountpoint + "/dir")
        let before = world.store.gets
        world.store.pause(true)
        let readers = (0..<8).map { _ in Reading(world.mountpoint + "/dir/large") }
        usleep(200_000)
        world.store.pause(false)
        #expect(eventually { readers.allSatisfy { $0.bytes == Self.large } })
        #expect(world.store.gets - before <= (world.pieces["dir/large"]?.count ?? 0) + 1)
    }

    /// Reads five bytes on a thread of its own.
    private final class Reader: Sendable {
        private let result = Mutex<[UInt8]?>(nil)
        init(_ file: Int32) {
            startThread { [self] in
                var buffer = [UInt8](repeating: 0, count: 5)
                let got = pread(file, &buffer, 5, 0)
                result.withLock { $0 = Array(buffer.prefix(max(0, got))) }
            }
        }
        var bytes: [UInt8]? { result.withLock { $0 } }
    }

    /// Reads a file on a thread of its own.
    private final class Reading: Sendable {
        private let result = Mutex<[UInt8]?>(nil)
        init(_ path: String) {
            startThread { [self] in
                let bytes = try? File.read(path)
                result.withLock { $0 = bytes }
            }
        }
        var bytes: [UInt8]? { result.withLock { $0 } }
    }
}

@Suite struct OrderTests {
    private func order(_ text: String) throws -> MountOrder {
        let path = "/tmp/zero-order-\(getpid())-\(text.hashValue)"
        try File.write(path, Array(text.utf8))
        defer { try? File.remove(path) }
        return try MountOrder(path: path, MountOrder.Defaults(store: "/run/db.sock", cache: "/c", session: "/s"))
    }
    private static let hex = String(repeating: "ab", count: 32)

    @Test func readsWhatComputeWrites() throws {
        let order = try order(#"{"at":"/m","format":1,"key":"\#(Self.hex)","root":"\#(Self.hex)"}"#)
        #expect(order.mountpoint == "/m")
        #expect(order.store.description == "/run/db.sock")
        #expect((order.namespace, order.cache, order.session) == ("images", "/c", "/s"))
        #expect(order.storeWaitMilliseconds == MountOrder.storeWaitDefault)
    }

    @Test(arguments: [
        "", "{}", #"{"at":"relative","key":"HEX","root":"HEX"}"#, #"{"at":"/m","key":"12","root":"HEX"}"#,
        #"{"at":"/m","key":"HEX","root":"HEX","stroe":"x"}"#,
        #"{"at":"/m","key":"HEX","root":"HEX","store":"nothing"}"#,
        #"{"at":"/m","key":"HEX","root":"HEX","format":2}"#,
        #"{"at":"/m","key":"HEX","root":"HEX","store_wait_ms":-1}"#,
    ])
    func refuses(text: String) {
        #expect(throws: MountError.self) { try order(text.replacing("HEX", with: Self.hex)) }
    }

    @Test func sealedKeysNameTheirWorkload() throws {
        let sealed = #""sealed":{"key":"AAAA","contract":"c","workload":"web"}"#
        let order = try order(#"{"at":"/m","root":"\#(Self.hex)",\#(sealed)}"#)
        #expect(order.key == .sealed("AAAA", contract: "c", workload: "web"))
        #expect(throws: MountError.self) {
            try self.order(#"{"at":"/m","key":"\#(Self.hex)","root":"\#(Self.hex)",\#(sealed)}"#)
        }
        let entry: [UInt8] =
            [1, 0, 0, 0, 5, 0, 0, 0] + Array("image".utf8) + [32, 0, 0, 0] + Array(repeating: 7, count: 32)
        #expect(RootKey.key(entry)?.bytes == Array(repeating: 7, count: 32))
        for bad in [[], Array(entry.dropLast()), entry + [0], [2] + entry.dropFirst()] {
            #expect(RootKey.key(bad) == nil)
        }
    }

    @Test func refusalsDoNotShowTheKey() {
        #expect { try order(#"{"at":"/m","key":"my-secret","root":"\#(Self.hex)"}"#) } throws: {
            !"\($0)".contains("my-secret")
        }
    }
}

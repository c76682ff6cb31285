import Bus
import Glibc
import Linux
import Testing

@testable import StoragePools

/// A pool on a file in a folder of its own; unmounted and removed at the end.
final class TestPool {
    let folder: String
    let device: PoolDevice
    private(set) var pool: Pool

    init(size: Int64 = 512 << 20) throws {
        folder = "/tmp/zero-pool-\(Clock.monotonicNanoseconds())"
        device = PoolDevice(folder: folder)
        try device.open(size: size)
        pool = try Pool(device)
    }

    /// What a restart of the daemon does; with `remount`, what a restart of the machine does.
    func reopen(remount: Bool, size: Int64 = 512 << 20) throws {
        if remount { try device.unmount() }
        try device.open(size: size)
        pool = try Pool(device)
    }

    /// Bytes that could be written to a file in the volume before it was full.
    func fill(_ path: String, upTo limit: Int) -> (written: Int, error: Int32) {
        let file = open(path, O_WRONLY | O_CREAT, 0o600)
        guard file >= 0 else { return (0, errno) }
        defer { close(file) }
        let block = (0..<65536).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var done = 0
        while done < limit {
            let count = write(file, block, block.count)
            if count < 0 { return (done, errno) }
            done += count
        }
        return fsync(file) < 0 ? (done, errno) : (done, 0)
    }

    deinit {
        try? device.unmount()
        try? File.removeTree(folder)
    }
}

@Suite(
    "Storage pools", .serialized,
    .enabled(if: geteuid() == 0 && File.exists("/dev/loop-control"), "needs root and loop devices"))
struct PoolTests {
    @Test("A volume is there again after a restart and after a reboot, with its content and limit")
    func persistent() throws {
        let test = try TestPool()
        let path = try test.pool.ensure(id: "c1-pages", size: 32 << 20, epoch: 3)
        #expect(path == test.folder + "/pool/volumes/c1-pages")
        let status = try File.status(path)
        #expect(status.uid == 0 && status.permissions == 0o755)
        try File.writeDurably(path + "/index.html", Array("hello".utf8))
        for remount in [false, true] {
            try test.reopen(remount: remount)
            #expect(try test.pool.ensure(id: "c1-pages", size: 32 << 20, epoch: 3) == path)
            #expect(try File.readText(path + "/index.html") == "hello")
            #expect(try test.pool.list().map(\.size) == [32 << 20])
        }
        let (written, error) = test.fill(path + "/big", upTo: 64 << 20)
        #expect(error == EDQUOT && written <= 32 << 20)
    }

    @Test("An owner of a lower epoch is refused, also after the volume was removed and after a reboot")
    func epochs() throws {
        let test = try TestPool()
        _ = try test.pool.ensure(id: "v", size: 4 << 20, epoch: 5)
        _ = try test.pool.ensure(id: "v", size: 4 << 20, epoch: 7)
        try test.reopen(remount: true)
        for _ in 0..<2 {
            do {
                _ = try test.pool.ensure(id: "v", size: 4 << 20, epoch: 6)
                Issue.record("an old owner came back")
            } catch {
                #expect(error.onBus.code == "EPOCH")
            }
            try test.pool.remove(id: "v")
        }
        #expect(try test.pool.list().isEmpty)
        _ = try test.pool.ensure(id: "v", size: 4 << 20, epoch: 7)
        #expect(throws: StorageError.self) { try test.pool.remove(id: "v", epoch: 6) }
    }

    @Test("A volume grows while it is in use, and does not shrink below what it holds")
    func grows() throws {
        let test = try TestPool()
        let path = try test.pool.ensure(id: "v", size: 8 << 20, epoch: 1)
        #expect(test.fill(path + "/a", upTo: 16 << 20).error == EDQUOT)
        _ = try test.pool.ensure(id: "v", size: 40 << 20, epoch: 2)
        #expect(test.fill(path + "/a", upTo: 16 << 20).error == 0)
        do {
            _ = try test.pool.ensure(id: "v", size: 8 << 20, epoch: 3)
            Issue.record("shrunk below use")
        } catch {
            #expect(error.onBus.code == "CONFLICT")
        }
        try File.remove(path + "/a")
        _ = try test.pool.ensure(id: "v", size: 8 << 20, epoch: 3)
        #expect(try test.pool.list().first?.size == 8 << 20)
    }

    @Test("What is not there cannot be promised: clean errors when pool or disk are full")
    func full() throws {
        let test = try TestPool()
        let space = try test.pool.space()
        do {
            _ = try test.pool.ensure(id: "v", size: space.usable + 1, epoch: 1)
            Issue.record("promised more than there is")
        } catch {
            #expect(error.onBus.code == "NOSPACE")
        }
        _ = try test.pool.ensure(id: "v", size: space.usable / 2, epoch: 1)
        #expect(throws: StorageError.self) {
            try test.pool.ensure(id: "w", size: space.usable / 2 + (1 << 20), epoch: 1)
        }
        #expect(throws: StorageError.self) { try test.pool.ensure(id: "v", size: space.usable + 1, epoch: 2) }
        #expect(try test.pool.list().map(\.id) == ["v"])
    }

    @Test("Removing twice, removing what never was, and removing with snapshots and subvolumes inside")
    func remove() throws {
        let test = try TestPool()
        try test.pool.remove(id: "never")
        let path = try test.pool.ensure(id: "v", size: 32 << 20, epoch: 1)
        _ = try test.pool.snapshot(id: "v", name: "one")
        _ = try Subprocess.check("btrfs", ["subvolume", "create", path + "/hidden"])
        _ = try Subprocess.check("btrfs", ["subvolume", "create", path + "/hidden/deeper"])
        try File.makeDirectories(path + "/hidden/deeper/folder")
        _ = try Subprocess.check("btrfs", ["subvolume", "create", path + "/hidden/deeper/folder/line\nbreak"])
        for number in 0..<100 { _ = try Subprocess.check("btrfs", ["subvolume", "create", path + "/s\(number)"]) }
        try test.pool.remove(id: "v")
        #expect(!File.exists(path))
        #expect(!File.exists(test.folder + "/pool/snapshots/v"))
        try test.pool.remove(id: "v")
        #expect(try test.pool.list().isEmpty)
    }

    @Test("A crash in the middle of making or removing is finished later")
    func crash() throws {
        let test = try TestPool()
        // Made but not recorded.
        _ = try Subprocess.check("btrfs", ["subvolume", "create", test.folder + "/pool/volumes/half"])
        let path = try test.pool.ensure(id: "half", size: 8 << 20, epoch: 1)
        #expect(test.fill(path + "/a", upTo: 16 << 20).error == EDQUOT, "the limit is set")
        // Recorded as removed but still there.
        var record = try VolumeRecord(File.read(test.folder + "/pool/records/half.json"))
        record.isRemoved = true
        try File.writeDurably(test.folder + "/pool/records/half.json", record.canonicalBytes)
        try test.reopen(remount: true)
        #expect(!File.exists(path))
        // Recorded, and the data gone: never replaced by an empty volume.
        let lost = try test.pool.ensure(id: "lost", size: 8 << 20, epoch: 1)
        _ = try Subprocess.check("btrfs", ["subvolume", "delete", lost])
        do {
            _ = try test.pool.ensure(id: "lost", size: 8 << 20, epoch: 1)
            Issue.record("an empty volume instead of a lost one")
        } catch {
            #expect(error.onBus.code == "LOST")
        }
    }

    @Test("A half-made pool is made again, a damaged record is named, a short disk refused")
    func damage() throws {
        let test = try TestPool()
        try File.write(test.folder + "/pool/records/bad.json", Array("{}".utf8))
        do {
            _ = try Pool(test.device)
            Issue.record("read rubbish")
        } catch {
            #expect("\(error)".contains("bad.json"))
        }
        try File.remove(test.folder + "/pool/records/bad.json")
        let other = PoolDevice(folder: test.folder + "/other")
        try File.makeDirectories(other.folder)
        try File.write(other.image + ".new", [1, 2, 3])
        #expect(throws: StorageError.self) { try other.open(size: 1 << 20) }
        try other.open(size: 256 << 20)
        #expect(other.isMounted)
        try other.unmount()
        #expect(!other.isMounted)
        try other.unmount()
    }

    @Test("A snapshot stays as it was, is sent whole and as a difference, and received again")
    func snapshots() throws {
        let test = try TestPool()
        let path = try test.pool.ensure(id: "v", size: 64 << 20, epoch: 1)
        try File.writeDurably(path + "/a", Array("one".utf8))
        let first = try test.pool.snapshot(id: "v", name: "s1")
        #expect(try test.pool.snapshot(id: "v", name: "s1") == first)
        try File.writeDurably(path + "/a", Array("two".utf8))
        _ = try test.pool.snapshot(id: "v", name: "s2")
        #expect(try File.readText(first + "/a") == "one")
        #expect(throws: SystemError.self) { try File.write(first + "/a", [1]) }
        #expect(try test.pool.list().first?.snapshots == ["s1", "s2"])
        let whole = try test.pool.send(id: "v", snapshot: "s1", parent: nil)
        let difference = try test.pool.send(id: "v", snapshot: "s2", parent: "s1")
        #expect(whole.size > 0 && difference.size > 0)
        let target = PoolDevice(folder: test.folder + "/target")
        try target.open(size: 256 << 20)
        defer { try? target.unmount() }
        for sent in [whole, difference] {
            try Subprocess.check("btrfs", ["receive", "-f", sent.path, target.mountPoint])
        }
        #expect(try File.readText(target.mountPoint + "/s1/a") == "one")
        #expect(try File.readText(target.mountPoint + "/s2/a") == "two")
        #expect(throws: StorageError.self) { try test.pool.send(id: "v", snapshot: "none", parent: nil) }
        try test.pool.removeSnapshot(id: "v", name: "s1")
        #expect(try test.pool.list().first?.snapshots == ["s2"])
    }

    @Test("A subvolume that a workload makes inside its volume gets a small limit of its own")
    func strangers() throws {
        let test = try TestPool()
        let path = try test.pool.ensure(id: "v", size: 16 << 20, epoch: 1)
        _ = try test.pool.snapshot(id: "v", name: "s")
        #expect(try test.pool.guardQuotas() == 0)
        _ = try Subprocess.check("btrfs", ["subvolume", "create", path + "/hidden"])
        sync()
        #expect(try test.pool.guardQuotas() == 1)
        let (written, error) = test.fill(path + "/hidden/a", upTo: 16 << 20)
        #expect(error == EDQUOT && written < 4 << 20)
        #expect(test.fill(path + "/a", upTo: 4 << 20).error == 0)
    }

    /// Blocks of the pool's file, 512 bytes each.
    private func blocks(_ test: TestPool) throws -> Int64 {
        var status = stat()
        try #require(stat(test.device.image, &status) == 0)
        return Int64(status.st_blocks)
    }

    @Test("Freed data leave the pool's file, metadata keep their place in it")
    func returned() throws {
        let test = try TestPool()
        let empty = try blocks(test)
        #expect(empty * 512 > 32 << 20, "metadata have a place")
        let path = try test.pool.ensure(id: "v", size: 96 << 20, epoch: 1)
        var room = try test.pool.tidy(since: 0)
        #expect(test.fill(path + "/big", upTo: 64 << 20).error == 0)
        room = try test.pool.tidy(since: room)
        #expect(try blocks(test) - empty > (60 << 20) / 512)
        try File.remove(path + "/big")
        try settle(path)
        for _ in 0..<100 where try blocks(test) - empty > (8 << 20) / 512 {
            usleep(50_000)
            try settle(path)
            room = min(room, try test.pool.tidy(since: room))
        }
        #expect(try blocks(test) - empty < (8 << 20) / 512)
        #expect(try blocks(test) * 512 > 32 << 20)
    }

    private func settle(_ path: String) throws { _ = try Subprocess.check("sync", ["-f", path], timeout: 60) }

    @Test("A full disk under the pool fails writes of data, and stops nothing")
    func fullDisk() throws {
        let place = "/tmp/zero-pool-disk-\(Clock.monotonicNanoseconds())"
        try File.makeDirectories(place)
        _ = try Subprocess.check("truncate", ["-s", "700M", place + ".img"], timeout: 10)
        _ = try Subprocess.check("mkfs.ext4", ["-q", "-m", "0", place + ".img"], timeout: 60)
        _ = try Subprocess.check("mount", ["-o", "loop", place + ".img", place], timeout: 10)
        defer {
            _ = try? Subprocess.run("/bin/umount", ["-l", place])
            try? File.removeTree(place)
            try? File.remove(place + ".img")
        }
        let device = PoolDevice(folder: place + "/storage")
        try File.makeDirectories(device.folder)
        try device.open(size: 512 << 20)
        defer { try? device.unmount() }
        let pool = try Pool(device)
        let path = try pool.ensure(id: "v", size: 8 << 20, epoch: 1)
        try File.writeDurably(path + "/before", Array("kept".utf8))
        // Somebody else takes all of the disk.
        let ballast = open(place + "/ballast", O_WRONLY | O_CREAT, 0o600)
        var end = 0
        for step in [64 << 20, 1 << 20, 4096] {
            while posix_fallocate(ballast, end, step) == 0 { end += step }
        }
        close(ballast)
        let data = (0..<(4 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 131 &>> 3) }
        #expect(throws: SystemError.self) { try File.writeDurably(path + "/during", data) }
        for number in 0..<20 { try File.makeDirectories(path + "/folder-\(number)") }
        // It tells of the data that were not written; what stands in the pool is settled all the same.
        try? settle(path)
        #expect(!device.isReadOnly)
        try File.remove(place + "/ballast")
        try File.writeDurably(path + "/during", data)
        #expect(try File.read(path + "/during") == data)
        #expect(try File.readText(path + "/before") == "kept")
        _ = try pool.ensure(id: "w", size: 4 << 20, epoch: 1)
    }

    @Test("The pool itself grows while it is mounted")
    func growsPool() throws {
        let test = try TestPool(size: 256 << 20)
        let before = try test.pool.space().size
        try test.reopen(remount: false, size: 512 << 20)
        #expect(try test.pool.space().size == before + (256 << 20))
        #expect(try test.device.size("auto") == 512 << 20)
    }

    @Test(
        "Names that could leave the folder are refused",
        arguments: ["", "..", ".", "a/b", "../x", "A", "-a", "a b", String(repeating: "a", count: 81)])
    func names(name: String) throws {
        #expect(!VolumeRecord.isName(name))
    }

    @Test("Sizes as people write them")
    func sizes() throws {
        #expect(SizeText.parse("20 GiB") == 20 << 30)
        #expect(SizeText.parse("512MiB") == 512 << 20)
        #expect(SizeText.parse("12345") == 12345)
        for text in ["", "GiB", "1 GB", "-1", "1.5 GiB", "99999999999 TiB"] { #expect(SizeText.parse(text) == nil) }
    }
}

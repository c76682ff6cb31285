import Simulation

/// What a device is among the copies of it.
public enum DeviceRole: UInt8, Sendable {
    /// It gives sequence numbers.
    case master = 1
    /// It takes its log from a master.
    case replica = 2
    /// It was the master until another one with a higher epoch was met.
    case superseded = 3
}

/// Why a device that could write does not: others decide.
public enum WriteRefusal: Hashable, Sendable {
    /// Its log comes from a master.
    case replica
    /// A master of a higher epoch exists.
    case superseded(epoch: UInt64)
    /// Fewer replicas than required have what was written.
    case tooFewReplicas
    /// The namespace takes its records from another server.
    case following
}

/// The file `role`: what a device is, durable before anything follows from it. Two copies are written in turn, so
/// that one of them is always whole. `Documentation/formats/zero-db-replication.md` has the bytes.
struct RoleFile {
    static let name = "role"
    private static let magic: UInt64 = 0x4c52_4244_4f52_455a
    private static let copyBytes = 64
    private static let copyOffset = 4096

    var role = DeviceRole.master
    /// The highest epoch that was met.
    var epoch: UInt64 = 0
    /// It became the master by a command; its own epoch is the one it was given then.
    var isPromoted = false
    /// Its segments are not all of the master's, or not yet: what it answers may be what never was.
    var isIncomplete = false
    /// What its compacted segments leave out was decided on records up to this one. A copy that does not have them
    /// is none of any moment.
    var decided: UInt64 = 0
    /// Neither copy can be read although there was something: then it must not write.
    private(set) var isDamaged = false
    private var generation: UInt64 = 0

    /// What the directory says; a directory without the file is a master's.
    static func load(_ disk: any Disk) throws(LogError) -> RoleFile {
        var found = RoleFile()
        let file: DiskFile
        do throws(DiskError) { file = try disk.open(name, create: false) } catch {
            if error == .missing { return found }
            throw .disk(error)
        }
        defer { disk.close(file) }
        var hasBytes = false
        for index in 0..<2 {
            var copy = [UInt8](repeating: 0, count: copyBytes)
            var failure: DiskError?
            copy.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                do throws(DiskError) { try disk.read(file, at: UInt64(index * copyOffset), base, copyBytes) } catch {
                    failure = error
                }
            }
            if failure == .crashed { throw .disk(.crashed) }
            if failure != nil { continue }
            if copy.contains(where: { $0 != 0 }) { hasBytes = true }
            if let read = RoleFile(copy: copy), read.generation > found.generation { found = read }
        }
        if found.generation == 0, hasBytes {
            (found.role, found.isDamaged) = (.superseded, true)
        }
        return found
    }

    /// Writes it durably; what it was before is still there if that fails.
    mutating func store(_ disk: any Disk) throws(LogError) {
        var next = self
        next.generation += 1
        next.isDamaged = false
        do throws(DiskError) {
            let file: DiskFile
            do throws(DiskError) { file = try disk.open(Self.name, create: false) } catch {
                guard error == .missing else { throw error }
                file = try disk.open(Self.name, create: true)
                try disk.write(file, at: 0, [UInt8](repeating: 0, count: 2 * Self.copyOffset).span.bytes)
            }
            defer { disk.close(file) }
            try disk.write(file, at: (next.generation & 1) * UInt64(Self.copyOffset), next.copy().span.bytes)
            try disk.sync(file)
        } catch { throw error == .full ? .full : .disk(error) }
        self = next
    }

    init() {}

    private init?(copy: [UInt8]) {
        var result: RoleFile?
        copy.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            func word(_ offset: Int) -> UInt64 {
                UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            }
            guard word(0) == Self.magic, UInt32(truncatingIfNeeded: word(8)) == 1,
                UInt32(truncatingIfNeeded: word(8) >> 32) == Self.checksum(base),
                let role = DeviceRole(rawValue: UInt8(truncatingIfNeeded: word(24)))
            else { return }
            var read = RoleFile()
            (read.generation, read.role, read.epoch) = (word(16), role, word(32))
            (read.isPromoted, read.isIncomplete, read.decided) = (word(40) & 1 != 0, word(40) & 2 != 0, word(48))
            result = read
        }
        guard let result else { return nil }
        self = result
    }

    private func copy() -> [UInt8] {
        var copy = [UInt8](repeating: 0, count: Self.copyBytes)
        copy.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            let flags: UInt64 = (isPromoted ? 1 : 0) | (isIncomplete ? 2 : 0)
            let words = [Self.magic, 1, generation, UInt64(role.rawValue), epoch, flags, decided]
            for (index, word) in words.enumerated() {
                base.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
            }
            base.storeBytes(of: Self.checksum(base).littleEndian, toByteOffset: 12, as: UInt32.self)
        }
        return copy
    }

    private static func checksum(_ at: UnsafeRawPointer) -> UInt32 {
        ~Format.checksum(Format.checksum(~0, at, 12), at + 16, copyBytes - 16)
    }
}

import Bytes
import Crypto
import Flist
import Glibc
import Linux

/// Stored chunks in a folder, by id. Several processes share it: files appear whole by renaming and are only ever removed.
///
/// What is read back is checked by its id like bytes from a store, so damage costs a fetch and nothing else.
final class DiskCache: Sendable {
    private struct State: Sendable {
        var waiting: [(id: Digest, bytes: [UInt8])] = []
        var waitingBytes = 0
        var isStarted = false
    }

    /// Bytes that wait to be written; when the disk is slower than the store, chunks are not cached.
    private static let waitingBytesMax = 32 << 20
    /// Use moves a file to the young end at most this often.
    private static let touchSeconds = 600

    private let folder: String
    private let limit: Int64
    private let monitor = Monitor(State())

    /// Uses `folder`, which is made if it is not there.
    init(_ folder: String, limit: Int64) throws(SystemError) {
        (self.folder, self.limit) = (folder, limit)
        try File.makeDirectories(folder, mode: 0o700)
    }

    private func path(_ id: Digest) -> String {
        let hex = id.hex
        return "\(folder)/\(hex.prefix(2))/\(hex)"
    }

    /// The stored bytes, unchecked.
    func read(_ id: Digest) -> [UInt8]? {
        let path = path(id)
        guard let file = try? Descriptor.open(path, O_RDONLY), let status = try? File.status(of: file.raw),
            status.size <= Int64(FlistLimits.storedBytes),
            let bytes = try? file.readWhole(count: Int(status.size))
        else { return nil }
        if Clock.wallNanoseconds() / 1_000_000_000 - status.modified / 1_000_000_000 > Int64(Self.touchSeconds) {
            futimens(file.raw, nil)
        }
        return bytes
    }

    /// Removes a chunk that turned out to be damaged.
    func remove(_ id: Digest) { unlink(path(id)) }

    /// Writes a chunk soon, on a thread of its own.
    func write(_ id: Digest, _ bytes: [UInt8]) {
        let mustStart = monitor.updateOne { state in
            guard state.waitingBytes + bytes.count <= Self.waitingBytesMax else { return false }
            state.waiting.append((id, bytes))
            state.waitingBytes += bytes.count
            defer { state.isStarted = true }
            return !state.isStarted
        }
        if mustStart { startThread { [self] in work() } }
    }

    private func work() {
        var held = scan().reduce(0) { $0 + $1.size }
        while true {
            let batch = monitor.wait { state in
                if state.waiting.isEmpty { return [(id: Digest, bytes: [UInt8])]?.none }
                defer { (state.waiting, state.waitingBytes) = ([], 0) }
                return state.waiting
            }
            for (id, bytes) in batch ?? [] where place(id, bytes) { held += Int64(bytes.count) }
            if held > limit { held = shrink() }
        }
    }

    private func place(_ id: Digest, _ bytes: [UInt8]) -> Bool {
        let path = path(id)
        if File.exists(path) { return false }
        let temporary = "\(folder)/new.\(getpid()).\(id.hex)"
        do {
            try File.makeDirectories(File.parent(path), mode: 0o700)
            try File.write(temporary, bytes, mode: 0o600)
            try File.rename(temporary, to: path)
            return true
        } catch {
            unlink(temporary)
            return false
        }
    }

    private struct Item {
        let path: String
        let size: Int64
        let modified: Int64
    }

    private func scan() -> [Item] {
        var items: [Item] = []
        for name in (try? File.list(folder)) ?? [] {
            let path = "\(folder)/\(name)"
            guard name.utf8.count == 2 else {
                // What a process that died left half written; an hour later it is not being written any more.
                if let status = try? File.status(path), name.hasPrefix("new."),
                    Clock.wallNanoseconds() - status.modified > 3_600_000_000_000
                {
                    unlink(path)
                }
                continue
            }
            for name in (try? File.list(path)) ?? [] {
                guard let status = try? File.status("\(path)/\(name)") else { continue }
                items.append(Item(path: "\(path)/\(name)", size: status.size, modified: status.modified))
            }
        }
        return items
    }

    /// Removes what was not used for longest until a tenth is free; returns what is left. Others may shrink too.
    private func shrink() -> Int64 {
        let items = scan().sorted { $0.modified < $1.modified }
        var held = items.reduce(0) { $0 + $1.size }
        for item in items where held > limit / 10 * 9 {
            unlink(item.path)
            held -= item.size
        }
        return held
    }
}

extension Descriptor {
    /// `count` bytes from the start, or fewer where the file is shorter.
    fileprivate borrowing func readWhole(count: Int) throws(SystemError) -> [UInt8] {
        var failure: Int32 = 0
        let raw = raw
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = pread(raw, buffer.baseAddress?.advanced(by: filled), count - filled, off_t(filled))
                if got < 0 {
                    failure = errno
                    if failure == EINTR { continue }
                    return
                }
                failure = 0
                if got == 0 { return }
                filled += got
            }
        }
        if failure != 0 { throw SystemError("read", "a cached chunk", Errno(failure)) }
        return bytes
    }
}

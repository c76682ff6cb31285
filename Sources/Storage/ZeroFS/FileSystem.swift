import CFuse
import Crypto
import Flist
import Glibc
import Linux
import Service
import Synchronization

/// Answers the kernel's questions about one flist. Nothing is remembered about files that are open or looked up: every
/// inode number leads to its file, so that a new process can answer for an old one.
final class FileSystem: Sendable {
    private struct Reading: Sendable {
        var next: UInt64
        var ahead: UInt64
    }

    /// How far content is read ahead of a reader that goes on where it was: 16 chunks on average.
    private static let aheadBytes: UInt64 = 4 << 20
    /// How far reads of one reader may be out of order, since the kernel sends several at once.
    private static let disorderBytes: UInt64 = 2 << 20
    private static let readersMax = 256
    /// More pieces in one read than this are copied together first.
    private static let slicesMax = 32

    let reader: FlistReader
    private let supply: ChunkSupply
    private let log: Log
    private let session: String?
    private let readings = Mutex<[UInt64: Reading]>([:])

    init(_ reader: FlistReader, _ supply: ChunkSupply, session: String?, log: Log) {
        (self.reader, self.supply, self.session, self.log) = (reader, supply, session, log)
    }

    /// The negative error number for the kernel. What is wrong with bytes is logged, with the file's path.
    private func failure(_ error: FlistError, _ inode: UInt64) -> Int32 {
        if case .noInode = error { return -ESTALE }
        log.error(
            "refused to serve",
            ["path": reader.path(inode), "chunk": error.chunk?.hex ?? "-", "reason": error.description])
        return -EIO
    }

    private func attributes(_ located: FlistReader.Located) -> zg_fuse_attributes {
        let entry = located.entry
        var found = zg_fuse_attributes()
        found.inode = located.inode
        found.size = entry.size
        found.mode = entry.typeBits | UInt32(entry.attributes.mode)
        (found.uid, found.gid) = (entry.attributes.uid, entry.attributes.gid)
        found.mtime_seconds = entry.attributes.modified.seconds
        found.mtime_nanoseconds = entry.attributes.modified.nanoseconds
        switch entry.content {
        case .directory(let directory): found.links = UInt32(clamping: directory.subdirectories + 2)
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            (found.major, found.minor) = (major, minor)
            found.links = UInt32(clamping: entry.links)
        default: found.links = UInt32(clamping: entry.links)
        }
        return found
    }

    func lookup(_ parent: UInt64, _ name: [UInt8]) -> Result<zg_fuse_attributes, Failure> {
        answer(parent) { () throws(FlistError) in
            guard let found = try reader.lookup(name, in: try reader.file(parent)) else {
                return .failure(Failure(-ENOENT))
            }
            return .success(attributes(found))
        }
    }

    func attributes(_ inode: UInt64) -> Result<zg_fuse_attributes, Failure> {
        answer(inode) { () throws(FlistError) in .success(attributes(try reader.file(inode))) }
    }

    func target(_ inode: UInt64) -> Result<[UInt8], Failure> {
        answer(inode) { () throws(FlistError) in
            guard case .symbolicLink(let target) = try reader.file(inode).entry.content else {
                return .failure(Failure(-EINVAL))
            }
            return .success(target)
        }
    }

    func list(_ inode: UInt64, _ offset: UInt64, _ add: (UnsafePointer<CChar>, zg_fuse_attributes, UInt64) -> Bool)
        -> Int32
    {
        let result: Result<Void, Failure> = answer(inode) { () throws(FlistError) in
            let directory = try reader.file(inode)
            if offset == 0, !add(".", attributes(directory), 1) { return .success(()) }
            if offset <= 1, !add("..", attributes(try reader.file(directory.parent)), 2) { return .success(()) }
            try reader.list(directory, from: offset > 2 ? offset - 2 : 0) { index, located in
                (located.entry.name + [0]).withUnsafeBytes { name in
                    guard let base = name.baseAddress else { return false }
                    return add(base.assumingMemoryBound(to: CChar.self), attributes(located), index + 3)
                }
            }
            return .success(())
        }
        if case .failure(let failure) = result { return failure.code }
        return 0
    }

    /// Collects the pieces of a range; `body` may use them until it returns.
    func read(_ inode: UInt64, _ offset: UInt64, _ count: Int, _ body: ([zg_fuse_slice]) -> Void) -> Int32 {
        var pieces: [(bytes: [UInt8], range: Range<Int>)] = []
        let result: Result<Void, Failure> = answer(inode) { () throws(FlistError) in
            guard case .file(let size, let tree) = try reader.file(inode).entry.content else {
                return .failure(Failure(-EISDIR))
            }
            guard offset < size else { return .success(()) }
            let range = offset..<min(size, offset + UInt64(count))
            readAhead(inode, tree, range, size)
            try reader.chunks(tree, range) { start, reference throws(FlistError) in
                let plain = try supply.plaintext(reference.chunk, .content)
                guard UInt64(plain.count) == reference.size else {
                    throw .badChunk(reference.chunk.id, reason: "has \(plain.count) bytes, not \(reference.size)")
                }
                let first = Int(max(range.lowerBound, start) - start)
                pieces.append((plain, first..<Int(min(range.upperBound, start + reference.size) - start)))
            }
            return .success(())
        }
        if case .failure(let failure) = result { return failure.code }
        if pieces.count > Self.slicesMax {
            let whole = pieces.flatMap { $0.bytes[$0.range] }
            pieces = [(whole, 0..<whole.count)]
        }
        Self.lend(pieces, 0, [], body)
        return 0
    }

    private static func lend(
        _ pieces: [(bytes: [UInt8], range: Range<Int>)], _ index: Int, _ slices: [zg_fuse_slice],
        _ body: ([zg_fuse_slice]) -> Void
    ) {
        guard index < pieces.count else { return body(slices) }
        let range = pieces[index].range
        pieces[index].bytes.withUnsafeBytes { bytes in
            let slice = zg_fuse_slice(bytes: bytes.baseAddress?.advanced(by: range.lowerBound), count: range.count)
            lend(pieces, index + 1, slices + [slice], body)
        }
    }

    /// Wishes for what follows, where the reader goes through the file in order.
    private func readAhead(_ inode: UInt64, _ tree: ChunkTree, _ range: Range<UInt64>, _ size: UInt64) {
        if tree.depth == 0, tree.references.count < 2 { return }
        let wanted: Range<UInt64>? = readings.withLock { readings in
            if readings.count >= Self.readersMax, readings[inode] == nil { readings.removeAll(keepingCapacity: true) }
            guard var reading = readings[inode] else {
                readings[inode] = Reading(next: range.upperBound, ahead: range.upperBound)
                return range.lowerBound == 0 ? range.upperBound..<min(size, range.upperBound + Self.aheadBytes) : nil
            }
            defer { readings[inode] = reading }
            let isNear =
                range.lowerBound <= reading.next + Self.disorderBytes
                && range.lowerBound + Self.disorderBytes >= reading.next
            reading.next = isNear ? max(reading.next, range.upperBound) : range.upperBound
            if !isNear { reading.ahead = range.upperBound }
            let end = min(size, reading.next + Self.aheadBytes)
            guard isNear, end > max(reading.ahead, reading.next),
                end == size || end - reading.ahead >= Self.aheadBytes / 8
            else { return nil }
            defer { reading.ahead = end }
            return max(reading.ahead, reading.next)..<end
        }
        guard let wanted, !wanted.isEmpty else { return }
        var references: [ChunkReference] = []
        try? reader.chunks(tree, wanted) { _, reference throws(FlistError) in references.append(reference.chunk) }
        supply.wish(references)
    }

    private var hasAttributes: Bool { reader.root.totals.withExtendedAttributes > 0 }

    func extendedAttribute(_ inode: UInt64, _ name: [UInt8]) -> Result<[UInt8], Failure> {
        // The kernel does not ask again.
        guard hasAttributes else { return .failure(Failure(-ENOSYS)) }
        return answer(inode) { () throws(FlistError) in
            let attributes = try reader.file(inode).entry.attributes.extended
            guard let found = attributes.first(where: { $0.name == name }) else { return .failure(Failure(-ENODATA)) }
            return .success(found.value)
        }
    }

    func extendedAttributes(_ inode: UInt64) -> Result<[UInt8], Failure> {
        guard hasAttributes else { return .failure(Failure(-ENOSYS)) }
        return answer(inode) { () throws(FlistError) in
            .success(try reader.file(inode).entry.attributes.extended.flatMap { $0.name + [0] })
        }
    }

    /// Keeps the kernel's first message for a process that takes over.
    func keepGreeting(_ message: [UInt8]) {
        guard let session else { return }
        do throws(SystemError) { try File.writeAtomically(session, message, mode: 0o600) } catch {
            log.warn("cannot keep the session", ["reason": "\(error)"])
        }
    }

    /// A negative error number.
    struct Failure: Error {
        let code: Int32
        init(_ code: Int32) { self.code = code }
    }

    private func answer<Value>(
        _ inode: UInt64, _ body: () throws(FlistError) -> Result<Value, Failure>
    ) -> Result<Value, Failure> {
        do throws(FlistError) { return try body() } catch { return .failure(Failure(failure(error, inode))) }
    }
}

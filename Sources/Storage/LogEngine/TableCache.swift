import Simulation

/// Pages of sequential namespaces' tables in memory, a few for all of them together.
///
/// A changed page is written only when every record that it names is on stable storage, so that a table is never ahead
/// of the log. While that is not so the cache may grow over its bound; it gives the memory back afterwards.
final class TableCache {
    private struct Frame {
        let memory: UnsafeMutableRawPointer
        var table: SequentialTable?
        var page = 0
        var isDirty = false
        var isUsed = false
        /// Nothing was ever put in it.
        var isBlank = false
        /// Something was put in it, and it was never written.
        var isNew = false
        /// The first and the newest record that a page was changed for since it was written.
        var first: UInt64 = 0
        var last: UInt64 = 0
    }

    /// Pages that are written at a time when room is needed.
    private static let writtenAtOnce = 64

    let disk: any Disk
    private let limit: Int
    private var frames: [Frame] = []
    /// Tables in use.
    private(set) var open: [SequentialTable] = []
    private var hand = 0
    /// Everything up to here is on stable storage; the engine keeps it right.
    var durable: UInt64 = 0
    private(set) var dirtyCount = 0
    /// A planted bug.
    var trustsPages = false
    /// Why a page could not be written, other than for lack of space.
    private(set) var failure: DiskError?

    init(disk: any Disk, pages: Int) {
        self.disk = disk
        limit = max(4, pages)
    }

    deinit { for frame in frames { frame.memory.deallocate() } }

    /// Bytes of memory.
    var memoryBytes: Int { frames.count * SequentialTable.pageBytes }

    /// Whether more pages wait for the log's next sync than there is room for.
    var needsSync: Bool { dirtyCount > limit }

    @inline(__always)
    func memory(_ frame: Int) -> UnsafeMutableRawPointer { frames[frame].memory }

    /// The frame that holds a page.
    func frame(_ table: SequentialTable, _ page: Int) throws(LogError) -> Int {
        let known = Int(table.frames[page])
        if known >= 0 {
            frames[known].isUsed = true
            return known
        }
        let frame = try takeFrame()
        guard try table.read(page, into: frames[frame].memory) else {
            table.isInDoubt = true
            throw .indexDamaged
        }
        frames[frame].table = table
        frames[frame].page = page
        frames[frame].isUsed = true
        frames[frame].isBlank = SequentialTable.isZero(frames[frame].memory)
        table.frames[page] = Int32(frame)
        return frame
    }

    /// Whether nothing was ever put in a page, which from now on is not so.
    func takeBlank(_ frame: Int) -> Bool {
        defer { frames[frame].isBlank = false }
        if frames[frame].isBlank { frames[frame].isNew = true }
        return frames[frame].isBlank
    }

    func noteChange(_ frame: Int, _ sequence: UInt64, _ durable: UInt64) {
        if !frames[frame].isDirty {
            frames[frame].isDirty = true
            (frames[frame].first, frames[frame].last) = (sequence, durable)
            dirtyCount += 1
        }
        frames[frame].first = min(frames[frame].first, sequence)
        frames[frame].last = max(frames[frame].last, durable)
    }

    func add(_ table: SequentialTable) { open.append(table) }

    /// The table is not used any more.
    func remove(_ table: SequentialTable) {
        drop(table)
        open.removeAll { $0 === table }
    }

    /// Forgets all pages of a table.
    func drop(_ table: SequentialTable) {
        for index in frames.indices where frames[index].table === table { release(index) }
    }

    private func release(_ index: Int) {
        if frames[index].isDirty { dirtyCount -= 1 }
        if let table = frames[index].table { table.frames[frames[index].page] = -1 }
        (frames[index].table, frames[index].isDirty, frames[index].isUsed) = (nil, false, false)
        frames[index].isNew = false
    }

    /// A frame that holds nothing: a new one, one that was not used for long, or one more than there should be.
    private func takeFrame() throws(LogError) -> Int {
        if frames.count >= limit {
            for attempt in 0..<2 {
                if let found = sweep() {
                    release(found)
                    return found
                }
                if attempt == 0, try writeSome(Self.writtenAtOnce) == 0 { break }
            }
        }
        frames.append(Frame(memory: .allocate(byteCount: SequentialTable.pageBytes, alignment: 64)))
        return frames.count - 1
    }

    private func sweep() -> Int? {
        for _ in 0..<frames.count * 2 {
            hand = hand + 1 >= frames.count ? 0 : hand + 1
            if frames[hand].table == nil { return hand }
            if frames[hand].isUsed {
                frames[hand].isUsed = false
            } else if !frames[hand].isDirty {
                return hand
            }
        }
        return nil
    }

    /// Writes changed pages that may be written, at most so many; returns how many.
    @discardableResult
    func writeSome(_ count: Int, of only: SequentialTable? = nil) throws(LogError) -> Int {
        var written = 0
        guard failure == nil, dirtyCount > 0 else { return 0 }
        for index in frames.indices where frames[index].isDirty && frames[index].last <= durable {
            guard written < count, let table = frames[index].table, only == nil || table === only else { continue }
            do throws(DiskError) { try table.write(frames[index].page, frames[index].memory) } catch {
                if error == .crashed { throw .disk(error) }
                if error != .full { failure = error }
                return written
            }
            (frames[index].isDirty, frames[index].isNew) = (false, false)
            dirtyCount -= 1
            written += 1
        }
        return written
    }

    /// The first record that a page of a table was changed for and that is not in the file yet.
    func firstUnwritten(_ table: SequentialTable) -> UInt64? {
        frames.lazy.filter { $0.isDirty && $0.table === table }.map(\.first).min()
    }

    /// Whether a page was never written.
    func isNew(_ table: SequentialTable, _ page: Int) -> Bool {
        let frame = Int(table.frames[page])
        return frame >= 0 && frames[frame].isNew
    }

    /// Pages of a table that were never written and will not be zeros.
    func newPages(_ table: SequentialTable) -> UInt64 {
        UInt64(frames.count { $0.isNew && $0.table === table })
    }

    /// Gives back memory over the bound.
    func trim() {
        while frames.count > limit, let last = frames.last, !last.isDirty {
            release(frames.count - 1)
            last.memory.deallocate()
            frames.removeLast()
        }
        if hand >= frames.count { hand = 0 }
    }
}

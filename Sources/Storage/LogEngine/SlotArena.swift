import Glibc

/// Memory for tables that grow in place: blocks of address space for the largest table each, of which only the pages
/// that were touched take memory. So a table grows without a copy beside it and without holes between tables.
struct SlotArena: ~Copyable {
    static let pageBytes = 4096
    /// A table of 4096 slots, and what may overflow behind it.
    static let blockBytes = 33 * pageBytes
    /// Blocks of the largest mapping: the kernel allows some ten thousand mappings.
    private static let regionBlocksMax = 64

    private var regions: [(base: UnsafeMutableRawPointer, bytes: Int)] = []
    private var next: UnsafeMutableRawPointer?
    private var left = 0

    init() {}

    deinit { for region in regions { munmap(region.base, region.bytes) } }

    /// Zeroed memory, which lives as long as the arena.
    mutating func block() -> UnsafeMutableRawPointer {
        if left == 0 {
            let blocks = min(1 << min(regions.count, 6), Self.regionBlocksMax)
            let bytes = blocks * Self.blockBytes
            let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
            let base = mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0)
            guard let base, base != UnsafeMutableRawPointer(bitPattern: -1) else {
                preconditionFailure("no memory for the index of keys")
            }
            regions.append((base, bytes))
            next = base
            left = blocks
        }
        guard let found = next else { preconditionFailure("an arena without a region") }
        next = found + Self.blockBytes
        left -= 1
        return found
    }

    /// Gives back the memory of a block from some byte on; what stands there becomes zero.
    static func release(_ block: UnsafeMutableRawPointer, from offset: Int) {
        let start = (offset + pageBytes - 1) / pageBytes * pageBytes
        if start < blockBytes { madvise(block + start, blockBytes - start, MADV_DONTNEED) }
    }
}

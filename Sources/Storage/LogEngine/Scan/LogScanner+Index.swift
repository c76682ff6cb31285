import Simulation

extension LogScanner {
    /// The damaged bytes of a segment's `.index`; nil if it is good, or was never ended, or there is none. It is derived
    /// and can be deleted, but a disk that changed it may change more.
    func indexProblem(_ segment: Found) -> LogProblem? {
        guard let header = segment.header,
            let file = try? disk.open(Format.name(index: segment.number), create: false)
        else { return nil }
        defer { disk.close(file) }
        guard let length = try? disk.length(file), length >= UInt64(IndexHeader.blockBytes) else { return nil }
        var block = [UInt8](repeating: 0, count: IndexHeader.blockBytes)
        guard read(file, 0, &block) else { return problem(segment, 0, UInt64(block.count)) }
        let found = block.withUnsafeBytes { bytes in bytes.baseAddress.flatMap { IndexHeader($0) } }
        // Its header is written last, and it says of which bytes of the segment it tells.
        guard let found, found.fits(header, length: segment.length), found.fileBytes <= length else { return nil }
        var state: UInt32 = ~0
        var at = UInt64(IndexHeader.blockBytes)
        let end = found.fileBytes - 4
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while at < end {
            let count = Int(min(UInt64(buffer.count), end - at))
            if count < buffer.count { buffer = [UInt8](repeating: 0, count: count) }
            guard read(file, at, &buffer) else { return problem(segment, at, UInt64(count)) }
            state = buffer.withUnsafeBytes { bytes in
                bytes.baseAddress.map { Format.checksum(state, $0, count) } ?? state
            }
            at += UInt64(count)
        }
        var sum = [UInt8](repeating: 0, count: 4)
        guard read(file, end, &sum) else { return problem(segment, end, 4) }
        let wanted = sum.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return wanted == ~state ? nil : problem(segment, UInt64(IndexHeader.blockBytes), found.fileBytes - 4096)
    }

    private func problem(_ segment: Found, _ offset: UInt64, _ length: UInt64) -> LogProblem {
        LogProblem(
            kind: .index, segment: segment.number, offset: offset, length: length, sequences: 0..<0, namespace: nil,
            key: nil)
    }
}

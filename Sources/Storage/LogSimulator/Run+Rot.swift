import Simulation

/// What happens to files while nobody looks.
extension Run {
    /// Some bytes change, or cannot be read any more.
    func rot() {
        if random.chance(30) { return rotDerived() }
        let names = files(".segment")
        guard let name = names.randomElement(using: &random), let segment = UInt64(name.prefix(16), radix: 16) else {
            return
        }
        let length = disk.bytes(of: name).count
        guard length > 0 else { return }
        let at = random.chance(20) ? random.below(length) : min(length - 1, 4096 + random.below(max(1, length - 4096)))
        counts.faults += 1
        switch random.below(10) {
        case 0:
            let range = at / 512 * 512..<min(length, at / 512 * 512 + 512)
            say("sector lost: \(name) \(range)")
            disk.wipe(name, range)
            noteDamage(segment, range)
        case 1:
            let range = at / 512 * 512..<min(length, at / 512 * 512 + 512)
            say("sector unreadable: \(name) \(range)")
            disk.failReads(of: name, in: range)
            // The walker reads pages, and one that cannot be read is nothing.
            noteDamage(segment, max(0, range.lowerBound - 4096)..<range.upperBound + 4096, isUnreadable: true)
        default:
            let mask = UInt8(1 << random.below(8))
            say("bit flipped: \(name) \(at) \(mask)")
            disk.flip(name, at: at, mask: mask)
            noteDamage(segment, at..<at + 1)
        }
    }

    /// Bytes of a file that is derived from the log: nothing of what it tells may be missing for it.
    private func rotDerived() {
        let names = random.chance(70) ? files(".ids") : files(".index")
        guard let name = names.randomElement(using: &random) else { return }
        let bytes = disk.bytes(of: name)
        let length = bytes.count
        guard length > 0 else { return }
        counts.faults += 1
        noteDerived(name)
        // Most of a table is space that was reserved.
        let start = random.below(length)
        let full = bytes.indices.filter { bytes[$0] != 0 }.randomElement(using: &random) ?? 0
        let at = random.chance(80) ? full : start
        switch random.below(4) {
        case 0:
            let range = at / 512 * 512..<min(length, at / 512 * 512 + 512)
            say("sector lost: \(name) \(range)")
            disk.wipe(name, range)
        case 1:
            let range = at / 512 * 512..<min(length, at / 512 * 512 + 512)
            say("sector unreadable: \(name) \(range)")
            disk.failReads(of: name, in: range)
        default:
            say("bit flipped: \(name) \(at)")
            disk.flip(name, at: at, mask: UInt8(1 << random.below(8)))
        }
    }

    /// Somebody removes a file that is derived from the log, as he may while nobody uses it.
    func removeDerived() {
        guard let name = (files(".ids") + files(".index")).randomElement(using: &random) else { return }
        say("\(name) removed")
        try? disk.remove(name)
    }

    private func noteDerived(_ name: String) {
        if name.hasSuffix(".index") { isIndexDamaged = true }
        if name.hasSuffix(".ids"), let namespace = UInt32(name.prefix(8), radix: 16) { damagedTables.insert(namespace) }
    }

    private func files(_ suffix: String) -> [String] {
        ((try? disk.list()) ?? []).filter { $0.hasSuffix(suffix) }
    }

    func noteDamage(_ segment: UInt64, _ range: Range<Int>, isUnreadable: Bool = false) {
        let number = (damaged.last?.number ?? 0) + 1
        damaged.append(Damaged(segment: segment, range: range, number: number, isUnreadable: isUnreadable))
    }

    func isDamaged(_ segment: UInt64, _ range: Range<Int>) -> Bool {
        damaged.contains { $0.segment == segment && $0.range.overlaps(range) }
    }
}

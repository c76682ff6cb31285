import Simulation

@testable import LogEngine

/// Options with small segments and compaction that is not held back.
func compactingOptions(
    _ segmentBytes: Int = 16384, policy: SyncPolicy = .always, history: HistoryPolicy = .none
) -> LogOptions {
    var options = smallOptions(segmentBytes, policy: policy)
    options.compactionRate = .max
    options.history = history
    return options
}

/// One record as it stands in the log.
struct FoundRecord: Hashable {
    var sequence: UInt64
    var type: UInt8
    var namespace: UInt32
    var key: [UInt8]
    var value: [UInt8]
    var previous: UInt64
    var time: UInt64
}

extension LogEngine {
    /// Slices until there is nothing more to do.
    mutating func compactAll(now: inout UInt64, requested: Bool = true, slices: Int = 20_000) throws(LogError) {
        if requested { try requestCompaction(time: now) }
        var left = slices
        while left > 0 {
            left -= 1
            now += 2_000_000_000
            if !maintain(now: now, budget: 64 << 10), compaction.phase == .idle, discarded.isEmpty, ended.isEmpty {
                return
            }
        }
        preconditionFailure("compaction does not end: \(compaction.phase) \(compaction.lastFailure ?? "")")
    }

    /// Everything that stands in segments that count, by sequence number.
    func records() -> [FoundRecord] {
        var found: [FoundRecord] = []
        for position in order {
            let segment = segments[position]
            var walker = SegmentWalker(
                disk: disk, file: segment.file, length: segment.length, seed: seed, expected: segment.firstSequence,
                allowsGaps: true)
            walk: while true {
                switch walker.next() {
                case .record(let header, let offset):
                    guard let head = walker.bytes(at: offset, header.totalBytes) else { continue }
                    let key = [UInt8](
                        UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength)))
                    let value = [UInt8](
                        UnsafeRawBufferPointer(start: head + header.headBytes, count: Int(header.valueLength)))
                    found.append(
                        FoundRecord(
                            sequence: header.sequence, type: header.type, namespace: header.namespace, key: key,
                            value: value, previous: header.previous, time: header.time))
                case .damage: continue
                case .end: break walk
                }
            }
        }
        return found
    }

    /// What is derived step by step is what a count of everything gives.
    mutating func checkAccounts() -> String? {
        settleAllUsage()
        var live: [Int: UInt64] = [:]
        for case let state? in namespaces {
            if let table = state.pointee.table {
                for id in 0..<table.nextId {
                    guard let slot = try? slot(table.entry(id)) else { continue }
                    live[slot.segment, default: 0] += slot.recordBytes
                }
                continue
            }
            if let ordered = state.pointee.ordered {
                var isThere = [].withUnsafeBytes { ordered.index.seek($0, after: false) }
                while isThere {
                    live[ordered.index.slot.segment, default: 0] += ordered.index.slot.recordBytes
                    isThere = ordered.index.next()
                }
                continue
            }
            var cursor: UInt64 = 0
            var slots: [Slot] = []
            repeat {
                cursor = state.pointee.index.scan(from: cursor, count: 1000, into: &slots)
                for slot in slots { live[slot.segment, default: 0] += slot.recordBytes }
            } while cursor != 0
        }
        var disk: [UInt32: UInt64] = [:]
        for position in order {
            if segments[position].use.live != live[position] ?? 0 {
                return
                    "segment \(segments[position].number): \(segments[position].use.live) live, counted \(live[position] ?? 0)"
            }
            live[position] = nil
            let body = segments[position].length - UInt64(Format.headerBlockBytes)
            let known = segments[position].use.usage.values.reduce(0, +)
            let unwritten = position == active ? UInt64(pendingCount) : 0
            if known != body + unwritten { return "segment \(segments[position].number): \(known) of \(body) bytes" }
            for (id, bytes) in segments[position].use.usage { disk[id, default: 0] += bytes }
        }
        if !live.isEmpty { return "slots point to segments that do not count: \(live)" }
        for case let state? in namespaces where state.pointee.diskBytes != disk[state.pointee.id] ?? 0 {
            return "namespace \(state.pointee.id): \(state.pointee.diskBytes), counted \(disk[state.pointee.id] ?? 0)"
        }
        return nil
    }
}

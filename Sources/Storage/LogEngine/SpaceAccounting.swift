import Simulation

/// What of a device's space is in use, and what may still be used by whom.
struct SpaceAccount {
    /// Bytes that may be written before the disk is asked again how much is free.
    var spare: Int64 = 0
    /// Records are read again only for their places.
    var isRebuilding = false
    /// Namespaces that have a reservation.
    var reserving: [UInt32] = []
    /// Bytes of files that do not count any more and are not yet removed, and of outputs that do not count yet.
    var uncounted: UInt64 = 0
    /// The disk's size, and what was free of it when last asked.
    var total: UInt64 = 0
    var free: UInt64 = 0

    /// After so many bytes the disk is asked again: others may use the same file system.
    static let askedAfter: UInt64 = 16 << 20
}

/// What a device has of space.
public struct SpaceInformation: Sendable {
    /// Bytes that the device may use in all.
    public let total: UInt64
    /// Bytes that it still may use.
    public let free: UInt64
    /// Bytes that only compaction may use.
    public let compactionRoom: UInt64
    /// Bytes that namespaces have reserved and not yet used.
    public let promised: UInt64
    /// What any namespace can write.
    public var available: UInt64 { free - min(free, compactionRoom + promised) }
}

extension LogEngine {
    // MARK: Asking

    /// What the device has of space, asked now.
    public func spaceInformation() -> SpaceInformation {
        let (total, free) = measuredSpace()
        return SpaceInformation(
            total: total, free: free, compactionRoom: compactionRoom(total), promised: promised(except: nil))
    }

    /// The device's share of the disk, and what is free of it.
    func measuredSpace() -> (total: UInt64, free: UInt64) {
        var found: (free: UInt64, total: UInt64) = (0, 0)
        do throws(DiskError) { found = try disk.space() } catch { return (space.total, space.free) }
        // What is reserved of the active segment is taken from the disk, but not yet from the device's namespaces.
        let written = segments.isEmpty ? 0 : segments[active].length + UInt64(pendingCount)
        var free = found.free &+ (reserved > written ? reserved - written : 0)
        guard options.capacityBytes > 0 else { return (found.total, free) }
        let used = logBytes + space.uncounted
        free = min(free, options.capacityBytes > used ? options.capacityBytes - used : 0)
        return (min(found.total, options.capacityBytes), free)
    }

    /// What only compaction may use, so that there always is a way to get space back.
    func compactionRoom(_ total: UInt64) -> UInt64 { min(2 * UInt64(segmentBytes), total / 8) }

    /// The size at which a segment ends: on a small device less than what was asked for, so that there is something to
    /// compact while the rest is written to.
    var segmentBytes: Int {
        guard space.total > 0 else { return options.segmentBytes }
        return Int(min(UInt64(options.segmentBytes), max(space.total / 16 & ~4095, 64 << 10)))
    }

    /// What namespaces have reserved and not used.
    func promised(except id: UInt32?) -> UInt64 {
        var sum: UInt64 = 0
        for other in space.reserving where other != id { sum &+= unusedReservation(other) }
        return sum
    }

    private func unusedReservation(_ id: UInt32) -> UInt64 {
        guard hasNamespace(id), let state = namespaces[Int(id)] else { return 0 }
        let wanted = state.pointee.settings.reservation
        return wanted - min(wanted, state.pointee.diskBytes)
    }

    // MARK: Admission

    /// Refuses a write that would take what is reserved for others or for compaction.
    @inline(__always)
    mutating func admit(_ state: UnsafeMutablePointer<NamespaceState>, _ bytes: Int) throws(LogError) {
        if state.pointee.settings.reservation == 0, space.spare >= Int64(bytes) {
            space.spare -= Int64(bytes)
            return
        }
        try admitSlowly(state, UInt64(bytes))
    }

    @inline(never)
    private mutating func admitSlowly(
        _ state: UnsafeMutablePointer<NamespaceState>, _ bytes: UInt64
    ) throws(LogError) {
        // Within its reservation a namespace takes what nobody else was given.
        let reservation = state.pointee.settings.reservation
        if reservation > 0, state.pointee.diskBytes + bytes <= reservation { return }
        measureSpace()
        let kept = compactionRoom(space.total) &+ promised(except: state.pointee.id)
        let available = space.free - min(space.free, kept)
        guard bytes <= available else {
            if giveBackCheckpoint() { return try admitSlowly(state, bytes) }
            throw .full
        }
        if reservation == 0 {
            space.spare = Int64(min(available, SpaceAccount.askedAfter)) - Int64(bytes)
        } else {
            space.spare = 0
        }
    }

    mutating func measureSpace() { (space.total, space.free) = measuredSpace() }

    /// Whether a namespace may reserve so much: what is not used of it must be there.
    func checkReservation(_ id: UInt32?, _ wanted: UInt64) throws(LogError) {
        guard wanted > 0 else { return }
        let (total, free) = measuredSpace()
        let used = id.flatMap { hasNamespace($0) ? namespaces[Int($0)]?.pointee.diskBytes : nil } ?? 0
        let others = compactionRoom(total) &+ promised(except: id)
        let available = free - min(free, others)
        guard wanted <= used || wanted - used <= available else { throw .reservationTooLarge }
    }

    /// After settings of a namespace changed: who has a reservation, and what was told about free space is old.
    mutating func noteSettings(_ id: UInt32) {
        space.reserving.removeAll { $0 == id }
        if hasNamespace(id), let state = namespaces[Int(id)], state.pointee.settings.reservation > 0 {
            space.reserving.append(id)
        }
        space.spare = 0
    }

    // MARK: Who uses how much

    /// A record of a namespace is in the log.
    @inline(__always)
    mutating func charge(_ state: UnsafeMutablePointer<NamespaceState>, _ bytes: Int, _ position: Int) {
        if state.pointee.usagePosition != position { settleUsage(state, position) }
        state.pointee.usageBytes += UInt64(bytes)
        state.pointee.diskBytes += UInt64(bytes)
    }

    /// A record of the segment that was written to last never happened.
    mutating func uncharge(_ state: UnsafeMutablePointer<NamespaceState>, _ bytes: UInt64) {
        state.pointee.diskBytes -= min(state.pointee.diskBytes, bytes)
        state.pointee.usageBytes -= min(state.pointee.usageBytes, bytes)
    }

    /// A record that has no key: definitions, fences, flushes and what belongs to the device.
    mutating func chargeControl(_ id: UInt32, _ bytes: Int, _ position: Int) {
        guard hasNamespace(id), let state = namespaces[Int(id)] else {
            segments[position].use.usage[id, default: 0] += UInt64(bytes)
            return
        }
        charge(state, bytes, position)
        state.pointee.controlBytes += UInt64(bytes)
    }

    /// Writes a namespace's bytes of the segment that it wrote to last into that segment's table.
    @inline(never)
    mutating func settleUsage(_ state: UnsafeMutablePointer<NamespaceState>, _ position: Int) {
        if state.pointee.usageBytes > 0 {
            segments[state.pointee.usagePosition].use.usage[state.pointee.id, default: 0] += state.pointee.usageBytes
        }
        state.pointee.usagePosition = position
        state.pointee.usageBytes = 0
    }

    mutating func settleAllUsage() {
        for case let state? in namespaces { settleUsage(state, state.pointee.usagePosition) }
    }
}

extension LogEngine {
    /// Takes back what `account` and `charge` counted for a record that never happened.
    mutating func unaccount(
        _ state: UnsafeMutablePointer<NamespaceState>, _ after: Slot, _ before: Slot
    ) {
        let bytes = after.recordBytes
        account(state, after, before)
        uncharge(state, bytes)
        guard state.pointee.isReclaimed else { return }
        segments[after.segment].use.dead -= min(segments[after.segment].use.dead, bytes)
        if !before.isEmpty {
            let position = before.segment
            segments[position].use.dead -= min(segments[position].use.dead, before.recordBytes)
        }
    }

    @inline(__always)
    mutating func account(_ state: UnsafeMutablePointer<NamespaceState>, _ before: Slot, _ after: Slot) {
        if !before.isEmpty {
            let bytes = before.recordBytes
            segments[before.segment].use.live -= bytes
            if !state.pointee.isHashed { state.pointee.table?.live[before.segment, default: 0] -= bytes }
            if state.pointee.isReclaimed { segments[before.segment].use.dead += bytes }
            if before.isTombstone {
                state.pointee.tombstoneBytes -= bytes
            } else {
                state.pointee.liveRecordBytes -= bytes
            }
        }
        if !after.isEmpty {
            let bytes = after.recordBytes
            segments[after.segment].use.live += bytes
            if !state.pointee.isHashed { state.pointee.table?.live[after.segment, default: 0] += bytes }
            if after.isTombstone {
                state.pointee.tombstoneBytes += bytes
            } else {
                state.pointee.liveRecordBytes += bytes
            }
        }
        if !before.isEmpty, !before.isTombstone {
            state.pointee.entries -= 1
            if !plants(.miscount) { state.pointee.liveBytes -= before.payloadBytes }
        }
        if !after.isEmpty, !after.isTombstone {
            state.pointee.entries += 1
            state.pointee.liveBytes += after.payloadBytes
        }
    }
}

/// What a namespace takes on the disk.
public struct NamespaceSpace: Sendable {
    /// Bytes of current keys and values.
    public let live: UInt64
    /// Bytes of records of former versions.
    public let history: UInt64
    /// Bytes of headers, padding, deletions, definitions.
    public let overhead: UInt64
    /// All of it.
    public var total: UInt64 { live + history + overhead }
}

extension NamespaceState {
    /// What the namespace takes on the disk.
    var spaceInformation: NamespaceSpace {
        let current = liveRecordBytes + tombstoneBytes + controlBytes
        return NamespaceSpace(
            live: liveBytes, history: diskBytes - min(diskBytes, current),
            overhead: current - min(current, liveBytes))
    }
}

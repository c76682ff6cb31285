import Simulation

/// A namespace that takes its records from another server. They have numbers of this device, always higher than the ones
/// they have at the source, and their original times.
extension LogEngine {
    /// Sequence numbers of a source that are believed.
    private static var sourceSequenceMax: UInt64 { 1 << 55 }

    /// Lets a namespace take its records from another server, durably. A new one is made; one that exists must never have
    /// held anything, or follow already, and then goes on from where it is.
    public mutating func follow(
        _ name: [UInt8], address: [UInt8], source: [UInt8], time: UInt64
    ) throws(LogError) -> UInt32 {
        guard address.count <= Following.addressBytesMax, Self.isName(source) else { throw .badName }
        var settings = NamespaceSettings()
        settings.following = Following(address: address, name: source)
        guard let id = names[name] else { return try createNamespace(name, settings, time: time) }
        let state = try state(id)
        if var following = state.pointee.settings.following {
            settings = state.pointee.settings
            (following.address, following.name) = (address, source)
            settings.following = following
        } else if state.pointee.slots > 0 {
            throw .namespaceExists
        } else {
            settings.created = state.pointee.settings.created
        }
        try changeNamespace(id, settings, time: time)
        return id
    }

    /// Notes which namespace of which device it is that is followed. False if it is another one than before.
    public mutating func meet(
        _ id: UInt32, device: [UInt8], namespace: UInt32, time: UInt64
    ) throws(LogError) -> Bool {
        let state = try state(id)
        var settings = state.pointee.settings
        guard var following = settings.following else { throw .absent }
        if following.hasMet { return following.device == device && following.namespace == namespace }
        (following.device, following.namespace) = (device, namespace)
        settings.following = following
        try changeNamespace(id, settings, time: time)
        return true
    }

    /// Takes the source's settings over.
    mutating func adopt(_ id: UInt32, _ sent: NamespaceSettings, time: UInt64) throws(LogError) {
        guard sent.isSupported else { throw .namespaceUnsupported }
        let state = try state(id)
        var settings = sent
        settings.following = state.pointee.settings.following
        if settings == state.pointee.settings { return }
        if let durability = settings.durability { try declare(durability.policy, time: time) }
        try changeNamespace(id, settings, time: time)
    }

    /// Ends the following: from now on the namespace is written to here. A lock or freeze that closed it at the source is
    /// lifted.
    public mutating func endFollowing(_ id: UInt32, time: UInt64) throws(LogError) {
        let state = try state(id)
        var settings = state.pointee.settings
        guard settings.following != nil else { throw .absent }
        (settings.following, settings.isLocked, settings.isFrozen) = (nil, false, false)
        try changeNamespace(id, settings, time: time)
    }

    /// Writes down how far a namespace has come, where nothing of it came for long.
    mutating func note(_ id: UInt32, _ following: Following, time: UInt64) throws(LogError) {
        var settings = try state(id).pointee.settings
        if settings.following == following { return }
        settings.following = following
        try changeNamespace(id, settings, time: time)
    }

    // MARK: Records

    /// Writes some items, whole batches of the source, and with them that they are here: all of it or nothing. The turn
    /// ends with it. Each item's value was compared with its checksum.
    mutating func take(
        _ id: UInt32, _ items: UnsafeRawBufferPointer, _ following: Following, sync: Bool, time: UInt64
    ) throws(LogError) {
        let state = try state(id)
        guard let base = items.baseAddress, following.sequence < Self.sourceSequenceMax else { throw .tooLarge }
        if readOnlyReason != nil { throw .readOnly }
        if let writeRefusal { throw .refused(writeRefusal) }
        try commit(sync: false)
        var settings = state.pointee.settings
        settings.following = following
        try openTaking(state, items, settings, above: following.sequence, time)
        var times: [UInt64] = []
        do throws(LogError) {
            var at = 0
            while at < items.count {
                let item = NamespaceItem(base + at)
                try takeOne(state, item, base + at + NamespaceItem.headerBytes, time)
                times.append(item.time)
                at += item.totalBytes
            }
            try takePosition(state, settings, time)
        } catch {
            abortBatch()
            throw error
        }
        closeTaking(times)
        let definition = nextSequence - 1
        try commit(sync: sync)
        state.pointee.settings = settings
        state.pointee.definition = definition
        chargeDefinition(id, state.pointee.name.count, settings)
    }

    /// Space for a batch of all that, in one segment, and numbers above the source's.
    private mutating func openTaking(
        _ state: UnsafeMutablePointer<NamespaceState>, _ items: UnsafeRawBufferPointer,
        _ settings: NamespaceSettings, above sequence: UInt64, _ time: UInt64
    ) throws(LogError) {
        // An item's header is 32 bytes shorter than a record's, and records are padded.
        let count = Self.count(items)
        var space = items.count + count * (Format.recordHeaderBytes - NamespaceItem.headerBytes + 8)
        space += Format.recordHeaderBytes + 8 + state.pointee.name.count + settings.encoded.count
        guard space <= segmentBytes - Format.headerBlockBytes - 256 else { throw .tooLarge }
        try admit(state, space)
        try ensureOpened(time)
        if nextSequence <= sequence { try leap(above: sequence, time) }
        try ensureRoom(space, usesSlack: false)
        openBatch = BatchStart(
            pendingCount: pendingCount, nextSequence: nextSequence, undo: undo.count, modeUndo: modeUndo.count,
            lastTime: lastTime, namespace: state.pointee.id)
    }

    private static func count(_ items: UnsafeRawBufferPointer) -> Int {
        guard let base = items.baseAddress else { return 0 }
        var (count, at) = (0, 0)
        while at < items.count {
            at += NamespaceItem(base + at).totalBytes
            count += 1
        }
        return count
    }

    /// Leaves a gap in the numbers, as behind a stop without order: a version's number is higher here than at the source,
    /// so that one that a client remembers from there is never taken for another version's.
    private mutating func leap(above sequence: UInt64, _ time: UInt64) throws(LogError) {
        try commit(sync: true)
        endOfEarlier = nextSequence - 1
        firstOfSession = (sequence | 0xffff_ffff) &+ 1
        isOpened = false
        try ensureOpened(time)
    }

    private mutating func takeOne(
        _ state: UnsafeMutablePointer<NamespaceState>, _ item: NamespaceItem, _ bytes: UnsafeRawPointer, _ time: UInt64
    ) throws(LogError) {
        let key = UnsafeRawBufferPointer(start: bytes, count: Int(item.keyLength))
        let value = UnsafeRawBufferPointer(start: bytes + Int(item.keyLength), count: item.valueLength)
        guard !key.isEmpty, item.valueLength <= LogLimits.valueBytesMax else { throw .tooLarge }
        if let table = state.pointee.table {
            guard let number = Self.id(key), number < LogLimits.idsMax,
                number < table.nextId &+ LogLimits.idsSkippedMax
            else { throw .unknownId }
            try table.prepare(number)
        }
        let hash = hasher.hash(key)
        var record = RecordHeader()
        (record.type, record.namespace) = (item.type, state.pointee.id)
        record.previous = try current(state, key, hash)?.sequence ?? 0
        let offset = try append(&record, key, value, hash: hash, time: time, usesSlack: false)
        try put(record, key, hash, active, offset, damaged: false)
    }

    /// The definition that says how far the namespace has come, as the batch's last record.
    private mutating func takePosition(
        _ state: UnsafeMutablePointer<NamespaceState>, _ settings: NamespaceSettings, _ time: UInt64
    ) throws(LogError) {
        var record = RecordHeader()
        (record.type, record.namespace, record.previous) = (
            RecordType.namespace, state.pointee.id, state.pointee.definition
        )
        var failure: LogError?
        state.pointee.name.withUnsafeBytes { key in
            settings.encoded.withUnsafeBytes { value in
                do throws(LogError) { _ = try append(&record, key, value, time: time, usesSlack: false) } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
    }

    /// Ends the batch: each record says how many follow, and all but the last have the times of the source.
    private mutating func closeTaking(_ times: [UInt64]) {
        guard let start = openBatch else { return }
        openBatch = nil
        var at = start.pendingCount
        var left = times.count
        while left >= 0, at < pendingCount, var header = RecordHeader(pending + at) {
            header.batchRemaining = UInt32(left)
            if left > 0 {
                header.time = times[times.count - left]
                header.flags |= RecordHeader.isOriginalTime
            }
            header.seal(pending + at, seed: seed)
            at += header.totalBytes
            left -= 1
        }
    }

    /// Ends everything that a namespace held, as its source did.
    mutating func takeFlush(_ id: UInt32, time: UInt64) throws(LogError) {
        let state = try state(id)
        try empty(state, record(RecordType.flush, id, [], [], previous: 0, time: time))
        chargeControl(id, Format.recordHeaderBytes, active)
        noteUncertain(id)
    }
}

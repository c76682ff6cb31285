extension LogEngine {
    // Definitions are rare: each ends the turn before it and its own, so that nothing of it has to be taken back.

    /// Makes a namespace, durably; returns its number.
    public mutating func createNamespace(
        _ name: [UInt8], _ settings: NamespaceSettings, time: UInt64
    ) throws(LogError) -> UInt32 {
        guard Self.isName(name) else { throw .badName }
        guard names[name] == nil else { throw .namespaceExists }
        guard namespaces.count <= LogLimits.namespacesMax else { throw .tooLarge }
        var settings = settings
        settings.created = time
        try checkReservation(nil, settings.reservation)
        let id = UInt32(namespaces.count)
        let sequence = try record(RecordType.namespace, id, name, settings.encoded, previous: 0, time: time)
        let state = define(id, name, settings, sequence)
        try attachIndex(state)
        chargeDefinition(id, name.count, settings)
        noteSettings(id)
        return id
    }

    /// Changes a namespace's settings, durably.
    public mutating func changeNamespace(
        _ id: UInt32, _ settings: NamespaceSettings, time: UInt64
    ) throws(LogError) {
        let state = try state(id)
        guard state.pointee.settings.isSupported else { throw .namespaceUnsupported }
        guard settings.mode == state.pointee.settings.mode || state.pointee.slots == 0 || plants(.changeMode) else {
            throw .modeFixed
        }
        if settings.reservation > state.pointee.settings.reservation {
            try checkReservation(id, settings.reservation)
        }
        let (name, previous) = (state.pointee.name, state.pointee.definition)
        let sequence = try record(
            RecordType.namespace, id, name, settings.encoded, previous: previous, time: time)
        // A run that is under way was decided by the former settings.
        if state.pointee.isReclaimed != settings.isReclaimed || state.pointee.settings.history != settings.history {
            if !compaction.isPublished { abandonRun() }
            noteUncertain(id)
        }
        state.pointee.settings = settings
        state.pointee.definition = sequence
        try attachIndex(state)
        chargeDefinition(id, name.count, settings)
        noteSettings(id)
    }

    /// Ends a namespace and everything in it, durably; with `wipes` its bytes on the disk are overwritten soon.
    public mutating func removeNamespace(_ id: UInt32, wipes: Bool = false, time: UInt64) throws(LogError) {
        let state = try state(id)
        let (name, previous) = (state.pointee.name, state.pointee.definition)
        let sequence = try record(
            RecordType.namespaceEnd, id, name, [], previous: previous, flags: wipes ? RecordHeader.wipes : 0,
            time: time)
        try state.pointee.table?.remove()
        forget(id)
        chargeControl(0, Format.aligned(Format.recordHeaderBytes + name.count), active)
        noteSettings(id)
        guard wipes, sequence > 0 else { return }
        if !compaction.isPublished { abandonRun(overwrites: true) }
        compaction.wiped.insert(id)
        // Files that wait for their removal may hold what is to be overwritten.
        for index in discarded.indices { discarded[index].overwrites = true }
        // It may hold keys of what is to be overwritten.
        giveBackCheckpoint()
        // It has happened, so a lack of space now is no reason to say otherwise; the segment is ended later.
        do throws(LogError) { try rollActive() } catch { if error != .full { throw error } }
    }

    /// Ends everything that a namespace holds, its history too, durably; its settings and fence stay.
    public mutating func flush(_ id: UInt32, epoch: UInt64 = 0, time: UInt64) throws(LogError) {
        let state = try writable(id, epoch)
        if state.pointee.settings.isWorm { throw .worm }
        let sequence = try record(RecordType.flush, id, [], [], previous: 0, time: time)
        try empty(state, sequence)
        chargeControl(id, Format.recordHeaderBytes, active)
        noteUncertain(id)
    }

    mutating func chargeDefinition(_ id: UInt32, _ nameBytes: Int, _ settings: NamespaceSettings) {
        chargeControl(id, Format.aligned(Format.recordHeaderBytes + nameBytes + settings.encoded.count), active)
    }

    /// Refuses writers of lower epochs from now on, durably. A lower or equal fence than the one in force is refused.
    public mutating func fence(_ id: UInt32, epoch: UInt64, time: UInt64) throws(LogError) {
        let state = try state(id)
        guard epoch >= state.pointee.fence else { throw .fenced(epoch: state.pointee.fence) }
        if epoch == state.pointee.fence { return }
        let value = (0..<8).map { UInt8(truncatingIfNeeded: epoch >> (8 * $0)) }
        state.pointee.fenced = try record(RecordType.fence, id, [], value, previous: 0, time: time)
        state.pointee.fence = epoch
        chargeControl(id, Format.recordHeaderBytes + 8, active)
    }

    /// Names are 1 to 128 bytes of letters, digits, `.`, `_` and `-`, not beginning with a dot.
    public static func isName(_ name: [UInt8]) -> Bool {
        guard (1...LogLimits.nameBytesMax).contains(name.count), name[0] != UInt8(ascii: ".") else { return false }
        return name.allSatisfy { byte in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 45
                || byte == 46
                || byte == 95
        }
    }

    mutating func record(
        _ type: UInt8, _ namespace: UInt32, _ key: [UInt8], _ value: [UInt8], previous: UInt64, flags: UInt16 = 0,
        time: UInt64
    ) throws(LogError) -> UInt64 {
        if let writeRefusal { throw .refused(writeRefusal) }
        try commitPart(sync: true)
        var header = RecordHeader()
        (header.type, header.namespace, header.previous, header.flags) = (type, namespace, previous, flags)
        var failure: LogError?
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                do throws(LogError) {
                    _ = try append(&header, key, value, time: time, usesSlack: type == RecordType.fence)
                } catch { failure = error }
            }
        }
        do throws(LogError) {
            if let failure { throw failure }
            try commitPart(sync: true)
        } catch {
            // Nothing but this record was in the turn, and who asked for it is told.
            turnFailure = nil
            throw error
        }
        return header.sequence
    }

    @discardableResult
    mutating func define(
        _ id: UInt32, _ name: [UInt8], _ settings: NamespaceSettings, _ sequence: UInt64
    ) -> UnsafeMutablePointer<NamespaceState> {
        while namespaces.count <= Int(id) { namespaces.append(nil) }
        if let state = namespaces[Int(id)] {
            if state.pointee.name == name {
                state.pointee.settings = settings
                state.pointee.definition = sequence
                // Records may be applied again, and in between the name may have been another's.
                names[name] = id
                return state
            }
            names[state.pointee.name] = nil
            state.pointee.rename(name)
            state.pointee.settings = settings
            state.pointee.definition = sequence
            names[name] = id
            return state
        }
        let state = UnsafeMutablePointer<NamespaceState>.allocate(capacity: 1)
        state.initialize(to: NamespaceState(id: id, name: name, settings: settings, definition: sequence))
        namespaces[Int(id)] = state
        names[name] = id
        return state
    }

    mutating func forget(_ id: UInt32) {
        guard let state = namespaces[Int(id)] else { return }
        noteUncertain(id)
        // Its records may have been met before its definition; nothing of it is made anew.
        inDoubt.remove(id)
        if let table = state.pointee.table { forgetLive(table) }
        if names[state.pointee.name] == id { names[state.pointee.name] = nil }
        namespaces[Int(id)] = nil
        ended.append(EndedNamespace(state: state))
    }
}

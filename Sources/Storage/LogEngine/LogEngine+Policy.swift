extension LogEngine {
    /// Says, durably, that from here on writes may be answered before they are on stable storage; recovery after a
    /// crash then leaves a gap in the numbers, so that none that somebody may have seen is given twice.
    public mutating func declare(_ wanted: SyncPolicy, time: UInt64) throws(LogError) {
        guard wanted != .always, policy == .always else { return }
        if isOpened {
            try commit(sync: true)
            var record = RecordHeader()
            record.type = RecordType.open
            try appendOpen(&record, wanted, time: time)
            try commit(sync: true)
        }
        policy = wanted
    }

    /// The record by which a process says how it writes: policy u8, 7 zeros.
    mutating func appendOpen(_ record: inout RecordHeader, _ policy: SyncPolicy, time: UInt64) throws(LogError) {
        let value: [UInt8] = [policy.rawValue, 0, 0, 0, 0, 0, 0, 0]
        var failure: LogError?
        value.withUnsafeBytes { bytes in
            do throws(LogError) {
                _ = try append(&record, .init(start: nil, count: 0), bytes, time: time, usesSlack: false)
            } catch { failure = error }
        }
        if let failure { throw failure }
        lastPolicy = policy
    }
}

extension LogEngine {
    /// Ends the segment that is written to, so that it can be copied as a whole; the next record begins another.
    public mutating func sealSegment(time: UInt64) throws(LogError) {
        if readOnlyReason != nil { throw .readOnly }
        if let writeRefusal { throw .refused(writeRefusal) }
        try commit(sync: true)
        guard isOpened, segments[active].length > UInt64(Format.headerBlockBytes) else { return }
        try roll()
    }
}

extension LogEngine {
    /// Ids that an import may leave out between two; more is taken for damage, because the table has a place for each.
    private static let gapMax: UInt64 = 1 << 24

    /// Puts an id of a sequential namespace that another store gave; ids only ascend, those between are never given.
    public mutating func restore(
        _ namespace: UInt32, id: UInt64, _ value: UnsafeRawBufferPointer, time: UInt64
    ) throws(LogError) {
        let state = try writable(namespace, .max)
        guard let table = state.pointee.table, value.count <= LogLimits.valueBytesMax, id < LogLimits.idsMax,
            id >= table.nextId, id - table.nextId <= Self.gapMax
        else { throw .tooLarge }
        var room = table.nextId
        while room <= id {
            try table.prepare(room)
            room += 1
        }
        var record = RecordHeader()
        (record.type, record.namespace) = (RecordType.value, namespace)
        var failure: LogError?
        withUnsafeBytes(of: id.littleEndian) { key in
            do throws(LogError) {
                let offset = try append(&record, key, value, time: time, usesSlack: false)
                try put(record, key, KeyHash(high: 0, low: 0), active, offset, damaged: false)
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// The id that a sequential namespace gives next; nil of others.
    public func nextId(_ namespace: UInt32) -> UInt64? {
        hasNamespace(namespace) ? namespaces[Int(namespace)]?.pointee.table?.nextId : nil
    }
}

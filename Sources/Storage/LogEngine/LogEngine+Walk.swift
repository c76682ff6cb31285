import Simulation

/// A key as it was met in the order of last writes.
public struct WrittenKey: Sendable {
    /// The key.
    public let key: [UInt8]
    /// The sequence number of its version.
    public let sequence: UInt64
    /// When that was written, nanoseconds since 1970.
    public let time: UInt64
    /// Bytes of the value.
    public let valueLength: Int
}

extension LogEngine {
    /// Live keys of a namespace in the order of their last writes, those after (`isReverse`: before) a sequence number:
    /// at most `limit`, and at most `visits` records of the log are looked at. Writes of this turn are not met. Returns
    /// the number to go on from, nil at the end.
    public mutating func written(
        _ namespace: UInt32, from sequence: UInt64, isReverse: Bool, limit: Int, visits: Int,
        into found: inout [WrittenKey]
    ) throws(LogError) -> UInt64? {
        _ = try readable(namespace)
        found.removeAll(keepingCapacity: true)
        var at = sequence
        var place: (position: Int, offset: UInt64)?
        for _ in 0..<visits {
            guard let next = try isReverse ? recordBefore(at) : recordAfter(at, place) else {
                return at == sequence ? nil : at
            }
            place = (next.position, next.offset)
            at = next.header.sequence
            if next.header.type == RecordType.value, next.header.namespace == namespace,
                let key = try liveKey(next.header)
            {
                found.append(
                    WrittenKey(
                        key: key, sequence: at, time: next.header.time, valueLength: Int(next.header.valueLength)))
                if found.count == limit { break }
            }
        }
        return at
    }

    /// A record and where it stands; its head is in `scratch`.
    private struct Met {
        var header: RecordHeader
        var position: Int
        var offset: UInt64
    }

    /// The key of the record in `scratch`, if that is the key's current version.
    private mutating func liveKey(_ header: RecordHeader) throws(LogError) -> [UInt8]? {
        let key = [UInt8](
            UnsafeRawBufferPointer(start: scratch + Format.recordHeaderBytes, count: Int(header.keyLength)))
        var live: Result<UInt64, LogError> = .success(0)
        key.withUnsafeBytes { bytes in
            do throws(LogError) { live = .success(try find(header.namespace, bytes)?.sequence ?? 0) } catch {
                live = .failure(error)
            }
        }
        return try live.get() == header.sequence ? key : nil
    }

    /// The first record behind a sequence number; `place` is that number's record, if it is known.
    private mutating func recordAfter(
        _ sequence: UInt64, _ place: (position: Int, offset: UInt64)?
    ) throws(LogError) -> Met? {
        guard sequence < turnFirst, sequence + 1 < turnFirst else { return nil }
        var place = place
        if place == nil, sequence > 0 { place = try locate(sequence) }
        var index = order.firstIndex(of: place?.position ?? -1) ?? start(of: sequence)
        var offset = place?.offset ?? UInt64(Format.headerBlockBytes)
        while index < order.count {
            let position = order[index]
            while offset + UInt64(Format.recordHeaderBytes) <= segments[position].length {
                guard let header = try goodHead(position, offset) else { break }
                if header.sequence > sequence {
                    return header.sequence < turnFirst ? Met(header: header, position: position, offset: offset) : nil
                }
                offset += UInt64(header.totalBytes)
            }
            index += 1
            offset = UInt64(Format.headerBlockBytes)
        }
        return nil
    }

    /// The last record before a sequence number.
    private mutating func recordBefore(_ sequence: UInt64) throws(LogError) -> Met? {
        let sequence = min(sequence, turnFirst)
        guard sequence > 1 else { return nil }
        if let place = try locate(sequence - 1), let header = try goodHead(place.position, place.offset) {
            return Met(header: header, position: place.position, offset: place.offset)
        }
        // A gap in the numbers: the segments that can hold lower ones are read from their starts.
        for position in order.reversed() where segments[position].firstSequence < sequence {
            var offset = UInt64(Format.headerBlockBytes)
            var last: (sequence: UInt64, offset: UInt64)?
            while offset + UInt64(Format.recordHeaderBytes) <= segments[position].length {
                guard let header = try goodHead(position, offset), header.sequence < sequence else { break }
                last = (header.sequence, offset)
                offset += UInt64(header.totalBytes)
            }
            if let last, let header = try goodHead(position, last.offset) {
                return Met(header: header, position: position, offset: last.offset)
            }
        }
        return nil
    }

    /// Where in the order of the log the segment stands that can hold what follows a number.
    private func start(of sequence: UInt64) -> Int {
        order.lastIndex { segments[$0].firstSequence <= sequence } ?? 0
    }

    /// A record's header, its head in `scratch`; nil if it is damaged.
    private mutating func goodHead(_ position: Int, _ offset: UInt64) throws(LogError) -> RecordHeader? {
        do throws(DiskError) { return try readHead(segments[position], offset) } catch {
            if error == .crashed { throw .disk(error) }
            return nil
        }
    }
}

internal import Bytes
internal import Crypto
internal import Objects

/// Reads what `FieldWriter` writes, and only that: whatever it accepts, it would be written the same.
struct FieldReader {
    private var input: ByteReader

    init(_ bytes: [UInt8]) { input = ByteReader(bytes) }

    var offset: Int { input.offset }

    private mutating func read<Value>(
        _ body: (inout ByteReader) throws(ByteError) -> Value
    ) throws(OperationError) -> Value {
        do { return try body(&input) } catch { throw .bytes(error) }
    }

    func finish() throws(OperationError) {
        do { try input.finish() } catch { throw .bytes(error) }
    }

    mutating func u8() throws(OperationError) -> UInt8 { try read { (input) throws(ByteError) in try input.u8() } }
    mutating func u16() throws(OperationError) -> UInt16 { try read { (input) throws(ByteError) in try input.u16() } }
    mutating func varint() throws(OperationError) -> UInt64 {
        try read { (input) throws(ByteError) in try input.varint() }
    }

    mutating func flag(_ what: String) throws(OperationError) -> Bool {
        let start = offset
        let value = try u8()
        guard value <= 1 else { throw .outOfRange(what, offset: start) }
        return value == 1
    }

    mutating func u32(_ what: String) throws(OperationError) -> UInt32 {
        let start = offset
        guard let value = UInt32(exactly: try varint()) else { throw .outOfRange(what, offset: start) }
        return value
    }

    mutating func number(_ what: String) throws(OperationError) -> UInt64 {
        let start = offset
        let value = try varint()
        guard value <= Limits.number else { throw .outOfRange(what, offset: start) }
        return value
    }

    mutating func signed(_ what: String) throws(OperationError) -> Int64 { Int64(bitPattern: try number(what)) }

    mutating func int(_ what: String, _ range: ClosedRange<Int>) throws(OperationError) -> Int {
        let start = offset
        guard let value = Int(exactly: try varint()), range.contains(value) else {
            throw .outOfRange(what, offset: start)
        }
        return value
    }

    mutating func blob(_ limit: Int) throws(OperationError) -> [UInt8] {
        try read { (input) throws(ByteError) in try input.lengthPrefixed(limit: limit) }
    }

    mutating func fixed(_ count: Int) throws(OperationError) -> [UInt8] {
        try read { (input) throws(ByteError) in try input.take(count) }
    }

    mutating func text(_ limit: Int) throws(OperationError) -> String {
        let start = offset
        guard let text = String(validating: try blob(limit), as: UTF8.self) else { throw .badText(offset: start) }
        return text
    }

    mutating func digest() throws(OperationError) -> Digest {
        let start = offset
        guard let digest = Digest(try fixed(32)) else { throw .outOfRange("hash", offset: start) }
        return digest
    }

    /// A count that the rest of the input can hold, so that a wrong one costs no memory.
    mutating func count(_ what: String, _ limit: Int) throws(OperationError) -> Int {
        let start = offset
        let count = try int(what, 0...limit)
        guard count <= input.remaining else { throw .bytes(.truncated(offset: start, wanted: count)) }
        return count
    }

    mutating func list<Item>(
        _ what: String, _ limit: Int, _ each: (inout FieldReader) throws(OperationError) -> Item
    ) throws(OperationError) -> [Item] {
        let count = try count(what, limit)
        var items: [Item] = []
        items.reserveCapacity(min(count, 4096))
        for _ in 0..<count { items.append(try each(&self)) }
        return items
    }

    mutating func optional<Value>(
        _ what: String, _ each: (inout FieldReader) throws(OperationError) -> Value
    ) throws(OperationError) -> Value? {
        try flag(what) ? try each(&self) : nil
    }

    mutating func map<Value>(
        _ what: String, _ limit: Int, _ each: (inout FieldReader) throws(OperationError) -> Value
    ) throws(OperationError) -> [String: Value] {
        var values: [String: Value] = [:]
        var last: [UInt8]?
        for _ in 0..<(try count(what, limit)) {
            let start = offset
            let name = try text(Limits.name)
            let bytes = Array(name.utf8)
            if let last, !last.lexicographicallyPrecedes(bytes) { throw .outOfOrder(what, offset: start) }
            last = bytes
            // Two names that differ in bytes only are one to `String`.
            guard values.updateValue(try each(&self), forKey: name) == nil else {
                throw .outOfOrder(what, offset: start)
            }
        }
        return values
    }

    mutating func attributes() throws(OperationError) -> [String: String] {
        try map("attribute", Limits.attributes) { (reader) throws(OperationError) in
            try reader.text(Limits.attribute)
        }
    }

    mutating func id<ID: StoreID>() throws(OperationError) -> ID {
        let epoch = try varint()
        return ID(epoch: epoch, counter: try varint())
    }

    mutating func id<ID: StoreID>(after last: ID?) throws(OperationError) -> ID {
        let start = offset
        let distance = try varint()
        if distance == 0 {
            let id: ID = try self.id()
            if let last, last.epoch == id.epoch, last.counter < id.counter { throw .outOfOrder("id", offset: start) }
            return id
        }
        guard let last, case let (counter, overflow) = last.counter.addingReportingOverflow(distance), !overflow else {
            throw .outOfRange("id", offset: start)
        }
        return ID(epoch: last.epoch, counter: counter)
    }

    mutating func ids<ID: StoreID>(_ what: String, _ limit: Int) throws(OperationError) -> [ID] {
        var last: ID?
        return try list(what, limit) { (reader) throws(OperationError) in
            let id: ID = try reader.id(after: last)
            last = id
            return id
        }
    }

    mutating func versionName() throws(OperationError) -> VersionName {
        let bucket = try text(Limits.name)
        let key = ObjectKey(try blob(Limits.key))
        return VersionName(bucket: bucket, key: key, version: try versionID())
    }

    mutating func versionID() throws(OperationError) -> VersionID {
        let number = try number("version")
        return number == 0 ? .null : .number(number)
    }
}

internal import Bytes
internal import Crypto
internal import Objects

/// Writes fields of operations; remembers the first one that a reader would refuse.
struct FieldWriter {
    private(set) var output = ByteWriter()
    private(set) var refusal: OperationError?

    var bytes: [UInt8] { output.bytes }

    mutating func refuse(_ error: OperationError) { if refusal == nil { refusal = error } }

    mutating func u8(_ value: UInt8) { output.u8(value) }
    mutating func flag(_ value: Bool) { output.u8(value ? 1 : 0) }
    mutating func u16(_ value: UInt16) { output.u16(value) }
    mutating func u32(_ value: UInt32) { output.varint(UInt64(value)) }

    mutating func number(_ value: UInt64, _ what: String) {
        if value > Limits.number { refuse(.unfit(what)) }
        output.varint(value)
    }

    mutating func signed(_ value: Int64, _ what: String) {
        if value < 0 { refuse(.unfit(what)) }
        output.varint(UInt64(bitPattern: value))
    }

    mutating func int(_ value: Int, _ what: String, _ range: ClosedRange<Int>) {
        if !range.contains(value) { refuse(.tooMuch(what, count: value, limit: range.upperBound)) }
        output.varint(UInt64(bitPattern: Int64(value)))
    }

    mutating func blob(_ value: [UInt8], _ what: String, _ limit: Int) {
        if value.count > limit { refuse(.tooMuch(what, count: value.count, limit: limit)) }
        output.lengthPrefixed(value)
    }

    mutating func text(_ value: String, _ what: String, _ limit: Int) { blob(Array(value.utf8), what, limit) }

    mutating func fixed(_ value: [UInt8], _ what: String, _ count: Int) {
        if value.count != count { refuse(.unfit(what)) }
        output.append(value)
    }

    mutating func digest(_ value: Digest) { output.append(value.bytes) }

    mutating func list<Item>(_ items: [Item], _ what: String, _ limit: Int, _ each: (inout FieldWriter, Item) -> Void) {
        if items.count > limit { refuse(.tooMuch(what, count: items.count, limit: limit)) }
        output.varint(UInt64(items.count))
        for item in items { each(&self, item) }
    }

    mutating func optional<Value>(_ value: Value?, _ each: (inout FieldWriter, Value) -> Void) {
        flag(value != nil)
        if let value { each(&self, value) }
    }

    /// By the bytes of the names: one map has one encoding.
    mutating func map<Value>(
        _ values: [String: Value], _ what: String, _ limit: Int, _ each: (inout FieldWriter, Value) -> Void
    ) {
        let sorted = values.map { (Array($0.key.utf8), $0.value) }.sorted { $0.0.lexicographicallyPrecedes($1.0) }
        list(sorted, what, limit) { writer, pair in
            writer.blob(pair.0, what, Limits.name)
            each(&writer, pair.1)
        }
    }

    mutating func attributes(_ values: [String: String]) {
        map(values, "attribute", Limits.attributes) { $0.text($1, "attribute", Limits.attribute) }
    }

    mutating func id(_ id: some StoreID) {
        output.varint(id.epoch)
        output.varint(id.counter)
    }

    /// The distance from the id before, where that is in the same epoch and lower; else 0 and the id.
    mutating func id<ID: StoreID>(_ id: ID, after last: ID?) {
        if let last, last.epoch == id.epoch, last.counter < id.counter {
            output.varint(id.counter - last.counter)
        } else {
            output.varint(0)
            self.id(id)
        }
    }

    mutating func ids<ID: StoreID>(_ ids: [ID], _ what: String, _ limit: Int) {
        var last: ID?
        list(ids, what, limit) { writer, id in
            writer.id(id, after: last)
            last = id
        }
    }

    mutating func version(_ name: VersionName) {
        text(name.bucket, "bucket", Limits.name)
        blob(name.key.bytes, "key", Limits.key)
        version(name.version)
    }

    /// 0 is `null`: no operation has that number.
    mutating func version(_ id: VersionID) {
        switch id {
        case .null: output.varint(0)
        case .number(let sequence):
            if sequence == 0 { refuse(.unfit("version")) }
            number(sequence, "version")
        }
    }
}

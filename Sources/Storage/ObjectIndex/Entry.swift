/// An entry of a store's log before it is encrypted: operations that take effect together.
public enum Entry {
    /// Of the format.
    public static let version: UInt8 = 1

    /// The bytes of operations; refused where a reader would refuse them.
    public static func encode(_ operations: [Operation]) throws(OperationError) -> [UInt8] {
        var writer = FieldWriter()
        writer.u8(version)
        writer.list(operations, "operations", Limits.operations) { $0.operation($1) }
        if writer.bytes.count > Limits.entry {
            writer.refuse(.tooMuch("entry", count: writer.bytes.count, limit: Limits.entry))
        }
        if let refusal = writer.refusal { throw refusal }
        return writer.bytes
    }

    /// The operations of an entry. Whatever this accepts, `encode` gives the same bytes for.
    public static func decode(_ bytes: [UInt8]) throws(OperationError) -> [Operation] {
        guard bytes.count <= Limits.entry else {
            throw .tooMuch("entry", count: bytes.count, limit: Limits.entry)
        }
        var reader = FieldReader(bytes)
        let version = try reader.u8()
        guard version == Entry.version else { throw .unknownVersion(version) }
        let operations = try reader.list("operations", Limits.operations) { (reader) throws(OperationError) in
            try reader.operation()
        }
        try reader.finish()
        return operations
    }
}

extension Operation {
    /// How many bytes of an entry it takes, for writers that fill entries; throws where a reader would refuse it.
    public func encodedCount() throws(OperationError) -> Int {
        var writer = FieldWriter()
        writer.operation(self)
        if let refusal = writer.refusal { throw refusal }
        return writer.bytes.count
    }
}

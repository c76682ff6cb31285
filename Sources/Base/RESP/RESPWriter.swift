/// Writes the Redis protocol into a growing array of bytes.
public struct RESPWriter: Sendable {
    /// Which revision the other side asked for; 2 until it sent `HELLO 3`.
    public enum Version: Sendable {
        /// RESP2: maps, pushes, booleans and nulls are written as their older forms.
        case two
        /// RESP3.
        case three
    }

    /// What was written so far.
    public private(set) var bytes: [UInt8] = []
    /// The revision to write.
    public var version: Version

    /// An empty writer.
    public init(_ version: Version = .three) { self.version = version }

    /// Returns what was written and starts over.
    public mutating func take() -> [UInt8] {
        let written = bytes
        bytes = []
        return written
    }

    /// Forgets what was written and keeps the memory.
    public mutating func clear() { bytes.removeAll(keepingCapacity: true) }

    /// Writes a command: an array of bulk strings.
    public mutating func command(_ arguments: [[UInt8]]) {
        header("*", arguments.count)
        for argument in arguments { bulk(argument) }
    }

    /// Writes any value in the writer's revision.
    public mutating func value(_ value: RESPValue) {
        switch value {
        case .simple(let text): line("+", text)
        case .error(let text): line("-", text)
        case .integer(let number): line(":", String(number))
        case .bulk(let bytes): bulk(bytes)
        case .null: bytes.append(contentsOf: version == .three ? Array("_\r\n".utf8) : Array("$-1\r\n".utf8))
        case .array(let items): list("*", items)
        case .push(let items): list(version == .three ? ">" : "*", items)
        case .map(let pairs):
            header(version == .three ? "%" : "*", version == .three ? pairs.count : pairs.count * 2)
            for (key, content) in pairs {
                self.value(key)
                self.value(content)
            }
        case .bool(let flag):
            line(version == .three ? "#" : ":", version == .three ? flag ? "t" : "f" : flag ? "1" : "0")
        case .double(let number): double(number)
        }
    }

    /// Writes a bulk string.
    public mutating func bulk(_ content: [UInt8]) {
        header("$", content.count)
        bytes.append(contentsOf: content)
        bytes.append(13)
        bytes.append(10)
    }

    /// Writes a simple string.
    public mutating func simple(_ text: String) { line("+", text) }

    /// Writes an error; line ends inside it become spaces.
    public mutating func error(_ code: String, _ message: String) { line("-", "\(code) \(message)") }

    /// Writes the header of an array whose items follow.
    public mutating func arrayHeader(_ count: Int) { header("*", count) }

    private mutating func list(_ type: Unicode.Scalar, _ items: [RESPValue]) {
        header(type, items.count)
        for item in items { value(item) }
    }

    private mutating func double(_ number: Double) {
        let text = number.isNaN ? "nan" : number.isInfinite ? (number < 0 ? "-inf" : "inf") : "\(number)"
        if version == .three { line(",", text) } else { bulk(Array(text.utf8)) }
    }

    private mutating func header(_ type: Unicode.Scalar, _ count: Int) { line(type, String(count)) }

    private mutating func line(_ type: Unicode.Scalar, _ text: String) {
        bytes.append(UInt8(ascii: type))
        for byte in text.utf8 { bytes.append(byte == 13 || byte == 10 ? 32 : byte) }
        bytes.append(13)
        bytes.append(10)
    }
}

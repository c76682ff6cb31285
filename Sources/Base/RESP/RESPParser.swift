/// Why bytes are not the Redis protocol. The connection that sent them must be closed.
public enum RESPError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A line began with a byte that names no type.
    case unknownType(UInt8)
    /// A line was not ended by CR LF, or longer than the limit.
    case badLine
    /// A length or number was not one.
    case badNumber
    /// A bulk string was not followed by CR LF.
    case badBulkEnd
    /// A bulk string longer than the limit.
    case bulkTooLong(Int64)
    /// An array of more items than the limit.
    case tooManyItems(Int64)
    /// Arrays within arrays, deeper than the limit.
    case tooDeep
    /// One value of more bytes than the limit.
    case messageTooLong
    /// An inline command with a quote that is not closed.
    case unbalancedQuotes

    /// The sentence that is sent to the other side.
    public var description: String {
        switch self {
        case .unknownType(let byte): "unknown type byte \(byte)"
        case .badLine: "a line is too long or not ended by CR LF"
        case .badNumber: "a length or number is malformed"
        case .badBulkEnd: "a bulk string is not followed by CR LF"
        case .bulkTooLong(let length): "a bulk string of \(length) bytes is over the limit"
        case .tooManyItems(let count): "an array of \(count) items is over the limit"
        case .tooDeep: "arrays are nested too deeply"
        case .messageTooLong: "a message is over the limit"
        case .unbalancedQuotes: "a quote is not closed"
        }
    }
}

/// Parses the Redis protocol (RESP2, RESP3 and inline commands) from bytes that arrive in any pieces.
///
/// State is kept between pieces, so that the work is linear in the bytes however they are cut. After an
/// error every later `next()` throws the same error.
public struct RESPParser: Sendable {
    /// How much one value may ask of memory.
    public struct Limits: Sendable {
        /// Most items of one array (arguments of one command); a map counts two a pair.
        public var itemsMax: Int
        /// Longest bulk string in bytes.
        public var bulkMax: Int
        /// Deepest nesting of arrays.
        public var depthMax: Int
        /// Longest line: an inline command, number, simple string or error.
        public var lineMax: Int
        /// Most bytes of one value in all.
        public var messageMax: Int

        /// Limits of a service on a node; 64 KiB lines are Redis' own limit for inline commands.
        public init(
            itemsMax: Int = 65_536, bulkMax: Int = 64 << 20, depthMax: Int = 16, lineMax: Int = 64 << 10,
            messageMax: Int = 128 << 20
        ) {
            (self.itemsMax, self.bulkMax, self.depthMax) = (itemsMax, bulkMax, depthMax)
            (self.lineMax, self.messageMax) = (lineMax, messageMax)
        }
    }

    private enum Kind { case array, map, push, attribute }
    private struct Frame {
        var kind: Kind
        var remaining: Int
        var items: [RESPValue] = []
    }
    private enum Step {
        case value(RESPValue)
        case progress
        case needsBytes
    }
    private enum Expecting {
        case line
        case bulk(length: Int, isError: Bool, isVerbatim: Bool)
    }

    private let limits: Limits
    private let allowsInline: Bool
    private var buffer: [UInt8] = []
    private var start = 0
    private var scanned = 0
    private var consumed = 0
    private var stack: [Frame] = []
    private var expecting = Expecting.line
    private var failure: RESPError?

    /// A parser; a server sets `allowsInline`, so that a person can type commands.
    public init(limits: Limits = Limits(), allowsInline: Bool = false) {
        (self.limits, self.allowsInline) = (limits, allowsInline)
    }

    /// Bytes that were fed and not yet parsed.
    public var bufferedCount: Int { buffer.count - start }

    /// True between values: nothing is buffered or half parsed.
    public var isIdle: Bool { bufferedCount == 0 && stack.isEmpty && isAtLine }

    private var isAtLine: Bool { if case .line = expecting { true } else { false } }

    /// Adds received bytes.
    public mutating func feed(_ bytes: [UInt8]) {
        compact()
        buffer.append(contentsOf: bytes)
    }

    /// Adds received bytes.
    public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        compact()
        buffer.append(contentsOf: bytes)
    }

    /// The next complete value, or nil when more bytes are needed.
    public mutating func next() throws(RESPError) -> RESPValue? {
        if let failure { throw failure }
        do {
            while true {
                switch try step() {
                case .value(let value): return value
                case .progress: continue
                case .needsBytes: return nil
                }
            }
        } catch {
            failure = error
            buffer = []
            stack = []
            start = 0
            throw error
        }
    }

    private mutating func compact() {
        guard start > 0 else { return }
        if start == buffer.count {
            buffer.removeAll(keepingCapacity: buffer.capacity <= 1 << 20)
        } else if start >= buffer.count / 2 {
            buffer.removeFirst(start)
        } else {
            return
        }
        scanned -= start
        start = 0
    }

    /// Parses one line or bulk.
    private mutating func step() throws(RESPError) -> Step {
        var value: RESPValue?
        switch expecting {
        case .bulk(let length, let isError, let isVerbatim):
            guard let bytes = try takeBulk(length) else { return .needsBytes }
            expecting = .line
            value = Self.bulkValue(bytes, isError: isError, isVerbatim: isVerbatim)
        case .line:
            guard let line = try takeLine() else { return .needsBytes }
            value = try parse(line)
            if value == nil, stack.isEmpty, isAtLine { consumed = 0 }
        }
        guard let value, let whole = complete(value) else { return .progress }
        return .value(whole)
    }

    private static func bulkValue(_ bytes: [UInt8], isError: Bool, isVerbatim: Bool) -> RESPValue {
        if isError { return .error(String(decoding: bytes, as: UTF8.self)) }
        if isVerbatim, bytes.count >= 4, bytes[3] == UInt8(ascii: ":") { return .bulk(Array(bytes[4...])) }
        return .bulk(bytes)
    }

    private mutating func count(_ bytes: Int) throws(RESPError) {
        consumed += bytes
        if consumed > limits.messageMax { throw .messageTooLong }
    }

    /// The range of the next line without its end, if it is complete.
    private mutating func takeLine() throws(RESPError) -> Range<Int>? {
        var index = max(scanned, start)
        while index < buffer.count, buffer[index] != 10 { index += 1 }
        scanned = index
        if index == buffer.count {
            if index - start > limits.lineMax { throw .badLine }
            return nil
        }
        if index - start > limits.lineMax { throw .badLine }
        try count(index + 1 - start)
        let hasReturn = index > start && buffer[index - 1] == 13
        let line = start..<(hasReturn ? index - 1 : index)
        // Only an inline command may end in a bare line feed, as with netcat.
        if !hasReturn, !(allowsInline && stack.isEmpty && !Self.isType(buffer[start])) { throw .badLine }
        start = index + 1
        scanned = start
        return line
    }

    private mutating func takeBulk(_ length: Int) throws(RESPError) -> [UInt8]? {
        guard buffer.count - start >= length + 2 else { return nil }
        let end = start + length
        guard buffer[end] == 13, buffer[end + 1] == 10 else { throw .badBulkEnd }
        try count(length + 2)
        let bytes = Array(buffer[start..<end])
        start = end + 2
        scanned = start
        return bytes
    }

    /// Puts a finished value into the open array, closing every array that it completes.
    private mutating func complete(_ finished: RESPValue) -> RESPValue? {
        var value = finished
        while var frame = stack.popLast() {
            frame.items.append(value)
            frame.remaining -= 1
            if frame.remaining > 0 {
                stack.append(frame)
                return nil
            }
            guard let closed = Self.close(frame) else { return nil }
            value = closed
        }
        consumed = 0
        return value
    }

    private static func close(_ frame: Frame) -> RESPValue? {
        switch frame.kind {
        case .array: return .array(frame.items)
        case .push: return .push(frame.items)
        case .attribute: return nil
        case .map:
            var pairs: [(RESPValue, RESPValue)] = []
            pairs.reserveCapacity(frame.items.count / 2)
            for index in stride(from: 0, to: frame.items.count - 1, by: 2) {
                pairs.append((frame.items[index], frame.items[index + 1]))
            }
            return .map(pairs)
        }
    }
}

extension RESPParser {
    static func isType(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "$"), UInt8(ascii: "*"),
            UInt8(ascii: "_"), UInt8(ascii: "#"), UInt8(ascii: ","), UInt8(ascii: "("), UInt8(ascii: "!"),
            UInt8(ascii: "="), UInt8(ascii: "%"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "|"):
            true
        default: false
        }
    }

    /// The value that a line spells, or nil when the line opens something.
    private mutating func parse(_ line: Range<Int>) throws(RESPError) -> RESPValue? {
        guard let type = line.isEmpty ? nil : buffer[line.lowerBound] else {
            if allowsInline, stack.isEmpty { return nil }
            throw .badLine
        }
        let rest = line.lowerBound + 1..<line.upperBound
        switch type {
        case UInt8(ascii: "+"), UInt8(ascii: "("): return .simple(String(decoding: buffer[rest], as: UTF8.self))
        case UInt8(ascii: "-"): return .error(String(decoding: buffer[rest], as: UTF8.self))
        case UInt8(ascii: ":"): return .integer(try number(rest))
        case UInt8(ascii: "_"): return .null
        case UInt8(ascii: "#"): return try boolean(rest)
        case UInt8(ascii: ","): return try double(rest)
        case UInt8(ascii: "$"), UInt8(ascii: "!"), UInt8(ascii: "="): return try openBulk(rest, type)
        case UInt8(ascii: "*"), UInt8(ascii: "~"): return try open(.array, rest)
        case UInt8(ascii: ">"): return try open(.push, rest)
        case UInt8(ascii: "%"): return try open(.map, rest)
        case UInt8(ascii: "|"): return try open(.attribute, rest)
        default:
            guard allowsInline, stack.isEmpty else { throw .unknownType(type) }
            let words = try Self.inlineWords(buffer[line], limit: limits.itemsMax)
            return words.isEmpty ? nil : .array(words.map { .bulk($0) })
        }
    }

    private mutating func openBulk(_ rest: Range<Int>, _ type: UInt8) throws(RESPError) -> RESPValue? {
        let length = try number(rest)
        if length == -1, type == UInt8(ascii: "$") { return .null }
        if length < 0 { throw .badNumber }
        if length > Int64(limits.bulkMax) { throw .bulkTooLong(length) }
        if length > Int64(limits.messageMax - consumed) { throw .messageTooLong }
        expecting = .bulk(
            length: Int(length), isError: type == UInt8(ascii: "!"), isVerbatim: type == UInt8(ascii: "="))
        return nil
    }

    private mutating func open(_ kind: Kind, _ rest: Range<Int>) throws(RESPError) -> RESPValue? {
        var items = try number(rest)
        if items == -1, kind == .array { return .null }
        if items < 0 { throw .badNumber }
        if items > Int64(limits.itemsMax) { throw .tooManyItems(items) }
        if kind == .map || kind == .attribute { items *= 2 }
        if items > Int64(limits.itemsMax) { throw .tooManyItems(items) }
        if items == 0 { return Self.close(Frame(kind: kind, remaining: 0)) }
        if stack.count >= limits.depthMax { throw .tooDeep }
        stack.append(Frame(kind: kind, remaining: Int(items)))
        return nil
    }

    private func number(_ range: Range<Int>) throws(RESPError) -> Int64 {
        guard range.count >= 1, range.count <= 20 else { throw .badNumber }
        guard let value = Int64(String(decoding: buffer[range], as: UTF8.self)) else { throw .badNumber }
        return value
    }

    private func boolean(_ range: Range<Int>) throws(RESPError) -> RESPValue {
        guard range.count == 1 else { throw .badNumber }
        switch buffer[range.lowerBound] {
        case UInt8(ascii: "t"): return .bool(true)
        case UInt8(ascii: "f"): return .bool(false)
        default: throw .badNumber
        }
    }

    private func double(_ range: Range<Int>) throws(RESPError) -> RESPValue {
        guard range.count <= 64, let value = Double(String(decoding: buffer[range], as: UTF8.self)) else {
            throw .badNumber
        }
        return .double(value)
    }

    /// Splits an inline command into words; quotes as in redis-cli.
    static func inlineWords(_ line: ArraySlice<UInt8>, limit: Int) throws(RESPError) -> [[UInt8]] {
        var words: [[UInt8]] = []
        var index = line.startIndex
        while index < line.endIndex {
            if line[index] == 32 || line[index] == 9 {
                index += 1
                continue
            }
            if words.count == limit { throw .tooManyItems(Int64(limit) + 1) }
            words.append(try inlineWord(line, &index))
        }
        return words
    }

    private static func inlineWord(_ line: ArraySlice<UInt8>, _ index: inout Int) throws(RESPError) -> [UInt8] {
        var word: [UInt8] = []
        var quote: UInt8?
        while index < line.endIndex {
            let byte = line[index]
            index += 1
            if let open = quote {
                if byte == open {
                    quote = nil
                } else if byte == UInt8(ascii: "\\"), index < line.endIndex,
                    open == UInt8(ascii: "\"") || line[index] == open
                {
                    word.append(unescape(line[index]))
                    index += 1
                } else {
                    word.append(byte)
                }
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'"), word.isEmpty {
                quote = byte
            } else if byte == 32 || byte == 9 {
                return word
            } else {
                word.append(byte)
            }
        }
        if quote != nil { throw .unbalancedQuotes }
        return word
    }

    private static func unescape(_ byte: UInt8) -> UInt8 {
        switch byte {
        case UInt8(ascii: "n"): 10
        case UInt8(ascii: "r"): 13
        case UInt8(ascii: "t"): 9
        default: byte
        }
    }
}

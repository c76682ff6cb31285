/// What stands at the start of a connection's input.
enum Request {
    /// A whole command of so many arguments, and bytes.
    case command(arguments: Int, bytes: Int)
    /// An empty line of so many bytes.
    case empty(bytes: Int)
    /// More bytes are needed, at least so many more.
    case incomplete(more: Int)
    /// What came is no request.
    case invalid(StaticString)
}

/// Reads requests in place: arguments are places in the input, nothing is copied.
struct RequestParser {
    let arguments: UnsafeMutablePointer<Argument>
    let capacity = Limits.argumentsMax
    /// What stood in quotes in the line that was read last.
    let words: UnsafeMutableRawPointer

    // With the numbers of `Limits`; a test compares them.
    static let tooManyArguments: StaticString = "a command has at most 16384 arguments"
    static let tooManyBytes: StaticString = "a command has at most 67108864 bytes"
    static let lineTooLong: StaticString = "a line without a count has at most 65536 bytes"

    init() {
        arguments = .allocate(capacity: Limits.argumentsMax)
        words = .allocate(byteCount: Limits.inlineBytesMax, alignment: 16)
    }

    @inline(__always)
    func parse(_ start: UnsafeMutableRawPointer, _ count: Int) -> Request {
        guard count > 0 else { return .incomplete(more: 1) }
        if start.load(as: UInt8.self) != UInt8(ascii: "*") { return inline(start, count) }
        var at = 1
        guard let wanted = length(start, count, &at) else {
            return count - 1 > 20 ? .invalid("invalid multibulk length") : shortLine(start, 1, count)
        }
        if wanted <= 0 { return .empty(bytes: at) }
        guard wanted <= capacity else { return .invalid(Self.tooManyArguments) }
        for index in 0..<wanted {
            guard at < count else { return .incomplete(more: 4) }
            guard start.load(fromByteOffset: at, as: UInt8.self) == UInt8(ascii: "$") else {
                return .invalid("expected '$'")
            }
            let line = at + 1
            at = line
            guard let size = length(start, count, &at) else {
                return count - line > 20 ? .invalid("invalid bulk length") : shortLine(start, line, count)
            }
            guard size >= 0 else { return .invalid("invalid bulk length") }
            guard size <= Limits.commandBytesMax, at + size <= Limits.commandBytesMax else {
                return .invalid(Self.tooManyBytes)
            }
            guard at + size + 2 <= count else { return .incomplete(more: at + size + 2 - count) }
            guard start.load(fromByteOffset: at + size, as: UInt8.self) == 13,
                start.load(fromByteOffset: at + size + 1, as: UInt8.self) == 10
            else { return .invalid("a bulk string does not end with CR LF") }
            (arguments + index).initialize(to: Argument(base: UnsafeRawPointer(start + at), count: size))
            at += size + 2
        }
        return .command(arguments: wanted, bytes: at)
    }

    /// A number and CR LF; nil if the line is not whole or not a number.
    @inline(__always)
    private func length(_ start: UnsafeRawPointer, _ count: Int, _ at: inout Int) -> Int? {
        var value = 0
        var position = at
        var isNegative = false
        if position < count, start.load(fromByteOffset: position, as: UInt8.self) == UInt8(ascii: "-") {
            isNegative = true
            position += 1
        }
        let first = position
        while position < count {
            let byte = start.load(fromByteOffset: position, as: UInt8.self)
            if byte == 13 {
                guard position > first, position + 1 < count,
                    start.load(fromByteOffset: position + 1, as: UInt8.self) == 10
                else { return nil }
                at = position + 2
                return isNegative ? -value : value
            }
            let digit = byte &- 48
            guard digit < 10, position - first < 12 else { return nil }
            value = value * 10 + Int(digit)
            position += 1
        }
        return nil
    }

    /// A line that has no end yet: fine so far, or already no number.
    private func shortLine(_ start: UnsafeRawPointer, _ from: Int, _ count: Int) -> Request {
        for position in from..<max(from, count) {
            let byte = start.load(fromByteOffset: position, as: UInt8.self)
            let isNumber = byte &- 48 < 10 || (byte == UInt8(ascii: "-") && position == from)
            if byte == 13 {
                guard position + 1 >= count else { return .invalid("invalid length") }
                return .incomplete(more: 1)
            }
            if !isNumber { return .invalid("invalid length") }
        }
        return .incomplete(more: 2)
    }

    /// A line of words, as a person types it; words may stand in double or single quotes.
    private func inline(_ start: UnsafeMutableRawPointer, _ count: Int) -> Request {
        var end = 0
        while end < count, start.load(fromByteOffset: end, as: UInt8.self) != 10 { end += 1 }
        guard end <= Limits.inlineBytesMax else { return .invalid(Self.lineTooLong) }
        guard end < count else { return .incomplete(more: 1) }
        var found = 0
        var at = 0
        while at < end {
            let byte = start.load(fromByteOffset: at, as: UInt8.self)
            if byte <= 32 {
                at += 1
                continue
            }
            guard found < capacity else { return .invalid(Self.tooManyArguments) }
            guard let word = word(start, &at, end) else { return .invalid("unbalanced quotes in request") }
            (arguments + found).initialize(to: word)
            found += 1
        }
        return found == 0 ? .empty(bytes: end + 1) : .command(arguments: found, bytes: end + 1)
    }

    /// The word of a line at `at`, which moves behind it; nil if its quotes have no end, or no space behind that. Between double quotes `\n`, `\r`, `\t`,
    /// `\a`, `\b` and `\xHH` mean what they mean in C, between single ones only `\'` is something else than it looks. What stood in quotes is
    /// in `words` until the next line is read: the line itself stays as it is.
    private func word(_ start: UnsafeRawPointer, _ at: inout Int, _ end: Int) -> Argument? {
        let quote = start.load(fromByteOffset: at, as: UInt8.self)
        guard quote == 34 || quote == 39 else {
            let first = at
            while at < end, start.load(fromByteOffset: at, as: UInt8.self) > 32 { at += 1 }
            return Argument(base: start + first, count: at - first)
        }
        at += 1
        // Where it stands in the line, so that no word is in another's place.
        let first = at
        var written = first
        while at < end {
            var byte = start.load(fromByteOffset: at, as: UInt8.self)
            at += 1
            if byte == quote {
                guard at == end || start.load(fromByteOffset: at, as: UInt8.self) <= 32 else { return nil }
                return Argument(base: words + first, count: written - first)
            }
            if byte == UInt8(ascii: "\\"), at < end { byte = escaped(start, &at, end, quote) }
            words.storeBytes(of: byte, toByteOffset: written, as: UInt8.self)
            written += 1
        }
        return nil
    }

    /// What stands behind a backslash.
    private func escaped(_ start: UnsafeRawPointer, _ at: inout Int, _ end: Int, _ quote: UInt8) -> UInt8 {
        let backslash = UInt8(ascii: "\\")
        let next = start.load(fromByteOffset: at, as: UInt8.self)
        if quote == 39 {
            guard next == quote else { return backslash }
            at += 1
            return next
        }
        if next == UInt8(ascii: "x"), at + 2 < end,
            let high = Self.digit(start.load(fromByteOffset: at + 1, as: UInt8.self)),
            let low = Self.digit(start.load(fromByteOffset: at + 2, as: UInt8.self))
        {
            at += 3
            return high << 4 | low
        }
        at += 1
        switch next {
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "a"): return 7
        case UInt8(ascii: "b"): return 8
        default: return next
        }
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The argument at `at`, which moves behind it, of a command that was found whole before.
    func next(_ start: UnsafeRawPointer, _ at: inout Int, _ end: Int, isInline: Bool) -> Argument {
        if isInline {
            while at < end, start.load(fromByteOffset: at, as: UInt8.self) <= 32 { at += 1 }
            guard at < end, let word = word(start, &at, end) else { preconditionFailure("a word is missing") }
            return word
        }
        at += 1
        guard let size = length(start, end, &at), size >= 0, at + size + 2 <= end else {
            preconditionFailure("an argument is missing")
        }
        defer { at += size + 2 }
        return Argument(base: start + at, count: size)
    }
}

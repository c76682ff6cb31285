import CPrefetch
import LogEngine

/// Looking at what a client has sent beyond the command that is executed next.
extension Server {
    /// Asks for the memory of the GETs and SETs that wait in a connection's input; returns how far it looked. Everything that
    /// is not plainly one of them ends the look: the parser has the last word on every command.
    mutating func lookAhead(_ connection: UnsafeMutablePointer<Connection>) -> Int {
        let base = UnsafeRawPointer(connection.pointee.input)
        let end = connection.pointee.inputEnd
        var at = connection.pointee.inputStart
        ahead.clear()
        while ahead.count < LookAhead.keysMax, let next = Self.scan(base, at, end, &ahead) { at = next }
        // One alone is wanted at once; and what ended the look is not looked at again.
        guard ahead.count > 1 else { return end }
        let count = engine.lookAhead(connection.pointee.namespace, ahead, into: places)
        for index in 0..<count { disk.prefetch(places[index]) }
        return ahead.count < LookAhead.keysMax ? end : at
    }

    /// One GET or SET at `at`: notes its key and returns where it ends; nil if there is none, or not all of it.
    @inline(__always)
    private static func scan(
        _ base: UnsafeRawPointer, _ at: Int, _ end: Int, _ ahead: inout LookAhead
    ) -> Int? {
        // `*N\r\n$3\r\nGET\r\n` is 13 bytes, and the shortest key with its length 5 more.
        guard end - at >= 18 else { return nil }
        let head = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt32.self))
        let three = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self))
        let name = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: at + 8, as: UInt32.self))
        guard head & 0xffff_00ff == 0x0a0d_002a, three == 0x0a0d_3324 else { return nil }
        // In lower case, with the carriage return behind it.
        let word = name & 0xff00_0000 | (name | 0x20_2020) & 0xff_ffff
        let isGet = word == 0x0d74_6567
        guard isGet || word == 0x0d74_6573 else { return nil }
        var left = Int((head >> 8) & 0xff) - 48 - 2
        var place = at + 13
        guard left >= 0, left < 8, let length = bulk(base, &place, end), length <= 255 else { return nil }
        let key = UnsafeRawBufferPointer(start: base + place, count: length)
        place += length + 2
        while left > 0 {
            guard let skipped = bulk(base, &place, end) else { return nil }
            place += skipped + 2
            left -= 1
        }
        guard place <= end else { return nil }
        ahead.add(key, isRead: isGet)
        return place
    }

    /// `$n\r\n` at `place`, which moves behind it: n, if so many bytes can still be there.
    @inline(__always)
    private static func bulk(_ base: UnsafeRawPointer, _ place: inout Int, _ end: Int) -> Int? {
        guard end - place >= 4, base.load(fromByteOffset: place, as: UInt8.self) == UInt8(ascii: "$") else {
            return nil
        }
        var value = 0
        var index = place + 1
        while index < end {
            let digit = base.load(fromByteOffset: index, as: UInt8.self) &- 48
            if digit > 9 { break }
            value = value * 10 + Int(digit)
            guard value <= Limits.commandBytesMax else { return nil }
            index += 1
        }
        place = index + 2
        return value <= end - place ? value : nil
    }
}

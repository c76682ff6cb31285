import Bytes

/// One member of an archive, without its content.
struct TarMember {
    enum Kind: Equatable {
        case file
        case directory
        case symbolicLink
        case hardLink
        case characterDevice
        case blockDevice
        case pipe
    }

    var path: [UInt8] = []
    var kind = Kind.file
    var mode: UInt16 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var size: UInt64 = 0
    var seconds: Int64 = 0
    var nanoseconds: UInt32 = 0
    var link: [UInt8] = []
    var major: UInt32 = 0
    var minor: UInt32 = 0
    var extended: [[UInt8]: [UInt8]] = [:]
}

/// Reads tar archives (ustar, PAX, GNU names) as a stream: memory does not depend on the size of files.
final class TarReader {
    private let source: any ByteSource
    private let subject: String
    /// Small enough to stay in the processor's cache between being filled and being cut.
    private var buffer = [UInt8](repeating: 0, count: 1 << 17)
    private var start = 0
    private var end = 0
    /// Bytes of the current member's content and padding that were not given out.
    private var contentLeft: UInt64 = 0
    private var paddingLeft = 0
    private var current: [UInt8] = []
    private var globals = PaxFields()

    init(_ source: any ByteSource, _ subject: String) { (self.source, self.subject) = (source, subject) }

    private func refusal(_ reason: String) -> ImportError {
        .badArchive(subject: subject, path: String(decoding: current, as: UTF8.self), reason: reason)
    }

    /// The next member, or nil after the last. Content that was not read is skipped.
    func next() throws(ImportError) -> TarMember? {
        var fields = globals
        var longName: [UInt8]?
        var longLink: [UInt8]?
        while true {
            try skipContent()
            guard let header = try header() else { return nil }
            current = header.path
            switch header.type {
            case UInt8(ascii: "x"), UInt8(ascii: "X"):
                fields = globals
                try fields.read(try metadata(header.size), refusal)
            case UInt8(ascii: "g"): try globals.read(try metadata(header.size), refusal)
            case UInt8(ascii: "L"): longName = Self.trimmed(try metadata(header.size))
            case UInt8(ascii: "K"): longLink = Self.trimmed(try metadata(header.size))
            case UInt8(ascii: "V"): continue
            default:
                var member = try member(header)
                if let longName { member.path = longName }
                if let longLink { member.link = longLink }
                // Of old: a file whose name ends in a slash is a folder. Where PAX gives the name, the header has what fits
                // of it, which may end in a slash by chance.
                if member.kind == .file, !fields.hasPath, member.path.last == 0x2f { member.kind = .directory }
                try fields.apply(to: &member, refusal)
                current = member.path
                guard member.path.count <= ImportLimits.pathBytes, !member.path.contains(0) else {
                    throw refusal("path is too long or has a NUL")
                }
                // Archivers write a size for links too, and no content: only files have content.
                let size = member.kind == .file ? fields.size ?? header.size : 0
                member.size = size
                (contentLeft, paddingLeft) = (size, Int((512 - size % 512) % 512))
                return member
            }
        }
    }

    /// Hands out the current member's content piece by piece.
    func content(_ body: (UnsafeRawBufferPointer) throws(ImportError) -> Void) throws(ImportError) {
        while contentLeft > 0 {
            if start == end { try fill() }
            let count = Int(min(UInt64(end - start), contentLeft))
            let result: Result<Void, ImportError> = buffer.withUnsafeBytes { bytes in
                do throws(ImportError) {
                    return .success(try body(UnsafeRawBufferPointer(rebasing: bytes[start..<start + count])))
                } catch { return .failure(error) }
            }
            try result.get()
            start += count
            contentLeft -= UInt64(count)
        }
    }

    /// Reads to the end of the source: the digest of a layer covers what follows the archive.
    func drain() throws(ImportError) {
        while end > 0 { end = try readInto(&buffer, source, 0..<buffer.count) }
    }

    private func fill() throws(ImportError) {
        (start, end) = (0, try readInto(&buffer, source, 0..<buffer.count))
        if end == 0 { throw refusal("archive ends too early") }
    }

    private func skipContent() throws(ImportError) {
        var left = contentLeft + UInt64(paddingLeft)
        (contentLeft, paddingLeft) = (0, 0)
        while left > 0 {
            if start == end { try fill() }
            let count = Int(min(UInt64(end - start), left))
            start += count
            left -= UInt64(count)
        }
    }

    /// `count` bytes, or nil where the source ends before the first.
    private func take(_ count: Int) throws(ImportError) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            if start == end {
                (start, end) = (0, try readInto(&buffer, source, 0..<buffer.count))
                if end == 0 {
                    if bytes.isEmpty { return nil }
                    throw refusal("archive ends too early")
                }
            }
            let part = min(end - start, count - bytes.count)
            bytes += buffer[start..<start + part]
            start += part
        }
        return bytes
    }

    private func metadata(_ size: UInt64) throws(ImportError) -> [UInt8] {
        guard size <= UInt64(ImportLimits.paxBytes) else {
            throw refusal("a header of \(size) bytes is over the limit")
        }
        guard let bytes = try take(Int(size)) else {
            if size == 0 { return [] }
            throw refusal("archive ends too early")
        }
        (contentLeft, paddingLeft) = (0, Int((512 - size % 512) % 512))
        return bytes
    }

    static func trimmed(_ bytes: [UInt8]) -> [UInt8] { Array(bytes.prefix { $0 != 0 }) }

    private struct Header {
        var block: [UInt8]
        var path: [UInt8]
        var type: UInt8
        var size: UInt64
    }

    /// The next header block, or nil at the end of the archive: two blocks of zeros, or the end of the source.
    private func header() throws(ImportError) -> Header? {
        guard let block = try take(512) else { return nil }
        if block.allSatisfy({ $0 == 0 }) {
            try drain()
            return nil
        }
        let stated = try number(block[148..<156])
        var sum = 0
        var signedSum = 0
        for (index, byte) in block.enumerated() {
            let value = (148..<156).contains(index) ? 32 : byte
            sum += Int(value)
            signedSum += Int(Int8(bitPattern: value))
        }
        guard stated == Int64(sum) || stated == Int64(signedSum) else { throw refusal("header checksum is wrong") }
        var path = Self.trimmed(Array(block[0..<100]))
        if Array(block[257..<262]) == Array("ustar".utf8), block[262] == 0 {
            let prefix = Self.trimmed(Array(block[345..<500]))
            if !prefix.isEmpty { path = prefix + [0x2f] + path }
        }
        let size = try number(block[124..<136])
        guard size >= 0, size < 1 << 56 else { throw refusal("size is impossible") }
        return Header(block: block, path: path, type: block[156], size: UInt64(size))
    }

    private func member(_ header: Header) throws(ImportError) -> TarMember {
        let block = header.block
        var member = TarMember()
        member.path = header.path
        member.link = Self.trimmed(Array(block[157..<257]))
        switch header.type {
        case UInt8(ascii: "0"), 0, UInt8(ascii: "7"): member.kind = .file
        case UInt8(ascii: "1"): member.kind = .hardLink
        case UInt8(ascii: "2"): member.kind = .symbolicLink
        case UInt8(ascii: "3"): member.kind = .characterDevice
        case UInt8(ascii: "4"): member.kind = .blockDevice
        case UInt8(ascii: "5"): member.kind = .directory
        case UInt8(ascii: "6"): member.kind = .pipe
        case UInt8(ascii: "S"): throw refusal("GNU sparse files are not supported; pack without --sparse")
        default: throw refusal("unknown member type \(header.type)")
        }
        member.mode = UInt16(truncatingIfNeeded: try number(block[100..<108])) & 0o7777
        member.uid = try identifier(block[108..<116])
        member.gid = try identifier(block[116..<124])
        member.seconds = try number(block[136..<148])
        if member.kind == .characterDevice || member.kind == .blockDevice {
            member.major = try identifier(block[329..<337])
            member.minor = try identifier(block[337..<345])
        }
        return member
    }

    private func identifier(_ field: ArraySlice<UInt8>) throws(ImportError) -> UInt32 {
        guard let value = UInt32(exactly: try number(field)) else {
            throw refusal("an owner or device is out of range")
        }
        return value
    }

    /// An octal number, or base 256 where the highest bit is set.
    private func number(_ field: ArraySlice<UInt8>) throws(ImportError) -> Int64 {
        guard let first = field.first else { return 0 }
        if first & 0x80 != 0 {
            let isNegative = first & 0x40 != 0
            var value: Int64 = isNegative ? -1 : 0
            for (index, byte) in field.enumerated() {
                let byte = index == 0 ? (isNegative ? byte : byte & 0x7f) : byte
                guard value < 1 << 54, value >= -(1 << 54) else { throw refusal("number is too large") }
                value = value << 8 | Int64(byte)
            }
            return value
        }
        var value: Int64 = 0
        var started = false
        for byte in field {
            if byte == 0 || byte == 0x20 {
                if started { break }
                continue
            }
            guard byte >= 0x30, byte <= 0x37, value < 1 << 56 else { throw refusal("number is not octal") }
            value = value << 3 | Int64(byte - 0x30)
            started = true
        }
        return value
    }
}

/// The fields of PAX headers that we keep.
struct PaxFields {
    var size: UInt64?
    private var path: [UInt8]?
    private var link: [UInt8]?
    private var uid: UInt32?
    private var gid: UInt32?
    private var time: (seconds: Int64, nanoseconds: UInt32)?
    private var extended: [[UInt8]: [UInt8]] = [:]

    /// Whether the name of the member stands here.
    var hasPath: Bool { path != nil }

    /// Adds the records `length key=value\n` of one header.
    mutating func read(_ bytes: [UInt8], _ refusal: (String) -> ImportError) throws(ImportError) {
        var offset = 0
        while offset < bytes.count {
            if bytes[offset...].allSatisfy({ $0 == 0 }) { return }
            guard let space = bytes[offset...].firstIndex(of: 0x20), space - offset <= 10,
                let length = Int(String(decoding: bytes[offset..<space], as: UTF8.self)),
                length > space - offset + 2, offset + length <= bytes.count, bytes[offset + length - 1] == 10,
                let equals = bytes[(space + 1)..<(offset + length)].firstIndex(of: 0x3d)
            else { throw refusal("PAX header is malformed") }
            let key = Array(bytes[(space + 1)..<equals])
            let value = Array(bytes[(equals + 1)..<(offset + length - 1)])
            try set(String(decoding: key, as: UTF8.self), key, value, refusal)
            offset += length
        }
    }

    private mutating func set(
        _ name: String, _ key: [UInt8], _ value: [UInt8], _ refusal: (String) -> ImportError
    ) throws(ImportError) {
        let text = String(decoding: value, as: UTF8.self)
        switch name {
        case "path": path = value
        case "linkpath": link = value
        case "size", "uid", "gid":
            guard let number = UInt64(text) else { throw refusal("PAX \(name) is not a number") }
            if name == "size" {
                guard number < 1 << 56 else { throw refusal("size is impossible") }
                size = number
            } else {
                guard let number = UInt32(exactly: number) else { throw refusal("PAX \(name) is out of range") }
                if name == "uid" { uid = number } else { gid = number }
            }
        case "mtime":
            guard let parsed = Self.time(text) else { throw refusal("PAX mtime is not a time") }
            time = parsed
        default:
            if name.hasPrefix("GNU.sparse") {
                throw refusal("sparse files are not supported; pack without --sparse")
            }
            let scheme = "SCHILY.xattr."
            if name.hasPrefix(scheme) {
                extended[Array(key[scheme.utf8.count...])] = value
            } else if name.hasPrefix("LIBARCHIVE.xattr."), let decoded = Base64.decode(Self.padded(text)) {
                // The same attribute in SCHILY form, where both are there, is not percent-encoded: it wins.
                let name = Array(key["LIBARCHIVE.xattr.".utf8.count...])
                if !name.contains(0x25), extended[name] == nil { extended[name] = decoded }
            }
        }
    }

    private static func padded(_ text: String) -> String {
        text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    }

    /// Seconds with a fraction; negative times round down.
    static func time(_ text: String) -> (seconds: Int64, nanoseconds: UInt32)? {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let seconds = Int64(first), seconds.magnitude < 1 << 62 else { return nil }
        guard parts.count == 2, !parts[1].isEmpty else { return (seconds, 0) }
        let digits = String(parts[1].prefix(9))
        guard parts[1].utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let fraction = UInt32(digits + String(repeating: "0", count: 9 - digits.utf8.count))
        else { return nil }
        if first.hasPrefix("-"), fraction > 0 { return (seconds - 1, 1_000_000_000 - fraction) }
        return (seconds, fraction)
    }

    func apply(to member: inout TarMember, _ refusal: (String) -> ImportError) throws(ImportError) {
        if let path { member.path = path }
        if let link { member.link = link }
        if let uid { member.uid = uid }
        if let gid { member.gid = gid }
        if let time { (member.seconds, member.nanoseconds) = time }
        member.extended = extended
        if member.kind == .file, member.path.last == 0x2f { throw refusal("a file's path ends in a slash") }
    }
}

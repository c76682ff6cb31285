/// The name of an object: bytes, compared byte by byte, as S3 orders them.
///
/// Not a `String`, whose equality would join names that differ in bytes.
public struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The name's bytes; UTF-8 where it came in by S3.
    public let bytes: [UInt8]

    /// A name of these bytes.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// A name of this text.
    public init(_ text: String) { bytes = Array(text.utf8) }

    /// The name as text; bytes that are not UTF-8 are replaced.
    public var description: String { String(decoding: bytes, as: UTF8.self) }

    /// Byte by byte; a name stands before those that it begins.
    public static func < (left: ObjectKey, right: ObjectKey) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

/// Which version of an object: the unversioned one (`null`), or the number of the log's operation that made it.
///
/// Of two versions of a key the one with the higher `sequence` is newer; a `null` version keeps its sequence beside its name.
public enum VersionID: Hashable, Sendable, CustomStringConvertible {
    /// Made while the bucket was not versioned, or versioning was suspended.
    case null
    /// Made in a versioned bucket.
    case number(UInt64)

    /// `null`, or 16 hexadecimal digits.
    public var description: String {
        switch self {
        case .null: "null"
        case .number(let number):
            String(repeating: "0", count: 16 - String(number, radix: 16).count) + String(number, radix: 16)
        }
    }

    /// Reads what `description` gives; nil for anything else.
    public init?(_ text: String) {
        if text == "null" {
            self = .null
            return
        }
        guard text.utf8.count == 16, text.utf8.allSatisfy({ ($0 >= 48 && $0 <= 57) || ($0 >= 97 && $0 <= 102) }),
            let number = UInt64(text, radix: 16)
        else { return nil }
        self = .number(number)
    }
}

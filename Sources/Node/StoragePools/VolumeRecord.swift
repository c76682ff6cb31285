internal import Bytes
internal import CanonicalJSON
internal import Linux

/// What the pool remembers of a volume: `records/<id>.json` on the pool itself, so that it travels with the data.
struct VolumeRecord: Equatable, Sendable {
    let id: String
    /// The limit of what it holds, in bytes.
    var size: Int64
    /// The highest placement epoch that asked for it.
    var epoch: Int64
    /// Unix milliseconds.
    var created: Int64
    /// A removed volume's record stays, so that an owner who was replaced cannot bring it back.
    var isRemoved: Bool

    var canonicalBytes: [UInt8] {
        let document: JSONValue = [
            "v": 1, "id": .string(id), "size": .integer(size), "epoch": .integer(epoch), "created": .integer(created),
            "state": isRemoved ? "removed" : "present",
        ]
        return document.canonicalBytes
    }

    init(id: String, size: Int64, epoch: Int64, created: Int64, isRemoved: Bool = false) {
        (self.id, self.size, self.epoch) = (id, size, epoch)
        (self.created, self.isRemoved) = (created, isRemoved)
    }

    init(_ content: [UInt8]) throws(JSONError) {
        var reader = try ObjectReader(try JSONValue(parsing: content), "a volume record")
        let version = try reader.integer("v")
        guard version == 1 else { throw reader.refuse("v", "1", found: .integer(version)) }
        id = try reader.string("id")
        size = try reader.integer("size")
        epoch = try reader.integer("epoch")
        created = try reader.integer("created")
        let state = try reader.string("state")
        guard ["present", "removed"].contains(state) else {
            throw reader.refuse("state", "present or removed", found: .string(state))
        }
        isRemoved = state == "removed"
        try reader.finish()
    }

    static func isName(_ text: String) -> Bool {
        let letters = Array(text.utf8)
        func plain(_ letter: UInt8) -> Bool { (97...122).contains(letter) || (48...57).contains(letter) }
        guard let first = letters.first, plain(first), letters.count <= Limits.nameMax else { return false }
        return letters.allSatisfy { plain($0) || $0 == 45 || $0 == 46 || $0 == 95 }
    }
}

/// A size as people write it: bytes, or a number with KiB, MiB, GiB or TiB.
enum SizeText {
    static func parse(_ text: String) -> Int64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let unit = text.dropFirst(digits.count).drop { $0 == " " }
        let shifts = ["": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40]
        guard let number = Int64(digits), let shift = shifts[String(unit)] else { return nil }
        let (size, overflow) = number.multipliedReportingOverflow(by: 1 << Int64(shift))
        return overflow ? nil : size
    }
}

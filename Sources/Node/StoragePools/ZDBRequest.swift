public import CanonicalJSON
internal import Bytes

/// What a contract asks of a namespace, as `STORAGE.ENSURE-ZDB` says it.
public struct ZDBRequest: Sendable {
    /// A password that only the node's identity process can open.
    struct SealedPassword: Sendable, Equatable {
        /// The secret's name in the contract.
        let name: String
        /// The content key, sealed to this node; base64.
        let sealed: String
        /// What the content key opens; base64.
        let box: String
    }

    let id: String
    let contract: String
    let workload: String
    let size: Int64
    let epoch: Int64
    let mode: String
    let isPublic: Bool
    let isWORM: Bool
    let password: SealedPassword?

    /// Modes of namespaces.
    private static let modes = ["user", "sequential", "ordered"]

    /// Reads a request and checks everything that will stand in a command.
    public init(_ value: JSONValue) throws(JSONError) {
        var reader = try ObjectReader(value, "a zdb")
        (id, contract) = (try reader.string("id"), try reader.string("contract"))
        workload = try reader.string("workload")
        (size, epoch) = (try reader.integer("size"), try reader.integer("epoch"))
        mode = try reader.string("mode")
        (isPublic, isWORM) = (try reader.bool("public"), try reader.bool("worm"))
        if let sealed = try reader.optionalObject("password") {
            var fields = try ObjectReader(.object(sealed), "a password")
            password = SealedPassword(
                name: try fields.string("name"), sealed: try fields.string("sealed"), box: try fields.string("box"))
            try fields.finish()
        } else {
            password = nil
        }
        try reader.finish()
        guard VolumeRecord.isName(id) else {
            throw reader.refuse("id", "a name of a-z, 0-9, “-”, “.” and “_”", found: .string(id))
        }
        guard size >= Limits.zdbMin, epoch >= 0 else {
            throw reader.refuse("size", "at least \(Limits.zdbMin) bytes", found: .integer(size))
        }
        guard Self.modes.contains(mode) else {
            throw reader.refuse("mode", Self.modes.joined(separator: ", "), found: .string(mode))
        }
    }

    /// What `IDENTITY.OPEN` is asked for.
    func opening(_ password: SealedPassword) -> JSONValue {
        [
            "contract": .string(contract), "workload": .string(workload),
            "secrets": .object([password.name: ["sealed": .string(password.sealed), "box": .string(password.box)]]),
        ]
    }
}

/// What the node remembers of a namespace beside the store: `zdbs/<id>.json`.
struct ZDBRecord: Equatable, Sendable {
    let id: String
    var size: Int64
    /// The highest placement epoch that asked for it.
    var epoch: Int64
    var mode: String
    /// SHA-256 of the box that its password came in: the same box is the same password. Empty without a password.
    var password: String
    /// A removed one's record stays, so that an owner who was replaced cannot bring it back.
    var isRemoved = false

    var canonicalBytes: [UInt8] {
        let document: JSONValue = [
            "v": 1, "id": .string(id), "size": .integer(size), "epoch": .integer(epoch), "mode": .string(mode),
            "password": .string(password), "state": isRemoved ? "removed" : "present",
        ]
        return document.canonicalBytes
    }

    init(id: String, size: Int64, epoch: Int64, mode: String, password: String) {
        (self.id, self.size, self.epoch, self.mode, self.password) = (id, size, epoch, mode, password)
    }

    init(_ content: [UInt8]) throws(JSONError) {
        var reader = try ObjectReader(try JSONValue(parsing: content), "a zdb's record")
        let version = try reader.integer("v")
        guard version == 1 else { throw reader.refuse("v", "1", found: .integer(version)) }
        (id, mode) = (try reader.string("id"), try reader.string("mode"))
        (size, epoch) = (try reader.integer("size"), try reader.integer("epoch"))
        password = try reader.string("password")
        isRemoved = try reader.string("state") == "removed"
        try reader.finish()
    }
}

import Bytes
public import CanonicalJSON
public import Crypto

/// Body of an approval record.
public struct ApprovalBody: Hashable, Sendable {
    /// The record that is approved: a version of the contract, or its cancel.
    public let record: Digest
    /// The contract.
    public let contract: Digest

    /// Consent to `record`.
    public init(record: Digest, contract: Digest) { (self.record, self.contract) = (record, contract) }

    /// The body as a document.
    public var value: JSONValue { ["contract": .digest(contract), "record": .digest(record)] }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "an approval record")
        record = try fields.digest("record")
        contract = try fields.digest("contract")
        try fields.finish()
    }
}

/// Body of a cancel record.
public struct CancelBody: Hashable, Sendable {
    /// The contract that ends.
    public let contract: Digest

    /// The end of `contract`.
    public init(contract: Digest) { self.contract = contract }

    /// The body as a document.
    public var value: JSONValue { ["contract": .digest(contract)] }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a cancel record")
        contract = try fields.digest("contract")
        try fields.finish()
    }
}

/// Where one workload runs.
public struct PlacedWorkload: Hashable, Sendable {
    /// The node.
    public let node: PublicKey
    /// The contract's subnet on that node, `10.42.1.0/24`.
    public let subnet: String?
    /// The workload's IPv4 address.
    public let address: String?
    /// The workload's IPv6 address.
    public let address6: String?
    /// A fixed port.
    public let port: Int64?
    /// Content keys of secrets, sealed to the node.
    public let secrets: [String: [UInt8]]?

    /// A choice of node and addresses.
    public init(
        node: PublicKey, subnet: String? = nil, address: String? = nil, address6: String? = nil, port: Int64? = nil,
        secrets: [String: [UInt8]]? = nil
    ) {
        (self.node, self.subnet, self.address, self.address6) = (node, subnet, address, address6)
        (self.port, self.secrets) = (port, secrets)
    }

    /// The choice as a document.
    public var value: JSONValue {
        .members([
            "node": .key(node), "subnet": subnet.map { .string($0) }, "address": address.map { .string($0) },
            "address6": address6.map { .string($0) }, "port": port.map { .integer($0) },
            "secrets": secrets.map { .object($0.mapValues { .base64($0) }) },
        ])
    }

    /// Decodes a choice.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a placed workload")
        node = try fields.publicKey("node")
        subnet = try fields.optionalText("subnet", limit: 43)
        address = try fields.optionalText("address", limit: 15)
        address6 = try fields.optionalText("address6", limit: 39)
        port = try fields.optionalInteger("port", in: Bounds.port)
        if let boxes = try fields.optionalObject("secrets") {
            var secrets: [String: [UInt8]] = [:]
            for (name, box) in boxes {
                guard NameForm.label.accepts(name) else {
                    throw fields.refuse("secrets", NameForm.label.expectation, found: .string(name))
                }
                secrets[name] = try fields.base64(box, of: "secrets", limit: RecordLimits.sealedBytes)
            }
            guard secrets.count <= RecordLimits.placedSecrets else {
                throw fields.refuse("secrets", "at most \(RecordLimits.placedSecrets)", found: .object([:]))
            }
            self.secrets = secrets
        } else {
            secrets = nil
        }
        try fields.finish()
    }
}

/// Body of a placement record.
public struct PlacementBody: Hashable, Sendable {
    /// The contract.
    public let contract: Digest
    /// The approved version that is placed.
    public let version: Int64
    /// One more than the contract's last placement.
    public let epoch: Int64
    /// By workload name.
    public let workloads: [String: PlacedWorkload]

    /// A placement.
    public init(contract: Digest, version: Int64, epoch: Int64, workloads: [String: PlacedWorkload]) {
        (self.contract, self.version, self.epoch, self.workloads) = (contract, version, epoch, workloads)
    }

    /// The body as a document.
    public var value: JSONValue {
        [
            "contract": .digest(contract), "version": .integer(version), "epoch": .integer(epoch),
            "workloads": .object(workloads.mapValues(\.value)),
        ]
    }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a placement record")
        contract = try fields.digest("contract")
        version = try fields.integer("version", in: Bounds.positive)
        epoch = try fields.integer("epoch", in: Bounds.positive)
        workloads = try fields.workloads("workloads") { value throws(JSONError) in try PlacedWorkload(value) }
        try fields.finish()
    }
}

extension ObjectReader {
    /// Members named as workloads are.
    mutating func workloads<Item>(
        _ key: String, _ decode: (JSONValue) throws(JSONError) -> Item
    ) throws(JSONError) -> [String: Item] {
        let members = try object(key)
        guard members.count <= RecordLimits.workloads else {
            throw refuse(key, "at most \(RecordLimits.workloads)", found: .integer(Int64(members.count)))
        }
        var items: [String: Item] = [:]
        for (name, member) in members {
            guard NameForm.label.accepts(name) else {
                throw refuse(key, "names of \(NameForm.label.expectation)", found: .string(name))
            }
            items[name] = try decode(member)
        }
        return items
    }
}

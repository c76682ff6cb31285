import Bytes
public import CanonicalJSON
import Crypto

extension Contract {
    /// The body of the `contract` record; `Contract(body:)` of it gives this value again.
    public var body: JSONValue {
        var fields: [String: JSONValue] = [
            "name": .string(name), "version": .integer(version), "expires": .integer(expires),
            "network": .object(["range": .string(range.description)]), "workloads": .array(workloads.map(\.body)),
        ]
        if let id { fields["id"] = .string(id.hex) }
        if !secrets.isEmpty { fields["secrets"] = .object(secrets.mapValues(\.body)) }
        if let approvals { fields["approvals"] = approvals.body }
        if let planner { fields["planner"] = .string(planner.address) }
        return .object(fields)
    }
}

extension SealedSecret {
    var body: JSONValue {
        let sealed = keys.map { ($0.key.address, JSONValue.string(Base64.encode($0.value))) }
        return .object(["box": .string(Base64.encode(box)), "keys": .object(Dictionary(uniqueKeysWithValues: sealed))])
    }
}

extension ApprovalRule {
    /// The form that is signed.
    public var body: JSONValue {
        let weights = of.map { ($0.key.address, JSONValue.integer($0.value)) }
        return .object([
            "need": .integer(need), "of": .object(Dictionary(uniqueKeysWithValues: weights)),
            "on": .array(on.sorted().map { .string($0.rawValue) }),
        ])
    }
}

extension Workload {
    /// The form that is signed.
    public var body: JSONValue {
        var fields: [String: JSONValue] = ["type": .string(type.rawValue), "name": .string(name)]
        switch self {
        case .container(let container): fields.merge(container.fields) { $1 }
        case .volume(let volume): fields["size"] = .integer(volume.size)
        case .zdb(let zdb): fields.merge(zdb.fields) { $1 }
        case .gateway(let gateway):
            fields["to"] = .object(["workload": .string(gateway.workload), "port": .integer(gateway.port)])
        }
        if let place { fields["place"] = place.body }
        return .object(fields)
    }
}

extension ZDB {
    fileprivate var fields: [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "size": .integer(size), "mode": .string(mode.rawValue), "public": .bool(isPublic), "worm": .bool(isWORM),
        ]
        if let password { fields["password"] = .string(password) }
        return fields
    }
}

extension Container {
    fileprivate var fields: [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "image": image.body,
            "cpu": .integer(cpu), "memory": .integer(memory),
            "env": .object(env.mapValues { .string($0) }), "secrets": .object(secrets.mapValues { .string($0) }),
            "volumes": .array(
                volumes.map {
                    .object(["name": .string($0.name), "at": .string($0.at), "read_only": .bool($0.readOnly)])
                }),
            "restart": .string(restart.rawValue), "partition": .string(partition.rawValue),
        ]
        if let args { fields["args"] = .array(args.map { .string($0) }) }
        if let ready {
            var probe: [String: JSONValue] = ["port": .integer(ready.port)]
            if let http = ready.http { probe["http"] = .string(http) }
            fields["ready"] = .object(probe)
        }
        return fields
    }
}

extension ImageReference {
    var body: JSONValue {
        .object([
            "name": .string(name), "author": .string(author.address), "root": .string(root.hex),
            "record": .string(record.hex),
        ])
    }
}

extension PlaceConstraint {
    var body: JSONValue {
        var fields: [String: JSONValue] = [:]
        if let country { fields["country"] = .string(country) }
        if let farm { fields["farm"] = .string(farm.address) }
        if let node { fields["node"] = .string(node.address) }
        return .object(fields)
    }
}

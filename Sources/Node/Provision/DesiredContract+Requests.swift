internal import Bytes
internal import CanonicalJSON
internal import Contracts
internal import Crypto
internal import Records

/// What the daemons of the node are asked for, in the words of ARCHITECTURE.md's table of bus verbs.
extension DesiredContract {
    /// Limits that a contract does not set.
    private enum Limits {
        /// Processes in a container: enough for a busy server, too few for a fork bomb to harm the node.
        static let processes: Int64 = 1024
        /// Bytes of log that a container keeps.
        static let logBytes: Int64 = 8 << 20
    }

    /// `NETWORK.ENSURE`: members are the wanted containers and those that are still there, doors are what gateways lead to.
    func networkRequest(_ inventory: Inventory) throws(ProvisionError) -> JSONValue {
        var members: [JSONValue] = []
        for container in containers {
            let placed = try address(container.name)
            guard let instance = instance(container.name) else { continue }
            members.append(member(instance, placed.v4, placed.v6, inventory))
        }
        let (subnet, taken) = (try subnet(), Set(instances.map(\.host)))
        let prefix = (ContractPrefix(contract: id), contract.range.index(of: subnet) ?? 0)
        for instance in inventory.others(self) where !taken.contains(instance.host) {
            guard let host = instance.host else { continue }
            let v6 = prefix.0.address(subnet: prefix.1, host: host)
            members.append(member(instance, subnet.host(UInt32(host)), v6, inventory))
        }
        let doors = inventory.doors.map { door -> JSONValue in
            [
                "port": .integer(door.port), "address": .string(subnet.host(UInt32(door.host))),
                "to_port": .integer(door.target),
            ]
        }
        var request: JSONValue = [
            "contract": .string(id.hex), "range": .string(contract.range.description),
            "subnet": .string(subnet.description), "prefix6": .string(try prefix6()),
            "members": .array(members), "ingress": .array(doors),
        ]
        let stores = try zdbs.map { zdb throws(ProvisionError) -> JSONValue in
            let (v4, v6) = try address(zdb.name)
            return [
                "name": .string(zdb.name), "address": .string(v4), "address6": .string(v6), "port": .integer(ZDB.port),
            ]
        }
        if !stores.isEmpty { request["stores"] = .array(stores) }
        return request
    }

    private func member(_ instance: Instance, _ v4: String, _ v6: String, _ inventory: Inventory) -> JSONValue {
        [
            "name": .string(instance.workload), "instance": .string(instance.name), "address": .string(v4),
            "address6": .string(v6), "named": .bool(inventory.serving[instance.workload] == instance.host),
        ]
    }

    private func address(_ workload: String) throws(ProvisionError) -> (v4: String, v6: String) {
        guard let placed = placed(workload), let v4 = placed.address, let v6 = placed.address6 else {
            throw .placement(workload: workload, lacks: "an address")
        }
        return (v4, v6)
    }

    private func subnet() throws(ProvisionError) -> IPv4Range {
        for workload in contract.workloads where workload.hasAddress {
            if let text = placed(workload.name)?.subnet, let subnet = IPv4Range(text) { return subnet }
        }
        guard let first = contract.range.nodeSubnet(0) else {
            throw .placement(workload: contract.name, lacks: "a subnet")
        }
        return first
    }

    private func prefix6() throws(ProvisionError) -> String {
        ContractPrefix(contract: id).subnet(contract.range.index(of: try subnet()) ?? 0)
    }

    /// `STORAGE.ENSURE`.
    func volumeRequest(_ volume: Volume) -> JSONValue {
        ["id": .string(volumeID(volume.name)), "size": .integer(volume.size), "epoch": .integer(placement.epoch)]
    }

    /// `STORAGE.ENSURE-ZDB`. Of its password there are ciphertexts only.
    func zdbRequest(_ zdb: ZDB) throws(ProvisionError) -> JSONValue {
        var request: JSONValue = [
            "id": .string(zdbID(zdb.name)), "contract": .string(id.hex), "workload": .string(zdb.name),
            "size": .integer(zdb.size), "epoch": .integer(placement.epoch), "mode": .string(zdb.mode.rawValue),
            "public": .bool(zdb.isPublic), "worm": .bool(zdb.isWORM),
        ]
        if let name = zdb.password {
            guard let secret = contract.secrets[name], let sealed = placed(zdb.name)?.secrets?[name] else {
                throw .placement(workload: zdb.name, lacks: "the secret \(name) sealed to this node")
            }
            request["password"] = [
                "name": .string(name), "sealed": .string(Base64.encode(sealed)),
                "box": .string(Base64.encode(secret.box)),
            ]
        }
        return request
    }

    /// A namespace's name in the node's Zero-DB.
    func zdbID(_ name: String) -> String { "\(shortID)-\(name)" }

    /// A volume's id on the node.
    func volumeID(_ name: String) -> String { "\(shortID)-\(name)" }

    /// `COMPUTE.ENSURE`.
    func containerRequest(
        _ container: Container, volumes paths: [String: String], namespace: String?
    ) throws(ProvisionError) -> JSONValue {
        guard let image = images[container.name] else { throw .image(workload: container.name, container.image.name) }
        guard let instance = instance(container.name) else {
            throw .placement(workload: container.name, lacks: "an address")
        }
        var picture: [String: JSONValue] = ["root": .string(image.root.hex)]
        if let key = image.key {
            picture["key"] = .string(key)
        } else if let sealed = placed(container.name)?.secrets?[Placement.imageKey] {
            // A private image: its owner sealed the key to this node, with the placement.
            picture["sealed"] = .string(Base64.encode(sealed))
        } else {
            throw .privateImage(workload: container.name, container.image.name)
        }
        var spec: [String: JSONValue] = [
            "id": .string(containerID(instance)), "contract": .string(id.hex),
            "workload": .string(container.name),
            "version": .integer(contract.version), "epoch": .integer(placement.epoch),
            "image": .object(picture),
            "args": .array(try arguments(container, image.config).map { .string($0) }),
            "env": .object(environment(container, image.config)),
            "cwd": .string(image.config.cwd.isEmpty ? "/" : image.config.cwd), "user": .string(image.config.user),
            "limits": [
                "cpu_milli": .integer(container.cpu), "memory": .integer(container.memory),
                "pids": .integer(Limits.processes),
            ],
            "hostname": .string(container.name), "dns": .string(try subnet().host(1)),
            "volumes": .array(try mounts(container, paths)), "restart": .string(container.restart.rawValue),
            "address": .string(try address(container.name).v4), "secrets": .object(try secrets(container)),
            "log_max": .integer(Limits.logBytes),
        ]
        let signal = image.config.stopSignal
        spec["stop_signal"] = .string(signal.hasPrefix("SIG") ? String(signal.dropFirst(3)) : signal)
        if let namespace { spec["netns"] = .string(namespace) }
        if let probe = container.ready {
            var ready: [String: JSONValue] = ["port": .integer(probe.port)]
            if let path = probe.http { ready["http"] = .string(path) }
            spec["ready"] = .object(ready)
        }
        return .object(spec)
    }

    /// As OCI images combine: the entry point stays, the contract's arguments take the place of the image's.
    private func arguments(_ container: Container, _ config: ImageConfig) throws(ProvisionError) -> [String] {
        let arguments = config.entrypoint + (container.args ?? config.cmd)
        guard !arguments.isEmpty else { throw .nothingToRun(workload: container.name, container.image.name) }
        return arguments
    }

    private func environment(_ container: Container, _ config: ImageConfig) -> [String: JSONValue] {
        var environment: [String: JSONValue] = [:]
        for entry in config.env {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if let name = parts.first, !name.isEmpty {
                environment[String(name)] = .string(parts.count > 1 ? String(parts[1]) : "")
            }
        }
        for (name, value) in container.env { environment[name] = .string(value) }
        return environment
    }

    private func mounts(_ container: Container, _ paths: [String: String]) throws(ProvisionError) -> [JSONValue] {
        try container.volumes.map { mount throws(ProvisionError) -> JSONValue in
            guard let path = paths[mount.name] else {
                throw .placement(workload: container.name, lacks: "volume \(mount.name)")
            }
            return ["path": .string(path), "at": .string(mount.at), "read_only": .bool(mount.readOnly)]
        }
    }

    /// Ciphertexts only: the box of the contract and the content key that the placement sealed to this node.
    private func secrets(_ container: Container) throws(ProvisionError) -> [String: JSONValue] {
        var variables: [String: [String]] = [:]
        for (variable, name) in container.secrets { variables[name, default: []].append(variable) }
        var secrets: [String: JSONValue] = [:]
        for (name, variables) in variables {
            guard let secret = contract.secrets[name], let sealed = placed(container.name)?.secrets?[name] else {
                throw .placement(workload: container.name, lacks: "the secret \(name) sealed to this node")
            }
            secrets[name] = [
                "sealed": .string(Base64.encode(sealed)), "box": .string(Base64.encode(secret.box)),
                "env": .array(variables.sorted().map { .string($0) }),
            ]
        }
        return secrets
    }

    /// `GATEWAY.ENSURE`.
    func gatewayRequest(_ gateway: Gateway, link: String, _ inventory: Inventory) throws(ProvisionError) -> JSONValue {
        guard let host = instance(gateway.workload)?.host, let port = inventory.door(host, gateway.port) else {
            throw .placement(workload: gateway.name, lacks: "a way to \(gateway.workload)")
        }
        return [
            "contract": .string(id.hex), "name": .string(gateway.name),
            "backends": [["address": .string(link), "port": .integer(port)]],
        ]
    }

    /// `COMPUTE.ENSURE-ACCESS`: who may read logs and run commands in which container.
    func accessRequest(ledger: Digest, link: String, _ inventory: Inventory) -> JSONValue {
        let keys = owner.keys.map { key -> JSONValue in
            var entry: [String: JSONValue] = [
                "key": .string(key.key.address), "roles": .array(key.roles.map { .string($0) }),
            ]
            if let until = key.until { entry["until"] = .integer(until) }
            return .object(entry)
        }
        var workloads: [String: JSONValue] = [:]
        for container in containers {
            let instance = Instance(container.name, host: inventory.serving[container.name])
            workloads[container.name] = ["id": .string(containerID(instance))]
        }
        var request: JSONValue = [
            "contract": .string(id.hex), "ledger": .string(ledger.hex), "author": .string(owner.identity.address),
            "keys": .array(keys), "workloads": .object(workloads), "link": .string(link),
        ]
        var namespaces: [String: JSONValue] = [:]
        for zdb in zdbs { namespaces[zdb.name] = ["id": .string(zdbID(zdb.name))] }
        if !namespaces.isEmpty { request["zdbs"] = .object(namespaces) }
        return request
    }
}

extension IPv4Range {
    /// The address with this number inside the range.
    func host(_ number: UInt32) -> String { IPv4Address(base.value + number).description }
}

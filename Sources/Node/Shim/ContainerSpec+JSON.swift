public import CanonicalJSON

extension ContainerSpec {
    /// Reads a spec and checks every field.
    public init(_ value: JSONValue) throws(JSONError) {
        var reader = try ObjectReader(value, "container spec")
        id = try reader.string("id")
        contract = try reader.string("contract")
        workload = try reader.string("workload")
        version = try reader.integer("version")
        epoch = try reader.integer("epoch")
        (imageRoot, imageKey, imageSealed) = try Self.image(reader.value("image"))
        arguments = try reader.strings("args")
        environment = try Self.texts(reader.optionalObject("env") ?? [:], "env")
        directory = try reader.optionalString("cwd") ?? "/"
        user = try Self.user(reader.optionalValue("user"))
        limits = try Self.limits(reader.optionalValue("limits"))
        netns = try reader.optionalString("netns")
        address = try reader.optionalString("address")
        hostname = try reader.optionalString("hostname") ?? ""
        dns = try reader.optionalString("dns")
        volumes = try Self.volumes(reader.optionalArray("volumes") ?? [])
        secrets = try Self.secrets(reader.optionalObject("secrets") ?? [:])
        restart = try Self.restart(reader.optionalValue("restart"))
        ready = try Self.readiness(reader.optionalValue("ready"))
        stopSignal = try reader.optionalString("stop_signal") ?? "TERM"
        stopSeconds = try reader.optionalInteger("stop_seconds") ?? SpecLimits.stopSeconds
        logMax = try reader.optionalInteger("log_max") ?? SpecLimits.log
        try reader.finish()
        if hostname.isEmpty { hostname = workload }
        try check()
    }

    /// The canonical document of this spec.
    public var json: JSONValue {
        var value: JSONValue = [
            "id": .string(id), "contract": .string(contract), "workload": .string(workload),
            "version": .integer(version), "epoch": .integer(epoch), "args": .array(arguments.map { .string($0) }),
            "env": .object(environment.mapValues { .string($0) }), "cwd": .string(directory),
            "hostname": .string(hostname), "restart": .string(restart.rawValue),
            "stop_signal": .string(stopSignal), "stop_seconds": .integer(stopSeconds), "log_max": .integer(logMax),
        ]
        var image: [String: JSONValue] = ["root": .string(imageRoot)]
        image["key"] = imageKey.map { .string($0) }
        image["sealed"] = imageSealed.map { .string($0) }
        value["image"] = .object(image)
        var bounds: [String: JSONValue] = ["pids": .integer(limits.pids)]
        bounds["cpu_milli"] = limits.cpuMilli.map { .integer($0) }
        bounds["memory"] = limits.memory.map { .integer($0) }
        value["limits"] = .object(bounds)
        switch user {
        case .named(let name): value["user"] = .string(name)
        case .numbers(let uid, let gid, let groups):
            value["user"] = [
                "uid": .integer(Int64(uid)), "gid": .integer(Int64(gid)),
                "groups": .array(groups.map { .integer(Int64($0)) }),
            ]
        }
        value["netns"] = netns.map { .string($0) }
        value["address"] = address.map { .string($0) }
        value["dns"] = dns.map { .string($0) }
        value["volumes"] = .array(
            volumes.map { ["path": .string($0.path), "at": .string($0.at), "read_only": .bool($0.readOnly)] })
        value["secrets"] = .object(secrets.mapValues(\.json))
        if let ready {
            var probe: [String: JSONValue] = ["port": .integer(Int64(ready.port))]
            probe["http"] = ready.http.map { .string($0) }
            value["ready"] = .object(probe)
        }
        return value
    }

    /// The part of a spec that makes a container another one: what can change while it runs is left out, and so
    /// is what a new placement seals anew without a new secret.
    public var identity: JSONValue {
        var value = json
        for key in ["version", "epoch", "restart", "ready", "log_max", "stop_signal", "stop_seconds"] {
            value[key] = nil
        }
        value["image"] = ["root": .string(imageRoot)]
        value["secrets"] = .object(
            secrets.mapValues { secret in
                var copy = secret.json
                if secret.box != nil { copy["sealed"] = nil }
                return copy
            })
        return value
    }
}

extension ContainerSpec.Secret {
    var json: JSONValue {
        var value: JSONValue = ["sealed": .string(sealed)]
        value["box"] = box.map { .string($0) }
        if !variables.isEmpty { value["env"] = .array(variables.map { .string($0) }) }
        return value
    }
}

extension ContainerSpec {
    private static func image(_ value: JSONValue) throws(JSONError) -> (String, String?, String?) {
        var reader = try ObjectReader(value, "image")
        let found = (
            try reader.string("root"), try reader.optionalString("key"), try reader.optionalString("sealed")
        )
        try reader.finish()
        return found
    }

    private static func texts(_ object: [String: JSONValue], _ subject: String) throws(JSONError) -> [String: String] {
        var texts: [String: String] = [:]
        for (key, value) in object {
            guard let text = value.string else {
                throw .unexpected(key: key, subject: subject, expected: "a string", found: value.kind)
            }
            texts[key] = text
        }
        return texts
    }

    private static func user(_ value: JSONValue?) throws(JSONError) -> User {
        guard let value else { return .numbers(uid: 0, gid: 0, groups: []) }
        if let name = value.string { return name.isEmpty ? .numbers(uid: 0, gid: 0, groups: []) : .named(name) }
        var reader = try ObjectReader(value, "user")
        let uid = try number(reader.integer("uid"), "uid")
        let gid = try number(reader.optionalInteger("gid") ?? Int64(uid), "gid")
        var groups: [UInt32] = []
        for group in try reader.optionalArray("groups") ?? [] {
            guard let found = group.integer else { throw reader.refuse("groups", "an array of numbers", found: group) }
            groups.append(try number(found, "groups"))
        }
        try reader.finish()
        return .numbers(uid: uid, gid: gid, groups: groups)
    }

    private static func number(_ value: Int64, _ key: String) throws(JSONError) -> UInt32 {
        // 2^32-1 means "no change" to the kernel.
        guard (0..<Int64(UInt32.max)).contains(value) else {
            throw .unexpected(key: key, subject: "user", expected: "an id", found: "\(value)")
        }
        return UInt32(value)
    }

    private static func limits(_ value: JSONValue?) throws(JSONError) -> Limits {
        guard let value else { return Limits(cpuMilli: nil, memory: nil, pids: SpecLimits.pids) }
        var reader = try ObjectReader(value, "limits")
        let limits = Limits(
            cpuMilli: try reader.optionalInteger("cpu_milli"), memory: try reader.optionalInteger("memory"),
            pids: try reader.optionalInteger("pids") ?? SpecLimits.pids)
        try reader.finish()
        return limits
    }

    private static func volumes(_ values: [JSONValue]) throws(JSONError) -> [Volume] {
        var volumes: [Volume] = []
        for value in values {
            var reader = try ObjectReader(value, "volume")
            volumes.append(
                Volume(
                    path: try reader.string("path"), at: try reader.string("at"),
                    readOnly: try reader.optionalBool("read_only") ?? false))
            try reader.finish()
        }
        return volumes
    }

    private static func secrets(_ object: [String: JSONValue]) throws(JSONError) -> [String: Secret] {
        var secrets: [String: Secret] = [:]
        for (name, value) in object {
            var reader = try ObjectReader(value, "secret \(name)")
            secrets[name] = Secret(
                sealed: try reader.string("sealed"), box: try reader.optionalString("box"),
                variables: try reader.optionalStrings("env") ?? [])
            try reader.finish()
        }
        return secrets
    }

    private static func restart(_ value: JSONValue?) throws(JSONError) -> Restart {
        guard let value else { return .always }
        guard let restart = value.string.flatMap(Restart.init(rawValue:)) else {
            throw .unexpected(
                key: "restart", subject: "container spec", expected: "always, on-failure or never",
                found: value.canonicalText)
        }
        return restart
    }

    private static func readiness(_ value: JSONValue?) throws(JSONError) -> Readiness? {
        guard let value else { return nil }
        var reader = try ObjectReader(value, "ready")
        let path = try reader.optionalString("http")
        let port = try reader.integer("port")
        try reader.finish()
        guard let port = UInt16(exactly: port), port > 0 else {
            throw .unexpected(key: "port", subject: "ready", expected: "1 to 65535", found: "\(port)")
        }
        return Readiness(http: path, port: port)
    }
}

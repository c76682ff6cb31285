import CanonicalJSON
import Crypto

extension Workload {
    init(_ value: JSONValue, at path: String) throws(ContractError) {
        var reader = try BodyReader(value, at: path)
        let type = try reader.choice("type", WorkloadType.self)
        guard type.isInForce else { throw Workload.notInForce(type, path) }
        let name = try reader.label("name")
        switch type {
        case .container: self = .container(try Container(name, &reader))
        case .volume:
            let size = try reader.integer("size", in: ContractLimits.volume, Units.sizeText)
            self = .volume(Volume(name: name, size: size, place: try PlaceConstraint(&reader)))
        case .gateway:
            var to = try BodyReader(try reader.required("to"), at: path + ".to")
            let workload = try to.label("workload")
            let port = try to.integer("port", in: 1...65_535)
            try to.finish()
            self = .gateway(Gateway(name: name, workload: workload, port: port))
        case .zdb: self = .zdb(try ZDB(name, &reader))
        default: throw Workload.notInForce(type, path)
        }
        try reader.finish()
    }

    static func notInForce(_ type: WorkloadType, _ path: String) -> ContractError {
        let known = WorkloadType.allCases.filter(\.isInForce).map(\.rawValue).joined(separator: ", ")
        return ContractError(
            .notInForce, path, "`\(type.rawValue)` is not yet in force on this grid",
            why: "its nodes make real: \(known)", hint: "remove this workload or wait for an upgrade")
    }
}

extension ZDB {
    init(_ name: String, _ reader: inout BodyReader) throws(ContractError) {
        self.name = name
        size = try reader.integer("size", in: ContractLimits.zdb, Units.sizeText)
        mode = try reader.choice("mode", Mode.self)
        password = nil
        if reader.optional("password") != nil { password = try reader.label("password") }
        isPublic = try reader.bool("public")
        isWORM = try reader.bool("worm")
        place = try PlaceConstraint(&reader)
        guard !isPublic || password != nil else {
            throw reader.error(
                .badValue, "public", "public without a password",
                why: "reading takes no password where there is none",
                hint: "add `password: { secret: \(name) }` for those who write, or leave `public` out")
        }
    }
}

extension PlaceConstraint {
    /// Reads the optional field `place` of a workload.
    init?(_ workload: inout BodyReader) throws(ContractError) {
        guard let value = workload.optional("place") else { return nil }
        var reader = try BodyReader(value, at: workload.place("place"))
        country = try reader.optionalString("country")
        farm = try reader.optionalIdentity("farm")
        node = try reader.optionalIdentity("node")
        try reader.finish()
        if let country, !PlaceConstraint.isCountry(country) {
            throw reader.error(
                .badValue, "country", "`\(country)` is not a country", why: PlaceConstraint.countryRule,
                hint: "for example BE")
        }
        guard country != nil || farm != nil || node != nil else {
            throw workload.error(.badValue, "place", "empty", why: "a constraint names a country, a farm or a node")
        }
    }
}

extension Container {
    init(_ name: String, _ reader: inout BodyReader) throws(ContractError) {
        self.name = name
        image = try ImageReference(try reader.required("image"), at: reader.place("image"))
        args = try Container.arguments(&reader)
        cpu = try reader.integer("cpu", in: ContractLimits.cpu, { Units.cpuText($0) + " CPU" })
        memory = try reader.integer("memory", in: ContractLimits.memory, Units.sizeText)
        env = try Container.texts("env", &reader, limit: ContractLimits.environmentValue)
        secrets = try Container.texts("secrets", &reader, limit: ContractLimits.workloadNameLength)
        volumes = try Container.mounts(&reader)
        restart = try reader.choice("restart", RestartPolicy.self)
        ready = try ReadinessProbe(&reader)
        partition = try reader.choice("partition", PartitionPolicy.self)
        place = try PlaceConstraint(&reader)
        for variable in secrets.keys.sorted() where env[variable] != nil {
            throw reader.error(
                .duplicate, "env.\(variable)", "`\(variable)` is set twice",
                why: "a variable is either in clear or a secret")
        }
        guard env.count + secrets.count <= ContractLimits.environment else {
            throw reader.error(
                .outOfRange, "env", "\(env.count + secrets.count) variables",
                why: "at most \(ContractLimits.environment) are allowed")
        }
    }

    private static func arguments(_ reader: inout BodyReader) throws(ContractError) -> [String]? {
        guard reader.optional("args") != nil else { return nil }
        var args: [String] = []
        for (index, value) in try reader.list("args", limit: ContractLimits.arguments).enumerated() {
            guard case .string(let text) = value, text.utf8.count <= ContractLimits.argument, !text.utf8.contains(0)
            else {
                throw reader.error(
                    .badValue, "args[\(index)]", "not an argument",
                    why: "text of at most \(ContractLimits.argument) bytes without NUL")
            }
            args.append(text)
        }
        guard !args.isEmpty else {
            throw reader.error(
                .badValue, "args", "empty", why: "without arguments the field says nothing",
                hint: "leave `args` out to run what the image says")
        }
        return args
    }

    private static func texts(_ key: String, _ reader: inout BodyReader, limit: Int) throws(ContractError) -> [String:
        String]
    {
        var texts: [String: String] = [:]
        for (variable, value) in try reader.map(key, limit: ContractLimits.environment) {
            let place = "\(key).\(variable)"
            guard Names.isEnvironment(variable) else {
                throw reader.error(
                    .badValue, place, "`\(variable)` is not a variable",
                    why: "names are letters, digits and _, no digit first")
            }
            guard case .string(let text) = value, text.utf8.count <= limit, !text.utf8.contains(0) else {
                throw reader.error(.badValue, place, "not a value", why: "text of at most \(limit) bytes without NUL")
            }
            texts[variable] = text
        }
        return texts
    }

    private static func mounts(_ reader: inout BodyReader) throws(ContractError) -> [Mount] {
        var mounts: [Mount] = []
        for (index, value) in try reader.list("volumes", limit: ContractLimits.mounts).enumerated() {
            var entry = try BodyReader(value, at: reader.place("volumes[\(index)]"))
            let mount = Mount(
                name: try entry.label("name"), at: try entry.string("at"), readOnly: try entry.bool("read_only"))
            try entry.finish()
            guard Names.isAbsolutePath(mount.at) else {
                throw entry.error(
                    .badValue, "at", "`\(mount.at)` is not a place",
                    why: "an absolute path without `..` or a slash at its end")
            }
            let top = mount.at.split(separator: "/").first.map(String.init) ?? ""
            guard !["proc", "sys", "dev"].contains(top) else {
                throw entry.error(
                    .badValue, "at", "`\(mount.at)` is the kernel's", why: "/proc, /sys and /dev cannot be covered")
            }
            guard !mounts.contains(where: { $0.at == mount.at }) else {
                throw entry.error(.duplicate, "at", "two volumes at `\(mount.at)`", why: "one place holds one volume")
            }
            mounts.append(mount)
        }
        return mounts
    }
}

extension ReadinessProbe {
    /// Reads the optional field `ready` of a container.
    init?(_ container: inout BodyReader) throws(ContractError) {
        guard let value = container.optional("ready") else { return nil }
        var reader = try BodyReader(value, at: container.place("ready"))
        http = try reader.optionalString("http")
        port = try reader.integer("port", in: 1...65_535)
        try reader.finish()
        if let http, !ReadinessProbe.isTarget(http) {
            throw reader.error(
                .badValue, "http", "`\(http)` is not a path",
                why: "it begins with / and holds no spaces or control characters")
        }
    }

    private static func isTarget(_ text: String) -> Bool {
        text.utf8.first == 0x2F && text.utf8.count <= ContractLimits.path
            && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}

extension ImageReference {
    init(_ value: JSONValue, at path: String) throws(ContractError) {
        var reader = try BodyReader(value, at: path)
        name = try reader.string("name")
        guard Names.isImage(name) else { throw ImageReference.badName(name, reader.place("name")) }
        author = try reader.identity(try reader.string("author"), "author")
        root = try reader.digest("root")
        record = try reader.digest("record")
        try reader.finish()
    }

    static func badName(_ name: String, _ path: String) -> ContractError {
        ContractError(
            .badValue, path, "`\(name)` is not an image", why: "parts of a-z, 0-9, `.`, `_`, `-` joined by /",
            hint: "for example examples/nginx")
    }
}

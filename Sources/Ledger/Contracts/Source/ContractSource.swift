import Bytes
import CanonicalJSON
public import Crypto

/// Reads contract files, YAML or JSON.
public enum ContractSource {
    /// The contract in `bytes`, checked as far as it goes without a ledger. `file` is what errors call it.
    ///
    /// The schema decides types; every error has line, column, what, why and, where there is one, what to write instead.
    public static func read(_ bytes: [UInt8], file: String) throws(ContractSourceError) -> ContractDraft {
        guard bytes.count <= ContractLimits.sourceBytes else {
            let start = SourcePosition(line: 1, column: 1)
            let limit = Units.sizeText(Int64(ContractLimits.sourceBytes))
            throw ContractSourceError(
                file: file, text: [],
                [SourceDiagnostic(start, "the file is too large", why: "at most \(limit) are read")])
        }
        // Some editors begin a file with a byte order mark.
        let bytes = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
        let root: SourceNode
        do {
            root = isJSON(bytes, file) ? try JSONSourceReader.read(bytes) : try YAMLReader.read(bytes)
        } catch { throw ContractSourceError(file: file, text: bytes, [error]) }
        var reader = ShapeReader()
        let value = reader.read(root, .object(ContractShape.contract), at: "")
        guard reader.diagnostics.isEmpty, let value, case .object(let fields) = value else {
            throw ContractSourceError(file: file, text: bytes, reader.diagnostics)
        }
        let draft = ContractDraft(file: file, text: bytes, positions: reader.positions, fields: fields)
        try draft.check()
        return draft
    }

    private static func isJSON(_ bytes: [UInt8], _ file: String) -> Bool {
        if file.hasSuffix(".json") { return true }
        if file.hasSuffix(".yaml") || file.hasSuffix(".yml") { return false }
        return bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) } == 0x7B
    }
}

/// A contract file that was read: everything but what only a ledger and a key ring know.
public struct ContractDraft: Sendable {
    /// The file's name.
    public let file: String
    private let text: [UInt8]
    private let positions: [String: SourcePosition]
    private let fields: [String: JSONValue]

    init(file: String, text: [UInt8], positions: [String: SourcePosition], fields: [String: JSONValue]) {
        (self.file, self.text, self.positions, self.fields) = (file, text, positions, fields)
    }

    /// Name of the contract.
    public var name: String { fields["contract"]?.string ?? "" }

    /// When it ends, Unix ms.
    public var expires: Int64 { fields["expires"]?.integer ?? 0 }

    /// Images as the file names them, each once, and where the first use stands.
    public var images: [(name: String, path: String)] {
        var images: [(name: String, path: String)] = []
        for (index, workload) in workloads.enumerated() {
            guard let name = workload["image"]?.string, !images.contains(where: { $0.name == name }) else { continue }
            images.append((name, "workloads[\(index)].image"))
        }
        return images
    }

    /// Identities as the file names them, each once, and where the first use stands.
    public var identities: [(name: String, path: String)] {
        var found: [(name: String, path: String)] = []
        func add(_ name: String?, _ path: String) {
            if let name, !found.contains(where: { $0.name == name }) { found.append((name, path)) }
        }
        add(fields["planner"]?.string, "planner")
        for name in (fields["approvals"]?["of"]?.object ?? [:]).keys.sorted() { add(name, "approvals.of.\(name)") }
        for (index, workload) in workloads.enumerated() {
            for key in ["farm", "node"] { add(workload["place"]?[key]?.string, "workloads[\(index)].place.\(key)") }
        }
        return found
    }

    /// Names of the secrets it uses, each once, sorted.
    public var secrets: [String] {
        let uses = workloads.flatMap { Array(($0["env"]?.object ?? [:]).values) + [$0["password"]].compactMap { $0 } }
        return Set(uses.compactMap { $0["secret"]?.string }).sorted()
    }

    /// Names of gateways, and where they stand.
    public var gateways: [(name: String, path: String)] {
        workloads.enumerated().filter { $1["type"]?.string == "gateway" }
            .map { ($1["name"]?.string ?? "", "workloads[\($0)].name") }
    }

    private var workloads: [JSONValue] { fields["workloads"]?.array ?? [] }

    /// An error at the place in the file that its path leads to.
    public func locate(_ error: ContractError) -> ContractSourceError {
        var path = error.path
        while positions[path] == nil, !path.isEmpty {
            let end = path.lastIndex { $0 == "." || $0 == "[" }
            path = end.map { String(path[..<$0]) } ?? ""
        }
        let place = positions[path] ?? SourcePosition(line: 1, column: 1)
        return ContractSourceError(
            file: file, text: text, [SourceDiagnostic(place, error.what, why: error.why, hint: error.hint)])
    }

    /// The contract with everything filled in that the file only names.
    ///
    /// `version` 1 has no `id`. Every name of `images`, `identities` (addresses stand for themselves) and `secrets` must
    /// have an entry; what lacks one is an error at its place.
    public func resolve(
        version: Int64 = 1, id: Digest? = nil, images: [String: ImageReference], identities: [String: PublicKey] = [:],
        secrets: [String: SealedSecret] = [:]
    ) throws(ContractSourceError) -> Contract {
        do {
            var body = try body(Resolution(images: images, identities: identities), secrets: secrets)
            body["version"] = .integer(version)
            if let id { body["id"] = .string(id.hex) }
            return try Contract(body: .object(body))
        } catch { throw locate(error) }
    }

    /// Checks every rule with stand-ins for what is not known yet.
    func check() throws(ContractSourceError) {
        do {
            let box = SealedSecret(box: [0], keys: [:])
            var body = try body(nil, secrets: Dictionary(uniqueKeysWithValues: secrets.map { ($0, box) }))
            body["version"] = 1
            _ = try Contract(body: .object(body))
        } catch { throw locate(error) }
    }

    // MARK: From the file's form to the body that is signed

    private struct Resolution {
        var images: [String: ImageReference]
        var identities: [String: PublicKey]
    }

    private func body(_ resolution: Resolution?, secrets: [String: SealedSecret]) throws(ContractError) -> [String:
        JSONValue]
    {
        var body: [String: JSONValue] = [
            "name": .string(name), "expires": .integer(expires),
            "network": fields["network"] ?? .object(["range": .string(ContractShape.Defaults.range)]),
        ]
        var list: [JSONValue] = []
        for (index, workload) in workloads.enumerated() {
            list.append(.object(try self.workload(workload.object ?? [:], at: "workloads[\(index)]", resolution)))
        }
        body["workloads"] = .array(list)
        let used = secrets.filter { self.secrets.contains($0.key) }
        if !used.isEmpty { body["secrets"] = .object(used.mapValues(\.body)) }
        if let planner = fields["planner"]?.string {
            body["planner"] = .string(try identity(planner, "planner", resolution).address)
        }
        if let rule = fields["approvals"] { body["approvals"] = .object(try approvals(rule, resolution)) }
        return body
    }

    private func approvals(_ rule: JSONValue, _ resolution: Resolution?) throws(ContractError) -> [String: JSONValue] {
        var weights: [String: JSONValue] = [:]
        for (name, weight) in (rule["of"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            let path = "approvals.of.\(name)"
            let address = try identity(name, path, resolution).address
            guard weights.updateValue(weight, forKey: address) == nil else {
                throw ContractError(.duplicate, path, "`\(name)` is listed twice", why: "both names are \(address)")
            }
        }
        let given = rule["on"]?.array?.compactMap(\.string) ?? ContractAction.allCases.map(\.rawValue)
        let actions = ContractAction.allCases.map(\.rawValue).filter(given.contains)
        if given.count != actions.count && !given.isEmpty {
            throw ContractError(.duplicate, "approvals.on", "an action twice", why: "each action is listed once")
        }
        return ["need": rule["need"] ?? 0, "of": .object(weights), "on": .array(actions.map { .string($0) })]
    }

    private func workload(_ source: [String: JSONValue], at path: String, _ resolution: Resolution?)
        throws(ContractError) -> [String: JSONValue]
    {
        var body = source
        if var place = source["place"]?.object {
            for key in ["farm", "node"] {
                guard let name = place[key]?.string else { continue }
                place[key] = .string(try identity(name, "\(path).place.\(key)", resolution).address)
            }
            body["place"] = .object(place)
        }
        if let to = source["to"]?.string, let target = TextForm.target(to) {
            body["to"] = .object(["workload": .string(target.workload), "port": .integer(target.port)])
        }
        if source["type"]?.string == WorkloadType.zdb.rawValue {
            body["mode"] = source["mode"] ?? .string(ContractShape.Defaults.mode.rawValue)
            body["public"] = source["public"] ?? .bool(false)
            body["worm"] = source["worm"] ?? .bool(false)
            body["password"] = source["password"]?["secret"]
        }
        guard source["type"]?.string == WorkloadType.container.rawValue else { return body }
        body["image"] = try image(source["image"]?.string ?? "", path + ".image", resolution)
        body["cpu"] = source["cpu"] ?? .integer(ContractShape.Defaults.cpu)
        body["memory"] = source["memory"] ?? .integer(ContractShape.Defaults.memory)
        body["restart"] = source["restart"] ?? .string(ContractShape.Defaults.restart.rawValue)
        body["partition"] = source["partition"] ?? .string(ContractShape.Defaults.partition.rawValue)
        let variables = source["env"]?.object ?? [:]
        body["env"] = .object(variables.filter { $0.value.string != nil })
        body["secrets"] = .object(variables.compactMapValues { $0["secret"] })
        body["volumes"] = .array(
            (source["volumes"]?.array ?? []).map { mount in
                .object([
                    "name": mount["name"] ?? "", "at": mount["at"] ?? "",
                    "read_only": mount["read-only"] ?? .bool(false),
                ])
            })
        return body
    }

    private func image(_ name: String, _ path: String, _ resolution: Resolution?) throws(ContractError) -> JSONValue {
        guard let resolution else {
            let author = try standIn("image", path).address
            let none = String(repeating: "0", count: 64)
            let bare = TextForm.imageParts(name).name
            return .object([
                "name": .string(bare), "author": .string(author), "root": .string(none), "record": .string(none),
            ])
        }
        guard let image = resolution.images[name] else {
            throw ContractError(
                .badReference, path, "there is no image `\(name)`", why: "the ledger has no record of it",
                hint: "import it with `zero image import`")
        }
        return image.body
    }

    private func identity(_ name: String, _ path: String, _ resolution: Resolution?) throws(ContractError) -> PublicKey
    {
        if let key = try? PublicKey(address: name) { return key }
        guard let resolution else { return try standIn(name, path) }
        if let key = resolution.identities[name] { return key }
        throw ContractError(
            .badReference, path, "nobody is known as `\(name)`",
            why: "an identity is an address `G…` or a name that is known here",
            hint: Nearest.match(name, among: resolution.identities.keys) ?? "see `zero identity list`")
    }

    /// A key that stands for a name while the rest is checked.
    private func standIn(_ name: String, _ path: String) throws(ContractError) -> PublicKey {
        do { return try SigningKey(seed: SHA256.hash(Array(name.utf8)).bytes).publicKey } catch {
            throw ContractError(.badValue, path, "`\(name)` cannot be read", why: "no key could be made: \(error)")
        }
    }
}

import CanonicalJSON

/// Gives a parsed file types by its shapes, and remembers where each value stood. Collects every error it meets.
struct ShapeReader {
    private(set) var diagnostics: [SourceDiagnostic] = []
    /// Where each value stands, by path: `workloads[0].memory`.
    private(set) var positions: [String: SourcePosition] = [:]

    mutating func fail(_ node: SourceNode, _ what: String, _ why: String, hint: String? = nil) -> JSONValue? {
        diagnostics.append(SourceDiagnostic(node.position, what, why: why, hint: hint))
        return nil
    }

    /// The value of `node` by `shape`; nil after an error was noted.
    mutating func read(_ node: SourceNode, _ shape: Shape, at path: String) -> JSONValue? {
        positions[path] = node.position
        switch shape {
        case .list(let element, let limit): return list(node, element, limit: limit, at: path)
        case .map(let form, let element, let limit): return map(node, form, element, limit: limit, at: path)
        case .object(let fields): return object(node, fields, at: path).map { .object($0) }
        case .workload: return workload(node, at: path)
        case .variable: return variable(node, at: path)
        default: break
        }
        guard case .scalar(let text, let quoted) = node.kind else {
            return fail(
                node, "\(node.noun) where one value belongs", ShapeReader.rule(shape), hint: ShapeReader.example(shape))
        }
        if text.isEmpty && !quoted {
            return fail(node, "nothing here", ShapeReader.rule(shape), hint: ShapeReader.example(shape))
        }
        return scalar(node, text, quoted: quoted, shape)
    }

    private mutating func scalar(_ node: SourceNode, _ text: String, quoted: Bool, _ shape: Shape) -> JSONValue? {
        switch shape {
        case .text(let form):
            guard form.accepts(text) else {
                return fail(node, "`\(text)` is not of its form", form.rule, hint: "for example \(form.example)")
            }
            return .string(text)
        case .integer(let range):
            guard !quoted, let number = Int64(text), String(number) == text else {
                let hint = quoted && Int64(text) != nil ? "remove the quotes" : nil
                return fail(node, "`\(text)` is not a whole number", ShapeReader.rule(shape), hint: hint)
            }
            return bounded(node, number, range) { String($0) }
        case .cpu:
            guard let milli = Units.cpu(text) else {
                return fail(node, "`\(text)` is not a share of CPU", ShapeReader.rule(shape))
            }
            return bounded(node, milli, ContractLimits.cpu, Units.cpuText)
        case .size(let range):
            guard let bytes = Units.size(text) else {
                return fail(node, "`\(text)` is not a size", ShapeReader.rule(shape), hint: ShapeReader.sizeHint(text))
            }
            return bounded(node, bytes, range, Units.sizeText)
        case .time:
            guard let time = Units.time(text), ContractLimits.time.contains(time) else {
                return fail(node, "`\(text)` is not a time", ShapeReader.rule(shape), hint: ShapeReader.example(shape))
            }
            return .integer(time)
        case .boolean:
            guard !quoted, text == "true" || text == "false" else {
                let no = ["no", "off", "n", "False", "FALSE"].contains(text)
                let yes = ["yes", "on", "y", "True", "TRUE"].contains(text)
                let hint = no ? "write `false`" : yes ? "write `true`" : quoted ? "remove the quotes" : nil
                return fail(node, "`\(text)` is not true or false", ShapeReader.rule(shape), hint: hint)
            }
            return .bool(text == "true")
        case .choice(let words):
            guard words.contains(text) else {
                return fail(
                    node, "`\(text)` is not allowed", ShapeReader.rule(shape), hint: Nearest.match(text, among: words))
            }
            return .string(text)
        default: return fail(node, "`\(text)` does not belong here", ShapeReader.rule(shape))
        }
    }

    private mutating func bounded(
        _ node: SourceNode, _ number: Int64, _ range: ClosedRange<Int64>, _ text: (Int64) -> String
    ) -> JSONValue? {
        guard range.contains(number) else {
            let size = number < range.lowerBound ? "too small" : "too large"
            return fail(
                node, "\(text(number)) is \(size)", "\(text(range.lowerBound)) to \(text(range.upperBound)) is allowed")
        }
        return .integer(number)
    }

    private mutating func list(_ node: SourceNode, _ element: Shape, limit: Int, at path: String) -> JSONValue? {
        guard case .sequence(let nodes) = node.kind else {
            return fail(node, "\(node.noun) where a list belongs", "entries of a list begin with `- `, or stand in [ ]")
        }
        guard nodes.count <= limit else { return fail(node, "\(nodes.count) entries", "at most \(limit) are allowed") }
        var values: [JSONValue] = []
        for (index, node) in nodes.enumerated() {
            if let value = read(node, element, at: "\(path)[\(index)]") { values.append(value) }
        }
        return .array(values)
    }

    private mutating func map(_ node: SourceNode, _ form: TextForm, _ element: Shape, limit: Int, at path: String)
        -> JSONValue?
    {
        guard case .mapping(let entries) = node.kind else {
            return fail(node, "\(node.noun) where names and values belong", "for example { \(form.example): … }")
        }
        guard entries.count <= limit else {
            return fail(node, "\(entries.count) entries", "at most \(limit) are allowed")
        }
        var values: [String: JSONValue] = [:]
        for (key, node) in entries {
            guard form.accepts(key.text) else {
                diagnostics.append(
                    SourceDiagnostic(
                        key.position, "`\(key.text)` is not of its form", why: form.rule,
                        hint: "for example \(form.example)"))
                continue
            }
            values[key.text] = read(node, element, at: "\(path).\(key.text)")
            positions["\(path).\(key.text)"] = key.position
        }
        return .object(values)
    }

    private mutating func object(_ node: SourceNode, _ fields: [Field], at path: String) -> [String: JSONValue]? {
        guard case .mapping(let entries) = node.kind else {
            let names = fields.prefix(3).map(\.name).joined(separator: ", ")
            _ = fail(
                node, "\(node.noun) where fields belong", "fields here are \(names)" + (fields.count > 3 ? ", …" : ""))
            return nil
        }
        return object(node, entries, fields, at: path)
    }

    private mutating func object(
        _ node: SourceNode, _ entries: [(key: SourceKey, value: SourceNode)], _ fields: [Field], at path: String
    ) -> [String: JSONValue]? {
        var values: [String: JSONValue] = [:]
        for (key, node) in entries {
            guard let field = fields.first(where: { $0.name == key.text }) else {
                diagnostics.append(
                    SourceDiagnostic(
                        key.position, "unknown field `\(key.text)`", why: "nothing here has that name",
                        hint: Nearest.hint(key.text, among: fields.map(\.name))))
                continue
            }
            values[key.text] = read(node, field.shape, at: path.isEmpty ? key.text : "\(path).\(key.text)")
        }
        for field in fields where field.isRequired && !entries.contains(where: { $0.key.text == field.name }) {
            _ = fail(node, "`\(field.name)` is missing", field.about, hint: ShapeReader.example(field.shape))
        }
        return values
    }

    /// A workload: its first field names type and name, the rest are the fields of that type.
    private mutating func workload(_ node: SourceNode, at path: String) -> JSONValue? {
        guard case .mapping(let entries) = node.kind else {
            return fail(
                node, "\(node.noun) where a workload belongs", "a workload begins with its type and name",
                hint: "for example `- container: web`")
        }
        let types = WorkloadType.allCases.map(\.rawValue)
        let found = entries.filter { types.contains($0.key.text) }
        guard let head = found.first, let type = WorkloadType(rawValue: head.key.text) else {
            let hint = entries.lazy.compactMap { Nearest.match($0.key.text, among: types) }.first
            return fail(
                node, "no type of workload", "one field names it: container, volume or gateway",
                hint: hint ?? "for example `- container: web`")
        }
        if found.count > 1 {
            let other = SourceNode(position: found[1].key.position, kind: .scalar("", quoted: false))
            return fail(
                other, "a second type `\(found[1].key.text)`", "this workload is a \(type.rawValue)",
                hint: "begin it with `- `")
        }
        guard type.isInForce else {
            let error = Workload.notInForce(type, path)
            let place = SourceNode(position: head.key.position, kind: .scalar("", quoted: false))
            return fail(place, error.what, error.why, hint: error.hint)
        }
        let name = read(head.value, .text(.workloadName), at: path + ".name")
        let rest = entries.filter { $0.key.text != type.rawValue }
        guard var fields = object(node, rest, ContractShape.workload(type), at: path), let name else { return nil }
        fields["type"] = .string(type.rawValue)
        fields["name"] = name
        return .object(fields)
    }

    private mutating func variable(_ node: SourceNode, at path: String) -> JSONValue? {
        switch node.kind {
        case .scalar("", quoted: false):
            return fail(node, "nothing here", "a variable has a value", hint: "write \"\" for an empty one")
        case .scalar(let text, _):
            guard text.utf8.count <= ContractLimits.environmentValue, !text.utf8.contains(0) else {
                return fail(node, "not a value", "text of at most \(ContractLimits.environmentValue) bytes without NUL")
            }
            return .string(text)
        case .mapping:
            return object(
                node, [Field("secret", .text(.workloadName), required: true, "Name of the secret.")], at: path
            )
            .map { .object($0) }
        case .sequence: return fail(node, "a list where a value belongs", "a variable is text, or { secret: name }")
        }
    }

    private static func rule(_ shape: Shape) -> String {
        switch shape {
        case .text(let form): form.rule
        case .integer(let range): "a whole number, \(range.lowerBound) to \(range.upperBound)"
        case .cpu: "a share of CPU is cores (0.5) or thousandths (500m)"
        case .size: "a size is a number and one of \(Units.sizes.map(\.name).joined(separator: ", "))"
        case .time: "a day (2027-06-01) or a UTC time (2027-06-01T12:00:00Z)"
        case .boolean: "true or false"
        case .choice(let words): "it is one of \(words.joined(separator: ", "))"
        default: "a value"
        }
    }

    private static func example(_ shape: Shape) -> String? {
        switch shape {
        case .text(let form): "for example \(form.example)"
        case .cpu: "for example 0.5"
        case .size: "for example 512 MiB"
        case .time: "for example 2027-06-01"
        default: nil
        }
    }

    /// `512 MB`, `512 mib`, `512M`: what was probably meant.
    private static func sizeHint(_ text: String) -> String {
        let number = text.prefix { $0.isNumber || $0 == "." }
        let unit = text.dropFirst(number.count).drop { $0 == " " }
        guard let letter = unit.first?.uppercased(), !number.isEmpty else { return "for example 512 MiB" }
        let known = Units.sizes.first { $0.name.hasPrefix(letter) }?.name
        return known.map { "did you mean `\(number) \($0)`?" } ?? "for example 512 MiB"
    }
}

public import CanonicalJSON

/// The JSON Schema of contract files, made from the table that reads them; editors complete and check with it.
public enum ContractSchema {
    /// The schema (draft 2020-12).
    public static var document: JSONValue {
        var schema = object(ContractShape.contract).object ?? [:]
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = "Zero Grid contract"
        schema["description"] = "What runs, with what, reachable how, approved by whom."
        return .object(schema)
    }

    private static func object(_ fields: [Field], first: [String: JSONValue] = [:], firstRequired: [String] = [])
        -> JSONValue
    {
        var properties = first
        for field in fields {
            var schema = self.schema(field.shape).object ?? [:]
            schema["description"] = .string(field.about)
            properties[field.name] = .object(schema)
        }
        let required = firstRequired + fields.filter(\.isRequired).map(\.name)
        return .object([
            "type": "object", "properties": .object(properties), "required": .array(required.map { .string($0) }),
            "additionalProperties": false,
        ])
    }

    private static func schema(_ shape: Shape) -> JSONValue {
        switch shape {
        case .text(let form):
            var schema: [String: JSONValue] = ["type": "string", "examples": [.string(form.example)]]
            if let pattern = form.pattern { schema["pattern"] = .string(pattern) }
            return .object(schema)
        case .integer(let range):
            return ["type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound)]
        case .cpu:
            return ["type": ["number", "string"], "pattern": "^[0-9]+(\\.[0-9]+)?m?$", "examples": ["0.5", "250m"]]
        case .size:
            let units = Units.sizes.map(\.name).joined(separator: "|")
            return [
                "type": ["integer", "string"], "pattern": .string("^[0-9]+(\\.[0-9]+)? ?(\(units))?$"),
                "examples": ["512 MiB"],
            ]
        case .time:
            return [
                "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$",
                "examples": ["2027-06-01"],
            ]
        case .boolean: return ["type": "boolean"]
        case .choice(let words): return ["enum": .array(words.map { .string($0) })]
        case .list(let element, let limit):
            return ["type": "array", "items": schema(element), "maxItems": .integer(Int64(limit))]
        case .map(let form, let element, let limit):
            var schema: [String: JSONValue] = [
                "type": "object", "additionalProperties": self.schema(element), "maxProperties": .integer(Int64(limit)),
            ]
            if let pattern = form.pattern { schema["propertyNames"] = ["pattern": .string(pattern)] }
            return .object(schema)
        case .object(let fields): return object(fields)
        case .variable:
            let secret = Field("secret", .text(.workloadName), required: true, "Name of the secret.")
            return ["anyOf": [["type": ["string", "number", "boolean"]], object([secret])]]
        case .workload:
            return [
                "oneOf": .array(
                    WorkloadType.allCases.filter(\.isInForce).map { type in
                        var name = schema(.text(.workloadName)).object ?? [:]
                        name["description"] = .string("Name of this \(type.rawValue).")
                        return object(
                            ContractShape.workload(type), first: [type.rawValue: .object(name)],
                            firstRequired: [type.rawValue])
                    })
            ]
        }
    }
}

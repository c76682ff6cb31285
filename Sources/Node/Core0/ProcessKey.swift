/// One process that zero-core knows: a unit, or an instance of a template.
struct ProcessKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The unit's name, with the `@` of a template.
    let unit: String
    /// The instance of a template.
    let instance: String?

    init(_ unit: String, _ instance: String? = nil) { (self.unit, self.instance) = (unit, instance) }

    /// The text of `description`, read back.
    init?(text: String) {
        if let at = text.firstIndex(of: "@") {
            let split = text.index(after: at)
            self.init(String(text[..<split]), String(text[split...]))
            guard UnitDefinition.isInstance(instance ?? "") else { return nil }
        } else {
            self.init(text)
        }
        guard UnitDefinition.isName(unit) else { return nil }
    }

    /// `db`, `shim@<instance>`: the name of its log and of its record.
    var description: String { unit + (instance ?? "") }

    static func < (left: ProcessKey, right: ProcessKey) -> Bool {
        left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
    }
}

/// How a process ended.
enum ExitStatus: Hashable, Sendable, CustomStringConvertible {
    case code(Int32)
    case signal(Int32)
    /// It was not our child and the kernel does not keep the status.
    case unknown

    /// From 0…255 for a status and 256 + signal.
    init(raw: Int32) { self = raw < 256 ? .code(raw) : .signal(raw - 256) }

    var isSuccess: Bool { self == .code(0) }

    var description: String {
        switch self {
        case .code(let code): "ended with status \(code)"
        case .signal(let number): "was ended by \(Signals.name(number))"
        case .unknown: "ended while nobody watched"
        }
    }
}

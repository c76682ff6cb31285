/// `{name}` in the words of a unit: where a node's things lie, which instance it is, and the grid's settings.
struct Variables {
    private(set) var values: [String: String]
    let instance: String?

    init(_ values: [String: String], instance: String?) { (self.values, self.instance) = (values, instance) }

    private enum Piece {
        case text(String)
        case variable(String)
    }

    private static func pieces(_ pattern: String, _ subject: String) throws(UnitError) -> [Piece] {
        var pieces: [Piece] = []
        var text = ""
        var rest = pattern[...]
        while let letter = rest.popFirst() {
            if letter == "{" || letter == "}", rest.first == letter {
                text.append(letter)
                rest.removeFirst()
            } else if letter == "{" {
                guard let end = rest.firstIndex(of: "}") else {
                    throw UnitError(subject, "“\(pattern)” has a brace that does not close")
                }
                if !text.isEmpty { pieces.append(.text(text)) }
                text = ""
                pieces.append(.variable(String(rest[..<end])))
                rest = rest[rest.index(after: end)...]
            } else if letter == "}" {
                throw UnitError(subject, "“\(pattern)” has a brace that was not opened; write }} for a brace")
            } else {
                text.append(letter)
            }
        }
        if !text.isEmpty { pieces.append(.text(text)) }
        return pieces
    }

    /// The variables that a pattern names.
    static func names(in pattern: String, _ subject: String) throws(UnitError) -> [String] {
        try pieces(pattern, subject).compactMap { if case .variable(let name) = $0 { name } else { nil } }
    }

    /// The pattern with every variable replaced by its value.
    func fill(_ pattern: String, _ subject: String) throws(UnitError) -> String {
        var filled = ""
        for piece in try Variables.pieces(pattern, subject) {
            switch piece {
            case .text(let text): filled += text
            case .variable(let name): filled += try value(name, subject)
            }
        }
        return filled
    }

    private func value(_ name: String, _ subject: String) throws(UnitError) -> String {
        if name.hasPrefix("instance") {
            guard let instance else { throw UnitError(subject, "{\(name)} is for templates only") }
            if name == "instance" { return instance }
            if name.hasPrefix("instance:"), let count = Int(name.dropFirst(9)), (1...80).contains(count) {
                return String(instance.prefix(count))
            }
        }
        if let value = values[name] { return value }
        throw UnitError(subject, "{\(name)} has no value: it is not in core/settings.conf")
    }
}

/// A place in a contract file; both count from 1, columns in characters.
public struct SourcePosition: Hashable, Sendable, Comparable {
    /// Line.
    public var line: Int
    /// Column.
    public var column: Int

    /// A place.
    public init(line: Int, column: Int) { (self.line, self.column) = (line, column) }

    /// In reading order.
    public static func < (left: SourcePosition, right: SourcePosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// A parsed file before a schema gives its scalars types.
struct SourceNode {
    enum Kind {
        case scalar(String, quoted: Bool)
        case sequence([SourceNode])
        case mapping([(key: SourceKey, value: SourceNode)])
    }

    var position: SourcePosition
    var kind: Kind

    /// What it is, for people.
    var noun: String {
        switch kind {
        case .scalar("", quoted: false): "nothing"
        case .scalar: "a value"
        case .sequence: "a list"
        case .mapping: "a group of fields"
        }
    }
}

/// A key of a mapping.
struct SourceKey {
    var text: String
    var position: SourcePosition
}

/// One thing that is wrong in a contract file.
public struct SourceDiagnostic: Error, Hashable, Sendable, CustomStringConvertible {
    /// Where.
    public var position: SourcePosition
    /// What is wrong.
    public var what: String
    /// The rule that it breaks.
    public var why: String
    /// What to write instead.
    public var hint: String?

    init(_ position: SourcePosition, _ what: String, why: String, hint: String? = nil) {
        (self.position, self.what, self.why, self.hint) = (position, what, why, hint)
    }

    /// `7:13: what: why; hint`.
    public var description: String {
        "\(position.line):\(position.column): \(what): \(why)" + (hint.map { "; " + $0 } ?? "")
    }
}

/// Everything that is wrong in a contract file, in reading order.
public struct ContractSourceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file's name as the user gave it.
    public var file: String
    /// At least one.
    public var diagnostics: [SourceDiagnostic]
    /// The lines that diagnostics point at, by number.
    public var lines: [Int: String]

    init(file: String, text: [UInt8], _ diagnostics: [SourceDiagnostic]) {
        self.file = file
        self.diagnostics = diagnostics.sorted { $0.position < $1.position }
        let all = text.split(separator: 0x0A, omittingEmptySubsequences: false)
        lines = [:]
        for diagnostic in diagnostics where all.indices.contains(diagnostic.position.line - 1) {
            lines[diagnostic.position.line] = String(decoding: all[diagnostic.position.line - 1], as: UTF8.self)
        }
    }

    /// Each diagnostic as `file:line:column: …`, with the line and a caret under its place.
    public var description: String {
        diagnostics.map { diagnostic in
            let head = "\(file):\(diagnostic)"
            guard let line = lines[diagnostic.position.line], !line.isEmpty, line.utf8.count <= 200 else { return head }
            let shown = String(line.map { $0 == "\t" ? " " : $0 })
            let caret = String(repeating: " ", count: max(0, diagnostic.position.column - 1)) + "^"
            return head + "\n  " + shown + "\n  " + caret
        }.joined(separator: "\n")
    }
}

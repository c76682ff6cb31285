import Bytes

/// Reads a contract written in JSON into the same nodes as YAML, so that one schema and one set of errors serve both.
struct JSONSourceReader {
    private let text: [Unicode.Scalar]
    private var at = 0
    private var line = 1
    private var lineStart = 0

    static func read(_ bytes: [UInt8]) throws(SourceDiagnostic) -> SourceNode {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw SourceDiagnostic(SourcePosition(line: 1, column: 1), "not UTF-8", why: "contracts are UTF-8 text")
        }
        var reader = JSONSourceReader(text: Array(text.unicodeScalars))
        let node = try reader.node(depth: 0)
        reader.skipSpace()
        guard reader.at == reader.text.count else {
            throw reader.fault("text after the contract", "one file holds one contract")
        }
        return node
    }

    private init(text: [Unicode.Scalar]) { self.text = text }

    private var position: SourcePosition { SourcePosition(line: line, column: at - lineStart + 1) }
    private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }

    private func fault(_ what: String, _ why: String, hint: String? = nil) -> SourceDiagnostic {
        SourceDiagnostic(position, what, why: why, hint: hint)
    }

    private mutating func skipSpace() {
        while let scalar = next, scalar == " " || scalar == "\t" || scalar == "\n" || scalar == "\r" {
            at += 1
            if scalar == "\n" { (line, lineStart) = (line + 1, at) }
        }
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        skipSpace()
        guard next == scalar else { return false }
        at += 1
        return true
    }

    private mutating func node(depth: Int) throws(SourceDiagnostic) -> SourceNode {
        skipSpace()
        guard depth < ContractLimits.sourceDepth else {
            throw fault("too deep", "at most \(ContractLimits.sourceDepth) levels are allowed")
        }
        let start = position
        switch next {
        case "{": return SourceNode(position: start, kind: .mapping(try entries(depth: depth)))
        case "[": return SourceNode(position: start, kind: .sequence(try elements(depth: depth)))
        case "\"": return SourceNode(position: start, kind: .scalar(try string(), quoted: true))
        case .none: throw fault("the file ends here", "a value belongs here")
        default: return SourceNode(position: start, kind: .scalar(try word(), quoted: false))
        }
    }

    private mutating func entries(depth: Int) throws(SourceDiagnostic) -> [(key: SourceKey, value: SourceNode)] {
        var entries: [(key: SourceKey, value: SourceNode)] = []
        at += 1
        if take("}") { return [] }
        repeat {
            skipSpace()
            let start = position
            guard next == "\"" else { throw fault("not a key", "keys are text in double quotes") }
            let key = try string()
            guard !entries.contains(where: { $0.key.text == key }) else {
                throw SourceDiagnostic(
                    start, "`\(key)` is here twice", why: "a key stands once", hint: "remove one of them")
            }
            guard take(":") else { throw fault("no colon", "a colon stands between key and value") }
            entries.append((SourceKey(text: key, position: start), try node(depth: depth + 1)))
        } while take(",")
        guard take("}") else { throw fault("not closed", "a comma or `}` belongs here") }
        return entries
    }

    private mutating func elements(depth: Int) throws(SourceDiagnostic) -> [SourceNode] {
        var nodes: [SourceNode] = []
        at += 1
        if take("]") { return [] }
        repeat { nodes.append(try node(depth: depth + 1)) } while take(",")
        guard take("]") else { throw fault("not closed", "a comma or `]` belongs here") }
        return nodes
    }

    /// A number, `true` or `false`; the schema decides which is right.
    private mutating func word() throws(SourceDiagnostic) -> String {
        var word = String.UnicodeScalarView()
        while let scalar = next, scalar.isASCII,
            scalar.properties.isAlphabetic || "0123456789.+-".unicodeScalars.contains(scalar)
        {
            word.append(scalar)
            at += 1
        }
        let text = String(word)
        guard text != "null" else { throw fault("null", "a field that is not wanted is left out") }
        guard text == "true" || text == "false" || text.first.map({ $0.isNumber || $0 == "-" }) == true else {
            throw fault(
                "`\(text.isEmpty ? next.map(String.init) ?? "" : text)` is not JSON", "text stands in double quotes")
        }
        return text
    }

    private mutating func string() throws(SourceDiagnostic) -> String {
        var units: [UInt16] = []
        at += 1
        while let scalar = next {
            guard scalar.value >= 0x20 else { throw fault("a control character", "text holds them as \\n or \\u00XX") }
            at += 1
            if scalar == "\"" {
                guard let text = String(validating: units, as: UTF16.self) else {
                    throw fault("half a surrogate pair", "\\u escapes come in pairs where they must")
                }
                return text
            }
            guard scalar == "\\" else {
                units.append(contentsOf: UTF16.encode(scalar).map(Array.init) ?? [])
                continue
            }
            units.append(try escape())
        }
        throw fault("not closed", "text ends with a double quote")
    }

    private mutating func escape() throws(SourceDiagnostic) -> UInt16 {
        let simple: [Unicode.Scalar: UInt16] = [
            "\"": 0x22, "\\": 0x5C, "/": 0x2F, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9,
        ]
        guard let scalar = next else { throw fault("not closed", "text ends with a double quote") }
        at += 1
        if let unit = simple[scalar] { return unit }
        let digits = String(String.UnicodeScalarView(text[at..<min(at + 4, text.count)]))
        guard scalar == "u", digits.utf8.count == 4, let bytes = Hex.decode(digits.lowercased()) else {
            throw fault("an unknown escape", "escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")
        }
        at += 4
        return UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    }
}

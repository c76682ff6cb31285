import CYAML

/// Reads one document of the YAML subset that contracts are written in: mappings, lists and scalars, nothing else.
///
/// Anchors, aliases, tags, directives, duplicate keys, several documents and non-scalar keys are refused, because each
/// of them lets a file mean something that it does not seem to say.
struct YAMLReader: ~Copyable {
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let event: UnsafeMutablePointer<yaml_event_t>
    private let input: UnsafeMutableBufferPointer<UInt8>
    private var holdsEvent = false

    /// The document in `bytes`.
    static func read(_ bytes: [UInt8]) throws(SourceDiagnostic) -> SourceNode {
        var reader = try YAMLReader(bytes)
        return try reader.document()
    }

    private init(_ bytes: [UInt8]) throws(SourceDiagnostic) {
        parser = .allocate(capacity: 1)
        event = .allocate(capacity: 1)
        input = .allocate(capacity: max(1, bytes.count))
        _ = input.update(fromContentsOf: bytes)
        guard yaml_parser_initialize(parser) == 1 else {
            throw SourceDiagnostic(
                SourcePosition(line: 1, column: 1), "out of memory", why: "the YAML reader did not start")
        }
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(parser, input.baseAddress, bytes.count)
    }

    deinit {
        if holdsEvent { yaml_event_delete(event) }
        yaml_parser_delete(parser)
        event.deallocate()
        parser.deallocate()
        input.deallocate()
    }

    private mutating func document() throws(SourceDiagnostic) -> SourceNode {
        try next(YAML_STREAM_START_EVENT)
        try next()
        guard event.pointee.type == YAML_DOCUMENT_START_EVENT else {
            throw SourceDiagnostic(place, "the file is empty", why: "a contract begins with `contract: <name>`")
        }
        let start = event.pointee.data.document_start
        guard start.version_directive == nil, start.tag_directives.start == start.tag_directives.end else {
            throw SourceDiagnostic(place, "a % directive", why: "contracts use plain YAML without directives")
        }
        try next()
        let root = try node(depth: 0)
        try next(YAML_DOCUMENT_END_EVENT)
        try next()
        guard event.pointee.type == YAML_STREAM_END_EVENT else {
            throw SourceDiagnostic(place, "a second document", why: "one file holds one contract")
        }
        return root
    }

    /// The node that begins with the current event.
    private mutating func node(depth: Int) throws(SourceDiagnostic) -> SourceNode {
        let position = place
        guard depth < ContractLimits.sourceDepth else {
            throw SourceDiagnostic(
                position, "too deep", why: "at most \(ContractLimits.sourceDepth) levels are allowed")
        }
        switch event.pointee.type {
        case YAML_SCALAR_EVENT: return SourceNode(position: position, kind: try scalar())
        case YAML_SEQUENCE_START_EVENT:
            let data = event.pointee.data.sequence_start
            try refuse(anchor: data.anchor, tag: data.tag, position)
            var nodes: [SourceNode] = []
            try next()
            while event.pointee.type != YAML_SEQUENCE_END_EVENT {
                nodes.append(try node(depth: depth + 1))
                try next()
            }
            return SourceNode(position: position, kind: .sequence(nodes))
        case YAML_MAPPING_START_EVENT:
            let data = event.pointee.data.mapping_start
            try refuse(anchor: data.anchor, tag: data.tag, position)
            return SourceNode(position: position, kind: .mapping(try entries(depth: depth)))
        case YAML_ALIAS_EVENT:
            throw SourceDiagnostic(
                position, "an alias `*`", why: "contracts say each thing where it stands; aliases are refused",
                hint: "write the value out, or quote it if it is text")
        default: throw SourceDiagnostic(position, "nothing readable", why: "a value belongs here")
        }
    }

    private mutating func entries(depth: Int) throws(SourceDiagnostic) -> [(key: SourceKey, value: SourceNode)] {
        var entries: [(key: SourceKey, value: SourceNode)] = []
        var seen: [String: SourcePosition] = [:]
        try next()
        while event.pointee.type != YAML_MAPPING_END_EVENT {
            let position = place
            guard event.pointee.type == YAML_SCALAR_EVENT, case .scalar(let key, _) = try scalar() else {
                throw SourceDiagnostic(position, "a key that is not a word", why: "keys are plain names")
            }
            guard key != "<<" else {
                throw SourceDiagnostic(position, "a merge key `<<`", why: "contracts say each thing where it stands")
            }
            if let first = seen.updateValue(position, forKey: key) {
                throw SourceDiagnostic(
                    position, "`\(key)` is here twice", why: "a key stands once; the first is on line \(first.line)",
                    hint: "remove one of them")
            }
            try next()
            entries.append((SourceKey(text: key, position: position), try node(depth: depth + 1)))
            try next()
        }
        return entries
    }

    private func scalar() throws(SourceDiagnostic) -> SourceNode.Kind {
        let data = event.pointee.data.scalar
        try refuse(anchor: data.anchor, tag: data.tag, place)
        let bytes = UnsafeBufferPointer(start: data.value, count: data.length)
        return .scalar(String(decoding: bytes, as: UTF8.self), quoted: data.style != YAML_PLAIN_SCALAR_STYLE)
    }

    private func refuse(
        anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?, _ position: SourcePosition
    ) throws(SourceDiagnostic) {
        if anchor != nil {
            throw SourceDiagnostic(
                position, "an anchor `&`", why: "contracts say each thing where it stands; anchors are refused",
                hint: "write the value out where it is needed, or quote it if it is text")
        }
        if tag != nil {
            throw SourceDiagnostic(
                position, "a tag `!`", why: "the schema decides types; tags are refused",
                hint: "remove the tag, or quote the value if it is text")
        }
    }

    /// Where the current event begins.
    private var place: SourcePosition { YAMLReader.position(event.pointee.start_mark) }

    private static func position(_ mark: yaml_mark_t) -> SourcePosition {
        SourcePosition(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
    }

    private mutating func next(_ expected: yaml_event_type_t) throws(SourceDiagnostic) {
        try next()
        guard event.pointee.type == expected else {
            throw SourceDiagnostic(place, "unexpected text", why: "the document ends before it")
        }
    }

    private mutating func next() throws(SourceDiagnostic) {
        if holdsEvent { yaml_event_delete(event) }
        holdsEvent = false
        guard yaml_parser_parse(parser, event) == 1 else { throw fault() }
        holdsEvent = true
    }

    private func fault() -> SourceDiagnostic {
        let problem = parser.pointee.problem.map { String(cString: $0) } ?? "unreadable"
        guard parser.pointee.error == YAML_READER_ERROR else {
            let context = parser.pointee.context.map { String(cString: $0) } ?? "YAML has a form"
            let hint =
                ["cannot start any token", "a tab"].contains(where: problem.contains)
                ? "indent with spaces and quote text with special characters" : nil
            return SourceDiagnostic(YAMLReader.position(parser.pointee.problem_mark), problem, why: context, hint: hint)
        }
        let before = input.prefix(min(Int(parser.pointee.problem_offset), input.count))
        let line = before.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
        let column = before.count - (before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0) + 1
        return SourceDiagnostic(SourcePosition(line: line, column: column), problem, why: "contracts are UTF-8 text")
    }
}

import CExpat

/// An element of a document that a client sent.
final class XMLElement {
    let name: String
    var children: [XMLElement] = []
    var bytes: [UInt8] = []

    init(_ name: String) { self.name = name }

    var text: String { String(decoding: bytes, as: UTF8.self) }
    /// Without white space around.
    var word: String {
        let space: Set<UInt8> = [9, 10, 13, 32]
        var part = bytes[...]
        while let first = part.first, space.contains(first) { part.removeFirst() }
        while let last = part.last, space.contains(last) { part.removeLast() }
        return String(decoding: part, as: UTF8.self)
    }
    func child(_ name: String) -> XMLElement? { children.first { $0.name == name } }
    func all(_ name: String) -> [XMLElement] { children.filter { $0.name == name } }
    /// The word in a child of that name.
    func word(_ name: String) -> String? { child(name)?.word }

    /// Reads a document: namespaces and attributes are dropped, entities other than the five are refused.
    static func parse(_ bytes: [UInt8], root: String? = nil) throws(S3Error) -> XMLElement {
        guard let parser = XML_ParserCreate("UTF-8") else { throw S3Error("InternalError", 500, "no memory") }
        defer { XML_ParserFree(parser) }
        let reading = XMLReading(parser)
        XML_SetUserData(parser, Unmanaged.passUnretained(reading).toOpaque())
        XML_SetElementHandler(
            parser,
            { context, name, _ in if let context, let name { XMLReading.at(context).begin(String(cString: name)) } },
            { context, _ in if let context { XMLReading.at(context).end() } })
        XML_SetCharacterDataHandler(parser) { context, text, count in
            guard let context, let text else { return }
            XMLReading.at(context).add(UnsafeRawBufferPointer(start: text, count: Int(count)))
        }
        // Without a document type there are no entities to expand.
        XML_SetStartDoctypeDeclHandler(parser) { context, _, _, _, _ in
            if let context { XMLReading.at(context).refuse() }
        }
        let status = bytes.withUnsafeBytes {
            XML_Parse(parser, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(clamping: $0.count), 1)
        }
        guard status == XML_STATUS_OK, !reading.isRefused, let found = reading.root else { throw .malformedXML }
        if let root, found.name != root { throw .malformedXML }
        return found
    }
}

/// The state while a document is read.
private final class XMLReading {
    static let depthMax = 16
    // Ten thousand parts with their checksums.
    static let elementsMax = 100_000
    let parser: XML_Parser
    var root: XMLElement?
    var open: [XMLElement] = []
    var count = 0
    var isRefused = false

    init(_ parser: XML_Parser) { self.parser = parser }

    static func at(_ context: UnsafeMutableRawPointer) -> XMLReading {
        Unmanaged<XMLReading>.fromOpaque(context).takeUnretainedValue()
    }
    func refuse() {
        isRefused = true
        XML_StopParser(parser, 0)
    }
    func begin(_ name: String) {
        count += 1
        if open.count >= Self.depthMax || count > Self.elementsMax { return refuse() }
        let local = name.split(separator: ":").last.map { String($0) } ?? name
        let element = XMLElement(local)
        if let last = open.last { last.children.append(element) } else { root = element }
        open.append(element)
    }
    func end() { if !open.isEmpty { open.removeLast() } }
    func add(_ text: UnsafeRawBufferPointer) { open.last?.bytes.append(contentsOf: text) }
}

/// Writes a document.
struct XMLWriter {
    private(set) var text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    private var open: [String] = []
    static let namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

    /// A document with that root.
    init(_ root: String, isPlain: Bool = false) {
        text += isPlain ? "<\(root)>" : "<\(root) xmlns=\"\(Self.namespace)\">"
        open = [root]
    }
    mutating func begin(_ name: String, _ attributes: String = "") {
        text += attributes.isEmpty ? "<\(name)>" : "<\(name) \(attributes)>"
        open.append(name)
    }
    mutating func end() { if let name = open.popLast() { text += "</\(name)>" } }
    mutating func leaf(_ name: String, _ value: String) { text += "<\(name)>\(Self.escaped(value))</\(name)>" }
    mutating func add(_ value: String) { text += Self.escaped(value) }
    mutating func leaf(_ name: String, _ value: Int) { leaf(name, String(value)) }
    mutating func leaf(_ name: String, ifPresent value: String?) { if let value { leaf(name, value) } }
    mutating func group(_ name: String, _ body: (inout XMLWriter) -> Void) {
        begin(name)
        body(&self)
        end()
    }
    /// The whole, with everything closed.
    func finished() -> [UInt8] {
        var text = text
        for name in open.reversed() { text += "</\(name)>" }
        return Array(text.utf8)
    }
    static func escaped(_ value: String) -> String {
        guard value.utf8.contains(where: { $0 < 32 || $0 == 38 || $0 == 60 || $0 == 62 || $0 == 34 }) else {
            return value
        }
        var result = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case _ where scalar.value < 32: result += "&#x\(String(scalar.value, radix: 16));"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

/// What may stand at a place of a contract file. One table of shapes drives the reader, its errors and the JSON Schema.
indirect enum Shape: Sendable {
    /// Text of a form.
    case text(TextForm)
    /// A whole number.
    case integer(ClosedRange<Int64>)
    /// Cores: `0.5`, `2`, `250m`.
    case cpu
    /// An amount of bytes: `512 MiB`.
    case size(ClosedRange<Int64>)
    /// A day or a time: `2027-06-01`.
    case time
    /// `true` or `false`.
    case boolean
    /// One of a few words.
    case choice([String])
    /// A list.
    case list(Shape, limit: Int)
    /// Names of a form and values.
    case map(TextForm, Shape, limit: Int)
    /// Named fields.
    case object([Field])
    /// A variable's value: text, or `{ secret: name }`.
    case variable
    /// A workload, whose first field says which.
    case workload
}

/// A field of an object.
struct Field: Sendable {
    var name: String
    var shape: Shape
    var isRequired: Bool
    /// What it is, for editors and for the reference.
    var about: String

    init(_ name: String, _ shape: Shape, required: Bool = false, _ about: String) {
        (self.name, self.shape, self.isRequired, self.about) = (name, shape, required, about)
    }
}

/// The forms that text has in contract files.
enum TextForm: Sendable {
    case contractName, workloadName, image, absolutePath, requestPath, range, country, variable, argument
    /// `name:port`.
    case target
    /// An address `G…` or a name that the command line knows.
    case identity

    /// What belongs here.
    var rule: String {
        switch self {
        case .contractName: Contract.nameRule(ContractLimits.contractNameLength)
        case .workloadName: Contract.nameRule(ContractLimits.workloadNameLength)
        case .image: "an image is parts of a-z, 0-9, `.`, `_`, `-` joined by /"
        case .absolutePath: "an absolute path without `..` or a slash at its end"
        case .requestPath: "a path that begins with /"
        case .range: "a range is `a.b.c.d/n` with zero host bits"
        case .country: PlaceConstraint.countryRule
        case .variable: "variables are letters, digits and _, no digit first"
        case .argument: "text"
        case .target: "a container and its port: `web:80`"
        case .identity: "an identity is an address `G…` or a name of `zero identity list`"
        }
    }

    /// An example that shows the form.
    var example: String {
        switch self {
        case .contractName: "hello"
        case .workloadName: "web"
        case .image: "examples/nginx"
        case .absolutePath: "/var/www"
        case .requestPath: "/"
        case .range: "10.42.0.0/16"
        case .country: "BE"
        case .variable: "GREETING"
        case .argument: "hello"
        case .target: "web:80"
        case .identity: "alice"
        }
    }

    /// The form as a regular expression of JSON Schema.
    var pattern: String? {
        switch self {
        case .contractName: "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
        case .workloadName: "^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$"
        case .image: "^(G[A-Z2-7]{55}/)?[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$"
        case .absolutePath: "^(/[^/]+)+$"
        case .requestPath: "^/[!-~]*$"
        case .range: "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$"
        case .country: "^[A-Z]{2}$"
        case .variable: "^[A-Za-z_][A-Za-z0-9_]*$"
        case .target: "^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?:[0-9]{1,5}$"
        case .argument, .identity: nil
        }
    }

    /// Whether `text` has this form.
    func accepts(_ text: String) -> Bool {
        switch self {
        case .contractName: Names.isContract(text)
        case .workloadName: Names.isWorkload(text)
        case .image: Names.isImage(TextForm.imageParts(text).name)
        case .absolutePath: Names.isAbsolutePath(text)
        case .requestPath: text.utf8.first == 0x2F && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        case .range: IPv4Range(text) != nil
        case .country: PlaceConstraint.isCountry(text)
        case .variable: Names.isEnvironment(text)
        case .argument: true
        case .target: TextForm.target(text) != nil
        case .identity: !text.isEmpty && text.utf8.count <= 64
        }
    }

    /// `G…/name` apart; `author` is nil where there is no address in front.
    static func imageParts(_ text: String) -> (author: String?, name: String) {
        guard let slash = text.firstIndex(of: "/"), text.first == "G", text[..<slash].utf8.count == 56 else {
            return (nil, text)
        }
        return (String(text[..<slash]), String(text[text.index(after: slash)...]))
    }

    /// `web:80` apart.
    static func target(_ text: String) -> (workload: String, port: Int64)? {
        let halves = text.split(separator: ":", omittingEmptySubsequences: false)
        guard halves.count == 2, Names.isWorkload(String(halves[0])), let port = Int64(halves[1]),
            (1...65_535).contains(port)
        else { return nil }
        return (String(halves[0]), port)
    }
}

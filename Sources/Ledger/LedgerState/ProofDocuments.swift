import Bytes
public import CanonicalJSON
package import Crypto
public import Merkle
import Records

extension StateProof {
    /// The proof as a document.
    public var value: JSONValue {
        var place: JSONValue?
        if case .leaf(let path, let value) = terminal { place = ["path": .digest(path), "value": .digest(value)] }
        return .members([
            "depth": .integer(Int64(depth)), "bitmap": .string(Hex.encode(bitmap)),
            "siblings": .array(siblings.map { .digest($0) }), "leaf": place,
        ])
    }

    /// Decodes a proof.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a proof of state")
        let depth = try fields.integer("depth", in: 0...256)
        let bitmap = Hex.decode(try fields.string("bitmap")) ?? []
        let siblings = try fields.digests("siblings")
        var terminal = Terminal.empty
        if let leaf = fields.optionalValue("leaf") {
            var leaf = try ObjectReader(leaf, "a leaf")
            terminal = .leaf(path: try leaf.digest("path"), value: try leaf.digest("value"))
            try leaf.finish()
        }
        try fields.finish()
        guard let proof = StateProof(depth: Int(depth), bitmap: bitmap, siblings: siblings, terminal: terminal) else {
            throw fields.refuse("siblings", "one for each bit of the bitmap", found: .integer(Int64(siblings.count)))
        }
        self = proof
    }
}

extension ObjectReader {
    /// Digests in hexadecimal.
    package mutating func digests(_ key: String) throws(JSONError) -> [Digest] {
        var digests: [Digest] = []
        for text in try strings(key) {
            guard let digest = Digest(hex: text) else {
                throw refuse(key, "digests in hexadecimal", found: .string(text))
            }
            digests.append(digest)
        }
        return digests
    }
}

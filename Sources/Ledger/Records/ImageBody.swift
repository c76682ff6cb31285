import Bytes
public import CanonicalJSON
public import Crypto

/// Body of an image record: replaces the author's image of that name.
public struct ImageBody: Hashable, Sendable {
    /// The image for one architecture.
    public struct Variant: Hashable, Sendable {
        /// `amd64` or `arm64`.
        public let arch: String
        /// Id of the flist's root chunk.
        public let root: Digest
        /// Key of the root chunk, where the image is public.
        public let key: [UInt8]?
        /// The key sealed to each reader, where it is not.
        public let sealed: [PublicKey: [UInt8]]?
        /// The OCI configuration that matters to run it.
        public let config: JSONValue
        /// Bytes of the files in it.
        public let size: Int64

        /// An image for one architecture.
        public init(
            arch: String, root: Digest, key: [UInt8]? = nil, sealed: [PublicKey: [UInt8]]? = nil, config: JSONValue,
            size: Int64
        ) {
            (self.arch, self.root, self.key) = (arch, root, key)
            (self.sealed, self.config, self.size) = (sealed, config, size)
        }

        /// The variant as a document.
        public var value: JSONValue {
            let boxes = sealed.map { sealed in
                JSONValue.object(
                    Dictionary(sealed.map { ($0.address, .base64($1)) }, uniquingKeysWith: { first, _ in first }))
            }
            return .members([
                "arch": .string(arch), "root": .digest(root), "key": key.map { .string(Hex.encode($0)) },
                "sealed": boxes, "config": config, "size": .integer(size),
            ])
        }

        /// Decodes a variant.
        public init(_ value: JSONValue) throws(JSONError) {
            var fields = try ObjectReader(value, "an image's index")
            arch = try fields.name("arch", .label)
            root = try fields.digest("root")
            key = fields.optionalValue("key") == nil ? nil : try fields.digest("key").bytes
            if let boxes = try fields.optionalObject("sealed") {
                guard (1...RecordLimits.imageReaders).contains(boxes.count) else {
                    throw fields.refuse("sealed", "1 to \(RecordLimits.imageReaders) readers", found: .object([:]))
                }
                var sealed: [PublicKey: [UInt8]] = [:]
                for (address, box) in boxes {
                    let reader = try fields.publicKey(address, of: "sealed")
                    sealed[reader] = try fields.base64(box, of: "sealed", limit: RecordLimits.sealedBytes)
                }
                self.sealed = sealed
            } else {
                sealed = nil
            }
            config = .object(try fields.object("config"))
            size = try fields.integer("size", in: Bounds.amount)
            try fields.finish()
        }
    }

    /// How contracts call it.
    public let name: String
    /// Whether everybody may read it.
    public let isPublic: Bool
    /// One entry an architecture.
    public let index: [Variant]
    /// Where its chunks are served.
    public let stores: [String]

    /// An image.
    public init(name: String, isPublic: Bool, index: [Variant], stores: [String]) {
        (self.name, self.isPublic, self.index, self.stores) = (name, isPublic, index, stores)
    }

    /// Takes the author's image of that name away: no architectures and no stores. Contracts that run it go on.
    public init(removing name: String) { self.init(name: name, isPublic: false, index: [], stores: []) }

    /// Whether this takes the image away.
    public var isRemoval: Bool { index.isEmpty }

    /// The body as a document.
    public var value: JSONValue {
        [
            "name": .string(name), "public": .bool(isPublic), "index": .array(index.map(\.value)),
            "stores": .array(stores.map { .string($0) }),
        ]
    }

    /// Decodes a body. A public image carries keys in clear, any other one sealed.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "an image record")
        name = try fields.name("name", .image)
        isPublic = try fields.bool("public")
        var index: [Variant] = []
        for element in try fields.array("index") { index.append(try Variant(element)) }
        stores = try fields.strings("stores")
        try fields.finish()
        if index.isEmpty, !isPublic, stores.isEmpty {
            self.index = []
            return
        }
        guard (1...RecordLimits.imageVariants).contains(index.count), Set(index.map(\.arch)).count == index.count else {
            throw fields.refuse("index", "one entry an architecture", found: .integer(Int64(index.count)))
        }
        for variant in index where (variant.key != nil) == (variant.sealed != nil) || isPublic != (variant.key != nil) {
            throw fields.refuse(
                "index", isPublic ? "“key” in a public image" : "“sealed” in a private image", found: variant.value)
        }
        guard stores.count <= RecordLimits.imageStores, stores.allSatisfy({ (1...256).contains($0.utf8.count) }) else {
            throw fields.refuse(
                "stores", "at most \(RecordLimits.imageStores) addresses", found: .integer(Int64(stores.count)))
        }
        self.index = index
    }
}

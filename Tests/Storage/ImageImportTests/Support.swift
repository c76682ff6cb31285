import CanonicalJSON
import Crypto
import Flist
import Linux
import Synchronization
import Testing

@testable import ImageImport

/// A store in memory that counts what is asked of it.
final class MemoryStore: ChunkStore {
    private struct State: Sendable {
        var chunks: [Digest: [UInt8]] = [:]
        var added = 0
    }
    private let state = Mutex(State())

    var added: Int { state.withLock { $0.added } }
    var bytes: Int { state.withLock { $0.chunks.values.reduce(0) { $0 + $1.count } } }

    func holds(_ ids: [Digest]) throws(FlistError) -> [Bool] {
        state.withLock { state in ids.map { state.chunks[$0] != nil } }
    }
    func add(_ new: [SealedChunk]) throws(FlistError) -> [Bool] {
        state.withLock { state in
            state.added += new.count
            return new.map { state.chunks.updateValue($0.stored, forKey: $0.reference.id) == nil }
        }
    }
    func fetch(_ id: Digest) throws(FlistError) -> [UInt8]? { state.withLock { $0.chunks[id] } }
    func removeAll() { state.withLock { $0.chunks = [:] } }
}

func name(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A folder that goes when the test ends.
final class Folder {
    let path: String
    init() throws {
        path = "/tmp/zero-import-test-\(Array(Random.bytes(8)).map { String($0, radix: 16) }.joined())"
        try File.makeDirectories(path)
    }
    deinit { try? File.removeTree(path) }

    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let path = "\(path)/\(name)"
        try File.makeDirectories(File.parent(path))
        try File.write(path, bytes)
        return path
    }
}

/// Makes tar archives, right ones and wrong ones.
struct Tar {
    var bytes: [UInt8] = []

    static func octal(_ value: Int, _ width: Int) -> [UInt8] {
        let digits = String(value, radix: 8)
        return Array((String(repeating: "0", count: width - 1 - digits.count) + digits).utf8) + [0]
    }

    mutating func add(
        _ path: [UInt8], type: Character = "0", content: [UInt8] = [], link: String = "", mode: Int = 0o644,
        uid: Int = 0, gid: Int = 0, time: Int = 1_700_000_000, major: Int = 0, minor: Int = 0, size: Int? = nil
    ) {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ offset: Int, _ field: [UInt8]) { block.replaceSubrange(offset..<offset + field.count, with: field) }
        put(0, Array(path.prefix(100)))
        put(100, Self.octal(mode, 8))
        put(108, Self.octal(uid, 8))
        put(116, Self.octal(gid, 8))
        put(124, Self.octal(size ?? content.count, 12))
        put(136, Self.octal(time, 12))
        put(148, [UInt8](repeating: 32, count: 8))
        put(156, [type.asciiValue ?? 0])
        put(157, Array(link.utf8.prefix(100)))
        put(257, Array("ustar\u{0}00".utf8))
        put(329, Self.octal(major, 8))
        put(337, Self.octal(minor, 8))
        put(148, Self.octal(block.reduce(0) { $0 + Int($1) }, 7) + [32])
        bytes += block + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    mutating func file(_ path: String, _ content: String = "") { add(name(path), content: name(content)) }
    mutating func directory(_ path: String, mode: Int = 0o755) { add(name(path + "/"), type: "5", mode: mode) }

    mutating func pax(_ fields: [(String, [UInt8])]) {
        var body: [UInt8] = []
        for (key, value) in fields {
            let rest = 1 + key.utf8.count + 1 + value.count + 1
            var length = rest + 1
            while String(length).utf8.count + rest != length { length = String(length).utf8.count + rest }
            body += Array("\(length) \(key)=".utf8) + value + [10]
        }
        add(name("PaxHeaders/x"), type: "x", content: body)
    }

    var finished: [UInt8] { bytes + [UInt8](repeating: 0, count: 1_024) }
}

/// An OCI layout of layers.
struct Layout {
    let folder: Folder
    var manifests: [JSONValue] = []

    init(_ folder: Folder) throws {
        self.folder = folder
        _ = try folder.write("oci-layout", name(#"{"imageLayoutVersion": "1.0.0"}"#))
    }

    func blob(_ bytes: [UInt8], _ mediaType: String) throws -> JSONValue {
        let digest = SHA256.hash(bytes).hex
        _ = try folder.write("blobs/sha256/\(digest)", bytes)
        return [
            "mediaType": .string(mediaType), "digest": .string("sha256:" + digest),
            "size": .integer(Int64(bytes.count)),
        ]
    }

    mutating func add(
        _ tars: [[UInt8]], architecture: String = "amd64", name text: String = "test", docker: Bool = false,
        compress: (([UInt8]) throws -> [UInt8])? = nil, config: String = #"{"Cmd":["/bin/sh"],"Entrypoint":null}"#
    ) throws {
        let prefix = docker ? "application/vnd.docker" : "application/vnd.oci.image"
        var layers: [JSONValue] = []
        for tar in tars {
            let bytes = try compress?(tar) ?? tar
            layers.append(try blob(bytes, docker ? "\(prefix).image.rootfs.diff.tar.gzip" : "\(prefix).layer.v1.tar"))
        }
        let diffs = tars.map { "\"sha256:\(SHA256.hash($0).hex)\"" }.joined(separator: ",")
        let configBytes = name(
            #"{"architecture":"\#(architecture)","os":"linux","created":null,"x":1.5,"config":\#(config),"rootfs":{"type":"layers","diff_ids":[\#(diffs)]}}"#
        )
        let configBlob = try blob(
            configBytes, docker ? "\(prefix).container.image.v1+json" : "\(prefix).config.v1+json")
        let manifest: JSONValue = ["schemaVersion": 2, "config": configBlob, "layers": .array(layers)]
        var descriptor = try blob(
            manifest.canonicalBytes, docker ? "\(prefix).distribution.manifest.v2+json" : "\(prefix).manifest.v1+json")
        descriptor["annotations"] = ["org.opencontainers.image.ref.name": .string(text)]
        manifests.append(descriptor)
    }

    func finish() throws -> String {
        let index: JSONValue = ["schemaVersion": 2, "manifests": .array(manifests)]
        _ = try folder.write("index.json", index.canonicalBytes)
        return folder.path
    }
}

/// What one import made, ready to be looked into.
struct Imported {
    let image: ImportedImage
    let reader: FlistReader
    let source: StoreSource

    init(
        _ path: String, _ store: MemoryStore = MemoryStore(),
        _ options: ImageImporter.Options = .init(secret: .publicImages)
    ) throws {
        image = try ImageImporter(store, options).run(path)
        let root = try #require(image.architectures.first).root
        source = StoreSource(store)
        reader = try FlistReader(root, source)
        #expect(try ImageImporter.verify(root, store).findings == [])
    }

    func entry(_ path: String) throws -> Entry? {
        try reader.lookup(path: path.split(separator: "/").map { name(String($0)) })?.entry
    }

    func content(_ path: String) throws -> String? {
        guard case .file(let size, let tree)? = try entry(path)?.content else { return nil }
        var bytes: [UInt8] = []
        try reader.chunks(tree, 0..<size) { _, piece throws(FlistError) in
            bytes += try source.plaintext(piece.chunk, .content)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    func names(_ path: String = "") throws -> [String] {
        let found = try #require(try reader.lookup(path: path.split(separator: "/").map { name(String($0)) }))
        var names: [String] = []
        try reader.list(found, from: 0) { _, child in
            names.append(String(decoding: child.entry.name, as: UTF8.self))
            return true
        }
        return names
    }
}

func compressed(_ program: String, _ bytes: [UInt8]) throws -> [UInt8] {
    try Subprocess.run("/usr/bin/\(program)", ["-c"], input: bytes).output
}

import CanonicalJSON
import Crypto
import Linux

/// An OCI image layout: documents and layers under the digests that name them.
struct OCILayout {
    /// A blob that a document names.
    struct Descriptor: Hashable {
        var mediaType: String
        var digest: Crypto.Digest
        var size: Int64
        var name: String?
        var architecture: String?
        var system: String?
    }

    /// One image, for one architecture.
    struct Image {
        var architecture: String
        var name: String?
        var config: JSONValue
        var layers: [Descriptor]
        var diffs: [Crypto.Digest]
    }

    private let path: String

    /// Opens the layout at `path`.
    init(_ path: String) throws(ImportError) {
        self.path = path
        let marker = try LooseJSON.parse(try Self.read(path + "/oci-layout"), "oci-layout")
        guard let version = marker["imageLayoutVersion"]?.string, version.hasPrefix("1.") else {
            throw .notAnImage(path: path, reason: "its oci-layout is not of version 1")
        }
    }

    /// Whether a folder looks like a layout.
    static func isLayout(_ path: String) -> Bool { File.exists(path + "/oci-layout") }

    private static func read(_ path: String) throws(ImportError) -> [UInt8] {
        do { return try File.read(path, limit: ImportLimits.documentBytes) } catch {
            throw .unreadable(path: path, reason: "\(error.errno)")
        }
    }

    /// Where a blob lies.
    func path(of descriptor: Descriptor) -> String { path + "/blobs/sha256/" + descriptor.digest.hex }

    private func document(_ descriptor: Descriptor) throws(ImportError) -> JSONValue {
        let bytes = try Self.read(path(of: descriptor))
        let found = SHA256.hash(bytes)
        guard found == descriptor.digest, Int64(bytes.count) == descriptor.size else {
            throw .wrongDigest(
                subject: "\(descriptor.mediaType), \(bytes.count) bytes",
                expected: "sha256:\(descriptor.digest.hex), \(descriptor.size) bytes", found: "sha256:\(found.hex)")
        }
        return try LooseJSON.parse(bytes, "sha256:\(descriptor.digest.hex)")
    }

    /// All images, in the order of the index; where several have one name, `reference` chooses.
    func images(reference: String?) throws(ImportError) -> [Image] {
        let index = try LooseJSON.parse(try Self.read(path + "/index.json"), "index.json")
        var top = try descriptors(index, "manifests", "index.json")
        if let reference {
            top = top.filter { $0.name == reference }
            if top.isEmpty { throw .nothingFits(reason: "no image is named \(reference) in \(path)") }
        }
        var images: [Image] = []
        for descriptor in top { try collect(descriptor, descriptor.name, &images, depth: 0) }
        guard !images.isEmpty else { throw .nothingFits(reason: "\(path) holds no Linux image") }
        let architectures = images.map(\.architecture)
        guard Set(architectures).count == architectures.count else {
            throw .ambiguous(names: images.map { "\($0.name ?? "(unnamed)") for \($0.architecture)" })
        }
        return images
    }

    private func collect(
        _ descriptor: Descriptor, _ name: String?, _ images: inout [Image], depth: Int
    ) throws(ImportError) {
        guard depth < ImportLimits.indexDepth else {
            throw .badDocument(subject: descriptor.digest.hex, reason: "indexes are nested too deeply")
        }
        // Attestations hang in an index as images for an unknown system.
        if descriptor.system == "unknown" || descriptor.architecture == "unknown" { return }
        if let system = descriptor.system, system != "linux" { return }
        switch descriptor.mediaType {
        case "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json":
            let index = try document(descriptor)
            for below in try descriptors(index, "manifests", descriptor.digest.hex) {
                try collect(below, name ?? below.name, &images, depth: depth + 1)
            }
        case "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json":
            if let image = try image(descriptor, name) { images.append(image) }
        default:
            throw .badDocument(
                subject: "sha256:\(descriptor.digest.hex)",
                reason: "media type \(descriptor.mediaType) is not supported")
        }
    }

    private func image(_ descriptor: Descriptor, _ name: String?) throws(ImportError) -> Image? {
        let subject = "sha256:\(descriptor.digest.hex)"
        let manifest = try document(descriptor)
        guard let configValue = manifest["config"] else {
            throw .badDocument(subject: subject, reason: "has no config")
        }
        let configDescriptor = try Self.descriptor(configValue, subject)
        let layers = try descriptors(manifest, "layers", subject)
        guard layers.count <= ImportLimits.layers else {
            throw .badDocument(
                subject: subject, reason: "has \(layers.count) layers, the limit is \(ImportLimits.layers)")
        }
        let types = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"]
        guard types.contains(configDescriptor.mediaType) else { return nil }  // an artifact, not an image
        let config = try document(configDescriptor)
        guard config["os"]?.string ?? "linux" == "linux" else { return nil }
        guard let architecture = config["architecture"]?.string ?? descriptor.architecture else {
            throw .badDocument(subject: subject, reason: "names no architecture")
        }
        var diffs: [Crypto.Digest] = []
        for value in config["rootfs"]?["diff_ids"]?.array ?? [] {
            diffs.append(try Self.digest(value.string ?? "", subject))
        }
        guard diffs.count == layers.count else {
            throw .badDocument(subject: subject, reason: "has \(layers.count) layers and \(diffs.count) diff ids")
        }
        let variant = architecture == "arm" ? config["variant"]?.string.map { "/" + $0 } ?? "" : ""
        return Image(
            architecture: architecture + variant, name: name, config: Self.kept(config["config"] ?? [:]),
            layers: layers, diffs: diffs)
    }

    /// The parts of an image's configuration that a container needs, under the names of image records; empty ones left out.
    static func kept(_ config: JSONValue) -> JSONValue {
        var kept: [String: JSONValue] = [:]
        for (key, name) in [("Cmd", "cmd"), ("Entrypoint", "entrypoint"), ("Env", "env")] {
            let items = (config[key]?.array ?? []).filter { $0.string != nil }
            if !items.isEmpty { kept[name] = .array(items) }
        }
        for (key, name) in [("StopSignal", "stop_signal"), ("User", "user"), ("WorkingDir", "cwd")] {
            if let text = config[key]?.string, !text.isEmpty { kept[name] = .string(text) }
        }
        for (key, name) in [("ExposedPorts", "ports"), ("Volumes", "volumes")] {
            let items = (config[key]?.object ?? [:]).keys.sorted()
            if !items.isEmpty { kept[name] = .array(items.map { .string($0) }) }
        }
        return .object(kept)
    }

    private func descriptors(
        _ document: JSONValue, _ key: String, _ subject: String
    ) throws(ImportError) -> [Descriptor] {
        guard let items = document[key]?.array else { throw .badDocument(subject: subject, reason: "has no \(key)") }
        var descriptors: [Descriptor] = []
        for item in items { descriptors.append(try Self.descriptor(item, subject)) }
        return descriptors
    }

    private static func descriptor(_ value: JSONValue, _ subject: String) throws(ImportError) -> Descriptor {
        guard let mediaType = value["mediaType"]?.string, let text = value["digest"]?.string,
            let size = value["size"]?.integer, size >= 0
        else { throw .badDocument(subject: subject, reason: "a descriptor lacks mediaType, digest or size") }
        return Descriptor(
            mediaType: mediaType, digest: try digest(text, subject), size: size,
            name: value["annotations"]?["org.opencontainers.image.ref.name"]?.string,
            architecture: value["platform"]?["architecture"]?.string, system: value["platform"]?["os"]?.string)
    }

    private static func digest(_ text: String, _ subject: String) throws(ImportError) -> Crypto.Digest {
        guard text.hasPrefix("sha256:"), let digest = Crypto.Digest(hex: String(text.dropFirst(7))) else {
            throw .badDocument(subject: subject, reason: "digest \(text) is not sha256 and 64 hexadecimal digits")
        }
        return digest
    }
}

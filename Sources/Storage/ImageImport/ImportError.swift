public import Flist

/// Why an image could not be imported. Every case carries its subject.
public enum ImportError: Error, Sendable, Equatable {
    /// A file of the host could not be read.
    case unreadable(path: String, reason: String)
    /// The source is neither an OCI layout, a tar archive nor a directory.
    case notAnImage(path: String, reason: String)
    /// A JSON document of the layout is not what it should be.
    case badDocument(subject: String, reason: String)
    /// A blob has another digest or size than the document that names it says.
    case wrongDigest(subject: String, expected: String, found: String)
    /// Compressed data is damaged.
    case badCompression(subject: String, reason: String)
    /// A tar archive is damaged or uses what is not supported.
    case badArchive(subject: String, path: String, reason: String)
    /// Several images fit and none was chosen.
    case ambiguous(names: [String])
    /// No image fits what was asked for.
    case nothingFits(reason: String)
    /// Storing failed.
    case storing(FlistError)
    /// The import was stopped.
    case stopped
}

extension ImportError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .unreadable(let path, let reason): "cannot read \(path): \(reason)"
        case .notAnImage(let path, let reason): "\(path) is not an image: \(reason)"
        case .badDocument(let subject, let reason): "\(subject): \(reason)"
        case .wrongDigest(let subject, let expected, let found): "\(subject) has digest \(found), expected \(expected)"
        case .badCompression(let subject, let reason): "\(subject): \(reason)"
        case .badArchive(let subject, let path, let reason):
            path.isEmpty ? "\(subject): \(reason)" : "\(subject), at \(path): \(reason)"
        case .ambiguous(let names): "several images are there, name one of: \(names.joined(separator: ", "))"
        case .nothingFits(let reason): reason
        case .storing(let error): "\(error)"
        case .stopped: "stopped"
        }
    }
}

/// What an importer accepts at most.
public enum ImportLimits {
    /// Bytes of a manifest, index or configuration: registries accept 4 MiB.
    public static let documentBytes = 4 << 20
    /// Layers of one image: overlay file systems stop at 500, Docker at 127.
    public static let layers = 512
    /// Bytes of one PAX header: an attribute of 64 KiB in several encodings, with room.
    public static let paxBytes = 1 << 20
    /// Bytes of a path inside an image.
    public static let pathBytes = 4_096
    /// Files of one image: each takes about half a kilobyte of memory while importing.
    public static let files = 4_000_000
    /// Nested indexes of a layout.
    public static let indexDepth = 4
    /// Symbolic links followed for one path, as the kernel does.
    public static let links = 40
}

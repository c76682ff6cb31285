internal import CanonicalJSON
internal import Crypto
internal import Linux
internal import Synchronization

/// Every image that a contract of this node was signed with, by root: a name in the ledger may move on to a newer image
/// while a contract keeps the older one. Durable.
public final class ImageCatalogue: Sendable {
    private let folder: String
    private let known = Mutex<[Digest: RunnableImage]>([:])

    /// Keeps its files in `folder`.
    public init(folder: String) { self.folder = folder }

    /// Notes how the image that a contract names by `root` runs on this node.
    func remember(_ root: Digest, _ image: RunnableImage) -> RunnableImage {
        let isNew = known.withLock { known in
            defer { known[root] = image }
            return known[root] != image
        }
        if isNew, (try? File.makeDirectories(folder, mode: 0o700)) != nil {
            try? File.writeDurably(path(root), image.value.canonicalBytes)
        }
        return image
    }

    /// The image, where a contract named it before.
    func image(_ root: Digest) -> RunnableImage? {
        if let image = known.withLock({ $0[root] }) { return image }
        guard let bytes = try? File.read(path(root), limit: 1 << 20), let value = try? JSONValue(canonical: bytes),
            let image = RunnableImage(value)
        else { return nil }
        known.withLock { $0[root] = image }
        return image
    }

    private func path(_ root: Digest) -> String { "\(folder)/\(root.hex).json" }
}

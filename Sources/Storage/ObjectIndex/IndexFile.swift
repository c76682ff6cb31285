internal import Glibc

/// Where an index is. A temporary one lives in memory's own file system and goes with its last user.
final class IndexFile: Sendable {
    let path: String
    private let folder: String?

    init(_ path: String) { (self.path, folder) = (path, nil) }

    /// In memory, where the system has a place for that.
    init() throws(IndexError) {
        for place in ["/dev/shm", "/tmp"] {
            var template = Array("\(place)/zero-index-XXXXXX".utf8CString)
            let made = template.withUnsafeMutableBufferPointer { buffer in
                buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
            }
            guard let made else { continue }
            (folder, path) = (made, made + "/index")
            return
        }
        throw .database("no place for a temporary index: errno \(errno)", code: 14)
    }

    deinit {
        guard let folder else { return }
        for suffix in IndexFile.suffixes { unlink(path + suffix) }
        rmdir(folder)
    }

    /// What belongs to a database.
    static let suffixes = ["", "-wal", "-shm", "-journal"]

    /// Removes an index that nobody has open.
    static func remove(_ path: String) { for suffix in suffixes { unlink(path + suffix) } }
}

import Bytes
import Crypto
import Flist
import Glibc
import Linux
import Synchronization

/// Remembers which chunk a piece of plaintext became, so that it need not be compressed and encrypted again.
///
/// One file a convergence secret, of 112-byte records: SHA-256 of the plaintext, id, key, the first 16 bytes of
/// SHA-256 of those. It is only a hint: records that do not check are dropped, and the store is asked for each id.
final class ChunkCache: Sendable {
    private static let recordBytes = 112
    /// A million chunks of 256 KiB on average: a quarter of a terabyte, in 112 MB.
    private static let recordsMax = 1_000_000

    private struct State {
        var known: [Digest: ChunkReference] = [:]
        var unsaved: [UInt8] = []
    }

    private let path: String
    private let state = Mutex(State())

    /// Opens the cache in a folder, which is made if it is not there. What cannot be read is forgotten.
    init(_ folder: String) throws(ImportError) {
        path = folder + "/chunks.v1"
        do {
            try File.makeDirectories(folder, mode: 0o700)
            if File.exists(path) { load(try File.read(path, limit: 1 << 30)) }
        } catch { throw .unreadable(path: path, reason: "\(error)") }
    }

    private func load(_ bytes: [UInt8]) {
        var good = 0
        state.withLock { state in
            state.known.reserveCapacity(bytes.count / Self.recordBytes)
            while good + Self.recordBytes <= bytes.count {
                let record = Array(bytes[good..<good + Self.recordBytes])
                guard SHA256.hash(Array(record[..<96])).bytes[..<16] == record[96...],
                    let plain = Digest(Array(record[..<32])), let id = Digest(Array(record[32..<64])),
                    let key = ChunkKey(Array(record[64..<96]))
                else { break }
                state.known[plain] = ChunkReference(id: id, key: key)
                good += Self.recordBytes
            }
        }
        // A torn or damaged tail would hide every later record; a full file starts over.
        if good != bytes.count || good / Self.recordBytes > Self.recordsMax {
            let keep = good / Self.recordBytes > Self.recordsMax ? 0 : good
            truncate(path, off_t(keep))
        }
    }

    func reference(_ plain: Digest) -> ChunkReference? { state.withLock { $0.known[plain] } }

    func record(_ plain: Digest, _ reference: ChunkReference) {
        let record = plain.bytes + reference.id.bytes + reference.key.bytes
        let check = SHA256.hash(record).bytes[..<16]
        state.withLock { state in
            state.known[plain] = reference
            state.unsaved += record
            state.unsaved += check
        }
    }

    /// Appends what is new to the file.
    func save() throws(ImportError) {
        let unsaved = state.withLock { state in
            defer { state.unsaved = [] }
            return state.unsaved
        }
        if unsaved.isEmpty { return }
        do {
            try Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND, mode: 0o600).writeAll(unsaved, path)
        } catch { throw .unreadable(path: path, reason: "\(error)") }
    }
}

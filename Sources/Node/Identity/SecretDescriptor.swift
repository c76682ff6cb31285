internal import Bytes
internal import CLinux
internal import Crypto
internal import Glibc
internal import Linux

/// Secrets in clear on their way to the one process that may see them: a sealed memfd in the form of
/// `Documentation/formats/secret-descriptor.md`.
enum SecretDescriptor {
    static let entriesMax = 256
    static let nameMax = 64
    static let totalMax = 1 << 20

    /// The bytes of the descriptor. Entries are sorted by name.
    static func encode(_ entries: [String: [UInt8]]) -> [UInt8] {
        // Room for all of it at once: growing would leave copies of secrets behind in freed memory.
        let size = entries.reduce(4) { $0 + 8 + $1.key.utf8.count + $1.value.count }
        var writer = ByteWriter(capacity: size)
        writer.u32(UInt32(entries.count))
        for (name, value) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            writer.u32(UInt32(name.utf8.count))
            writer.append(Array(name.utf8))
            writer.u32(UInt32(value.count))
            writer.append(value)
        }
        return writer.bytes
    }

    /// A memfd with these entries, at offset 0, which nobody can change any more. The caller owns it.
    static func make(_ entries: [String: [UInt8]]) throws(SystemError) -> Int32 {
        var bytes = encode(entries)
        defer { wipe(&bytes) }
        let memory = Descriptor(try checked("memfd_create", "secrets", zg_memfd("secrets")))
        try memory.writeAll(bytes, "secrets")
        if lseek(memory.raw, 0, SEEK_SET) < 0 { throw SystemError("lseek", "secrets", Errno(errno)) }
        try checked("seal", "secrets", zg_memfd_seal(memory.raw))
        return memory.release()
    }
}

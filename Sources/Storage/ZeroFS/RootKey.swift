import Bytes
import CanonicalJSON
import Flist
import Glibc
import Linux
import RESP
import Service

/// Gets the key of an order's root chunk.
enum RootKey {
    /// The name under which the key of an image is sealed.
    private static let name = "image"
    private static let retryMilliseconds = 200

    /// The key; a sealed one is opened by `zero-identity`, which is waited for as long as for the store.
    static func get(_ order: MountOrder, _ log: Log) throws(MountError) -> ChunkKey {
        guard case .sealed(let sealed, let contract, let workload) = order.key else {
            if case .clear(let key) = order.key { return key }
            throw .sealed("no key")
        }
        guard let socket = order.identity else { throw .sealed("the order names no identity socket") }
        let body: JSONValue = [
            "contract": .string(contract), "workload": .string(workload),
            "secrets": .object([name: ["sealed": .string(sealed)]]),
        ]
        let client = RESPClient(unix: socket)
        let deadline = Clock.monotonicNanoseconds() + Int64(order.storeWaitMilliseconds) * 1_000_000
        var isWaiting = false
        while true {
            let reply: (value: RESPValue, descriptors: [Int32])
            do throws(RESPClientError) {
                reply = try client.exchange([Array("IDENTITY.OPEN".utf8), body.canonicalBytes])
            } catch {
                if !isWaiting { log.warn("identity is absent", ["reason": "\(error)"]) }
                isWaiting = true
                guard Clock.monotonicNanoseconds() < deadline else { throw .sealed("\(error)") }
                usleep(UInt32(retryMilliseconds * 1_000))
                continue
            }
            return try read(reply.value, reply.descriptors)
        }
    }

    private static func read(_ reply: RESPValue, _ descriptors: [Int32]) throws(MountError) -> ChunkKey {
        defer { for descriptor in descriptors { close(descriptor) } }
        if let failure = reply.failure { throw .sealed("\(failure.code) \(failure.message)") }
        guard descriptors.count == 1 else { throw .sealed("no descriptor came with the reply") }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = pread(descriptors[0], &bytes, bytes.count, 0)
        guard count > 0, let key = key(Array(bytes[..<count])) else { throw .sealed("what was opened is not a key") }
        return key
    }

    /// Reads `Documentation/formats/secret-descriptor.md` with the one entry `image` of 32 bytes.
    static func key(_ bytes: [UInt8]) -> ChunkKey? {
        var reader = ByteReader(bytes)
        guard (try? reader.u32()) == 1, (try? reader.u32()) == UInt32(name.utf8.count),
            (try? reader.take(name.utf8.count)) == Array(name.utf8), (try? reader.u32()) == 32,
            let key = try? reader.take(32), reader.isAtEnd
        else { return nil }
        return ChunkKey(key)
    }
}

import Bytes
import CanonicalJSON
import Glibc
import Linux
import RESP

/// The key of a private image as a mount order has it: sealed to the node, for one contract.
///
/// The node's identity process opens it, for the account of mounts alone; it stands in clear in no file.
struct SealedImageKey {
    /// The name under which the owner sealed it.
    static let name = "image"
    /// How long an identity process that is just being restarted is waited for.
    private static let patience = Duration.seconds(20)

    /// Why a key was not opened. Never says what was in it.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let sealed: String
    private let contract: String
    private let workload: String

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a sealed key")
        sealed = try fields.string("key")
        contract = try fields.string("contract")
        workload = try fields.string("workload")
        try fields.finish()
    }

    /// The key in hexadecimal.
    func open(_ socket: String?) throws(Failure) -> String {
        guard let socket else { throw Failure(description: "only a mount of a node can open it") }
        let body: JSONValue = [
            "contract": .string(contract), "workload": .string(workload),
            "secrets": .object([SealedImageKey.name: ["sealed": .string(sealed)]]),
        ]
        let end = ContinuousClock.now + SealedImageKey.patience
        while true {
            do {
                let client = RESPClient(unix: socket)
                let reply = try client.exchange(
                    [Array("IDENTITY.OPEN".utf8), body.canonicalBytes], deadline: .seconds(5))
                defer { for descriptor in reply.descriptors { close(descriptor) } }
                if let failure = reply.value.failure {
                    throw Failure(description: "\(failure.code) \(failure.message)")
                }
                guard let descriptor = reply.descriptors.first else {
                    throw Failure(description: "zero-identity sent no descriptor")
                }
                return Hex.encode(try SealedImageKey.read(descriptor))
            } catch let error as Failure {
                throw error
            } catch {
                guard ContinuousClock.now < end else {
                    throw Failure(description: "zero-identity does not answer: \(error)")
                }
                usleep(100_000)
            }
        }
    }

    /// The one entry of the descriptor; see `Documentation/formats/secret-descriptor.md`.
    private static func read(_ descriptor: Int32) throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { throw Failure(description: "the descriptor of zero-identity is empty") }
        var reader = ByteReader(Array(bytes[..<count]))
        do {
            guard try reader.u32() == 1 else {
                throw Failure(description: "zero-identity opened another number of keys")
            }
            let found = try reader.take(Int(reader.u32()))
            let value = try reader.take(Int(reader.u32()))
            guard String(decoding: found, as: UTF8.self) == name else {
                throw Failure(description: "zero-identity opened something else")
            }
            return Array(value)
        } catch let error as Failure { throw error } catch {
            throw Failure(description: "the descriptor of zero-identity is cut short")
        }
    }
}

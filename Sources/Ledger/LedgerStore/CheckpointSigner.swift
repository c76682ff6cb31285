import Bus
import Bytes
import CanonicalJSON
public import Crypto
public import Records

/// Signs checkpoints for a member.
public protocol CheckpointSigner: Sendable {
    /// The member.
    func member() async throws -> PublicKey
    /// The member's signature of an unsigned checkpoint.
    func sign(_ checkpoint: Checkpoint) async throws -> RecordSignature
}

/// Has checkpoints signed by the node's identity service.
struct IdentitySigner: CheckpointSigner {
    let identity: BusClient

    func member() async throws -> PublicKey {
        let reply = try await identity.call("IDENTITY.NODE")
        return try PublicKey(address: reply["node"]?.string ?? "")
    }

    func sign(_ checkpoint: Checkpoint) async throws -> RecordSignature {
        let reply = try await identity.call(
            "IDENTITY.SIGN", ["purpose": "checkpoint", "document": checkpoint.unsignedValue], deadline: .seconds(5))
        let by = try PublicKey(address: reply["by"]?.string ?? "")
        guard let bytes = Base64.decode(reply["sig"]?.string ?? ""), by.verifies(bytes, of: checkpoint.signingMessage)
        else { throw BusError.failed("the identity service's signature does not verify") }
        return RecordSignature(by: by, bytes: bytes)
    }
}

/// Signs with a key in memory, for tests.
package struct KeySigner: CheckpointSigner {
    let key: SigningKey

    package init(_ key: SigningKey) { self.key = key }

    package func member() async throws -> PublicKey { key.publicKey }
    package func sign(_ checkpoint: Checkpoint) async throws -> RecordSignature {
        RecordSignature(by: key.publicKey, bytes: key.sign(checkpoint.signingMessage))
    }
}

internal import Bus
internal import Bytes
internal import CanonicalJSON
internal import Crypto

/// Opens what a contract's placement sealed to this node.
struct SecretOpener {
    let key: SealingKey

    /// One secret as it is asked for: the sealed content key, and the box where the secret is not the key itself.
    struct Sealed {
        let name: String
        let sealed: [UInt8]
        let box: [UInt8]?
    }

    /// Reads the request's `secrets`.
    static func read(_ secrets: [String: JSONValue]) throws(BusError) -> [Sealed] {
        guard secrets.count <= SecretDescriptor.entriesMax else {
            throw .badRequest("\(secrets.count) secrets at once; the limit is \(SecretDescriptor.entriesMax)")
        }
        var list: [Sealed] = []
        for (name, value) in secrets.sorted(by: { $0.key < $1.key }) {
            guard (1...SecretDescriptor.nameMax).contains(name.utf8.count) else {
                throw .badRequest(
                    "a secret's name has 1 to \(SecretDescriptor.nameMax) letters, not \(name.utf8.count)")
            }
            do throws(JSONError) {
                var reader = try ObjectReader(value, "secret \(name)")
                let sealed = try bytes(reader.string("sealed"), "sealed", &reader)
                var box: [UInt8]?
                if let text = try reader.optionalString("box") { box = try bytes(text, "box", &reader) }
                try reader.finish()
                list.append(Sealed(name: name, sealed: sealed, box: box))
            } catch {
                throw BusError(error)
            }
        }
        return list
    }

    private static func bytes(
        _ text: String, _ key: String, _ reader: inout ObjectReader
    ) throws(JSONError) -> [UInt8] {
        guard let bytes = Base64.decode(text) else {
            throw .unexpected(key: key, subject: reader.subject, expected: "base64", found: "something else")
        }
        return bytes
    }

    /// The values by name. Errors name the secret and never its content.
    func open(_ secrets: [Sealed], contract: String) throws(BusError) -> [String: [UInt8]] {
        var values: [String: [UInt8]] = [:]
        var total = 4
        for secret in secrets {
            do throws(CryptoError) {
                var content = try SecretEnvelope.openKey(
                    secret.sealed, name: secret.name, contract: contract, with: key)
                if let box = secret.box {
                    defer { wipe(&content) }
                    values[secret.name] = try SecretEnvelope.open(box: box, key: content)
                } else {
                    values[secret.name] = content
                }
            } catch {
                throw BusError(
                    code: "NOTOPENED", message: "secret \(secret.name) of contract \(contract.prefix(16)): \(error)")
            }
            total += 8 + secret.name.utf8.count + (values[secret.name]?.count ?? 0)
            guard total <= SecretDescriptor.totalMax else {
                throw .badRequest("the secrets together are larger than \(SecretDescriptor.totalMax) bytes")
            }
        }
        return values
    }
}

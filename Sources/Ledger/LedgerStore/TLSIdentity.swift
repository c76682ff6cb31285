import Bytes
import Crypto
import Linux

/// The ledger's own certificate and key. Clients know it by its public key only.
struct TLSIdentity: Sendable {
    /// PEM.
    let certificate: String
    /// PEM.
    let key: String
    /// Base64 of the SHA-256 of the public key (SubjectPublicKeyInfo).
    let pin: String

    private static let openssl = "/usr/bin/openssl"

    /// The one kept in `folder`; made where there is none. Blocks.
    static func load(folder: String) throws -> TLSIdentity {
        let (keyPath, certificatePath) = (folder + "/tls.key", folder + "/tls.pem")
        if !File.exists(keyPath) {
            let key = try run(["ecparam", "-name", "prime256v1", "-genkey", "-noout"])
            try File.writeDurably(keyPath, key, mode: 0o600)
        }
        if !File.exists(certificatePath) {
            let certificate = try run([
                "req", "-x509", "-key", keyPath, "-days", "36500", "-subj", "/CN=zero-ledger", "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
            ])
            try File.writeDurably(certificatePath, certificate, mode: 0o600)
        }
        let text = try run(["pkey", "-in", keyPath, "-pubout", "-outform", "DER"])
        return TLSIdentity(
            certificate: try File.readText(certificatePath), key: try File.readText(keyPath),
            pin: Base64.encode(SHA256.hash(text).bytes))
    }

    private static func run(_ arguments: [String]) throws -> [UInt8] {
        let output = try Subprocess.run(openssl, arguments)
        guard output.status == 0 else {
            throw SubprocessFailure(what: arguments[0], text: String(decoding: output.errors, as: UTF8.self))
        }
        return output.output
    }

    private struct SubprocessFailure: Error, CustomStringConvertible {
        let what: String
        let text: String
        var description: String { "openssl \(what) failed: \(text)" }
    }
}

import CTLS

/// A server's certificate and what it asks of clients; replaced as a whole when the files are read again.
final class TLSContext: @unchecked Sendable {  // OpenSSL counts and locks a context's users itself
    let raw: OpaquePointer

    init(_ settings: TLSSettings) throws(SettingsError) {
        var problem = [CChar](repeating: 0, count: 256)
        let made = zg_tls_context_new(
            settings.certificate, settings.key, settings.clientAuthority, &problem, problem.count)
        guard let made else {
            let text = String(decoding: problem.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw SettingsError(
                description: "--tls-cert \(settings.certificate), --tls-key \(settings.key): \(text)")
        }
        raw = made
    }

    deinit { zg_tls_context_free(raw) }
}

/// How TLS is to be served.
struct TLSSettings: Sendable, Hashable {
    /// A certificate's name that may use one namespace.
    struct Allowance: Sendable, Hashable {
        var subject: String
        var namespace: String
        var isReadOnly: Bool
    }

    var port: UInt16 = 0
    var certificate = ""
    var key = ""
    /// Authorities of clients' certificates; nil: clients need none.
    var clientAuthority: String?
    var allowances: [Allowance] = []
}

/// How other servers are met over TLS: a master, or a namespace's source.
struct PeerTLSSettings: Sendable, Hashable {
    /// Who vouches for the other's certificate.
    var authority: String?
    /// The own certificate, and its key.
    var certificate: String?
    var key: String?
    /// Whose certificate it must be; nil: the host that is connected to.
    var name: String?

    static let names = ["--replica-tls-ca", "--replica-tls-cert", "--replica-tls-key", "--replica-tls-name"]

    mutating func set(_ name: String, _ value: String) {
        switch name {
        case "--replica-tls-ca": authority = value
        case "--replica-tls-cert": certificate = value
        case "--replica-tls-key": key = value
        default: self.name = value
        }
    }

    /// Whether what belongs together is there.
    func check() throws(SettingsError) {
        guard authority != nil else {
            throw SettingsError(
                description: "TLS to other servers needs --replica-tls-ca: nobody else vouches for them")
        }
        guard (certificate == nil) == (key == nil) else {
            throw SettingsError(description: "--replica-tls-cert and --replica-tls-key belong together")
        }
    }

    var lines: [String] {
        [("ca", authority), ("cert", certificate), ("key", key), ("name", name)].compactMap { option, value in
            value.map { "--replica-tls-\(option) \($0)" }
        }
    }
}

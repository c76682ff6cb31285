import LogEngine

extension Settings {
    mutating func setTLS(_ name: String, _ value: String) throws(SettingsError) {
        var tls = tls ?? TLSSettings()
        switch name {
        case "--tls-port":
            guard let number = UInt16(value), number > 0 else {
                throw Self.wrong(name, "is a number from 1 to 65535, not '\(value)'")
            }
            tls.port = number
        case "--tls-cert": tls.certificate = value
        case "--tls-key": tls.key = value
        case "--tls-client-ca": tls.clientAuthority = value
        default: tls.allowances.append(try Self.certificate(value))
        }
        self.tls = tls
    }

    private static func certificate(_ text: String) throws(SettingsError) -> TLSSettings.Allowance {
        let failure = wrong("--tls-allow", "is NAME=NAMESPACE or NAME=NAMESPACE:ro, not '\(text)'")
        guard let equals = text.lastIndex(of: "=") else { throw failure }
        let parts = text[text.index(after: equals)...].split(separator: ":", omittingEmptySubsequences: false)
        guard equals > text.startIndex, (1...2).contains(parts.count), parts.count == 1 || parts[1] == "ro",
            LogEngine.isName(Array(parts[0].utf8))
        else { throw failure }
        return .init(subject: String(text[..<equals]), namespace: String(parts[0]), isReadOnly: parts.count == 2)
    }
}

extension TLSSettings {
    /// Whether what belongs together is there.
    func check() throws(SettingsError) {
        guard port > 0, !certificate.isEmpty, !key.isEmpty else {
            throw SettingsError(description: "TLS needs --tls-port, --tls-cert and --tls-key")
        }
        guard allowances.isEmpty || clientAuthority != nil else {
            throw SettingsError(description: "--tls-allow needs --tls-client-ca: a name is only worth what checks it")
        }
    }

    var lines: [String] {
        var lines = ["--tls-port \(port)", "--tls-cert \(certificate)", "--tls-key \(key)"]
        if let clientAuthority { lines.append("--tls-client-ca \(clientAuthority)") }
        for item in allowances {
            lines.append("--tls-allow \(item.subject)=\(item.namespace)\(item.isReadOnly ? ":ro" : "")")
        }
        return lines
    }
}

internal import RESP

/// Where a backend is reached, as a store's settings write it: `host:port/namespace` or `unix:/path/of/socket/namespace`.
struct BackendAddress: Sendable, Equatable {
    enum Place: Sendable, Equatable {
        case tcp(host: String, port: UInt16)
        case unix(String)
    }
    let place: Place
    let namespace: String

    /// Reads it; nil where it is neither.
    init?(_ text: String) {
        guard let slash = text.lastIndex(of: "/") else { return nil }
        let namespace = String(text[text.index(after: slash)...])
        let front = text[..<slash]
        guard !namespace.isEmpty, namespace.utf8.count <= 128 else { return nil }
        if front.hasPrefix("unix:") {
            let path = String(front.dropFirst(5))
            guard path.hasPrefix("/"), path.utf8.count > 1 else { return nil }
            place = .unix(path)
        } else {
            guard let colon = front.lastIndex(of: ":"), let port = UInt16(front[front.index(after: colon)...]), port > 0
            else { return nil }
            var host = String(front[..<colon])
            if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
            guard !host.isEmpty else { return nil }
            place = .tcp(host: host, port: port)
        }
        self.namespace = namespace
    }
}

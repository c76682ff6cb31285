internal import Bytes
internal import Linux

/// What the proxy is told once: where it listens and how it treats requests. Everything else changes while it runs.
public struct ProxySettings: Sendable, Equatable {
    /// The folder of this boot that the proxy reads: `<run>/gateway`.
    public let folder: String
    /// The address that the proxy listens at.
    public let address: String
    /// The port for HTTP.
    public let port: Int
    /// What a name is a label of: `<name>.<domain>`.
    public let domain: String

    /// Checked settings.
    public init(folder: String, address: String, port: Int, domain: String) throws(GatewayError) {
        _ = try Server(address: address, port: Int64(port))
        guard RouteTable.isDomain(domain) else {
            throw .invalid("the domain “\(domain.prefix(200))” is not labels of a-z, 0-9 and “-” with dots between")
        }
        (self.folder, self.address, self.port, self.domain) = (folder, address, port, domain)
    }

    var configuration: String { folder + "/haproxy.cfg" }
    var map: String { folder + "/hosts.map" }
    var socketFolder: String { folder + "/admin" }
    var socket: String { socketFolder + "/admin.sock" }

    func host(_ name: String) -> String { "\(name).\(domain)" }

    static func backend(_ slot: Int) -> String { "slot-\(slot)" }
    static let servers = ["a", "b", "c", "d"]

    /// The part of the configuration that only a reload changes. `fingerprint` stands for all of it and for the slots.
    private func head(fingerprint: String) -> String {
        let bind = address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
        return """
            # Written by zero-gateway. Changes here are lost.
            global
                description zero-gateway-\(fingerprint)
                hard-stop-after 30m
                stats socket \(socket) mode 666 level admin expose-fd listeners
                stats timeout 10s

            defaults
                mode http
                timeout client 60s
                timeout http-request 10s
                timeout http-keep-alive 60s
                timeout server 120s
                timeout tunnel 1h
                timeout queue 10s
                # A server that is just being restarted refuses connections: asked again every 400 ms, 12 times.
                timeout connect 400ms
                retries 12
                option redispatch 1
                retry-on conn-failure empty-response
                option http-keep-alive
                http-reuse safe
                option splice-auto
                errorfile 400 \(folder)/400.http
                errorfile 408 \(folder)/408.http
                errorfile 502 \(folder)/502.http
                errorfile 503 \(folder)/503.http
                errorfile 504 \(folder)/504.http

            frontend http
                bind \(bind)
                # What was sent and may have had an effect is not sent again.
                http-request disable-l7-retry unless METH_GET or { method HEAD OPTIONS }
                http-request set-var(txn.slot) req.hdr(host),field(1,:),lower,map_str(\(map))
                http-request return status 404 content-type "text/html; charset=utf-8" file \(folder)/404.html \
            if !{ var(txn.slot) -m found }
                http-request del-header x-forwarded-for
                http-request set-header x-forwarded-proto http
                http-request set-header x-forwarded-host %[req.hdr(host)]
                option forwardfor
                use_backend %[var(txn.slot)]


            """
    }

    /// Stands for the part that only a reload changes; the proxy repeats it in `show info`.
    func fingerprint(slots: Int) -> String {
        let text = head(fingerprint: "") + serverOptions + "\(slots)"
        // FNV-1a: it tells versions of our own text apart, nobody else writes it.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }

    /// A server leaves after 10 s without an answer; that spares its callers the wait. It is back within 250 ms.
    private var serverOptions: String { "check inter 2s fall 5 rise 1 downinter 250ms" }

    /// The whole configuration with every server as the table says, so that a proxy that starts anew is right at once.
    func text(_ table: RouteTable) -> String {
        var text = head(fingerprint: fingerprint(slots: table.slots))
        let used = table.bySlot
        let unused = Self.servers.map { "    server \($0) 127.0.0.1:1 \(serverOptions) disabled\n" }.joined()
        text.reserveCapacity(text.utf8.count + table.slots * (unused.utf8.count + 32))
        for slot in 0..<table.slots {
            text += "backend \(Self.backend(slot))\n"
            if used[slot] == nil {
                text += unused
                continue
            }
            for (place, name) in Self.servers.enumerated() {
                if let server = used[slot]?.servers[place] {
                    let address = server.address.contains(":") ? "[\(server.address)]" : server.address
                    text += "    server \(name) \(address):\(server.port) \(serverOptions)\n"
                } else {
                    text += "    server \(name) 127.0.0.1:1 \(serverOptions) disabled\n"
                }
            }
        }
        return text
    }

    /// The map from hosts to slots.
    func mapText(_ table: RouteTable) -> String {
        table.routes.values.sorted { $0.name < $1.name }
            .map { "\(host($0.name)) \(Self.backend($0.slot))\n" }.joined()
    }

    /// Writes everything that the proxy reads when it starts.
    func write(_ table: RouteTable) throws(SystemError) {
        try File.writeAtomically(map, Array(mapText(table).utf8), mode: 0o644)
        try File.writeAtomically(configuration, Array(text(table).utf8), mode: 0o644)
    }

    /// Writes the pages that the proxy answers by itself.
    func writePages() throws(SystemError) {
        try File.writeAtomically("\(folder)/404.html", Array(Pages.body(404).utf8), mode: 0o644)
        for status in [400, 408, 502, 503, 504] {
            try File.writeAtomically("\(folder)/\(status).http", Array(Pages.response(status).utf8), mode: 0o644)
        }
    }
}

/// The pages that the proxy answers by itself.
enum Pages {
    private static let texts: [Int: (reason: String, text: String)] = [
        400: ("Bad Request", "This request cannot be understood."),
        404: ("Not Found", "Nothing is deployed under this name."),
        408: ("Request Timeout", "The request did not arrive in time."),
        502: ("Bad Gateway", "The workload behind this name gave no valid answer."),
        503: ("Service Unavailable", "The workload behind this name is not ready. Try again in a moment."),
        504: ("Gateway Timeout", "The workload behind this name did not answer in time."),
    ]

    static func body(_ status: Int) -> String {
        let (reason, text) = texts[status] ?? ("Error", "")
        return """
            <!doctype html>
            <html lang="en">
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width">
            <title>\(status) \(reason)</title>
            <style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}</style>
            <h1>\(reason)</h1>
            <p>\(text)</p>
            </html>

            """
    }

    /// A whole response as HAProxy's `errorfile` wants it.
    static func response(_ status: Int) -> String {
        let body = body(status)
        let retry = status == 503 ? "retry-after: 1\r\n" : ""
        return "HTTP/1.1 \(status) \(texts[status]?.reason ?? "Error")\r\n"
            + "content-length: \(body.utf8.count)\r\ncontent-type: text/html; charset=utf-8\r\n"
            + "cache-control: no-store\r\n\(retry)\r\n\(body)"
    }
}

import CHTTP
import Glibc
import Synchronization

/// One request of a client while it runs. All but `cancel` is called on the one thread that performs it.
final class Transfer: @unchecked Sendable {  // only `isCancelled` is shared, and it is atomic
    let method: String
    let url: String
    private let headers: [(name: String, value: String)]
    private let body: [UInt8]?
    private let bodyMax: Int
    private let consumer: (@Sendable ([UInt8]) -> Bool)?
    private let isCancelled = Atomic<Bool>(false)

    private var status = 0
    private var received: [UInt8] = []
    private var receivedHeaders: [String: String] = [:]
    private var isTooLarge = false
    private var isBrokenOff = false

    init(
        _ method: String, _ url: String, _ headers: [(name: String, value: String)], _ body: [UInt8]?, bodyMax: Int,
        consumer: (@Sendable ([UInt8]) -> Bool)?
    ) {
        (self.method, self.url, self.headers, self.body) = (method, url, headers, body)
        (self.bodyMax, self.consumer) = (bodyMax, consumer)
    }

    func cancel() { isCancelled.store(true, ordering: .relaxed) }

    fileprivate func take(header line: String) {
        if line.hasPrefix("HTTP/") {
            // A new head: after 100 Continue the real one follows.
            receivedHeaders = [:]
            let words = line.split(separator: " ")
            status = words.count > 1 ? Int(words[1]) ?? 0 : 0
            return
        }
        guard let colon = line.firstIndex(of: ":") else { return }
        let name = line[..<colon].lowercased()
        let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
        let text = String(value.prefix { $0 != "\r" && $0 != "\n" && $0 != "\r\n" })
        receivedHeaders[name] = receivedHeaders[name].map { "\($0), \(text)" } ?? text
    }

    fileprivate func take(body bytes: UnsafeRawBufferPointer) -> Bool {
        if let consumer, (200..<300).contains(status) {
            isBrokenOff = !consumer(Array(bytes))
            return !isBrokenOff
        }
        isTooLarge = received.count + bytes.count > bodyMax
        if !isTooLarge { received.append(contentsOf: bytes) }
        return !isTooLarge
    }

    func perform(
        _ handle: CurlHandle, pin: String?, unixSocket: String?, deadline: Duration?, connectTimeout: Duration,
        silence: Duration?
    ) -> Int32 {
        var lines = headers.map { strdup($0.value.isEmpty ? "\($0.name);" : "\($0.name): \($0.value)") }
        // No 100-continue: it costs a round trip, and our servers refuse by Content-Length anyway.
        lines.append(strdup("Expect:"))
        let texts = [strdup(method), strdup(url), pin.map { strdup($0) } ?? nil, unixSocket.map { strdup($0) } ?? nil]
        defer { for text in lines + texts { free(text) } }
        let pointers = lines.map { UnsafePointer($0) }
        return pointers.withUnsafeBufferPointer { pointers in
            (body ?? []).withUnsafeBytes { bytes in
                var request = zg_curl_request_t()
                request.method = UnsafePointer(texts[0])
                request.url = UnsafePointer(texts[1])
                request.pin = UnsafePointer(texts[2])
                request.unix_socket = UnsafePointer(texts[3])
                request.headers = pointers.baseAddress
                request.header_count = pointers.count
                // An empty body still makes a POST: any pointer that is not null.
                request.body = body == nil ? nil : bytes.baseAddress ?? UnsafeRawPointer(texts[0])
                request.body_length = bytes.count
                request.timeout_ms = deadline.map { Self.milliseconds($0) } ?? 0
                request.connect_timeout_ms = Self.milliseconds(connectTimeout)
                request.silence_seconds = silence.map { (Self.milliseconds($0) + 999) / 1000 } ?? 0
                return start(&request, handle)
            }
        }
    }

    private static func milliseconds(_ duration: Duration) -> UInt64 {
        max(1, UInt64(min(max(0, duration / .milliseconds(1)), 1e12)))
    }

    private func start(_ request: inout zg_curl_request_t, _ handle: CurlHandle) -> Int32 {
        request.context = Unmanaged.passUnretained(self).toOpaque()
        request.on_header = { context, line, length in
            guard let context, let line else { return }
            let text = String(decoding: UnsafeRawBufferPointer(start: line, count: length), as: UTF8.self)
            Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue().take(header: text)
        }
        request.on_body = { context, bytes, length in
            guard let context else { return 1 }
            let piece = UnsafeRawBufferPointer(start: bytes, count: length)
            return Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue().take(body: piece) ? 0 : 1
        }
        request.is_cancelled = { context in
            guard let context else { return 1 }
            let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
            return transfer.isCancelled.load(ordering: .relaxed) ? 1 : 0
        }
        var status = 0
        return zg_curl_perform(handle.raw, &request, &status)
    }

    func result(_ code: Int32, _ problem: String) throws(HTTPClientError) -> HTTPClientResponse {
        switch Int(zg_curl_meaning(code)) {
        case ZG_CURL_OK: return HTTPClientResponse(status: status, headers: receivedHeaders, body: received)
        case ZG_CURL_CONNECT: throw .unreachable(url: url, reason: problem)
        case ZG_CURL_LATE: throw .late(url: url, reason: problem)
        case ZG_CURL_PIN: throw .wrongPin(url: url)
        case ZG_CURL_TLS: throw .tls(url: url, reason: problem)
        case ZG_CURL_URL: throw .badURL(url: url, reason: problem)
        case ZG_CURL_BROKEN_OFF: throw isTooLarge ? .tooLarge(url: url, limit: bodyMax) : .cancelled(url: url)
        default: throw .failed(url: url, reason: problem)
        }
    }
}

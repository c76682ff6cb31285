import Glibc
import Linux
import Synchronization
import Testing

@testable import HTTP

private func echo(_ request: HTTPRequest) -> HTTPResponse {
    let query = request.query.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
    let text = "\(request.method) \(request.target) \(request.path) [\(query)] \(request.headers["x-toy"] ?? "-") "
    return HTTPResponse(
        200, type: "text/plain", Array(text.utf8) + request.body, headers: [("X-From", request.remoteAddress)])
}

@Test func requestsAndAnswers() async throws {
    let server = try HTTPServer(.init()) { request in
        if request.path == "/fail" { throw HTTPClientGone() }
        return request.path == "/none" ? .empty(204) : echo(request)
    }
    defer { server.stop() }
    let client = HTTPClient()
    let base = "http://127.0.0.1:\(server.port)"
    let got = try await client.get("\(base)/a%20b?x=1%2B1&y=+&z", headers: [("X-Toy", "t")])
    #expect(got.text == "GET /a%20b?x=1%2B1&y=+&z /a b [x=1+1,y= ,z=] t ")
    #expect(got.headers["x-from"] == "127.0.0.1")
    let posted = try await client.post("\(base)/p", Array("body".utf8))
    #expect(posted.text == "POST /p /p [] - body")
    let emptyPost = try await client.post("\(base)/p", [])
    #expect(emptyPost.text == "POST /p /p [] - ")
    let put = try await client.request("PUT", "\(base)/p", body: Array("b".utf8))
    #expect(put.text == "PUT /p /p [] - b")
    let head = try await client.request("HEAD", "\(base)/p")
    #expect(head.body.isEmpty && head.isSuccess)
    #expect(try await client.get("\(base)/none").status == 204)
    #expect(try await client.get("\(base)/fail").status == 500)
}

@Test func largeBodiesAndTheirLimits() async throws {
    let server = try HTTPServer(.init(bodyMax: 8 << 20)) { request in
        HTTPResponse(200, type: "application/octet-stream", request.body)
    }
    defer { server.stop() }
    let client = HTTPClient()
    let url = "http://127.0.0.1:\(server.port)/"
    let big = await runBlocking {
        [UInt8](unsafeUninitializedCapacity: 8 << 20) { bytes, count in
            while count < 8 << 20 {
                bytes.initializeElement(at: count, to: UInt8(truncatingIfNeeded: count ^ (count >> 8)))
                count += 1
            }
        }
    }
    let answer = try await client.post(url, big)
    #expect(answer.body == big)
    #expect(try await client.post(url, big + [1]).status == 413)
    let chunked = try await client.request(
        "POST", url, headers: [("Transfer-Encoding", "chunked")], body: big + big)
    #expect(chunked.status == 413)
    await #expect(throws: HTTPClientError.tooLarge(url: url, limit: 1000)) {
        try await client.request("POST", url, body: big, bodyMax: 1000)
    }
    #expect(try await client.post(url, [7]).body == [7])
}

@Test func failuresAreTold() async throws {
    let server = try HTTPServer(.init(idleSeconds: 1)) { _ in
        try await Task.sleep(for: .milliseconds(1500))
        return .text(200, "late")
    }
    let url = "http://127.0.0.1:\(server.port)/"
    let client = HTTPClient()
    #expect(try await client.get(url).text == "late", "time in a handler is not idle time")
    let late = await #expect(throws: HTTPClientError.self) { try await client.get(url, deadline: .milliseconds(200)) }
    guard case .late = late else {
        Issue.record("\(String(describing: late))")
        return
    }
    let cancelled = Task { try await client.get(url, deadline: .seconds(20)) }
    try await Task.sleep(for: .milliseconds(100))
    cancelled.cancel()
    await #expect(throws: HTTPClientError.cancelled(url: url)) { try await cancelled.value }
    server.stop()
    let gone = await #expect(throws: HTTPClientError.self) { try await client.get(url) }
    guard case .unreachable = gone else {
        Issue.record("\(String(describing: gone))")
        return
    }
    let bad = await #expect(throws: HTTPClientError.self) { try await client.get("ftp://x/") }
    guard case .badURL = bad else {
        Issue.record("\(String(describing: bad))")
        return
    }
}

@Test func longPollsWaitTogetherAndEndWithTheClient() async throws {
    let cancelled = Mutex(0)
    let server = try HTTPServer(.init()) { request in
        if request.path == "/forever" {
            do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.withLock { $0 += 1 } }
        } else {
            try await Task.sleep(for: .milliseconds(700))
        }
        return .text(200, "x")
    }
    defer { server.stop() }
    let client = HTTPClient()
    let base = "http://127.0.0.1:\(server.port)"
    let took = try await ContinuousClock().measure {
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<40 { group.addTask { try await client.get("\(base)/wait").status } }
            for try await status in group { #expect(status == 200) }
        }
    }
    #expect(took < .seconds(10), "one after the other they would take 28 s")
    await #expect(throws: HTTPClientError.self) {
        try await client.get("\(base)/forever", deadline: .milliseconds(200))
    }
    try await Task.sleep(for: .milliseconds(2500))
    #expect(cancelled.withLock { $0 } == 1)
}

@Test func bodiesAreStreamed() async throws {
    let ended = Mutex(0)
    let server = try HTTPServer(.init()) { request in
        .stream(200, type: "text/plain") { writer in
            defer { ended.withLock { $0 += 1 } }
            if request.path == "/endless" {
                while true { try await writer.write([UInt8](repeating: 1, count: 100_000)) }
            }
            for number in 0..<5 {
                try await writer.write(Array("line \(number)\n".utf8))
                try await Task.sleep(for: .milliseconds(50))
            }
            if request.path == "/broken" { throw HTTPClientGone() }
        }
    }
    defer { server.stop() }
    let client = HTTPClient()
    let base = "http://127.0.0.1:\(server.port)"
    let pieces = Mutex<[[UInt8]]>([])
    let response = try await client.stream("GET", "\(base)/lines") { piece in
        pieces.withLock { $0.append(piece) }
        return true
    }
    #expect(response.status == 200)
    let whole = pieces.withLock { $0 }
    #expect(whole.count == 5, "each line arrives when it was written")
    #expect(whole.flatMap { $0 } == Array("line 0\nline 1\nline 2\nline 3\nline 4\n".utf8))
    await #expect(throws: HTTPClientError.self) { try await client.get("\(base)/broken") }
    let total = Mutex(0)
    await #expect(throws: HTTPClientError.cancelled(url: "\(base)/endless")) {
        try await client.stream("GET", "\(base)/endless") { piece in
            total.withLock { $0 += piece.count }
            return total.withLock { $0 } < 5_000_000
        }
    }
    client.dropIdle()
    try await Task.sleep(for: .milliseconds(1500))
    #expect(ended.withLock { $0 } == 3)
}

private func makeCertificate(_ folder: String, _ name: String) throws -> (certificate: String, key: String, pin: String)
{
    try File.makeDirectories(folder)
    let (key, certificate) = ("\(folder)/\(name).key", "\(folder)/\(name).pem")
    try Subprocess.check(
        "openssl",
        [
            "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", certificate, "-days", "30",
            "-subj", "/CN=zero",
        ])
    let digest = try Subprocess.check(
        "sh",
        [
            "-c",
            "openssl x509 -in \(certificate) -pubkey -noout | openssl pkey -pubin -outform DER"
                + " | openssl dgst -sha256 -binary | base64",
        ]
    ).text
    return (try File.readText(certificate), try File.readText(key), "sha256//" + digest.filter { !$0.isWhitespace })
}

@Test func tlsWithAPinnedKey() async throws {
    let folder = "/tmp/zg-http-\(getpid())"
    defer { try? File.removeTree(folder) }
    let (own, other) = try await runBlocking {
        (try makeCertificate(folder, "own"), try makeCertificate(folder, "other"))
    }
    let server = try HTTPServer(.init(tls: (own.certificate, own.key))) { echo($0) }
    defer { server.stop() }
    let url = "https://127.0.0.1:\(server.port)/x"
    let answer = try await HTTPClient(pin: own.pin).post(url, [UInt8](repeating: 65, count: 500_000))
    #expect(answer.body.count == 500_000 + 16)
    await #expect(throws: HTTPClientError.wrongPin(url: url)) { try await HTTPClient(pin: other.pin).get(url) }
    let unverified = await #expect(throws: HTTPClientError.self) { try await HTTPClient().get(url) }
    guard case .tls = unverified else {
        Issue.record("\(String(describing: unverified))")
        return
    }
    #expect(throws: SystemError.self) { try HTTPServer(.init(tls: ("rubbish", "rubbish"))) { echo($0) } }
}

@Test func connectionsAreUpgraded() async throws {
    let ended = Mutex(0)
    let server = try HTTPServer(.init()) { request in
        guard request.headers["upgrade"] == "toy" else { return .text(426, "upgrade to toy") }
        return .upgrade(to: "toy") { stream in
            while let bytes = try? stream.read(), !bytes.isEmpty { try? stream.write(bytes.reversed()) }
            ended.withLock { $0 += 1 }
        }
    }
    let client = HTTPClient()
    let url = "http://127.0.0.1:\(server.port)/exec"
    let refused = await #expect(throws: HTTPClientError.self) { try await client.upgrade(url, to: "other") }
    #expect(refused == .notUpgraded(url: url, status: 426, body: "upgrade to toy"))
    let stream = try await client.upgrade(url, to: "toy")
    let answers = try await runBlocking {
        var answers: [[UInt8]] = []
        for text in ["abc", "12345"] {
            try stream.write(Array(text.utf8))
            answers.append(try stream.read(timeout: .seconds(5)))
        }
        stream.finishWriting()
        answers.append(try stream.read(timeout: .seconds(5)))
        return answers
    }
    #expect(answers == [Array("cba".utf8), Array("54321".utf8), []])
    let second = try await client.upgrade(url, to: "toy")
    await runBlocking { server.stop() }
    #expect(try await runBlocking { try second.read(timeout: .seconds(5)) } == [])
    try await Task.sleep(for: .milliseconds(200))
    #expect(ended.withLock { $0 } == 2)
}

@Test func aServerStopsWhileConnectionsAreUpgraded() async throws {
    for _ in 0..<10 {
        let server = try HTTPServer(.init()) { _ in
            .upgrade(to: "toy") { stream in while let bytes = try? stream.read(), !bytes.isEmpty {} }
        }
        let url = "http://127.0.0.1:\(server.port)/"
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<10 { group.addTask { _ = try? await HTTPClient().upgrade(url, to: "toy") } }
            group.addTask {
                try? await Task.sleep(for: .milliseconds(3))
                await runBlocking { server.stop() }
            }
        }
    }
}

@Test func rubbishDoesNotStopTheServer() async throws {
    let server = try HTTPServer(.init()) { echo($0) }
    defer { server.stop() }
    let port = server.port
    let rubbish = [
        "\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "GET /" + String(repeating: "a", count: 200_000) + " HTTP/1.1\r\n\r\n",
        "GET /%zz%f?%=&&= HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for text in rubbish {
        let stream = await runBlocking {
            let client = HTTPClient()
            return try? client.upgradeBlocking("http://127.0.0.1:\(port)/", to: "none")
        }
        #expect(stream == nil)
        try await runBlocking {
            let raw = try DuplexStream.connect("127.0.0.1", port)
            try? raw.write(Array(text.utf8))
            _ = try? raw.read(timeout: .seconds(2))
        }
    }
    #expect(try await HTTPClient().get("http://127.0.0.1:\(port)/x").status == 200)
}

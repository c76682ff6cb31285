import CLinux
import CTLS
import Glibc
import LogEngine

/// A descriptor that leads to another server, in clear or encrypted.
struct PeerSocket {
    let descriptor: Int32
    /// OpenSSL's side of it; nil: in clear.
    let tls: OpaquePointer?

    func close() {
        if let tls { zg_tls_free(tls) }
        _ = Glibc.close(descriptor)
    }

    /// How many bytes went, or a negative error.
    func send(_ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
        guard let tls else { return zg_db_send(descriptor, bytes, count) }
        return zg_tls_send(tls, bytes, count)
    }

    /// How many bytes came, 0 at the end, or a negative error. Encrypted, less than asked for does not mean that there is
    /// no more.
    func receive(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
        guard let tls else { return zg_db_receive(descriptor, bytes, count) }
        return zg_tls_receive(tls, bytes, count)
    }
}

/// A connection to another server that is asked for its records, and made again when it breaks.
class PeerLink {
    enum State {
        /// Not before this moment is it tried again.
        case waiting(until: UInt64)
        case connecting
        /// Asked; the other's answers are lines.
        case greeting
        case streaming
    }

    static let inputBytes = 1 << 20

    var address: MasterAddress
    var state: State
    private(set) var socket: PeerSocket?
    /// Lines of the greeting that are still to come.
    var linesLeft = 0
    let input: UnsafeMutableRawPointer
    var inputStart = 0
    var inputEnd = 0
    /// What is still to be said.
    var output: [UInt8] = []
    /// Whether the last receive may have left something in the socket.
    private(set) var mayHaveMore = false
    /// When the other was last heard.
    var lastHeard: UInt64 = 0
    /// When everything that the other had was last here.
    var lastEqual: UInt64
    var retryDelay: UInt64 = 0
    var attempts: UInt64 = 0
    var bytesReceived: UInt64 = 0
    var lastError = ""

    init(_ address: MasterAddress, now: UInt64) {
        self.address = address
        state = .waiting(until: now)
        input = .allocate(byteCount: Self.inputBytes, alignment: 4096)
        lastEqual = now
    }

    deinit {
        input.deallocate()
        socket?.close()
    }

    var descriptor: Int32 { socket?.descriptor ?? -1 }
    var isStreaming: Bool { if case .streaming = state { true } else { false } }

    /// Begins to connect; a sentence if that is not possible.
    func connect(_ tls: PeerTLSSettings?, now: UInt64) -> String? {
        attempts += 1
        (inputStart, inputEnd) = (0, 0)
        output.removeAll(keepingCapacity: true)
        let code: Int32
        if let host = address.host {
            code = zg_tcp_connect_begin(host, address.port)
        } else {
            code = zg_unix_connect(address.path)
            if code >= 0 { _ = zg_socket_nonblocking(code, 1) }
        }
        guard code >= 0 else { return "connect: \(String(cString: strerror(-code)))" }
        if address.isTLS {
            switch encrypted(code, tls) {
            case .success(let made): socket = PeerSocket(descriptor: code, tls: made)
            case .failure(let error):
                _ = Glibc.close(code)
                return error.description
            }
        } else {
            socket = PeerSocket(descriptor: code, tls: nil)
        }
        state = .connecting
        lastHeard = now
        return nil
    }

    /// The files are read for each connection: a certificate that was replaced counts from the next one on.
    private func encrypted(_ descriptor: Int32, _ settings: PeerTLSSettings?) -> Result<OpaquePointer, SettingsError> {
        guard let settings, let authority = settings.authority else {
            return .failure(SettingsError(description: "tls: needs --replica-tls-ca"))
        }
        var problem = [CChar](repeating: 0, count: 256)
        let context = zg_tls_client_context_new(
            authority, settings.certificate, settings.key, &problem, problem.count)
        guard let context else {
            return .failure(SettingsError(description: "TLS: \(Self.text(problem)) (\(authority))"))
        }
        defer { zg_tls_context_free(context) }
        guard let made = zg_tls_connect(context, descriptor, settings.name ?? address.host ?? "") else {
            return .failure(SettingsError(description: "TLS: no memory, or no name"))
        }
        return .success(made)
    }

    private static func text(_ bytes: [CChar]) -> String {
        String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Why the connection broke, as far as that can be known.
    func problem(_ otherwise: String) -> String {
        guard let tls = socket?.tls else { return otherwise }
        var text = [CChar](repeating: 0, count: 256)
        zg_tls_distrust(tls, &text, text.count)
        if text[0] == 0 { zg_tls_problem(&text, text.count) }
        return text[0] == 0 ? otherwise : "TLS: \(Self.text(text))"
    }

    /// Ends the connection; it is tried again later, and later still if that fails.
    func end(_ why: String, now: UInt64) {
        socket?.close()
        socket = nil
        lastError = why
        retryDelay = min(max(retryDelay * 2, 50_000_000), 5_000_000_000)
        state = .waiting(until: now &+ retryDelay)
    }

    func say(_ arguments: [[UInt8]]) {
        output += Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments { output += Array("$\(argument.count)\r\n".utf8) + argument + [13, 10] }
    }

    /// Sends what is to be said; false if the connection is broken.
    func flush() -> Bool {
        guard let socket else { return false }
        while !output.isEmpty {
            let sent = output.withUnsafeBytes { socket.send($0.baseAddress, $0.count) }
            if sent == -Int(EAGAIN) { return true }
            if sent < 0 { return false }
            output.removeFirst(sent)
        }
        return true
    }

    /// What came of a receive.
    enum Arrival {
        case some, nothing, end
    }

    /// Takes in more.
    func receive(now: UInt64) -> Arrival {
        guard let socket else { return .nothing }
        let room = makeRoom()
        guard room > 0 else { return .nothing }
        let got = socket.receive(input + inputEnd, room)
        // A handshake may have made it possible to speak.
        if socket.tls != nil, !output.isEmpty, !flush() { return .end }
        if got == -Int(EAGAIN) { return .nothing }
        if got <= 0 { return .end }
        mayHaveMore = got == room || socket.tls != nil
        inputEnd += got
        bytesReceived += UInt64(got)
        lastHeard = now
        return .some
    }

    /// Room for more at the end of the input; 0 if there is none.
    private func makeRoom() -> Int {
        if inputStart == inputEnd { (inputStart, inputEnd) = (0, 0) }
        if Self.inputBytes - inputEnd < 64 << 10, inputStart > 0 {
            input.copyMemory(from: input + inputStart, byteCount: inputEnd - inputStart)
            (inputStart, inputEnd) = (0, inputEnd - inputStart)
        }
        return Self.inputBytes - inputEnd
    }

    /// The next line of the greeting, without its end.
    func line() -> String? {
        for index in inputStart..<max(inputStart, inputEnd)
        where input.load(fromByteOffset: index, as: UInt8.self) == 10 {
            let bytes = UnsafeRawBufferPointer(start: input + inputStart, count: index - inputStart)
            let text = String(decoding: bytes.filter { $0 != 13 }, as: UTF8.self)
            inputStart = index + 1
            return text
        }
        return nil
    }
}

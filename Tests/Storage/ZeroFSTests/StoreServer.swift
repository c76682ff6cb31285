import Crypto
import Flist
import Glibc
import RESP
import Synchronization

/// A chunk store on a Unix socket that can be slow, absent or wrong.
final class StoreServer: Sendable {
    private struct State: Sendable {
        var chunks: [[UInt8]: [UInt8]] = [:]
        var isPaused = false
        var connections: Set<Int32> = []
        var listener: Int32 = -1
        var gets = 0
        var damaged: Set<[UInt8]> = []
    }

    let path: String
    private let state = Mutex(State())

    init(_ path: String) throws {
        self.path = path
        start()
    }

    var gets: Int { state.withLock { $0.gets } }

    func add(_ chunk: SealedChunk) { state.withLock { $0.chunks[chunk.reference.id.bytes] = chunk.stored } }
    func change(_ id: Digest, _ body: (inout [UInt8]?) -> Void) { state.withLock { body(&$0.chunks[id.bytes]) } }
    /// From now on the store says of this chunk that it is damaged, or no longer.
    func damage(_ id: Digest, _ isDamaged: Bool = true) {
        state.withLock { state in
            if isDamaged { state.damaged.insert(id.bytes) } else { state.damaged.remove(id.bytes) }
        }
    }
    func pause(_ isPaused: Bool) { state.withLock { $0.isPaused = isPaused } }

    func start() {
        unlink(path)
        let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        chmod(path, 0o666)
        listen(listener, 64)
        state.withLock { $0.listener = listener }
        thread { [self] in
            while true {
                let connection = accept(listener, nil, nil)
                if connection < 0 {
                    close(listener)
                    return
                }
                _ = state.withLock { $0.connections.insert(connection) }
                thread { [self] in serve(connection) }
            }
        }
    }

    func stop() {
        unlink(path)
        state.withLock { state in
            // Whoever reads from a descriptor closes it: its number must not become another's meanwhile.
            shutdown(state.listener, Int32(SHUT_RDWR))
            for connection in state.connections { shutdown(connection, Int32(SHUT_RDWR)) }
            state.connections = []
        }
    }

    private func thread(_ body: @escaping @Sendable () -> Void) {
        final class Box {
            let body: @Sendable () -> Void; init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Box(body))
        pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
        pthread_detach(thread)
    }

    private func serve(_ connection: Int32) {
        var parser = RESPParser()
        var buffer = [UInt8](repeating: 0, count: 65_536)
        defer {
            state.withLock { state in
                state.connections.remove(connection)
                _ = close(connection)
            }
        }
        while true {
            let got = read(connection, &buffer, buffer.count)
            if got <= 0 { return }
            parser.feed(Array(buffer[..<got]))
            while let command = try? parser.next() {
                while state.withLock({ $0.isPaused }) { usleep(10_000) }
                var writer = RESPWriter(.two)
                writer.value(answer(command.items ?? []))
                var rest = writer.bytes[...]
                while !rest.isEmpty {
                    let sent = rest.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                    if sent <= 0 { return }
                    rest = rest.dropFirst(sent)
                }
            }
        }
    }

    private func answer(_ words: [RESPValue]) -> RESPValue {
        guard words.first?.text == "GET", words.count == 2, let key = words[1].bytes else { return .simple("OK") }
        return state.withLock { state in
            state.gets += 1
            if state.damaged.contains(key) {
                return .error("CORRUPT segment 1 offset 4096 does not match its checksum")
            }
            return state.chunks[key].map { .bulk($0) } ?? .null
        }
    }
}

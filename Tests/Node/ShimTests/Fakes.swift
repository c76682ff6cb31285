import Bytes
import CanonicalJSON
import CLinux
import Glibc
import Linux
import RESP

/// Answers every request on `identity.sock` with a memfd of secrets, as zero-identity would.
final class FakeIdentity: Sendable {
    private let listener: Int32

    init(_ run: String, _ secrets: [String: String]) throws {
        listener = try checked("listen", run, zg_unix_listen("\(run)/identity.sock", 0o666, 8))
        let listener = listener
        startThread {
            while zg_poll(listener, UInt32(ZG_READABLE), -1) > 0 {
                let client = zg_accept(listener)
                if client < 0 { return }
                Self.answer(client, secrets)
                close(client)
            }
        }
    }

    private static func answer(_ client: Int32, _ secrets: [String: String]) {
        _ = zg_poll(client, UInt32(ZG_READABLE), 5000)
        var buffer = [UInt8](repeating: 0, count: 65536)
        _ = read(client, &buffer, buffer.count)
        var writer = ByteWriter()
        writer.u32(UInt32(secrets.count))
        for (name, value) in secrets.sorted(by: { $0.key < $1.key }) {
            for text in [name, value] {
                writer.u32(UInt32(text.utf8.count))
                writer.append(Array(text.utf8))
            }
        }
        let memory = zg_memfd("secrets")
        _ = writer.bytes.withUnsafeBytes { write(memory, $0.baseAddress, $0.count) }
        var reply = RESPWriter()
        reply.bulk(Array("{\"names\":[]}".utf8))
        let bytes = reply.take()
        _ = bytes.withUnsafeBytes { zg_send(client, $0.baseAddress, $0.count, [memory], 1) }
        close(memory)
        // The shim takes the reply before the connection ends.
        _ = zg_poll(client, UInt32(ZG_READABLE), 500)
    }

    func stop() { close(listener) }
}

/// Looks through another process' memory.
enum Memory {
    static func holds(_ text: String, of pid: Int32) -> Bool {
        guard let maps = try? File.readText("/proc/\(pid)/maps"),
            let memory = try? Descriptor.open("/proc/\(pid)/mem", O_RDONLY)
        else { return true }
        let pattern = Array(text.utf8)
        for line in maps.split(separator: "\n") where line.contains("rw-p") {
            let range = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt64($0, radix: 16) }
            guard range.count == 2 else { continue }
            var bytes = [UInt8](repeating: 0, count: Int(range[1] - range[0]))
            let count = pread(memory.raw, &bytes, bytes.count, Int(bitPattern: UInt(range[0])))
            if count > 0, contains(bytes[..<count], pattern) { return true }
        }
        return false
    }

    private static func contains(_ bytes: ArraySlice<UInt8>, _ pattern: [UInt8]) -> Bool {
        var at = bytes.startIndex
        while let found = bytes[at...].firstIndex(of: pattern[0]) {
            if bytes[found...].starts(with: pattern) { return true }
            at = found + 1
        }
        return false
    }
}

/// A program that `SHIM.EXEC` runs on a terminal.
final class Conversation {
    private let socket: Int32
    private var terminal: Int32 = -1
    private var seen = ""

    init(_ path: String, _ body: JSONValue) throws {
        socket = try checked("connect", path, zg_unix_connect(path))
        var request = body
        request["tty"] = true
        var writer = RESPWriter()
        writer.command([Array("SHIM.EXEC".utf8), request.canonicalBytes])
        let bytes = writer.take()
        _ = bytes.withUnsafeBytes { zg_send(socket, $0.baseAddress, $0.count, nil, 0) }
        _ = zg_poll(socket, UInt32(ZG_READABLE), 10_000)
        var count = 0
        var buffer = [UInt8](repeating: 0, count: 4096)
        _ = zg_receive(socket, &buffer, buffer.count, &terminal, 1, &count)
    }

    func type(_ text: String) { _ = text.withCString { write(terminal, $0, strlen($0)) } }

    /// Reads from the terminal until what was read satisfies the condition.
    func receive(_ condition: (String) -> Bool) throws -> Bool {
        for _ in 0..<100 {
            if condition(seen) { return true }
            guard zg_poll(terminal, UInt32(ZG_READABLE), 5000) > 0 else { return false }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = read(terminal, &buffer, buffer.count)
            if count <= 0 { return condition(seen) }
            seen += String(decoding: buffer[..<count], as: UTF8.self)
        }
        return false
    }

    func reply() throws -> String {
        guard zg_poll(socket, UInt32(ZG_READABLE), 5000) > 0 else { return "" }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = read(socket, &buffer, buffer.count)
        return String(decoding: buffer[..<max(0, count)], as: UTF8.self)
    }

    func end() {
        close(socket)
        close(terminal)
    }
}

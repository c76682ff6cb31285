import CLinux
import Glibc
import Linux
import RESP
import Testing

@testable import ZeroDB

@Suite("Doors that are handed over") struct DoorTests {
    /// A listening socket on a free port of the loopback address.
    private func listener() throws -> (descriptor: Int32, port: UInt16) {
        let descriptor = zg_tcp_listen("127.0.0.1", 0, 16)
        try #require(descriptor >= 0)
        return (descriptor, UInt16(zg_tcp_port(descriptor)))
    }

    private func open(_ admin: RESPClient, _ namespace: String, _ label: String, _ descriptor: Int32) throws -> String?
    {
        let words = ["LISTEN", namespace, label].map { Array($0.utf8) }
        let reply = try admin.exchange(words, sending: [descriptor]).value
        return reply.failure?.code ?? reply.text
    }

    @Test("clients of a door are in its namespace and nowhere else, until it is closed")
    func bound() throws {
        let instance = try Instance()
        let admin = instance.client()
        let (descriptor, port) = try listener()
        #expect(try open(admin, "index", "a", descriptor) == "NONS")
        #expect(try admin.text("NSNEW", "index") == "OK")
        #expect(try open(admin, "index", "a", descriptor) == "OK")
        close(descriptor)
        let client = RESPClient(host: "127.0.0.1", port: port)
        #expect(try client.text("SET", "k", "1") == "OK")
        #expect(try client.text("GET", "k") == "1")
        for words in [["NSLIST"], ["SELECT", "default"], ["DOORS"], ["UNLISTEN", "a"], ["LISTEN", "index", "b"]] {
            #expect(try client.call(words.map { Array($0.utf8) }).failure?.code == "DENIED", "\(words)")
        }
        #expect(try admin.call("GET", "k").isNull)
        #expect(try admin.call("DOORS").items?.map { $0.items?.compactMap(\.text) } == [["a", "index"]])
        #expect(try admin.text("UNLISTEN", "a") == "1")
        #expect(try admin.text("UNLISTEN", "a") == "0")
        #expect(try client.text("GET", "k") == "1", "who is inside stays")
        #expect(throws: RESPClientError.self) { try RESPClient(host: "127.0.0.1", port: port).text("PING") }
    }

    @Test("a label is one door: another socket replaces it; the end of the namespace closes it")
    func replaced() throws {
        let instance = try Instance()
        let admin = instance.client()
        _ = try admin.text("NSNEW", "one")
        let (first, second) = (try listener(), try listener())
        #expect(try open(admin, "one", "x", first.descriptor) == "OK")
        #expect(try open(admin, "one", "x", second.descriptor) == "OK")
        for descriptor in [first.descriptor, second.descriptor] { close(descriptor) }
        #expect(throws: RESPClientError.self) { try RESPClient(host: "127.0.0.1", port: first.port).text("PING") }
        #expect(try RESPClient(host: "127.0.0.1", port: second.port).text("PING") == "PONG")
        #expect(try admin.call("DOORS").items?.count == 1)
        #expect(try admin.text("NSDEL", "one") == "OK")
        #expect(try admin.call("DOORS").items?.isEmpty == true)
        #expect(throws: RESPClientError.self) { try RESPClient(host: "127.0.0.1", port: second.port).text("PING") }
    }

    @Test("what is no listening socket is refused, and no descriptor stays behind")
    func refused() throws {
        let instance = try Instance()
        let admin = instance.client()
        _ = try admin.text("NSNEW", "n")
        func descriptors() throws -> Int { try File.list("/proc/\(instance.pid)/fd").count }
        _ = try admin.text("PING")
        let before = try descriptors()
        let file = zg_open("/dev/null", O_RDONLY, 0)
        defer { close(file) }
        let (descriptor, _) = try listener()
        defer { close(descriptor) }
        #expect(try open(admin, "n", "x", file) == "ERR")
        #expect(try admin.text("LISTEN", "n", "x") == "ERR")
        #expect(try open(admin, "none", "x", descriptor) == "NONS")
        #expect(try open(admin, "n", "two words", descriptor) == "ERR")
        #expect(try open(admin, "n", String(repeating: "l", count: 129), descriptor) == "ERR")
        // Descriptors beside a command that wants none.
        for _ in 0..<20 { _ = try admin.exchange([Array("PING".utf8)], sending: [file, descriptor]) }
        _ = try admin.text("LISTEN", "n", "y")
        #expect(try descriptors() == before)
    }

    @Test("bytes behind a descriptor are read, although the kernel ends a receive there and tells of them once")
    func behind() throws {
        let instance = try Instance()
        let connection = zg_unix_connect(instance.socket)
        try #require(connection >= 0)
        defer { close(connection) }
        let (descriptor, _) = try listener()
        defer { close(descriptor) }
        func send(_ text: String, _ descriptors: [Int32] = []) -> Int {
            let bytes = Array(text.utf8)
            return zg_send(connection, bytes, bytes.count, descriptors, descriptors.count)
        }
        func replies(_ wanted: Int) -> String {
            var found: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while found.count < wanted, zg_poll(connection, UInt32(ZG_READABLE), 5000) > 0 {
                let count = read(connection, &buffer, buffer.count)
                if count <= 0 { break }
                found += buffer.prefix(count)
            }
            return String(decoding: found, as: UTF8.self)
        }
        #expect(send("PING\r\n") == 6)
        #expect(replies(7) == "+PONG\r\n")
        // All of it is there when the server looks, so that it is told once.
        _ = Glibc.kill(instance.pid, SIGSTOP)
        #expect(send("ECHO a\r\n") == 8)
        #expect(send("LISTEN default x\r\n", [descriptor]) == 18)
        #expect(send("ECHO b\r\n") == 8)
        _ = Glibc.kill(instance.pid, SIGCONT)
        #expect(replies(19) == "$1\r\na\r\n+OK\r\n$1\r\nb\r\n")
    }

    @Test("an account that administrates is named by its uid")
    func admins() throws {
        let settings = try Settings(arguments: ["--data", "/x", "--admin", "64104", "--admin=64105"])
        #expect(settings.admins == [64104, 64105])
        #expect(settings.text.contains("--admin 64105"))
        #expect(throws: SettingsError.self) { try Settings(arguments: ["--data", "/x", "--admin", "network"]) }
    }
}

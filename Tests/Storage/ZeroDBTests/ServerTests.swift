import CLinux
import Glibc
import Linux
import RESP
import Testing

@testable import ZeroDB

@Suite("Zero-DB: the running program", .enabled(if: Instance.program != nil, "zero-db is not built"), .serialized)
struct ServerTests {
    @Test("Commands answer as documented")
    func commands() throws {
        let instance = try Instance()
        let client = instance.client()
        #expect(try client.text("PING") == "PONG")
        #expect(try client.text("set", "a", "1") == "OK")
        #expect(try client.text("GET", "a") == "1")
        #expect(try client.call("GET", "none").isNull)
        #expect(try client.call("SET", "a", "2", "IFABSENT").isNull)
        let first = try #require(try client.call("SET", "b", "1", "RETURN", "SEQ").integer)
        #expect(try client.text("SET", "b", "2", "IFSEQ", "\(first + 7)") == "CONFLICT")
        #expect(try client.text("SET", "b", "2", "IFSEQ", "\(first)") == "OK")
        #expect(try client.call("KEYSEQ", "b").integer == first + 1)
        #expect(try client.call("GETSEQ", "b").items?.map(\.integer) == [first + 1, 2])
        #expect(try client.text("LENGTH", "b") == "1")
        #expect(try client.text("EXISTS", "a", "b", "c") == "2")
        #expect(try client.text("DEL", "a", "c") == "1")
        #expect(try client.text("DBSIZE") == "1")
        #expect(try client.text("MSET", "x", "1", "y", "2") == "OK")
        #expect(try client.call("MGET", "x", "none", "y").items?.map(\.text) == ["1", nil, "2"])
        #expect(try client.text("AUTH", "secret") == "ERR")
        #expect(try client.text("FLUSH") == "ERR")
        #expect(try client.text("NOSUCH") == "ERR")
        #expect(try client.text("GET") == "ERR")
        #expect(try client.text("SET", "a", "1", "BOGUS") == "ERR")
        #expect(try client.text("SET", String(repeating: "k", count: 256), "1") == "ERR")
        #expect(try client.text("SET", "a", "1", "IFABSENT", "IFSEQ", "4") == "ERR")
    }

    @Test("Namespaces, quotas and fences")
    func namespaces() throws {
        let instance = try Instance()
        let client = instance.client()
        #expect(try client.text("NSNEW", "one") == "OK")
        #expect(try client.text("NSNEW", "one") == "ERR")
        #expect(try client.text("NSNEW", "no/slash") == "ERR")
        #expect(try client.call("NSLIST").items?.map(\.text) == ["default", "one"])
        #expect(try client.text("SELECT", "one") == "OK")
        #expect(try client.text("NSSET", "one", "maxsize", "10") == "OK")
        #expect(try client.text("SET", "k", "0123456789") == "QUOTA")
        #expect(try client.text("SET", "k", "012345678") == "OK")
        #expect(try client.text("NSFENCE", "one", "5") == "OK")
        #expect(try client.text("SET", "k", "1") == "FENCED")
        #expect(try client.text("SET", "k", "1", "EPOCH", "4") == "FENCED")
        #expect(try client.text("SET", "k", "1", "EPOCH", "5") == "OK")
        #expect(try client.text("DEL", "k") == "FENCED")
        #expect(try client.text("EPOCH", "6") == "OK")
        #expect(try client.text("DEL", "k") == "1")
        #expect(try client.text("NSFENCE", "one", "4") == "FENCED")
        #expect(try client.text("NSDEL", "one") == "ERR")
        #expect(try client.text("SELECT", "default") == "OK")
        #expect(try client.text("NSDEL", "one") == "OK")
        #expect(try client.text("SELECT", "one") == "NONS")
        #expect(try client.text("NSDEL", "default") == "ERR")
    }

    @Test("RESP3: null, maps and HELLO")
    func resp3() throws {
        let instance = try Instance()
        let text = instance.raw(Array("HELLO 3\r\nGET none\r\nHELLO 2\r\nGET none\r\nHELLO 4\r\n".utf8))
        #expect(text.hasPrefix("%7\r\n$6\r\nserver\r\n$7\r\nzero-db\r\n"))
        #expect(text.contains("\r\n_\r\n*14\r\n"))
        #expect(text.hasSuffix("$-1\r\n-NOPROTO unsupported protocol version\r\n"))
    }

    @Test("A door is its namespace and nothing else; a uid without a namespace is refused")
    func doors() throws {
        let folder = "/tmp/zero-db-door-\(getpid())"
        let instance = try Instance(["--door", "images=\(folder):0600", "--allow", "\(getuid() + 4000):ledger:ro"])
        defer { unlink(folder) }
        let door = RESPClient(unix: folder)
        let admin = instance.client()
        #expect(try door.text("SET", "k", "1") == "OK")
        #expect(try admin.call("GET", "k").isNull)
        #expect(try admin.text("SELECT", "images") == "OK")
        #expect(try admin.text("GET", "k") == "1")
        for command in [
            ["NSLIST"], ["NSNEW", "x"], ["SELECT", "default"], ["DB.STATUS"], ["NSFENCE", "default", "1"],
        ] {
            let reply = try door.call(command.map { Array($0.utf8) })
            #expect(reply.failure?.code == "DENIED", "\(command)")
        }
        #expect(try File.status(folder).permissions == 0o600)
        #expect(try admin.call("NSLIST").items?.map(\.text) == ["default", "images", "ledger"])
    }

    @Test("What is no request gets an error and the end, and disturbs nobody")
    func rubbish() throws {
        let instance = try Instance()
        let good = instance.client()
        #expect(try good.text("SET", "a", "1") == "OK")
        #expect(instance.raw(Array("*1\r\n:5\r\n".utf8)).hasPrefix("-ERR Protocol error"))
        #expect(instance.raw(Array("*-99999999999\r\n".utf8)).count < 100)
        #expect(instance.raw(Array("*2\r\n$3\r\nGET\r\n$999999999\r\n".utf8)).hasPrefix("-ERR Protocol error"))
        #expect(instance.raw(Array("*1\r\n$4\r\nPINGxx".utf8)).hasPrefix("-ERR Protocol error"))
        #expect(instance.raw(Array("POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 2\r\n".utf8)).hasSuffix("<closed>"))
        #expect(instance.raw([UInt8](repeating: 0, count: 100_000)).hasPrefix("-ERR Protocol error"))
        var mixer: UInt64 = 88
        for _ in 0..<50 {
            let bytes = (0..<500).map { _ -> UInt8 in
                mixer = mixer &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: mixer >> 33)
            }
            _ = instance.raw(bytes + [10], milliseconds: 20)
        }
        #expect(try good.text("GET", "a") == "1")
    }

    @Test("A request that comes byte by byte, and many that come at once")
    func pieces() throws {
        let instance = try Instance()
        let descriptor = zg_unix_connect(instance.socket)
        #expect(descriptor >= 0)
        defer { close(descriptor) }
        for byte in Array("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nxyz\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n".utf8) {
            var byte = byte
            #expect(zg_db_send(descriptor, &byte, 1) == 1)
        }
        var buffer = [UInt8](repeating: 0, count: 100)
        var text = ""
        while text.utf8.count < 14, zg_poll(descriptor, UInt32(ZG_READABLE), 2000) > 0 {
            let count = read(descriptor, &buffer, 100)
            text += String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        }
        #expect(text == "+OK\r\n$3\r\nxyz\r\n")
        let many = String(repeating: "PING\r\n", count: 20_000)
        #expect(instance.raw(Array(many.utf8)).utf8.count == 20_000 * 7)
    }

    @Test("Values up to 8 MiB, and no more")
    func large() throws {
        let instance = try Instance()
        let client = instance.client()
        var value = [UInt8](repeating: 0x5a, count: 8 << 20)
        for index in stride(from: 0, to: value.count, by: 4099) { value[index] = UInt8(truncatingIfNeeded: index) }
        #expect(try client.call([Array("SET".utf8), Array("big".utf8), value]).text == "OK")
        #expect(try client.call([Array("GET".utf8), Array("big".utf8)]).bytes == value)
        let reply = try client.call([Array("SET".utf8), Array("big".utf8), value + [1]])
        #expect(reply.failure?.code == "ERR")
        #expect(try client.call([Array("GET".utf8), Array("big".utf8)]).bytes == value)
    }

    @Test("A client that does not read its replies does not take the memory")
    func slowReader() throws {
        let instance = try Instance()
        let client = instance.client()
        let value = [UInt8](repeating: 7, count: 1 << 20)
        #expect(try client.call([Array("SET".utf8), Array("big".utf8), value]).text == "OK")
        let descriptor = zg_unix_connect(instance.socket)
        defer { close(descriptor) }
        let requests = Array(String(repeating: "GET big\r\n", count: 2000).utf8)
        _ = requests.withUnsafeBytes { zg_db_send(descriptor, $0.baseAddress, $0.count) }
        usleep(300_000)
        let status = try File.readText("/proc/\(instance.pid)/status")
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
        let kilobytes = try #require(Int(line.split(separator: " ").dropFirst().first ?? ""))
        #expect(kilobytes < 64 << 10)
        #expect(try client.text("PING") == "PONG")
        var total = 0
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while total < 2000 * ((1 << 20) + 12), zg_poll(descriptor, UInt32(ZG_READABLE), 3000) > 0 {
            let count = read(descriptor, &buffer, buffer.count)
            if count <= 0 { break }
            total += count
        }
        #expect(total == 2000 * ((1 << 20) + 12))
    }

    @Test("A thousand connections")
    func connections() throws {
        let instance = try Instance()
        _ = zg_db_raise_files()
        var descriptors: [Int32] = []
        defer { for descriptor in descriptors { close(descriptor) } }
        for _ in 0..<1000 { descriptors.append(zg_unix_connect(instance.socket)) }
        #expect(descriptors.allSatisfy { $0 >= 0 })
        for descriptor in descriptors {
            _ = "PING\r\n".utf8CString.withUnsafeBytes { zg_db_send(descriptor, $0.baseAddress, 6) }
        }
        var answered = 0
        var buffer = [UInt8](repeating: 0, count: 16)
        for descriptor in descriptors where zg_poll(descriptor, UInt32(ZG_READABLE), 2000) > 0 {
            if read(descriptor, &buffer, 16) == 7 { answered += 1 }
        }
        #expect(answered == 1000)
    }
}

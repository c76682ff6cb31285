import CLinux
import Glibc
import Linux
import RESP
import Testing

@testable import ZeroDB

@Suite("Zero-DB: durability of the running program", .enabled(if: Instance.program != nil), .serialized)
struct DurabilityTests {
    @Test(
        "Killed in the middle of writing, every acknowledged write is there", arguments: ["always", "interval", "none"])
    func killed(sync: String) throws {
        let instance = try Instance(["--sync", sync])
        var acknowledged = 0
        for round in 0..<3 {
            let client = instance.client()
            let pid = instance.pid
            startThread {
                usleep(UInt32(150_000 + 70_000 * round))
                _ = Glibc.kill(pid, SIGKILL)
            }
            do {
                while true {
                    let commands = (0..<20).map { offset -> [[UInt8]] in
                        let number = acknowledged + offset
                        return [Array("SET".utf8), Array("k\(number)".utf8), Array("v\(number)".utf8)]
                    }
                    let replies = try client.pipeline(commands)
                    #expect(replies.allSatisfy { $0.text == "OK" })
                    acknowledged += commands.count
                }
            } catch {}
            instance.kill(SIGKILL)
            try instance.start()
            let after = instance.client()
            for start in stride(from: 0, to: acknowledged, by: 100) {
                let keys = (start..<min(start + 100, acknowledged))
                let reply = try after.call([Array("MGET".utf8)] + keys.map { Array("k\($0)".utf8) })
                #expect(reply.items?.map(\.text) == keys.map { "v\($0)" })
            }
        }
        #expect(acknowledged > 100)
        #expect(instance.kill(SIGTERM) == 0)
        #expect(instance.log.contains(" stopped"))
    }

    @Test("A flipped byte is reported and never served; everything else is")
    func flipped() throws {
        let instance = try Instance()
        var client = instance.client()
        for number in 0..<100 { #expect(try client.text("SET", "key-\(number)", "value-\(number)-value") == "OK") }
        #expect(instance.kill(SIGTERM) == 0)
        let path = instance.data + "/0000000000000001.segment"
        var bytes = try File.read(path)
        let needle = Array("value-42-value".utf8)
        let at = try #require(bytes.indices.first { bytes[$0...].starts(with: needle) })
        bytes[at + 3] ^= 0x20
        // And one in the head of another record: its sequence number.
        let other = try #require(bytes.indices.first { bytes[$0...].starts(with: Array("key-77".utf8)) })
        bytes[other - 64 + 16] ^= 0xff
        try File.write(path, bytes)
        try instance.start()
        client = instance.client()
        #expect(try client.call("GET", "key-42").failure?.message.hasPrefix("segment 1 offset \(at - 70)") == true)
        #expect(try client.text("GET", "key-77") == "CORRUPT")
        for number in 0..<100 where number != 42 && number != 77 {
            #expect(try client.text("GET", "key-\(number)") == "value-\(number)-value")
        }
        let info = try #require(try client.text("INFO"))
        #expect(info.contains("damaged_places:1\r\n") && info.contains("corrupt_reads:2\r\n"))
        #expect(instance.log.contains("corrupt_record segment=1 offset="))
        // Who asks before writing learns that it has to be written again.
        #expect(try client.text("EXISTS", "key-41", "key-42", "key-77") == "1")
        #expect(try client.text("EXISTS", "key-42", "key-43") == "1")
        #expect(try client.text("SET", "key-42", "new", "IFABSENT") == "OK")
        #expect(try client.text("EXISTS", "key-42") == "1")
        #expect(try client.text("GET", "key-42") == "new")
    }

    @Test(
        "A full file system refuses writes, serves reads, and goes on when there is space", .enabled(if: getuid() == 0))
    func full() throws {
        let mount = "/tmp/zero-db-full-\(getpid())"
        try File.makeDirectories(mount)
        _ = try Subprocess.run("/bin/mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", mount])
        defer {
            _ = try? Subprocess.run("/bin/umount", ["-l", mount])
            rmdir(mount)
        }
        try File.write(mount + "/ballast", [UInt8](repeating: 1, count: 8 << 20))
        let instance = try Instance(["--data", mount + "/db"])
        let client = instance.client()
        let value = [UInt8](repeating: 9, count: 64 << 10)
        var stored = 0
        var refused = 0
        for number in 0..<400 {
            let reply = try client.call([Array("SET".utf8), Array("k\(number)".utf8), value])
            if reply.text == "OK" { stored += 1 }
            if reply.failure?.code == "NOSPACE" { refused += 1 }
        }
        #expect(stored > 100 && refused > 100 && stored + refused == 400)
        #expect(try client.call("GET", "k5").bytes == value)
        #expect(try client.text("DBSIZE") == "\(stored)")
        try File.remove(mount + "/ballast")
        #expect(try client.call([Array("SET".utf8), Array("more".utf8), value]).text == "OK")
        #expect(instance.kill(SIGTERM) == 0)
        try instance.start()
        #expect(try instance.client().text("DBSIZE") == "\(stored + 1)")
    }

    @Test("Two programs do not use one device; a folder that is not one is refused with a reason")
    func refusals() throws {
        let instance = try Instance()
        let program = try #require(Instance.program)
        let second = try Subprocess.run(program, ["--data", instance.data, "--socket", instance.folder + "/2.sock"])
        #expect(second.status == 1 && second.errorText.contains("used by another zero-db"))
        #expect(instance.kill(SIGTERM) == 0)
        let path = instance.data + "/0000000000000001.segment"
        var bytes = try File.read(path)
        bytes[17] = 1
        bytes[2048 + 17] = 1
        try File.write(path, bytes)
        let third = try Subprocess.run(program, ["--data", instance.data])
        #expect(third.status == 1 && third.errorText.contains("damaged"))
        #expect(try Subprocess.run(program, ["--dat", "x"]).errorText.contains("did you mean --data?"))
        #expect(try Subprocess.run(program, ["--version"]).text == "zero-db \(Program.version)\n")
    }
}

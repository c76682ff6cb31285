import Bus
import CLinux
import CanonicalJSON
import Glibc
import Linux
import Shim
import Testing

/// `zero-compute` under the real `zero-core`, with real shims; only the mount is a stand-in.
@Suite(
    .serialized, .enabled(if: World.isPossible && File.exists("\(World.programs)/zero-core"), "\(World.why), zero-core")
)
struct ComputeTests {
    private static let contract = "0123456789abcdef" + String(repeating: "0", count: 48)
    private static let image = String(repeating: "0a", count: 32)
    private let id = "0123456789abcdef-web"

    /// A node with the units that containers need.
    private final class Node {
        let world: World
        private var core: Int32 = 0
        var compute: BusClient { BusClient("\(world.run)/compute.sock") }
        var bus: BusClient { BusClient("\(world.run)/core.sock") }

        init() throws {
            world = try World()
            let share = "\(world.folder)/share"
            try File.makeDirectories("\(share)/units")
            try File.write("\(share)/seccomp.json", File.read(World.seccomp), mode: 0o644)
            for unit in ["compute", "shim@"] {
                var text = try File.readText("\(World.sources)/Packaging/units/\(unit).unit")
                if unit == "compute" {
                    text =
                        text.split(separator: "\n").map { $0.hasPrefix("after") ? "after = shim@ mount@ corex@" : $0 }
                        .joined(separator: "\n") + "\n"
                }
                try File.write("\(share)/units/\(unit).unit", Array(text.utf8), mode: 0o644)
            }
            let mount = """
                #!/bin/sh
                w=\(world.folder)/w-$$; mkdir $w; mount -t tmpfs none $w; mkdir $w/u $w/w
                root=$(sed 's/.*"root":"\\([^"]*\\)".*/\\1/' ${1%/image}/mount.json)
                mount -t overlay zero:$root -o lowerdir=\(try World.image.get()),upperdir=$w/u,workdir=$w/w $1
                trap 'umount -l $1 $w; exit 0' TERM
                echo READY=1 >&$ZERO_NOTIFY_FD
                while :; do sleep 1000 & wait; done

                """
            try File.write("\(world.folder)/mount", Array(mount.utf8), mode: 0o755)
            chmod("\(world.folder)/mount", 0o755)
            let units = [
                "mount@": "exec = \(world.folder)/mount {state}/compute/containers/{instance}/image",
                "corex@": "exec = /bin/sleep 1000",
            ]
            for (name, exec) in units {
                var text = "kind = data\naccount = root\ncapabilities = all\nstarted_by = compute\n\(exec)\n"
                if name == "mount@" { text += "ready = notify\n" }
                try File.write("\(share)/units/\(name).unit", Array(text.utf8), mode: 0o644)
            }
            try start()
        }

        func start() throws {
            let words = [
                "\(World.programs)/zero-core", "--state", world.state, "--run", world.run, "--units",
                "\(world.folder)/share/units", "--bin", World.programs, "--share", "\(world.folder)/share",
                "--log-stderr",
            ]
            let log = try Descriptor.open("\(world.folder)/core.log", O_WRONLY | O_CREAT | O_APPEND)
            var pointers = words.map { strdup($0) } + [nil]
            defer { for pointer in pointers { free(pointer) } }
            var variables: [UnsafeMutablePointer<CChar>?] = [nil]
            core = zg_container_start(words[0], &pointers, &variables, [-1, log.raw, log.raw], 3)
            try checked("start", words[0], core)
        }

        func killCore() throws {
            world.kill(core)
            try start()
        }

        func pid(_ unit: String) async throws -> Int32 {
            let status = try await bus.call("CORE.STATUS")
            let entry = status["units"]?.array?.first { $0["name"]?.string == unit }
            return Int32(entry?["pid"]?.integer ?? 0)
        }

        func end() async {
            _ = try? await bus.call("CORE.SHUTDOWN", deadline: .seconds(60))
            world.kill(core)
            world.end()
        }
    }

    private func onNode(_ body: (Node) async throws -> Void) async throws {
        let node = try Node()
        do {
            try await body(node)
            await node.end()
        } catch {
            await node.end()
            throw error
        }
    }

    private func spec(_ script: String, _ more: [String: JSONValue] = [:]) -> JSONValue {
        var value: [String: JSONValue] = [
            "id": .string(id), "contract": .string(Self.contract), "workload": "web", "version": 1, "epoch": 1,
            "image": ["root": .string(Self.image), "key": "11"], "args": ["/bin/sh", "-c", .string(script)],
            "restart": "always",
            "stop_seconds": 1,
        ]
        value.merge(more) { _, new in new }
        return .object(value)
    }

    private func ensured(_ node: Node, _ spec: JSONValue) async throws -> JSONValue {
        for _ in 0..<20 {
            do throws(BusError) {
                return try await node.compute.call("COMPUTE.ENSURE", spec, deadline: .seconds(20))
            } catch {
                // It was killed while it was asked; who wishes asks again.
                guard error.isTransport else { throw error }
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        return [:]
    }

    private func until(_ condition: () async throws -> Bool) async throws -> Bool {
        for _ in 0..<300 {
            if try await condition() { return true }
            try await Task.sleep(for: .milliseconds(50))
        }
        return false
    }

    @Test("a container lives through the death of compute, shim and core; the last wish counts")
    func survives() async throws {
        try await onNode { node in
            let loop = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done"
            let first = try await ensured(node, spec(loop))
            #expect(first["state"]?.string == "running" && first["ready"]?.bool == true, "\(first)")
            let pid = try #require(first["pid"]?.integer)
            #expect(try await ensured(node, spec(loop))["pid"]?.integer == pid, "the same wish changes nothing")

            zg_kill(try await node.pid("compute"), SIGKILL)
            #expect(try await ensured(node, spec(loop, ["epoch": 2]))["pid"]?.integer == pid)
            zg_kill(try await node.pid("shim@"), SIGKILL)
            #expect(try await until { node.world.state(id)?.pid == pid })
            try node.killCore()
            #expect(try await until { (try? await node.pid("shim@")) ?? 0 > 0 })
            #expect(try await ensured(node, spec(loop, ["epoch": 3]))["pid"]?.integer == pid)
            let numbers = node.world.log(id).compactMap { Int($0) }
            #expect(numbers == Array(1...numbers.count), "no line was lost")
            let own = try await node.pid("compute")
            let status = try Subprocess.run("/bin/grep", ["-E", "Uid|CapEff", "/proc/\(own)/status"]).text
            #expect(status.contains("64106") && status.contains("CapEff:\t0000000000000000"))
        }
    }

    @Test("another wish replaces, a dead mount is made again, removal leaves nothing")
    func changes() async throws {
        try await onNode { node in
            let first = try await ensured(node, spec("while :; do sleep 0.1; done"))
            let second = try await ensured(node, spec("echo two; while :; do sleep 0.1; done", ["version": 2]))
            #expect(second["state"]?.string == "running" || second["state"]?.string == "preparing")
            #expect(try await until { node.world.log(id).contains("two") })
            #expect(
                try await until {
                    try await ensured(node, spec("echo two; while :; do sleep 0.1; done"))["ready"]?.bool == true
                })
            let pid = try await ensured(node, spec("echo two; while :; do sleep 0.1; done"))["pid"]?.integer
            #expect(pid != nil && pid != first["pid"]?.integer)

            zg_kill(try await node.pid("mount@"), SIGKILL)
            #expect(try await until { node.world.state(id)?.starts == 3 }, "started anew on the new mount")

            let other: [String: JSONValue] = [
                "image": ["root": .string(String(repeating: "0b", count: 32)), "key": "11"]
            ]
            _ = try await ensured(node, spec("echo three; while :; do sleep 0.1; done", other))
            #expect(try await until { node.world.log(id).contains("three") })
            #expect(ImageMount.name(at: node.world.paths(id).image)?.hasPrefix("0b0b") == true)
            #expect(node.world.state(id)?.starts == 4, "never on the old image")

            _ = try await node.compute.call("COMPUTE.REMOVE", ["id": .string(id)], deadline: .seconds(60))
            #expect(try await node.compute.call("COMPUTE.LIST")["containers"] == .array([]))
            #expect(node.world.leftovers(id) == [])
            for path in [node.world.paths(id).input, node.world.paths(id).kept, node.world.paths(id).live] {
                #expect(!File.exists(path), "\(path)")
            }
            for unit in ["shim@", "mount@"] { #expect(try await node.pid(unit) == 0) }
            await #expect { try await node.compute.call("COMPUTE.REMOVE", ["id": .string(id)]) } throws: {
                ($0 as? BusError)?.code == "NOTFOUND"
            }
        }
    }

    @Test("what is wrong with a wish is said; who may not wish is refused")
    func refuses() async throws {
        try await onNode { node in
            await #expect { try await ensured(node, ["id": "x"]) } throws: { ($0 as? BusError)?.code == "BADREQUEST" }
            let wrong = spec("true", ["imgae": "x"])
            await #expect { try await ensured(node, wrong) } throws: { "\($0)".contains("did you mean") }
            let stranger = try Subprocess.run(
                "/usr/bin/setpriv",
                [
                    "--reuid=64107", "--clear-groups", "redis-cli", "-s", "\(node.world.run)/compute.sock",
                    "COMPUTE.LIST", "{}",
                ])
            #expect(stranger.text.contains("DENIED"))
            let access: JSONValue = [
                "contract": .string(Self.contract), "ledger": "00", "author": "G", "link": "100.64.0.2",
                "keys": [["key": "G", "roles": ["owner"]]], "workloads": ["web": ["id": .string(id)]],
            ]
            _ = try await node.compute.call("COMPUTE.ENSURE-ACCESS", access)
            #expect(try await node.pid("corex@") > 0)
            #expect(File.exists("\(node.world.run)/compute/access/0123456789abcdef.json"))
            var foreign = access
            foreign["workloads"] = ["web": ["id": "fedcba9876543210-web"]]
            await #expect { try await node.compute.call("COMPUTE.ENSURE-ACCESS", foreign) } throws: {
                ($0 as? BusError)?.code == "BADREQUEST"
            }
            _ = try await node.compute.call(
                "COMPUTE.REMOVE-ACCESS", ["contract": .string(Self.contract)], deadline: .seconds(30))
            #expect(try await node.pid("corex@") == 0)
        }
    }
}

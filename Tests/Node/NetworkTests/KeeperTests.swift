import Bus
import CanonicalJSON
import Glibc
import Linux
import Service
import Synchronization
import Testing

@testable import Network

@Suite("A contract's network on this machine", .serialized, .enabled(if: geteuid() == 0, "needs root: namespaces"))
struct KeeperTests {
    @Test("what is removed stays removed, also where a look was asked for while it went")
    func staysRemoved() async throws {
        let folder = "/tmp/zero-network-\(Clock.monotonicNanoseconds())"
        for part in ["state/network", "run/network"] { try File.makeDirectories("\(folder)/\(part)", mode: 0o700) }
        defer { try? File.removeTree(folder) }
        let isStopping = Atomic(false)
        let core = BusServer(service: "core", socketPath: "\(folder)/core.sock")
        for verb in ["START", "SIGNAL"] { core.on(verb, from: [.root]) { _ in .ok } }
        core.on("STOP", from: [.root]) { _ in
            isStopping.store(true, ordering: .releasing)
            try? await Task.sleep(for: .milliseconds(300))
            return .ok
        }
        let serving = Task { try await core.run() }
        defer { serving.cancel() }
        for _ in 0..<200 where !File.exists("\(folder)/core.sock") { try await Task.sleep(for: .milliseconds(10)) }

        let node = try NetworkNode(
            state: "\(folder)/state", run: "\(folder)/run", linkRange: "100.127.192.0/18", doorHelper: "",
            core: BusClient("\(folder)/core.sock"), log: Log(service: "network", level: .error))
        let network = try ContractNetwork(request: NetworkTests.request())
        let path = "/run/netns/\(network.namespace)"
        let keeper = NetworkKeeper(network, index: 0, node: node)
        defer { try? NetworkBuilder.remove(tag: network.tag) }
        try? File.changeMode("/run/netns", 0o700)
        try await keeper.ensure(network)
        #expect(File.exists(path))
        #expect(try File.status("/run/netns").mode & 0o777 == 0o755, "other services look for it there")

        let removal = Task { try await keeper.remove() }
        while !isStopping.load(ordering: .acquiring) { try await Task.sleep(for: .milliseconds(5)) }
        try await keeper.ensure(network, force: true)
        try await removal.value
        #expect(!File.exists(path), "the look came behind the removal")
        // Who wants it again asks once more, and gets a keeper of its own.
        await #expect(throws: BusError.self) { try await keeper.ensure(network) }
    }
}

import CanonicalJSON
import Shim
import Testing

@Suite struct SpecTests {
    private let small: JSONValue = [
        "id": "0123456789abcdef-web", "contract": "00", "workload": "web", "version": 1, "epoch": 1,
        "image": ["root": "00"], "args": ["/bin/true"],
    ]

    private func changed(_ more: [String: JSONValue]) -> JSONValue {
        guard case .object(var value) = small else { return small }
        value.merge(more) { _, new in new }
        return .object(value)
    }

    @Test func readsWhatItWrites() throws {
        let full = changed([
            "env": ["A": "b"], "cwd": "/srv", "user": ["uid": 5, "gid": 6, "groups": [7]], "dns": "10.42.1.1",
            "limits": ["cpu_milli": 500, "memory": 134_217_728, "pids": 9], "netns": "/run/netns/zw-00-web",
            "volumes": [["path": "/v/x", "at": "/data", "read_only": true]], "hostname": "web-1", "log_max": 1_048_576,
            "secrets": ["TOKEN": ["sealed": "AA==", "box": "BB==", "env": ["TOKEN", "ALIAS"]]], "restart": "on-failure",
            "ready": ["http": "/", "port": 80], "stop_signal": "SIGQUIT", "stop_seconds": 3, "address": "10.42.1.2",
        ])
        let spec = try ContainerSpec(full)
        #expect(try ContainerSpec(spec.json) == spec)
        #expect(spec.user == .numbers(uid: 5, gid: 6, groups: [7]))
        let order = ShimOrder(.run, generation: 4, spec)
        #expect(try ShimOrder(order.json) == order)
        #expect(try ContainerSpec(small).hostname == "web")
        #expect(try ContainerSpec(changed(["user": "nginx:www"])).user == .named("nginx:www"))
        #expect(try ContainerSpec(changed(["user": ""])).user == .numbers(uid: 0, gid: 0, groups: []))
    }

    @Test(
        "a spec that could do harm is refused",
        arguments: [
            ["id": "../x"], ["id": "A"], ["args": []], ["args": [""]], ["cwd": "tmp"], ["cwd": "/a/../b"],
            ["netns": "/proc/1/ns/net"], ["netns": "/run/netns/../x"], ["hostname": "a b"], ["dns": "ns.example"],
            ["volumes": [["path": "/v/../etc", "at": "/x"]]], ["volumes": [["path": "/v", "at": "/proc/1"]]],
            ["volumes": [["path": "/v", "at": "/.zero-init"]]], ["env": ["A=B": "c"]], ["env": ["": "c"]],
            ["limits": ["memory": 1]], ["limits": ["cpu_milli": 0]], ["limits": ["pids": 0]], ["restart": "sometimes"],
            ["ready": ["port": 0]], ["ready": ["http": "x", "port": 1]], ["ready": ["http": "/a b", "port": 1]],
            ["secrets": ["../x": ["sealed": "AA=="]]], ["log_max": 1], ["stop_signal": "NOPE"], ["surprise": 1],
            ["user": ["uid": 4_294_967_295]], ["hostname": .string("a\u{10}b")],
        ] as [[String: JSONValue]])
    func refuses(_ change: [String: JSONValue]) {
        #expect(throws: JSONError.self) { try ContainerSpec(changed(change)) }
    }

    @Test func identityIgnoresPolicy() throws {
        let secret: JSONValue = ["T": ["sealed": "AA==", "box": "CC=="]]
        let sealedAgain: JSONValue = ["T": ["sealed": "BB==", "box": "CC=="]]
        let first = try ContainerSpec(changed(["secrets": secret]))
        let same = try ContainerSpec(
            changed(["secrets": sealedAgain, "version": 2, "epoch": 3, "restart": "never", "log_max": 1_048_576]))
        let other = try ContainerSpec(changed(["secrets": secret, "args": ["/bin/false"]]))
        #expect(first.identity == same.identity && first.identity != other.identity)
    }

    @Test func signals() {
        #expect(SignalName.number("SIGTERM") == 15 && SignalName.number("QUIT") == 3 && SignalName.number("9") == 9)
        #expect(SignalName.number("0") == nil && SignalName.number("65") == nil && SignalName.number("") == nil)
    }
}

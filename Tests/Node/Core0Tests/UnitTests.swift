import Bus
import Linux
import Testing

@testable import Core0

private func unit(_ text: String, name: String = "db") throws(UnitError) -> UnitDefinition {
    try UnitDefinition(Array(text.utf8), name: name)
}

private func fault(_ text: String, name: String = "db") -> String? {
    do throws(UnitError) {
        _ = try unit(text, name: name)
        return nil
    } catch {
        return "\(error)"
    }
}

private let plain = "exec = /bin/true\naccount = db\n"

@Suite struct UnitFiles {
    @Test func everyKeyIsRead() throws {
        let text = """
            # a comment
              description = a store
            exec = {bin}/zero-db --state {state} "two words" "a \\"quote\\""
            account = db
            capabilities = net_admin sys_admin
            no_new_privs = no
            directories = {state}/db:0750 {run}/x:0755:root {state}/y
            environment = A=1 "B=two words"
            netns = /run/netns/zc-{instance:8}
            after = identity storage
            kind = data
            started_by = compute network
            ready = notify
            ready_timeout = 5 min
            restart = on-failure
            stop_signal = INT
            replace_signal = USR2
            stop_timeout = 250 ms
            log_max = 64 KiB
            memory = 1 GiB
            no_file = 4096
            """
        let found = try unit(text, name: "db@")
        #expect(found.exec == ["{bin}/zero-db", "--state", "{state}", "two words", "a \"quote\""])
        #expect(found.account == .db)
        #expect(found.capabilities == 1 << 12 | 1 << 21)
        #expect(!found.noNewPrivileges)
        #expect(found.directories.map(\.mode) == [0o750, 0o755, 0o700])
        #expect(found.directories.map(\.owner) == [nil, .root, nil])
        #expect(found.environment == ["A=1", "B=two words"])
        #expect(found.netns == "/run/netns/zc-{instance:8}")
        #expect(found.after == ["identity", "storage"])
        #expect(found.kind == .data)
        #expect(found.startedBy == [.compute, .network])
        #expect(found.notifies && found.restart == .onFailure)
        #expect(found.readyTimeout == 300 * Time.second && found.stopTimeout == 250 * Time.millisecond)
        #expect(found.replaceSignal == 12)
        #expect(found.stopSignal == 2 && found.logMax == 65536 && found.memory == 1 << 30 && found.fileLimit == 4096)
    }

    @Test(arguments: [
        (plain + "acount = root\n", "db.unit:3: unknown key “acount”; did you mean “account”?"),
        (plain + "account = root\n", "db.unit:3: “account” stands twice, first in line 2"),
        ("exec = /bin/true\n", "db.unit: “account” is missing"),
        ("account = db\n", "db.unit: “exec” is missing"),
        ("exec = true\naccount = db\n", "db.unit:1: “exec” begins with the absolute path of a program"),
        ("exec = /bin/true \"x\naccount = db\n", "db.unit:1: a quote in “exec” does not end"),
        (
            "exec = /bin/true\naccount = strage\n",
            "db.unit:2: “strage” in “account” is not an account; did you mean “storage”?"
        ),
        (plain + "capabilities = net_amin\n", "db.unit:3: “net_amin” is not a capability"),
        (plain + "capabilities = all\n", "db.unit: “capabilities = all” is for the account root only"),
        (plain + "netns = /x/{instance}\n", "db.unit: {instance} is for templates only"),
        (
            plain + "stop_timeout = 10\n",
            "db.unit:3: “stop_timeout” must be a duration such as “250 ms”, “30 s” or “5 min”, at most a day, not “10”"
        ),
        (plain + "no_file = 3\n", "db.unit:3: “no_file” must be a number from 16 to 1048576, not “3”"),
        (plain + "kind = other\n", "db.unit:3: “kind” must be control, data, not “other”"),
        (plain + "environment = A\n", "db.unit:3: “A” in “environment” is not NAME=value"),
        (plain + "directories = x:0700\n", "db.unit:3: “x:0700” in “directories” is not path[:mode[:account]]"),
        (plain + "what\n", "db.unit:3: “key = value” was expected"),
        (plain + "environment = A={x\n", "db.unit: “A={x” has a brace that does not close"),
    ])
    func faultsNameTheLine(_ text: String, _ expected: String) { #expect(fault(text) == expected) }

    @Test func templatesSayWhoStartsThem() {
        #expect(
            fault(plain, name: "db@") == "db@.unit: a template needs “started_by”: which accounts may start instances")
        #expect(fault(plain + "started_by = compute\n", name: "db@") == nil)
        for name in ["", "@", "Db", "d b", "../db", "1db", "-db"] { #expect(fault(plain, name: name) != nil) }
    }

    @Test func rubbishIsRefusedAndNeverTraps() {
        var state: UInt64 = 7
        for _ in 0..<2000 {
            var bytes: [UInt8] = []
            state = state &* 6_364_136_223_846_793_005 &+ 1
            for index in 0..<Int(state >> 58) + 3 {
                state = state &* 6_364_136_223_846_793_005 &+ UInt64(index)
                bytes.append(Array("exec=/a {}\"\\\n\u{e9}:0@#".utf8)[Int(state >> 33) % 19])
            }
            _ = try? UnitDefinition(bytes, name: "db")
            _ = try? UnitDefinition(Array("exec = /x\naccount = db\ndirectories = /".utf8) + bytes, name: "db")
        }
        #expect(throws: UnitError.self) { try UnitDefinition([0x61, 0xff], name: "db") }
    }

    @Test func variables() throws {
        let variables = Variables(["state": "/s p", "http_port": "8080"], instance: "0123456789abcdef-web")
        #expect(try variables.fill("{state}/x-{instance:8}:{http_port}{{}}", "u") == "/s p/x-01234567:8080{}")
        #expect(try variables.fill("{instance}", "u") == "0123456789abcdef-web")
        let error = #expect(throws: UnitError.self) { try variables.fill("{htp_port}", "x.unit") }
        #expect(error?.description == "x.unit: {htp_port} has no value: it is not in core/settings.conf")
        for bad in ["{instance:0}", "{instance:99}", "{instance:x}", "{", "}"] {
            #expect(throws: UnitError.self) { try variables.fill(bad, "u") }
        }
    }

    @Test func circlesAndStrangersMakeAUnitInvalid() {
        func set(_ units: [String: String]) -> UnitSet {
            UnitSet(units.mapValues { .success(Array((plain + "after = \($0)\n").utf8)) })
        }
        let circle = set(["a": "b", "b": "c", "c": "a", "d": "", "e": "a d"])
        #expect(circle.units.keys.sorted() == ["d"])
        #expect(
            "\(circle.invalid["a"] ?? UnitError("", ""))" == "a.unit: comes after itself: a after b after c after a")
        #expect("\(circle.invalid["e"] ?? UnitError("", ""))" == "e.unit: comes after “a”, which is invalid")
        let stranger = set(["identity": "", "b": "identty"])
        #expect(
            "\(stranger.invalid["b"] ?? UnitError("", ""))"
                == "b.unit: comes after “identty”, which is not a unit; did you mean “identity”?")
    }

    @Test func theUnitsOfTheProductAreValid() {
        let set = UnitFolder.read("\(File.parent(#filePath))/../../../Packaging/units")
        #expect(set.invalid.values.map(\.description) == [])
        #expect(set.units.count >= 13)
        for unit in set.units.values {
            #expect(unit.account != .root || unit.name == "shim@", "\(unit.name) needs an account of its own")
            #expect(!unit.description.isEmpty, "\(unit.name)")
        }
    }

    @Test func namesOfProcesses() {
        #expect(ProcessKey(text: "shim@0123-web") == ProcessKey("shim@", "0123-web"))
        #expect(ProcessKey(text: "db") == ProcessKey("db"))
        #expect("\(ProcessKey("shim@", "x"))" == "shim@x")
        for bad in ["", "shim@", "shim@../x", "shim@.x", "shim@a/b", "Shim", "shim@a@b"] {
            #expect(ProcessKey(text: bad) == nil, "\(bad)")
        }
    }
}

@Suite struct Options {
    private func parse(_ words: [String]) throws(CoreOptions.Fault) -> CoreOptions.Request {
        try CoreOptions.parse(words, executable: "/opt/bin/zero-core", current: "/home")
    }

    @Test func pathsBecomeAbsoluteAndDefaultsFollow() throws {
        guard case .run(let options) = try parse(["--state", "s", "--run=/run/zero/n", "--units", "/opt/share/units/"])
        else { throw CoreOptions.Fault(description: "not run") }
        #expect(options.state == "/home/s" && options.run == "/run/zero/n")
        #expect(options.bin == "/opt/bin" && options.share == "/opt/share")
    }

    @Test func mistakesAreNamed() {
        for (words, text) in [
            (["--stat", "x"], "unknown option “--stat”; did you mean “--state”?"),
            (["--state"], "“--state” needs a value"),
            (["--state", "/s", "--units", "/u"], "“--run” is missing"),
            (
                ["--state", "/s", "--units", "/u", "--run", "/tmp"],
                "“--run /tmp” must be a folder of its own: its owner and mode are set"
            ),
        ] {
            let error = #expect(throws: CoreOptions.Fault.self) { try self.parse(words) }
            #expect(error?.description == text)
        }
    }
}

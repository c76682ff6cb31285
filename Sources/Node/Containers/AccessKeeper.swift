internal import Bus
internal import CanonicalJSON
internal import Linux
internal import Service
internal import Shim

/// Who may reach the containers of a contract through Core-X: a file a contract under `<run>/compute/access`, and `corex@`
/// running for each of them.
actor AccessKeeper {
    private let folder: String
    private let core: BusClient
    private let log: Log

    init(run: String, core: BusClient, log: Log) throws(SystemError) {
        folder = "\(run)/compute/access"
        (self.core, self.log) = (core, log)
        for path in ["\(run)/compute", folder] {
            try File.makeDirectories(path, mode: 0o711)
            try File.changeMode(path, 0o711)
        }
    }

    /// `COMPUTE.ENSURE-ACCESS`: writes the file and starts Core-X.
    func ensure(_ body: JSONValue) async throws(BusError) {
        let contract: String
        do throws(JSONError) { contract = try Self.check(body) } catch { throw BusError(error) }
        let path = file(contract)
        do throws(SystemError) {
            if (try? File.read(path)) != body.canonicalBytes {
                try File.writeAtomically(path, body.canonicalBytes, mode: 0o644)
                log.info("access", ["contract": String(contract.prefix(16))])
            }
        } catch {
            throw .failed("\(error)")
        }
        try await start(contract)
    }

    /// `COMPUTE.REMOVE-ACCESS`.
    func remove(_ contract: String) async throws(BusError) {
        guard Self.isContract(contract) else { throw .badRequest("contract must be hexadecimal digits") }
        do throws(SystemError) { try File.remove(file(contract)) } catch { throw .failed("\(error)") }
        _ = try await core.call("CORE.STOP", unit(contract, forget: true), deadline: .seconds(30))
    }

    /// Starts what is not running; a Core-X that fails does not keep a container from running.
    func step() async {
        for name in (try? File.list(folder)) ?? [] where name.hasSuffix(".json") {
            do {
                try await start(String(name.dropLast(5)))
            } catch {
                log.warn("corex", ["contract": name, "reason": "\(error)"])
            }
        }
    }

    private func start(_ contract: String) async throws(BusError) {
        let reply = try await core.call("CORE.START", unit(contract, forget: nil), deadline: .seconds(10))
        let state = reply["state"]?.string ?? "unknown"
        if state != "running" {
            throw .unavailable(
                "corex@\(contract.prefix(16)) is \(state): \(reply["reason"]?.string ?? "no reason told")")
        }
    }

    private func unit(_ contract: String, forget: Bool?) -> JSONValue {
        var body: JSONValue = ["unit": "corex@", "instance": .string(String(contract.prefix(16)))]
        body["forget"] = forget.map { .bool($0) }
        return body
    }

    private func file(_ contract: String) -> String { "\(folder)/\(contract.prefix(16)).json" }

    private static func isContract(_ text: String) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { ($0 >= 48 && $0 <= 57) || ($0 >= 97 && $0 <= 102) }
    }

    /// The contract that a document is about, after all of it was looked at.
    private static func check(_ body: JSONValue) throws(JSONError) -> String {
        var reader = try ObjectReader(body, "access")
        let contract = try reader.string("contract")
        guard isContract(contract) else {
            throw reader.refuse("contract", "64 hexadecimal digits", found: .string(contract))
        }
        _ = try (reader.string("ledger"), reader.string("author"), reader.string("link"))
        for entry in try reader.array("keys") {
            var key = try ObjectReader(entry, "key")
            _ = try (key.string("key"), key.strings("roles"), key.optionalInteger("until"))
            try key.finish()
        }
        for (name, entry) in try reader.object("workloads") {
            var workload = try ObjectReader(entry, "workload \(name)")
            let id = try workload.string("id")
            guard ContainerSpec.isIdentifier(id), id.hasPrefix(contract.prefix(16) + "-") else {
                throw workload.refuse("id", "a container of this contract", found: .string(id))
            }
            try workload.finish()
        }
        for (name, entry) in try reader.optionalObject("zdbs") ?? [:] {
            var zdb = try ObjectReader(entry, "zdb \(name)")
            let id = try zdb.string("id")
            guard ContainerSpec.isIdentifier(id), id.hasPrefix(contract.prefix(16) + "-") else {
                throw zdb.refuse("id", "a namespace of this contract", found: .string(id))
            }
            try zdb.finish()
        }
        try reader.finish()
        return contract
    }
}

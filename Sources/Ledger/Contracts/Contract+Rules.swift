public import Crypto

extension Contract {
    /// What one field alone cannot show: names that are unique, references that lead somewhere, secrets that exist.
    func checkReferences() throws(ContractError) {
        guard !workloads.isEmpty else {
            throw ContractError(
                .missingField, "workloads", "no workloads", why: "a contract says what runs", hint: "add a container")
        }
        var seen: [String: Int] = [:]
        for (index, workload) in workloads.enumerated() {
            if let first = seen.updateValue(index, forKey: workload.name) {
                throw ContractError(
                    .duplicate, "workloads[\(index)].name", "`\(workload.name)` is taken",
                    why: "workloads[\(first)] has that name and names are unique in a contract")
            }
        }
        var wanted = Set<String>()
        for (index, workload) in workloads.enumerated() {
            let path = "workloads[\(index)]"
            switch workload {
            case .container(let container):
                try checkMounts(container, path)
                try checkSecrets(container, path)
            case .gateway(let gateway): try checkTarget(gateway, path)
            case .zdb(let zdb): try checkPassword(zdb, path)
            case .volume: break
            }
            wanted.formUnion(workload.secretNames)
        }
        for name in secrets.keys.sorted() where !wanted.contains(name) {
            throw ContractError(
                .badReference, "secrets.\(name)", "nothing uses `\(name)`", why: "a secret is there for a workload")
        }
    }

    private func checkMounts(_ container: Container, _ path: String) throws(ContractError) {
        let names = volumes.map(\.name)
        for (index, mount) in container.volumes.enumerated() where !names.contains(mount.name) {
            let hint =
                names.isEmpty ? "add `- volume: \(mount.name)` with a size" : Nearest.hint(mount.name, among: names)
            throw ContractError(
                .badReference, "\(path).volumes[\(index)].name", "there is no volume `\(mount.name)`",
                why: "a container mounts volumes of its own contract", hint: hint)
        }
    }

    private func checkSecrets(_ container: Container, _ path: String) throws(ContractError) {
        for (variable, name) in container.secrets.sorted(by: { $0.key < $1.key }) where secrets[name] == nil {
            throw ContractError(
                .badReference, "\(path).secrets.\(variable)", "the secret `\(name)` has no sealed value",
                why: "a secret's value travels in the contract, sealed")
        }
    }

    private func checkPassword(_ zdb: ZDB, _ path: String) throws(ContractError) {
        guard let name = zdb.password, secrets[name] == nil else { return }
        throw ContractError(
            .badReference, path + ".password", "the secret `\(name)` has no sealed value",
            why: "a secret's value travels in the contract, sealed")
    }

    private func checkTarget(_ gateway: Gateway, _ path: String) throws(ContractError) {
        let names = containers.map(\.name)
        guard !names.contains(gateway.workload) else { return }
        let what =
            workload(gateway.workload).map { "`\(gateway.workload)` is a \($0.type.rawValue)" }
            ?? "there is no container `\(gateway.workload)`"
        throw ContractError(
            .badReference, path + ".to", what, why: "a gateway leads to a container of its contract",
            hint: names.isEmpty ? "add a container" : Nearest.hint(gateway.workload, among: names))
    }

    /// Checks that this version follows from `previous` of the contract `contract`.
    public func checkFollows(_ previous: Contract, contract: Digest) throws(ContractError) {
        guard version == previous.version + 1 else {
            throw ContractError(
                .badVersion, "version", "version \(version) does not follow version \(previous.version)",
                why: "versions count without gaps", hint: "plan again against version \(previous.version)")
        }
        guard id == contract else {
            throw ContractError(
                .badVersion, "id", "names another contract", why: "a version carries the id of its first version")
        }
        guard name == previous.name else {
            throw ContractError(
                .badVersion, "name", "`\(name)` was `\(previous.name)`", why: "a contract keeps its name",
                hint: "deploy it as a new contract and delete the old one")
        }
        try checkKeeps(previous)
    }

    /// What a namespace is for its life: another mode would need other data, and what is written once stays.
    private func checkKeeps(_ previous: Contract) throws(ContractError) {
        for (index, workload) in workloads.enumerated() {
            guard case .zdb(let zdb) = workload, case .zdb(let old) = previous.workload(zdb.name) else { continue }
            let hint = "give it another name: the new one begins empty, and `\(zdb.name)` goes with its data"
            guard zdb.mode == old.mode else {
                throw ContractError(
                    .badVersion, "workloads[\(index)].mode",
                    "`\(zdb.name)` is \(old.mode.rawValue), not \(zdb.mode.rawValue)",
                    why: "a zdb keeps its mode", hint: hint)
            }
            guard zdb.isWORM || !old.isWORM else {
                throw ContractError(
                    .badVersion, "workloads[\(index)].worm", "`\(zdb.name)` is written once",
                    why: "what was promised never to change cannot be made changeable", hint: hint)
            }
        }
    }
}

public import Bus
internal import CanonicalJSON
internal import Contracts
public import Crypto

/// The daemons of the node as a reconciler uses them: carries out one step and says what came of it.
public struct NodeServices: Sendable {
    /// How long a daemon may take for one step before it counts as not answering.
    private enum Deadline {
        static let ensure: Duration = .seconds(15)
        /// Stopping waits for the container's own stop timeout.
        static let remove: Duration = .seconds(40)
    }

    let storage: BusClient
    let network: BusClient
    let compute: BusClient
    let gateway: BusClient
    let ledger: Digest

    /// Clients for the four daemons, and the ledger that signed requests to Core-X are bound to.
    public init(storage: BusClient, network: BusClient, compute: BusClient, gateway: BusClient, ledger: Digest) {
        (self.storage, self.network, self.compute, self.gateway) = (storage, network, compute, gateway)
        self.ledger = ledger
    }

    /// What a step of one contract needs to know.
    struct Scene: Sendable {
        let shortID: String
        let contractID: Digest
        let desired: DesiredContract?
        /// Paths of the volumes that are there.
        let volumes: [String: String]
        /// The contract's link address on this node.
        let link: String?
        /// Network namespaces of its containers, by instance.
        let namespaces: [String: String]
        /// What of it is here, and which instances serve.
        let inventory: Inventory
    }

    /// Carries out `step`. Never throws: what goes wrong is the outcome. A network also yields its namespaces.
    func perform(_ step: Step, _ scene: Scene) async -> (outcome: Outcome, namespaces: [String: String]?) {
        do {
            if case .network = step { return try await ensureNetwork(scene) }
            return (try await outcome(of: step, scene), nil)
        } catch let error as BusError {
            return (error.isTransport ? .unreachable(error.description) : .failed(error.message), nil)
        } catch {
            return (.failed("\(error)"), nil)
        }
    }

    private func ensureNetwork(_ scene: Scene) async throws -> (outcome: Outcome, namespaces: [String: String]?) {
        guard let desired = scene.desired else { return (.done(nil), nil) }
        let reply = try await network.call(
            "NETWORK.ENSURE", try desired.networkRequest(scene.inventory), deadline: Deadline.ensure)
        let members = reply["members"]?.object?.compactMapValues { $0["netns"]?.string } ?? [:]
        return (.done(reply["link"]?.string), members)
    }

    private func outcome(of step: Step, _ scene: Scene) async throws -> Outcome {
        switch step {
        case .network: .done(nil)
        case .volume(let name): try await ensureVolume(name, scene)
        case .zdb(let name): try await ensureZDB(name, scene)
        case .container(let name): try await ensureContainer(name, scene)
        case .access: try await ensureAccess(scene)
        case .gateway(let name): try await ensureGateway(name, scene)
        case .removeGateway(let name):
            try await remove(gateway, "GATEWAY", ["contract": .string(scene.contractID.hex), "name": .string(name)])
        case .removeAccess:
            try await done(compute, "COMPUTE.REMOVE-ACCESS", ["contract": .string(scene.contractID.hex)])
        case .removeContainer(let instance):
            try await remove(compute, "COMPUTE", ["id": .string("\(scene.shortID)-\(instance.name)")])
        case .removeNetwork: try await remove(network, "NETWORK", ["contract": .string(scene.contractID.hex)])
        case .removeVolume(let name): try await remove(storage, "STORAGE", ["id": .string("\(scene.shortID)-\(name)")])
        case .removeZDB(let name):
            try await done(storage, "STORAGE.REMOVE-ZDB", ["id": .string("\(scene.shortID)-\(name)")])
        }
    }

    /// The namespace first, with its size and password; then the way to it.
    private func ensureZDB(_ name: String, _ scene: Scene) async throws -> Outcome {
        guard let desired = scene.desired, let zdb = desired.zdbs.first(where: { $0.name == name }) else {
            return .done(nil)
        }
        _ = try await storage.call("STORAGE.ENSURE-ZDB", try desired.zdbRequest(zdb), deadline: Deadline.ensure)
        let door: JSONValue = [
            "contract": .string(scene.contractID.hex), "name": .string(name),
            "namespace": .string(desired.zdbID(name)),
        ]
        return try await done(network, "NETWORK.OPEN", door)
    }

    private func ensureVolume(_ name: String, _ scene: Scene) async throws -> Outcome {
        guard let desired = scene.desired, let volume = desired.volumes.first(where: { $0.name == name }) else {
            return .done(nil)
        }
        let reply = try await storage.call("STORAGE.ENSURE", desired.volumeRequest(volume), deadline: Deadline.ensure)
        return .done(reply["path"]?.string)
    }

    private func ensureContainer(_ name: String, _ scene: Scene) async throws -> Outcome {
        guard let desired = scene.desired, let container = desired.containers.first(where: { $0.name == name }) else {
            return .done(nil)
        }
        let request = try desired.containerRequest(
            container, volumes: scene.volumes, namespace: desired.instance(name).flatMap { scene.namespaces[$0.name] })
        let reply = try await compute.call("COMPUTE.ENSURE", request, deadline: Deadline.ensure)
        return .container(
            ContainerStatus(
                state: reply["state"]?.string ?? "preparing", reason: reply["reason"]?.string,
                attempt: reply["attempt"]?.integer, next: reply["next"]?.integer,
                isReady: reply["ready"]?.bool ?? false))
    }

    private func ensureAccess(_ scene: Scene) async throws -> Outcome {
        guard let desired = scene.desired, let link = scene.link else { return .done(nil) }
        return try await done(
            compute, "COMPUTE.ENSURE-ACCESS", desired.accessRequest(ledger: ledger, link: link, scene.inventory))
    }

    private func ensureGateway(_ name: String, _ scene: Scene) async throws -> Outcome {
        guard let desired = scene.desired, let found = desired.gateways.first(where: { $0.name == name }),
            let link = scene.link
        else { return .done(nil) }
        return try await done(gateway, "GATEWAY.ENSURE", try desired.gatewayRequest(found, link: link, scene.inventory))
    }

    private func done(_ client: BusClient, _ verb: String, _ body: JSONValue) async throws -> Outcome {
        _ = try await client.call(verb, body, deadline: Deadline.ensure)
        return .done(nil)
    }

    /// What is already gone was removed.
    private func remove(_ client: BusClient, _ service: String, _ body: JSONValue) async throws -> Outcome {
        do {
            _ = try await client.call("\(service).REMOVE", body, deadline: Deadline.remove)
        } catch {
            guard error.code == "NOTFOUND" else { throw error }
        }
        return .done(nil)
    }
}

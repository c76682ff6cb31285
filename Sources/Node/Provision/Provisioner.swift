internal import Contracts
public import Crypto
public import LedgerClient
internal import LedgerState
internal import Records
public import Service
internal import Bus
public import CanonicalJSON
internal import Linux

/// One reconciler for each contract that the verified ledger places on this node, or that left parts here.
public actor Provisioner {
    private let node: PublicKey
    private let services: NodeServices
    private let writer: LedgerWriter
    private let store: InventoryStore
    private let images: ImageCatalogue
    private let log: Log
    private var reconcilers: [Digest: ContractReconciler] = [:]
    private var tasks: [Digest: Task<Void, Never>] = [:]
    private var state: LedgerState?
    /// Contracts whose removal the ledger has still to be told.
    private var gone: Set<Digest> = []

    /// Starts with what an earlier process left in `folder`.
    public init(node: PublicKey, services: NodeServices, writer: LedgerWriter, folder: String, log: Log) {
        (self.node, self.services, self.writer, self.log) = (node, services, writer, log)
        store = InventoryStore(folder: folder + "/contracts")
        images = ImageCatalogue(folder: folder + "/images")
    }

    /// Follows the verified state until there is no more of it.
    public func follow(_ follower: LedgerFollower) async {
        for await change in follower.changes() { await take(change.state) }
        for task in tasks.values { task.cancel() }
    }

    /// Acts on a state of the ledger. Blocks that change nothing for a contract wake nobody.
    func take(_ state: LedgerState) async {
        self.state = state
        let mine = Set(state.contracts(on: node))
        for id in mine.union(store.contracts()).union(reconcilers.keys).sorted() {
            let desired = DesiredContract(id, in: state, node: node, arch: NodeCapacity.arch, images: images)
            if let desired {
                let known = state.result(id, node)?.body
                let isCurrent = known?.version == desired.contract.version && known?.epoch == desired.placement.epoch
                await reconciler(id).want(desired, known: isCurrent ? known?.workloads : nil)
            } else if reconcilers[id] != nil || !store.load(id).isEmpty {
                await reconciler(id).want(nil, known: nil)
            } else if needsFarewell(id, state) {
                await tellRemoved(id)
            }
        }
    }

    private func reconciler(_ id: Digest) -> ContractReconciler {
        if let known = reconcilers[id] { return known }
        let reconciler = ContractReconciler(id: id, services: services, store: store, log: log) { [weak self] in
            await self?.report($0, $1, $2) ?? false
        }
        reconcilers[id] = reconciler
        tasks[id] = Task {
            await reconciler.run()
            if !Task.isCancelled { await self.finished(id) }
        }
        return reconciler
    }

    /// Nothing of the contract is left here: the ledger is told, so that its capacity is free again.
    private func finished(_ id: Digest) async {
        reconcilers[id] = nil
        tasks[id] = nil
        log.info("contract removed", ["contract": id.hex])
        if let state, needsFarewell(id, state) { await tellRemoved(id) }
    }

    private func needsFarewell(_ id: Digest, _ state: LedgerState) -> Bool {
        guard state.contracts(on: node).contains(id) else { return false }
        let said = state.result(id, node)?.body.workloads
        return said.map { !$0.values.allSatisfy { $0.state == .removed } } ?? true
    }

    private func tellRemoved(_ id: Digest) async {
        guard let placement = state?.placement(id)?.body, !gone.contains(id) else { return }
        gone.insert(id)
        defer { gone.remove(id) }
        let now = Clock.wallMilliseconds()
        let names = placement.workloads.keys.sorted()
        let workloads = Dictionary(names.map { ($0, WorkloadResult(state: .removed, since: now)) }) { first, _ in first
        }
        await write(
            .result(
                ResultBody(
                    contract: id, version: placement.version, epoch: placement.epoch, workloads: workloads)), id)
    }

    private func report(_ id: Digest, _ desired: DesiredContract, _ results: [String: WorkloadResult]) async -> Bool {
        guard !results.isEmpty else { return true }
        for name in results.keys.sorted() {
            guard let result = results[name] else { continue }
            log.info(
                "workload",
                [
                    "contract": desired.shortID, "name": name, "state": result.state.rawValue,
                    "reason": result.reason ?? "",
                ])
        }
        return await write(
            .result(
                ResultBody(
                    contract: id, version: desired.contract.version, epoch: desired.placement.epoch, workloads: results)
            ),
            id)
    }

    @discardableResult
    private func write(_ body: RecordBody, _ id: Digest) async -> Bool {
        do {
            try await writer.write(body, deadline: .seconds(10))
            return true
        } catch {
            log.warn("result not written", ["contract": id.hex, "reason": "\(error)"])
            // A result that the ledger refuses for good (the contract moved on meanwhile) is not tried for ever.
            if let refusal = error as? LedgerError, refusal.admission != nil { return true }
            return false
        }
    }

    /// `PROVISION.STATUS`: contracts and workloads as this node sees them.
    public func status() async -> JSONValue {
        var contracts: [JSONValue] = []
        for id in reconcilers.keys.sorted() {
            guard let reconciler = reconcilers[id] else { continue }
            let workloads = await reconciler.results().mapValues(\.value)
            contracts.append(["contract": .string(id.hex), "workloads": .object(workloads)])
        }
        return [
            "node": .string(node.address), "height": .integer(state?.height ?? 0), "contracts": .array(contracts),
        ]
    }
}

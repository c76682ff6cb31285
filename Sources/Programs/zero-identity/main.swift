import Identity
import Service

// Holds the node's keys in one small process that signs and opens for the other daemons.
Daemon.main("identity") { context in
    let hardening = Hardening.apply()
    let key = try NodeKey.load("\(context.folder)/node.key")
    context.log.info(
        "hardened", ["undumpable": hardening.isUndumpable, "locked": hardening.isLocked, "node": key.address])
    let service = IdentityService(key) { event in
        switch event {
        case .signed(let purpose, let subject, let account):
            context.metrics.counter("zero_identity_signed_total", "Signatures made.", ["purpose": purpose]).add()
            context.log.debug("signed", ["purpose": purpose, "subject": subject, "for": account])
        case .opened(let contract, let workload, let names, let account):
            context.metrics.counter("zero_identity_opened_total", "Secrets opened.").add(Int64(names.count))
            context.log.info(
                "opened secrets",
                ["contract": contract, "workload": workload, "names": names.joined(separator: ","), "for": account])
        case .refused(let verb, let account, let reason):
            context.metrics.counter("zero_identity_refused_total", "Requests refused.", ["verb": verb]).add()
            context.log.warn("refused", ["verb": verb, "for": account, "reason": reason])
        }
    }
    service.register(on: context.server)
    try await context.serve()
}

internal import Linux
internal import ObjectIndex
internal import Objects
internal import RESP
internal import Synchronization

/// What runs beside the gateway for as long as it does: gaps of the log, lost backends, repair, collection, scrub.
public final class Caretaker: Sendable {
    /// Stripes a round of repair takes, and a round of scrub.
    private static let repairs = 16, scrubs = 32
    private let store: ZeroStore
    private let note: @Sendable (String) -> Void
    private let isStopping = Atomic<Bool>(false)

    /// Begins to take care, on a thread of its own; `note` gets a line for each event.
    public init(_ store: ZeroStore, note: @escaping @Sendable (String) -> Void) {
        (self.store, self.note) = (store, note)
        startThread { self.run() }
    }

    /// Ends it after the round that runs.
    public func stop() { isStopping.store(true, ordering: .relaxed) }

    private func run() {
        var cursor: StripeID?
        var turn: UInt64 = 0
        var isSettled = false
        while !isStopping.load(ordering: .relaxed) {
            let began = Clock.monotonicNanoseconds()
            do throws(ObjectError) {
                try watchBackends()
                store.committer.fillGaps()
                let repaired = try store.repair(limit: Self.repairs)
                if repaired.repaired + repaired.lost.count > 0 {
                    note("repair stripes=\(repaired.stripes) repaired=\(repaired.repaired) lost=\(repaired.lost.count)")
                }
                if !isSettled, store.committer.writes {
                    if let made = try store.settleSnapshot() {
                        note("snapshot height=\(made.height) bytes=\(made.size)")
                    }
                    isSettled = true
                }
                let collected = try store.collect()
                if collected.gone > 0 { note("collected stripes=\(collected.gone)") }
                if turn % 10 == 0 {
                    let (report, last) = try store.scrub(after: cursor, limit: Self.scrubs)
                    cursor = last
                    if report.bad > 0 { note("scrub shards=\(report.shards) bad=\(report.bad)") }
                }
                if turn % 60 == 59, let made = try store.snapshotIfDue() {
                    note("snapshot height=\(made.height) bytes=\(made.size) trimmed=\(made.trimmed)")
                }
                if repaired.repaired > 0 { continue }
            } catch {
                note("care failed: \(error)")
            }
            turn += 1
            let pause = 1_000_000_000 - (Clock.monotonicNanoseconds() - began)
            if pause > 0 { Clock.sleep(nanoseconds: pause) }
        }
    }

    /// Asks every backend whether it is there; who is silent for too long is lost, and who comes back from that is asked what it has.
    private func watchBackends() throws(ObjectError) {
        let backends = store.layout.backends.filter { $0.state != .removed }
        let outcomes = store.backends.perform(
            backends.map { Request($0.number, [Array("PING".utf8)]) }, milliseconds: 3000)
        let now = Clock.monotonicNanoseconds()
        // All are noted before anything is written, which fails while too few of the log answer.
        for (backend, outcome) in zip(backends, outcomes) {
            if outcome?.isAnswered != true {
                store.health.note(backend.number, outcome)
            } else {
                store.health.noteAlive(backend.number)
            }
        }
        for backend in backends {
            guard backend.state == .active, let since = store.health.silentSince(backend.number) else { continue }
            if now - since > Int64(store.settings.lostAfter) * 1_000_000_000 {
                note("backend \(backend.number) lost: silent for \((now - since) / 1_000_000_000) s")
                try store.setBackend(backend.number, .lost)
            }
        }
        for (backend, outcome) in zip(backends, outcomes) where backend.state == .lost && outcome?.isDone == true {
            note("backend \(backend.number) is back")
            try store.setBackend(backend.number, .active)
        }
    }
}

internal import ObjectIndex
internal import Synchronization

/// Chunks and stripes that something under way relies on, in memory: no collector may let them go.
final class Pins: Sendable {
    private struct State {
        var chunks: [ChunkID: Int] = [:]
        var stripes: Set<StripeID> = []
    }
    private let state = Mutex(State())
    /// Held while chunks are looked up and pinned, and while stripes are declared dying: neither can come between the other's steps.
    private let gate = Mutex(())

    /// Runs `body` while nothing is declared dying, or while nothing is looked up.
    func exclusively<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        try gate.withLock { _ throws(Failure) in try body() }
    }

    func pin(_ chunk: ChunkID) { state.withLock { $0.chunks[chunk, default: 0] += 1 } }

    func unpin(_ chunks: [ChunkID]) {
        state.withLock { state in
            for chunk in chunks {
                guard let count = state.chunks[chunk] else { continue }
                state.chunks[chunk] = count > 1 ? count - 1 : nil
            }
        }
    }

    func isPinned(_ chunk: ChunkID) -> Bool { state.withLock { $0.chunks[chunk] != nil } }

    /// A stripe that is being written, or was and is in no entry of the log yet.
    func begin(_ stripe: StripeID) { _ = state.withLock { $0.stripes.insert(stripe) } }
    func end(_ stripe: StripeID) { _ = state.withLock { $0.stripes.remove(stripe) } }
    func isUnderWay(_ stripe: StripeID) -> Bool { state.withLock { $0.stripes.contains(stripe) } }
}

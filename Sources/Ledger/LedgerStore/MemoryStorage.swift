import Synchronization

/// A store in memory, for tests: it can be away, damaged, or cut off at any write.
package final class MemoryStorage: LedgerStorage {
    private struct State {
        var values: [String: [UInt8]] = [:]
        var fence: UInt64 = 0
        var epoch: UInt64 = 0
        var isAway = false
        var writesLeft = Int.max
        var writes = 0
    }
    private let state = Mutex(State())

    package init() {}

    /// The same values for another writer, as after the death of this one.
    package func reopened() -> MemoryStorage {
        let other = MemoryStorage()
        let values = state.withLock { $0.values }
        other.state.withLock { $0.values = values }
        return other
    }

    /// From now on nothing is reached, or it is again.
    package func setAway(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }
    /// After so many more writes nothing is reached any more: the write that is cut off does not happen.
    package func cutOff(afterWrites count: Int) { state.withLock { $0.writesLeft = count } }
    /// How many writes there were.
    package var writes: Int { state.withLock { $0.writes } }
    /// Every key.
    package var keys: [String] { state.withLock { $0.values.keys.sorted() } }
    /// Changes one bit of a value.
    package func flip(_ key: String, byte: Int) { state.withLock { $0.values[key]?[byte] ^= 1 } }

    package func open(epoch: UInt64) throws(StorageError) {
        try use { state throws(StorageError) in
            guard epoch >= state.fence else { throw .fenced("epoch \(state.fence)") }
            (state.fence, state.epoch) = (epoch, epoch)
        }
    }

    package func get(_ key: String) throws(StorageError) -> [UInt8]? {
        try use { state throws(StorageError) in state.values[key] }
    }

    package func create(_ key: String, _ value: [UInt8]) throws(StorageError) {
        try write { state throws(StorageError) in
            if let old = state.values[key], old != value { throw .exists(key: key) }
            state.values[key] = value
        }
    }

    package func replace(_ key: String, _ value: [UInt8]) throws(StorageError) {
        try write { state throws(StorageError) in state.values[key] = value }
    }

    package func remove(_ key: String) throws(StorageError) {
        try write { state throws(StorageError) in state.values[key] = nil }
    }

    private func use<Value: Sendable>(
        _ body: (inout State) throws(StorageError) -> Value
    ) throws(StorageError) -> Value {
        let result: Result<Value, StorageError> = state.withLock { state in
            if state.isAway { return .failure(.away("switched off")) }
            do throws(StorageError) { return .success(try body(&state)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    private func write(_ body: (inout State) throws(StorageError) -> Void) throws(StorageError) {
        try use { state throws(StorageError) in
            guard state.writesLeft > 0 else {
                state.isAway = true
                throw .away("cut off")
            }
            if state.writesLeft != Int.max { state.writesLeft -= 1 }
            state.writes += 1
            try body(&state)
        }
    }
}

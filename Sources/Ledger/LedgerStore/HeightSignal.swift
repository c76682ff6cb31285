import Synchronization

/// Lets many wait until a height is reached.
final class HeightSignal: Sendable {
    private struct State {
        var height: Int64 = 0
        var next = 0
        var waiting: [Int: (height: Int64, continuation: CheckedContinuation<Void, Never>)] = [:]
    }
    private let state = Mutex(State())

    /// Wakes those who wait for this height or a lower one.
    func reached(_ height: Int64) {
        let ready = state.withLock { state in
            state.height = max(state.height, height)
            let ready = state.waiting.filter { $0.value.height <= state.height }
            for id in ready.keys { state.waiting[id] = nil }
            return ready.values.map(\.continuation)
        }
        for continuation in ready { continuation.resume() }
    }

    /// Waits until `height` is reached, `limit` has passed, or the task is cancelled.
    func wait(for height: Int64, limit: Duration) async {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        let timer = Task { [self] in
            try? await Task.sleep(for: limit)
            leave(id)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isWaiting = state.withLock { state in
                    guard state.height < height, !Task.isCancelled else { return false }
                    state.waiting[id] = (height, continuation)
                    return true
                }
                if !isWaiting { continuation.resume() }
            }
        } onCancel: {
            leave(id)
        }
        timer.cancel()
    }

    private func leave(_ id: Int) {
        let continuation = state.withLock { $0.waiting.removeValue(forKey: id)?.continuation }
        continuation?.resume()
    }
}

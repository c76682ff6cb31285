import Synchronization

/// Lets one task at a time through, in the order in which they came.
package final class Turnstile: Sendable {
    private struct Line {
        var isBusy = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let line = Mutex(Line())

    /// A turnstile with nobody in it.
    package init() {}

    /// Waits for one's turn. Every `enter` is followed by one `leave`.
    package func enter() async {
        await withCheckedContinuation { continuation in
            let isFree = line.withLock { line in
                if line.isBusy {
                    line.waiting.append(continuation)
                    return false
                }
                line.isBusy = true
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    /// Lets the next one in.
    package func leave() {
        let next = line.withLock { line -> CheckedContinuation<Void, Never>? in
            if line.waiting.isEmpty {
                line.isBusy = false
                return nil
            }
            return line.waiting.removeFirst()
        }
        next?.resume()
    }
}

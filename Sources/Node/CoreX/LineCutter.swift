internal import Synchronization

/// Cuts pieces of bytes into lines.
final class LineCutter: Sendable {
    private let rest = Mutex<[UInt8]>([])

    /// Calls `body` for every line that is complete, without its end; false as soon as `body` says so.
    func cut(_ bytes: [UInt8], _ body: (ArraySlice<UInt8>) -> Bool) -> Bool {
        rest.withLock { rest in
            rest += bytes
            var start = 0
            while let end = rest[start...].firstIndex(of: 10) {
                if !body(rest[start..<end]) { return false }
                start = end + 1
            }
            rest.removeFirst(start)
            return true
        }
    }
}

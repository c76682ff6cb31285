import CHTTP
import Glibc
import Synchronization

/// The client of a streaming response closed its connection.
public struct HTTPClientGone: Error, Sendable {}

/// Takes the pieces of a streaming response; a fast producer waits for a slow client.
public final class HTTPBodyWriter: Sendable {
    /// Bytes that may wait for the client before `write` suspends.
    private static let bufferMax = 256 << 10

    private struct State {
        var buffer: [UInt8] = []
        var start = 0
        var isFinished = false
        var isBroken = false
        var isGone = false
        var waiting: CheckedContinuation<Void, Never>?
        var count: Int { buffer.count - start }
    }
    private let state = Mutex(State())
    private let gate = Gate()

    /// True when the client went away.
    public var isClosed: Bool { state.withLock { $0.isGone } }

    /// Adds bytes to the body.
    public func write(_ bytes: [UInt8]) async throws {
        if bytes.isEmpty { return }
        let isFull = try state.withLock { state in
            if state.isGone { throw HTTPClientGone() }
            state.buffer.append(contentsOf: bytes)
            return state.count > Self.bufferMax
        }
        gate.open()
        if isFull { await drained() }
        try Task.checkCancellation()
    }

    private func drained() async {
        await withCheckedContinuation { continuation in
            let waits = state.withLock { state in
                if state.isGone || state.count <= Self.bufferMax { return false }
                state.waiting = continuation
                return true
            }
            if !waits { continuation.resume() }
        }
    }

    func finish(broken: Bool) {
        state.withLock {
            $0.isFinished = true
            $0.isBroken = broken
        }
        gate.open()
    }

    /// The client went: whoever writes is told.
    func abandon() {
        let waiting = state.withLock { state in
            state.isGone = true
            state.buffer = []
            state.start = 0
            defer { state.waiting = nil }
            return state.waiting
        }
        waiting?.resume()
        gate.open()
    }

    /// Fills `space`, waiting for bytes; 0 at the end, -1 where the connection is to be broken off.
    func read(_ space: UnsafeMutableRawBufferPointer, isGone: () -> Bool) -> Int {
        while true {
            let (count, waiting) = state.withLock { (state: inout State) in
                let taken = Self.take(&state, space)
                guard state.count <= Self.bufferMax / 2 else {
                    return (taken, nil as CheckedContinuation<Void, Never>?)
                }
                defer { state.waiting = nil }
                return (taken, state.waiting)
            }
            waiting?.resume()
            if let count { return count }
            // A client that closes is noticed within a second, also when nothing is being sent.
            if !gate.pass(milliseconds: 1000), isGone() { return -1 }
        }
    }

    private static func take(_ state: inout State, _ space: UnsafeMutableRawBufferPointer) -> Int? {
        if state.isGone || state.isBroken { return -1 }
        if state.count == 0 { return state.isFinished ? 0 : nil }
        let count = min(state.count, space.count)
        space.copyBytes(from: state.buffer[state.start..<state.start + count])
        state.start += count
        if state.start == state.buffer.count {
            state.buffer.removeAll(keepingCapacity: state.buffer.count <= bufferMax)
            state.start = 0
        } else if state.start > bufferMax {
            state.buffer.removeFirst(state.start)
            state.start = 0
        }
        return count
    }
}

/// Lets one thread wait for another.
final class Gate: @unchecked Sendable {  // the C gate has a lock of its own
    private let raw: OpaquePointer = zg_gate_new()
    deinit { zg_gate_free(raw) }
    func open() { zg_gate_open(raw) }
    func pass(milliseconds: UInt32) -> Bool { zg_gate_pass(raw, milliseconds) == 1 }
}

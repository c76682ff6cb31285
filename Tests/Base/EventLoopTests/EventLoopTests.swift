import CLinux
import Glibc
import Linux
import Testing

@testable import EventLoop

private func pair() -> (Int32, Int32) {
    var ends: [Int32] = [-1, -1]
    #expect(zg_socket_pair(&ends) == 0)
    return (ends[0], ends[1])
}

@Test func readinessComesWithItsToken() throws {
    var loop = try EventLoop()
    let (a, b) = pair()
    defer { close(a) }
    try loop.add(a, [.readable, .peerClosed], token: 7)
    #expect(try loop.wait(milliseconds: 0) == 0)
    #expect(write(b, "x", 1) == 1)
    #expect(try loop.wait(milliseconds: 1000) == 1)
    #expect(loop[0] == Event(token: 7, readiness: .readable))
    try loop.change(a, [.writable], token: 8)
    #expect(try loop.wait(milliseconds: 1000) == 1)
    #expect(loop[0] == Event(token: 8, readiness: .writable))
    try loop.change(a, [.readable, .peerClosed], token: 9)
    close(b)
    #expect(try loop.wait(milliseconds: 1000) == 1)
    #expect(loop[0].readiness.isSuperset(of: [.readable, .peerClosed, .hangup]))
    loop.remove(a)
    loop.remove(a)
    #expect(try loop.wait(milliseconds: 20) == 0)
    #expect(throws: SystemError.self) { try loop.add(-1, .readable, token: 1) }
}

@Test func anEdgeIsToldOnce() throws {
    var loop = try EventLoop()
    let (a, b) = pair()
    defer {
        close(a)
        close(b)
    }
    try loop.add(a, [.readable, .edge], token: 1)
    #expect(write(b, "x", 1) == 1)
    #expect(try loop.wait(milliseconds: 1000) == 1)
    #expect(try loop.wait(milliseconds: 20) == 0)
    #expect(write(b, "x", 1) == 1)
    #expect(try loop.wait(milliseconds: 1000) == 1)
}

@Test func aWakeUpIsNotLost() throws {
    var loop = try EventLoop()
    let wakeup = loop.wakeup
    for _ in 0..<3 { wakeup.signal() }
    #expect(try loop.wait(milliseconds: 1000) == 0)
    #expect(loop.wasWoken == true)
    #expect(try loop.wait(milliseconds: 10) == 0)
    #expect(loop.wasWoken == false)
    startThread {
        usleep(50_000)
        wakeup.signal()
    }
    let start = Clock.monotonicNanoseconds()
    #expect(try loop.wait(milliseconds: 10_000) == 0)
    #expect(loop.wasWoken == true)
    #expect(Clock.monotonicNanoseconds() - start < 5_000_000_000)
}

@Test func moreEventsThanOneWaitTakes() throws {
    var loop = try EventLoop()
    let pairs = (0..<200).map { _ in pair() }
    defer { for (a, b) in pairs { close(a); close(b) } }
    var seen = Set<UInt64>()
    for (index, ends) in pairs.enumerated() {
        try loop.add(ends.0, [.writable, .edge], token: UInt64(index * 2))
        try loop.add(ends.1, [.writable, .edge], token: UInt64(index * 2 + 1))
    }
    while seen.count < 400 {
        let count = try loop.wait(milliseconds: 1000)
        #expect(count > 0 && count <= EventLoop.eventsMax)
        if count == 0 { break }
        for index in 0..<count { seen.insert(loop[index].token) }
    }
    #expect(seen.count == 400)
}

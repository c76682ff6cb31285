import Testing

@testable import ZeroDB

/// Two things of one token once made the loop take the derived password for the master's socket: nobody was ever answered.
@Test("what the loop waits for is told apart by its token") func tokens() {
    // 1 and 2 are the signals' and the background sync's; listeners begin at 16.
    let tokens = [1, 2, Server.wakeToken, Server.timerToken, Server.hookToken, Server.upstreamToken]
    #expect(Set(tokens).count == tokens.count)
    #expect(tokens.allSatisfy { $0 < 16 })
}

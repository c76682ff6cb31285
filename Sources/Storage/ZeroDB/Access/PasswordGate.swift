internal import Bytes
internal import CLinux
internal import Crypto
internal import LogEngine

/// Who may come in with which password: verifiers, challenges, the rate of attempts, what is being derived.
///
/// Deriving never happens on the loop: a connection is paused until its derivation is done, so that its pipeline keeps
/// its order; see `Server+Authentication.swift`.
struct PasswordGate {
    /// Whose password it is.
    enum Subject: Equatable {
        case administrator
        case namespace([UInt8])

        /// The user's name on the wire.
        var name: [UInt8] {
            switch self {
            case .administrator: Array("admin".utf8)
            case .namespace(let name): name
            }
        }
    }

    /// What is to happen when a password was right.
    enum Purpose {
        /// `AUTH`, and `SELECT` with a password.
        case access(Subject)
        /// `HELLO n AUTH`: the protocol and the name that go with it.
        case hello(Subject, isResp3: Bool, name: [UInt8]?)
        /// `NSSET name password`.
        case change(namespace: UInt32)
    }

    struct Waiting {
        let ticket: UInt64
        let connection: UInt64
        let descriptor: Int32
        let address: [UInt8]
        let purpose: Purpose
    }

    struct Challenge {
        let connection: UInt64
        let user: [UInt8]
        let line: [UInt8]
        let verifier: PasswordVerifier
        let isReal: Bool
        let made: UInt64
    }

    /// How long a challenge can be answered.
    static let challengeNanoseconds: UInt64 = 60_000_000_000

    let thread: DerivationThread
    /// What decoys are made from; the same for all processes of the device.
    let secret: [UInt8]
    /// The administrator's password; nil: none, and whoever reaches the port administrates.
    var administrator: PasswordVerifier?
    var limiter = AttemptLimiter()
    private var waiting: [UInt64: Waiting] = [:]
    private var challenges: [Int32: Challenge] = [:]
    private var nextTicket: UInt64 = 1

    init(wake: Int32, secret: [UInt8], administrator: PasswordVerifier?) {
        thread = DerivationThread(wake: wake)
        (self.secret, self.administrator) = (secret, administrator)
    }

    /// Whether whoever comes in over TCP has to say who it is before it may administrate.
    var isRequired: Bool { administrator != nil }

    /// Begins to check (or, with a nil verifier, to make) a password; false if too many wait.
    mutating func begin(
        _ purpose: Purpose, _ password: [UInt8], _ verifier: PasswordVerifier?, connection: UInt64, descriptor: Int32,
        address: [UInt8]
    ) -> Bool {
        let ticket = nextTicket
        guard thread.submit(.init(ticket: ticket, password: password, verifier: verifier)) else { return false }
        nextTicket += 1
        waiting[ticket] = Waiting(
            ticket: ticket, connection: connection, descriptor: descriptor, address: address, purpose: purpose)
        return true
    }

    /// What was derived since the last call.
    mutating func collect() -> [(Waiting, DerivationThread.Outcome)] {
        thread.collect().compactMap { done in
            waiting.removeValue(forKey: done.ticket).map { ($0, done.outcome) }
        }
    }

    func decoy(_ name: [UInt8]) -> PasswordVerifier { PasswordVerifier(decoy: name, secret: secret) }

    // MARK: Challenges

    /// A challenge of one use: `nonce:salt:kibibytes:passes`, the first two in hexadecimal digits.
    mutating func challenge(
        _ user: [UInt8], _ verifier: PasswordVerifier?, connection: UInt64, descriptor: Int32, now: UInt64
    ) -> [UInt8] {
        let used = verifier ?? decoy(user)
        let text = "\(Hex.encode(Random.bytes(16))):\(Hex.encode(used.salt)):\(used.kibibytes):\(used.passes)"
        challenges[descriptor] = Challenge(
            connection: connection, user: user, line: Array(text.utf8), verifier: used, isReal: verifier != nil,
            made: now)
        return Array(text.utf8)
    }

    /// Uses up a connection's challenge; the server's signature and the user if the proof is right.
    mutating func answer(
        _ proof: [UInt8], _ clientNonce: [UInt8], connection: UInt64, descriptor: Int32, now: UInt64
    ) -> (user: [UInt8], signature: [UInt8])? {
        guard let challenge = challenges.removeValue(forKey: descriptor), challenge.connection == connection,
            now &- challenge.made < Self.challengeNanoseconds,
            let bytes = Hex.decode(String(decoding: proof, as: UTF8.self))
        else { return nil }
        let message = challenge.user + [44] + challenge.line + [44] + clientNonce
        guard challenge.verifier.accepts(proof: bytes, message: message), challenge.isReal else { return nil }
        return (challenge.user, challenge.verifier.signature(message: message))
    }

    /// A connection has ended.
    mutating func forget(_ descriptor: Int32) { if !challenges.isEmpty { challenges[descriptor] = nil } }
}

internal import CLinux
internal import Crypto
internal import Linux
internal import Synchronization

/// One thread that does what takes tens of milliseconds: deriving keys from passwords.
final class DerivationThread: Sendable {
    /// What is to be done, for whom.
    struct Job: Sendable {
        let ticket: UInt64
        var password: [UInt8]
        /// What to compare with; nil: make a new verifier.
        let verifier: PasswordVerifier?
    }

    enum Outcome: Sendable {
        case checked(Bool)
        case made(PasswordVerifier?)
    }

    /// Jobs that may wait: 25 seconds of them.
    static let waitingMax = 1024
    /// Passwords that were right lately and are recognised without deriving again, for pools of connections.
    private static let recognisedMax = 1024

    private struct State {
        var waiting: [Job] = []
        var done: [(ticket: UInt64, outcome: Outcome)] = []
        var isStarted = false
        var isStopping = false
    }
    private let state = Mutex(State())
    private let work: Int32
    private let wake: Int32

    /// `wake` is an eventfd that is signalled when something is done.
    init(wake: Int32) {
        self.wake = wake
        work = zg_eventfd()
    }

    /// Ends the thread; what waits is dropped.
    func stop() {
        state.withLock { $0.isStopping = true }
        _ = zg_eventfd_signal(work)
    }

    /// Takes a job; false if too many wait.
    func submit(_ job: Job) -> Bool {
        let (isTaken, starts) = state.withLock { state in
            guard state.waiting.count < Self.waitingMax else { return (false, false) }
            state.waiting.append(job)
            defer { state.isStarted = true }
            return (true, !state.isStarted)
        }
        // Who never uses passwords has no thread for them.
        if starts { startThread { self.run() } }
        if isTaken { _ = zg_eventfd_signal(work) }
        return isTaken
    }

    /// What was done since the last call.
    func collect() -> [(ticket: UInt64, outcome: Outcome)] {
        state.withLock { state in
            defer { state.done = [] }
            return state.done
        }
    }

    private func run() {
        let secret = Random.bytes(32)
        var recognised: [[UInt8]: [UInt8]] = [:]
        while true {
            let next: Job? = state.withLock { state in
                if state.isStopping || state.waiting.isEmpty { return nil }
                return state.waiting.removeFirst()
            }
            if state.withLock({ $0.isStopping }) { return }
            guard var job = next else {
                _ = zg_poll(work, UInt32(ZG_READABLE), -1)
                _ = zg_eventfd_clear(work)
                continue
            }
            let outcome = Self.perform(job, secret, &recognised)
            wipe(&job.password)
            state.withLock { $0.done.append((job.ticket, outcome)) }
            _ = zg_eventfd_signal(wake)
        }
    }

    private static func perform(
        _ job: Job, _ secret: [UInt8], _ recognised: inout [[UInt8]: [UInt8]]
    ) -> Outcome {
        guard let verifier = job.verifier else {
            return .made(try? PasswordVerifier(password: job.password, salt: Random.bytes(16)))
        }
        // Keyed by this process and by the verifier: a changed password is not recognised any more.
        let tag = HMAC.sha256(key: secret, verifier.encoded + job.password)
        if let known = recognised[verifier.stored], equalInConstantTime(known, tag) { return .checked(true) }
        let isRight = verifier.matches(job.password)
        if isRight {
            if recognised.count >= recognisedMax { recognised = [:] }
            recognised[verifier.stored] = tag
        }
        return .checked(isRight)
    }
}

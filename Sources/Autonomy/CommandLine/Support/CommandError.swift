import Bus
import Contracts
import Crypto
import Linux

/// What a program that runs `zero` can rely on. The numbers never change; `Documentation/guides/command-line.md` lists them.
public enum ExitCode: Int32, Sendable, CaseIterable {
    /// Done.
    case ok = 0
    /// It went wrong: a workload failed, a file could not be written, a daemon reported an error.
    case failed = 1
    /// The command line was not understood.
    case usage = 2
    /// The ledger or a node refused it, with a reason.
    case refused = 3
    /// It waits: for approvals, or the time that was given ran out.
    case waiting = 4
    /// The grid or its ledger does not answer.
    case unreachable = 5
    /// There is no such contract, image, workload or identity.
    case notFound = 6
    /// A contract file or an image is not right; the error names its place.
    case invalid = 7
    /// A key cannot be used: passphrase missing or wrong, or a file that others can read.
    case locked = 8
    /// It is there already and would be overwritten.
    case exists = 9
    /// Interrupted with Ctrl-C; what was begun goes on by itself.
    case interrupted = 130
}

/// Why a command ends without its result: what, why, what to try next.
struct CommandError: Error, CustomStringConvertible {
    var exit: ExitCode
    var what: String
    var why: String?
    var next: String?
    /// What the process ends with where that is not the exit code's: the 126 and 127 of `exec`.
    var status: Int32?

    init(_ exit: ExitCode, _ what: String, why: String? = nil, next: String? = nil) {
        (self.exit, self.what, self.why, self.next) = (exit, what, why, next)
    }

    /// Lines for people.
    var description: String {
        var text = what
        if let why { text += "\n  why:  " + why.replacing("\n", with: "\n        ") }
        if let next { text += "\n  next: " + next }
        return text
    }

    /// Any error as one that a person can act on.
    init(_ error: any Error) {
        switch error {
        case let error as CommandError: self = error
        case let error as ContractSourceError: self.init(.invalid, "\(error)")
        case let error as ContractError: self.init(.invalid, "\(error)")
        case let error as CryptoError: self.init(.locked, "\(error)")
        case let error as BusError where error.isTransport:
            self.init(
                .unreachable, "the grid does not answer", why: error.message,
                next: "`zero up`, or `zero status` to see what runs")
        case let error as BusError: self.init(.failed, "a daemon refused", why: "\(error)", next: "`zero status`")
        case let error as SystemError where error.errno == .notFound: self.init(.notFound, "\(error)")
        case is CancellationError: self.init(.interrupted, "interrupted")
        default: self.init(.failed, "\(error)")
        }
    }
}

import Crypto
import Linux
import Synchronization
import Terminal

/// Where passphrases come from: a file that is named, the environment, or a person, who is asked once.
final class Passphrase: Sendable {
    /// Argon2id makes guessing dear, not impossible.
    static let lengthMin = 8

    private let context: Context
    private let typed = Mutex<[String: [UInt8]]>([:])

    init(_ context: Context) { self.context = context }

    /// The passphrase of daily work.
    func daily(for name: String) throws -> [UInt8] {
        try find(
            file: context.invocation.option("passphrase-file"), variable: "ZERO_PASSPHRASE",
            question: "Passphrase of `\(name)`")
    }

    /// The passphrase of the owner key; the daily one unless another is given.
    func owner(for name: String) throws -> [UInt8] {
        if context.invocation.option("owner-passphrase-file") != nil
            || Environment.value("ZERO_OWNER_PASSPHRASE") != nil
        {
            return try find(
                file: context.invocation.option("owner-passphrase-file"), variable: "ZERO_OWNER_PASSPHRASE",
                question: "Owner passphrase of `\(name)`")
        }
        return try daily(for: name)
    }

    /// Whether one can be had without asking.
    var isGiven: Bool {
        context.invocation.option("passphrase-file") != nil || Environment.value("ZERO_PASSPHRASE") != nil
    }

    /// A passphrase for something new: long enough, and typed twice where it is typed.
    func new(for name: String) throws -> [UInt8] {
        let first = try daily(for: "\(name) (new, at least \(Passphrase.lengthMin) characters)")
        guard first.count >= Passphrase.lengthMin else {
            throw CommandError(
                .locked, "the passphrase is too short", why: "at least \(Passphrase.lengthMin) characters are asked for"
            )
        }
        if !isGiven, context.console.secret("Again") != first {
            throw CommandError(.locked, "the passphrases differ", next: "try again")
        }
        return first
    }

    private func find(file: String?, variable: String, question: String) throws -> [UInt8] {
        if let file {
            var bytes = try KeyFile.readPrivate(Home.absolute(file), limit: 4_096)
            while bytes.last == 0x0A || bytes.last == 0x0D { bytes.removeLast() }
            return bytes
        }
        if let value = Environment.value(variable) { return Array(value.utf8) }
        if let known = typed.withLock({ $0[variable] }) { return known }
        guard let answer = context.console.secret(question) else {
            throw CommandError(
                .locked, "no passphrase", why: "nobody is there to type it",
                next: "set $\(variable) or add --passphrase-file FILE (mode 600)")
        }
        typed.withLock { $0[variable] = answer }
        return answer
    }
}

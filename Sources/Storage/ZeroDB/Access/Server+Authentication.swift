import Bytes
import CLinux
import Crypto
import LogEngine

/// Passwords on the wire: `AUTH`, `SELECT` and `HELLO` with one, `NSSET password`.
///
/// The commands call `authenticate`, `select(withPassword…)`, `changePassword`; each either answers at once or pauses the
/// connection, and `finishDerivations` answers later.
extension Server {
    // MARK: What a namespace lets in without a password

    /// What a connection may do in a namespace for which it gave no password; nil: nothing.
    func openRole(_ namespace: UInt32) -> UInt8? {
        guard let settings = engine.information(namespace)?.settings else { return nil }
        if settings.passwordVerifier.isEmpty { return Role.readWrite }
        return settings.isPublic ? Role.readOnly : nil
    }

    /// The subject that a user's name means; `default` is the administrator where that namespace has no password,
    /// because clients send it when they are only given a password.
    private func subject(_ connection: UnsafeMutablePointer<Connection>, _ user: [UInt8]?) -> PasswordGate.Subject {
        let ordinary = Array("default".utf8)
        if let user, user != ordinary { return user == Array("admin".utf8) ? .administrator : .namespace(user) }
        if connection.pointee.isBound, let name = boundName(connection) { return .namespace(name) }
        if user != nil, verifier(.namespace(ordinary)) != nil { return .namespace(ordinary) }
        return .administrator
    }

    private func boundName(_ connection: UnsafeMutablePointer<Connection>) -> [UInt8]? {
        engine.information(connection.pointee.boundNamespace)?.name
    }

    private func verifier(_ subject: PasswordGate.Subject) -> PasswordVerifier? {
        switch subject {
        case .administrator: return gate.administrator
        case .namespace(let name):
            guard let settings = engine.namespace(named: name).flatMap({ engine.information($0)?.settings }) else {
                return nil
            }
            return PasswordVerifier(encoded: settings.passwordVerifier)
        }
    }

    /// A connection that belongs to one namespace cannot become another's.
    private func mayBecome(_ connection: UnsafeMutablePointer<Connection>, _ subject: PasswordGate.Subject) -> Bool {
        guard connection.pointee.isBound else { return true }
        if case .namespace(let name) = subject { return name == boundName(connection) }
        return false
    }

    // MARK: AUTH

    /// `AUTH password`, `AUTH user password`, `AUTH SECURE CHALLENGE [user]`, `AUTH SECURE proof [client-nonce]`
    mutating func authenticate(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        if count >= 3, count <= 4, arguments[1].isWord("SECURE") {
            if arguments[2].isWord("CHALLENGE") {
                let user = count == 4 ? arguments[3].array : nil
                sendChallenge(connection, subject(connection, user))
            } else if let user = acceptProof(connection, arguments[2], count == 4 ? arguments[3] : nil),
                admit(connection, user.subject)
            {
                answerProof(connection, user.signature, isMutual: count == 4)
            }
            return
        }
        guard count == 2 || count == 3 else {
            fail(
                connection,
                "ERR syntax: AUTH [user] password | AUTH SECURE CHALLENGE [user] | AUTH SECURE proof [nonce]")
            return
        }
        let subject = subject(connection, count == 3 ? arguments[1].array : nil)
        if subject == .administrator, gate.administrator == nil {
            fail(connection, "ERR Authentication disabled")
            return
        }
        check(connection, subject, arguments[count - 1], .access(subject))
    }

    /// `HELLO n AUTH user password`, once its other options were read.
    mutating func hello(
        _ connection: UnsafeMutablePointer<Connection>, user: Argument, password: Argument, isResp3: Bool,
        name: [UInt8]?
    ) {
        let subject = subject(connection, user.array)
        if subject == .administrator, gate.administrator == nil {
            fail(connection, "ERR Authentication disabled")
            return
        }
        check(connection, subject, password, .hello(subject, isResp3: isResp3, name: name))
    }

    /// `SELECT namespace` by who is not the administrator.
    mutating func selectOpen(_ connection: UnsafeMutablePointer<Connection>, _ name: [UInt8]) {
        let id = engine.namespace(named: name)
        if let id, id == connection.pointee.namespace {
            connection.pointee.ok()
        } else if connection.pointee.isBound, id != connection.pointee.boundNamespace {
            fail(connection, "DENIED this connection is bound to its namespace")
        } else if let id, let role = openRole(id) {
            guard hasRoom(id) else {
                fail(connection, Self.tooManyConnections)
                return
            }
            (connection.pointee.namespace, connection.pointee.role) = (id, role)
            connection.pointee.ok()
        } else {
            // Whether it exists is nobody's business who may not use it.
            fail(connection, "DENIED there is no such namespace, or it needs a password")
        }
    }

    /// `SELECT namespace password`
    mutating func select(_ connection: UnsafeMutablePointer<Connection>, _ name: [UInt8], password: Argument) {
        let subject = PasswordGate.Subject.namespace(name)
        check(connection, subject, password, .access(subject))
    }

    /// `SELECT namespace SECURE proof [client-nonce]`
    mutating func select(
        _ connection: UnsafeMutablePointer<Connection>, _ name: [UInt8], proof: Argument, nonce: Argument?
    ) {
        guard let user = acceptProof(connection, proof, nonce) else { return }
        guard user.subject == .namespace(name) else {
            denyAccess(connection)
            return
        }
        guard admit(connection, user.subject) else { return }
        answerProof(connection, user.signature, isMutual: nonce != nil)
    }

    /// `NSSET namespace password P`; `*` takes the password away.
    mutating func changePassword(
        _ connection: UnsafeMutablePointer<Connection>, _ namespace: UInt32, _ password: Argument
    ) {
        if password.count == 1, password.bytes[0] == UInt8(ascii: "*") {
            storePassword(connection, namespace, [])
            return
        }
        guard isPossible(connection, password) else { return }
        pause(connection, .change(namespace: namespace), password, nil, address: [])
    }

    // MARK: Plain passwords

    private mutating func isPossible(_ connection: UnsafeMutablePointer<Connection>, _ password: Argument) -> Bool {
        let isPossible = (1...PasswordVerifier.passwordBytesMax).contains(password.count)
        if !isPossible { fail(connection, "ERR a password has 1 to 512 bytes") }
        return isPossible
    }

    private mutating func check(
        _ connection: UnsafeMutablePointer<Connection>, _ subject: PasswordGate.Subject, _ password: Argument,
        _ purpose: PasswordGate.Purpose
    ) {
        guard isPossible(connection, password), let address = takeAttempt(connection) else { return }
        // Who does not exist or has no password takes as long.
        let verifier = mayBecome(connection, subject) ? verifier(subject) : nil
        pause(connection, purpose, password, verifier ?? gate.decoy(subject.name), address: address)
    }

    /// One attempt of the peer's address; nil if there were too many, which was answered.
    private mutating func takeAttempt(_ connection: UnsafeMutablePointer<Connection>) -> [UInt8]? {
        var address = [UInt8](repeating: 0, count: 17)
        _ = zg_db_peer_address(connection.pointee.descriptor, &address)
        guard let wait = gate.limiter.take(address, now: monotonic) else { return address }
        counters.attemptsLimited += 1
        fail(connection, "RATE too many wrong passwords from this address: wait \(wait) s")
        return nil
    }

    private mutating func pause(
        _ connection: UnsafeMutablePointer<Connection>, _ purpose: PasswordGate.Purpose, _ password: Argument,
        _ verifier: PasswordVerifier?, address: [UInt8]
    ) {
        let isTaken = gate.begin(
            purpose, password.array, verifier, connection: connection.pointee.id,
            descriptor: connection.pointee.descriptor, address: address)
        guard isTaken else {
            fail(connection, "BUSY too many passwords are being checked: try again")
            return
        }
        connection.pointee.isPaused = true
    }

    /// Answers the connections whose passwords were derived, and lets them go on.
    mutating func finishDerivations() {
        for (waiting, outcome) in gate.collect() {
            guard let connection = connections[Int(waiting.descriptor)], connection.pointee.id == waiting.connection
            else { continue }
            connection.pointee.isPaused = false
            switch (outcome, waiting.purpose) {
            case (.checked(true), .access(let subject)):
                gate.limiter.giveBack(waiting.address, now: monotonic)
                if admit(connection, subject) { connection.pointee.ok() }
            case (.checked(true), .hello(let subject, let isResp3, let name)):
                gate.limiter.giveBack(waiting.address, now: monotonic)
                if admit(connection, subject) {
                    connection.pointee.isResp3 = isResp3
                    if let name { names[connection.pointee.descriptor] = name }
                    greet(connection)
                }
            case (.made(let verifier?), .change(let namespace)):
                storePassword(connection, namespace, verifier.encoded)
            case (.made, _): fail(connection, "ERR there is no memory to derive the password's verifier")
            default: denyAccess(connection)
            }
            resume(connection)
        }
    }

    private mutating func storePassword(
        _ connection: UnsafeMutablePointer<Connection>, _ namespace: UInt32, _ verifier: [UInt8]
    ) {
        guard var settings = engine.information(namespace)?.settings else {
            fail(connection, LogError.noNamespace)
            return
        }
        settings.passwordVerifier = verifier
        do throws(LogError) {
            try engine.changeNamespace(namespace, settings, time: now)
            hook(
                "namespace-updated",
                [engine.information(namespace).map { String(decoding: $0.name, as: UTF8.self) } ?? ""])
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    // MARK: Challenges

    private mutating func sendChallenge(
        _ connection: UnsafeMutablePointer<Connection>, _ subject: PasswordGate.Subject
    ) {
        if subject == .administrator, gate.administrator == nil {
            fail(connection, "ERR Authentication disabled")
            return
        }
        let verifier = mayBecome(connection, subject) ? verifier(subject) : nil
        let line = gate.challenge(
            subject.name, verifier, connection: connection.pointee.id, descriptor: connection.pointee.descriptor,
            now: monotonic)
        connection.pointee.put("+")
        line.withUnsafeBytes { connection.pointee.put(bytes: $0) }
        connection.pointee.put("\r\n")
    }

    private mutating func acceptProof(
        _ connection: UnsafeMutablePointer<Connection>, _ proof: Argument, _ nonce: Argument?
    ) -> (subject: PasswordGate.Subject, signature: [UInt8])? {
        guard proof.count <= 64, (nonce?.count ?? 0) <= 128 else {
            fail(connection, "ERR a proof has 64 hexadecimal digits, a client's nonce at most 128 bytes")
            return nil
        }
        guard let address = takeAttempt(connection) else { return nil }
        let answer = gate.answer(
            proof.array, nonce?.array ?? [], connection: connection.pointee.id,
            descriptor: connection.pointee.descriptor, now: monotonic)
        guard let answer else {
            denyAccess(connection)
            return nil
        }
        gate.limiter.giveBack(address, now: monotonic)
        let isAdministrator = answer.user == PasswordGate.Subject.administrator.name
        return (isAdministrator ? .administrator : .namespace(answer.user), answer.signature)
    }

    private func answerProof(_ connection: UnsafeMutablePointer<Connection>, _ signature: [UInt8], isMutual: Bool) {
        if isMutual { connection.pointee.bulk(Hex.encode(signature)) } else { connection.pointee.ok() }
    }

    // MARK: In and out

    /// The connection is who it said: from here on it may do what its password allows. False if its namespace has no room, or
    /// is gone, which was answered.
    private mutating func admit(
        _ connection: UnsafeMutablePointer<Connection>, _ subject: PasswordGate.Subject
    ) -> Bool {
        switch subject {
        case .administrator:
            connection.pointee.role = Role.admin
            if connection.pointee.namespace == 0, let id = engine.namespace(named: Array("default".utf8)) {
                connection.pointee.namespace = id
            }
        case .namespace(let name):
            guard let id = engine.namespace(named: name) else {
                fail(connection, LogError.noNamespace)
                return false
            }
            guard id == connection.pointee.namespace || hasRoom(id) else {
                fail(connection, Self.tooManyConnections)
                return false
            }
            connection.pointee.namespace = id
            connection.pointee.role = Role.readWrite
        }
        counters.logins += 1
        return true
    }

    private mutating func denyAccess(_ connection: UnsafeMutablePointer<Connection>) {
        counters.loginsRefused += 1
        fail(connection, "WRONGPASS access denied")
    }
}

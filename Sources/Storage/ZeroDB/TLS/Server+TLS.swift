import CLinux
import CTLS
import Glibc
import LogEngine

/// TLS over the loop's own non-blocking sockets: OpenSSL reads and writes the connection's buffers.
extension Server {
    /// A record of TLS holds at most so much; with room for one nothing decrypted stays behind inside OpenSSL, where
    /// epoll would not tell of it.
    private static let recordBytes = 16 << 10

    /// What `recv` is to other connections.
    @inline(never)
    mutating func receiveSpecially(_ connection: UnsafeMutablePointer<Connection>, _ room: Int) -> Int {
        if let tls = connection.pointee.tls {
            connection.pointee.readsShort = true
            return receiveEncrypted(connection, tls)
        }
        return receiveWithDescriptor(connection, room)
    }

    private mutating func receiveEncrypted(_ connection: UnsafeMutablePointer<Connection>, _ tls: OpaquePointer) -> Int
    {
        connection.pointee.reserveInput(Self.recordBytes * 2)
        var total = 0
        while connection.pointee.inputCapacity - connection.pointee.inputEnd - total >= Self.recordBytes {
            let at = connection.pointee.input + connection.pointee.inputEnd + total
            let got = zg_tls_receive(tls, at, Self.recordBytes)
            if got > 0 {
                total += got
                if total >= Limits.readBytes { break }
                continue
            }
            // What came before the end is executed first; the end is met again.
            if total > 0 { break }
            if got == -Int(EPROTO) { noteFailure(connection) }
            return got
        }
        if !connection.pointee.isEstablished {
            connection.pointee.isEstablished = true
            identify(connection, tls)
        }
        return total
    }

    private mutating func noteFailure(_ connection: UnsafeMutablePointer<Connection>) {
        var problem = [CChar](repeating: 0, count: 256)
        zg_tls_problem(&problem, problem.count)
        counters.tlsFailures += 1
        if connection.pointee.isEstablished { return }
        let text = String(decoding: problem.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        EventLog.warning("tls_refused", "client=\(connection.pointee.id) reason=\"\(text)\"")
    }

    /// A certificate that names a namespace is worth as much as its password.
    private mutating func identify(_ connection: UnsafeMutablePointer<Connection>, _ tls: OpaquePointer) {
        guard let allowances = settings.tls?.allowances, !allowances.isEmpty else { return }
        var name = [CChar](repeating: 0, count: 256)
        let count = zg_tls_subject(tls, &name, name.count)
        let subject = String(decoding: name.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let allowed = allowances.first(where: { $0.subject == subject }) else { return }
        let id = engine.namespace(named: Array(allowed.namespace.utf8)) ?? 0
        connection.pointee.bind(to: id, allowed.isReadOnly ? Role.readOnly : Role.readWrite)
        // Its first command already finds the namespace among the tenants.
        if hasRoom(id) {
            attach(connection)
        } else {
            fail(connection, Self.tooManyConnections)
            connection.pointee.isClosing = true
        }
    }

    /// Begins TLS on a new connection; false if there is none.
    func encrypt(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
        guard let tls, let made = zg_tls_accept(tls.raw, connection.pointee.descriptor) else { return false }
        connection.pointee.tls = made
        connection.pointee.isEstablished = false
        return true
    }
}

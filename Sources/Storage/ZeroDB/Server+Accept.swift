import CLinux
import Glibc
import LogEngine

extension Server {
    /// What a namespace's connections over their limit are told.
    static let tooManyConnections = "MAXCLIENTS the namespace has all the connections it may have"

    /// Takes new connections; who may not come in is told so.
    mutating func accept(_ listener: Listener) {
        for _ in 0..<64 {
            let descriptor = zg_accept(listener.descriptor)
            if descriptor == -EMFILE || descriptor == -ENFILE {
                shed(listener)
                return
            }
            if descriptor < 0 { return }
            guard Int(descriptor) < connectionCapacity, connectionCount < settings.limits.clients else {
                refuse(descriptor, "ERR max number of clients reached")
                continue
            }
            guard let access = access(listener, descriptor) else {
                refuse(descriptor, "DENIED this account has no namespace here")
                continue
            }
            guard hasRoom(access.namespace) else {
                refuse(descriptor, Self.tooManyConnections)
                continue
            }
            if listener.isTCP { zg_db_nodelay(descriptor) }
            admit(descriptor, access, listener)
        }
    }

    private mutating func admit(_ descriptor: Int32, _ access: Access, _ listener: Listener) {
        let connection = UnsafeMutablePointer<Connection>.allocate(capacity: 1)
        connection.initialize(
            to: Connection(
                descriptor: descriptor, id: nextConnection, namespace: access.namespace, role: access.role,
                bound: access.bound))
        connection.pointee.takesDescriptors = !listener.isTCP && access.role == Role.admin
        connection.pointee.receivesSpecially = connection.pointee.takesDescriptors || listener.isTLS
        attach(connection)
        nextConnection += 1
        connections[Int(descriptor)] = connection
        connectionCount += 1
        operations.descriptorMax = max(operations.descriptorMax, Int(descriptor))
        (connection.pointee.activeAt, connection.pointee.sentAt) = (monotonic, monotonic)
        armTimer()
        counters.accepted += 1
        if listener.isTLS, !encrypt(connection) {
            close(connection)
            return
        }
        let token = Self.connectionToken | UInt64(descriptor)
        if zg_epoll_control(epoll, 1, descriptor, Self.interest, token) < 0 { close(connection) }
    }

    /// What a new connection may do; namespace 0 is none, until it gives a password.
    private struct Access {
        var namespace: UInt32
        var role: UInt8
        var bound: UInt32 = 0
    }

    /// What a namespace lets in without a password.
    private func open(_ namespace: UInt32, bound: UInt32) -> Access {
        guard let role = openRole(namespace) else {
            return Access(namespace: 0, role: Role.readOnly, bound: bound)
        }
        return Access(namespace: namespace, role: role, bound: bound)
    }

    private func access(_ listener: Listener, _ descriptor: Int32) -> Access? {
        let ordinary = engine.namespace(named: Array("default".utf8)) ?? 1
        let administrator = Access(namespace: ordinary, role: Role.admin)
        if case .admin = listener.kind { return gate.isRequired ? open(ordinary, bound: 0) : administrator }
        if case .handed(let name, _) = listener.kind {
            return engine.namespace(named: name).map { open($0, bound: $0) }
        }
        var (pid, uid, gid): (Int32, UInt32, UInt32) = (0, 0, 0)
        guard zg_peer(descriptor, &pid, &uid, &gid) == 0 else { return nil }
        switch listener.kind {
        case .admin, .handed: return nil
        case .peers:
            if uid == 0 || uid == geteuid() || settings.admins.contains(uid) { return administrator }
            guard let allowed = settings.allowances.first(where: { $0.uid == uid }),
                let namespace = engine.namespace(named: Array(allowed.namespace.utf8))
            else { return nil }
            return Access(
                namespace: namespace, role: allowed.isReadOnly ? Role.readOnly : Role.readWrite, bound: namespace)
        case .door(let name, let only):
            if let only, uid != only, uid != 0 { return nil }
            return engine.namespace(named: name).map { open($0, bound: $0) }
        }
    }

    private mutating func refuse(_ descriptor: Int32, _ why: String) {
        counters.refused += 1
        let line = Array("-\(why)\r\n".utf8)
        _ = line.withUnsafeBytes { zg_db_send(descriptor, $0.baseAddress, $0.count) }
        _ = Glibc.close(descriptor)
    }

    /// No descriptor is left: with the spare one a client is told instead of kept waiting.
    private mutating func shed(_ listener: Listener) {
        _ = Glibc.close(spare)
        let descriptor = zg_accept(listener.descriptor)
        if descriptor >= 0 { refuse(descriptor, "ERR max number of clients reached") }
        spare = zg_open("/dev/null", O_RDONLY | O_CLOEXEC, 0)
    }
}

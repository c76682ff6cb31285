import CLinux
import Glibc
import LogEngine

/// Doors: listening sockets that another process opened and handed over, each bound to one namespace.
///
/// Who may enter a network namespace is not the store, so a daemon that may opens the socket there and passes its
/// descriptor with `LISTEN` over the Unix socket. A door lasts until `UNLISTEN`, the end of its namespace, or of this process.
extension Server {
    /// Reads like `zg_db_receive`, and keeps a descriptor that came with the bytes for the next `LISTEN`.
    mutating func receiveWithDescriptor(_ connection: UnsafeMutablePointer<Connection>, _ room: Int) -> Int {
        var descriptor: Int32 = -1
        var stopped: Int32 = 0
        let got = zg_db_receive_passed(
            connection.pointee.descriptor, connection.pointee.input + connection.pointee.inputEnd, room, &descriptor,
            &stopped)
        connection.pointee.readsShort = stopped != 0
        if descriptor >= 0 {
            drop(connection)
            connection.pointee.received = descriptor
        }
        return got
    }

    /// Closes a descriptor that nobody asked for.
    func drop(_ connection: UnsafeMutablePointer<Connection>) {
        if connection.pointee.received >= 0 { _ = Glibc.close(connection.pointee.received) }
        connection.pointee.received = -1
    }

    /// `LISTEN namespace label`, with a listening stream socket beside it: clients that connect there are in the namespace and
    /// nowhere else. A door of that label that is there already is replaced.
    mutating func openDoor(_ connection: UnsafeMutablePointer<Connection>) {
        let (name, label) = (arguments[1].array, arguments[2].array)
        defer { drop(connection) }
        guard engine.namespace(named: name) != nil else {
            fail(connection, LogError.noNamespace)
            return
        }
        guard (1...Limits.doorLabelBytes).contains(label.count), label.allSatisfy({ (33...126).contains($0) }) else {
            fail(connection, "ERR a door's label is 1 to \(Limits.doorLabelBytes) printable characters without a space")
            return
        }
        let descriptor = connection.pointee.received
        guard descriptor >= 0, Self.isListening(descriptor) else {
            fail(connection, "ERR LISTEN needs a listening stream socket beside the command (SCM_RIGHTS)")
            return
        }
        closeDoors { found, _ in found == label }
        guard listeners.count(where: { $0.isOpen && $0.door != nil }) < Limits.doorsMax else {
            fail(connection, "ERR there are \(Limits.doorsMax) doors already")
            return
        }
        connection.pointee.received = -1
        _ = zg_socket_nonblocking(descriptor, 1)
        watch(Listener(descriptor: descriptor, kind: .handed(namespace: name, label: label), path: nil, isTCP: true))
        EventLog.info(
            "door_opened",
            "namespace=\(String(decoding: name, as: UTF8.self)) label=\(String(decoding: label, as: UTF8.self))")
        connection.pointee.ok()
    }

    /// `UNLISTEN label`: 1 if there was such a door. Who is inside stays.
    mutating func closeDoor(_ connection: UnsafeMutablePointer<Connection>) {
        let label = arguments[1].array
        connection.pointee.integer(closeDoors { found, _ in found == label } > 0 ? 1 : 0)
    }

    /// `DOORS`: label and namespace of each door that was handed over.
    func listDoors(_ connection: UnsafeMutablePointer<Connection>) {
        let doors = listeners.compactMap { $0.isOpen ? $0.door : nil }
        connection.pointee.array(doors.count)
        for door in doors {
            connection.pointee.array(2)
            connection.pointee.bulk(door.label)
            connection.pointee.bulk(door.namespace)
        }
    }

    /// Closes the doors of a namespace that is gone.
    mutating func closeDoors(of namespace: [UInt8]) { closeDoors { _, name in name == namespace } }

    /// Closes doors of which `matches(label, namespace)`; the number of those.
    @discardableResult
    private mutating func closeDoors(where matches: ([UInt8], [UInt8]) -> Bool) -> Int {
        var closed = 0
        for index in listeners.indices where listeners[index].isOpen {
            guard let door = listeners[index].door, matches(door.label, door.namespace) else { continue }
            // Closing takes it out of epoll too, and its place is used again.
            _ = Glibc.close(listeners[index].descriptor)
            listeners[index].descriptor = -1
            closed += 1
        }
        return closed
    }

    private static func isListening(_ descriptor: Int32) -> Bool {
        func option(_ name: Int32) -> Int32 {
            var value: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : -1
        }
        return option(SO_ACCEPTCONN) == 1 && option(SO_TYPE) == Int32(SOCK_STREAM.rawValue)
    }
}

extension Server.Listener {
    /// Whether it still listens: places of closed ones are used again.
    var isOpen: Bool { descriptor >= 0 }

    /// What it is bound to, where it was handed over.
    var door: (label: [UInt8], namespace: [UInt8])? {
        if case .handed(let namespace, let label) = kind { (label, namespace) } else { nil }
    }
}

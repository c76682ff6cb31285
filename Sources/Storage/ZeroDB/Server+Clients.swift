import CLinux
import LogEngine

/// `CLIENT`: what connections are called, who is there, and who has to go.
extension Server {
    static let clientNameRule = "ERR a client's name has at most 128 printable characters and no space"

    static func isClientName(_ name: Argument) -> Bool {
        name.count <= Limits.clientNameBytes && name.bytes.allSatisfy { (33...126).contains($0) }
    }

    /// `CLIENT ID | INFO | GETNAME | SETNAME name | SETINFO attribute value | NO-EVICT on|off | NO-TOUCH on|off | REPLY ON`, and
    /// for the administrator `LIST | KILL ID n`
    mutating func client(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let what = arguments[1]
        let descriptor = connection.pointee.descriptor
        if what.isWord("ID"), count == 2 {
            connection.pointee.integer(connection.pointee.id)
        } else if what.isWord("INFO"), count == 2 {
            connection.pointee.bulk(line(of: connection))
        } else if what.isWord("GETNAME"), count == 2 {
            if let name = names[descriptor] { connection.pointee.bulk(name) } else { connection.pointee.null() }
        } else if what.isWord("SETNAME"), count == 3 {
            guard Self.isClientName(arguments[2]) else {
                fail(connection, Self.clientNameRule)
                return
            }
            names[descriptor] = arguments[2].count == 0 ? nil : arguments[2].array
            connection.pointee.ok()
        } else if what.isWord("SETINFO"), count == 4 {
            setClientInformation(connection)
        } else if what.isWord("NO-EVICT") || what.isWord("NO-TOUCH"), count == 3, isSwitch(arguments[2]) {
            connection.pointee.ok()
        } else if what.isWord("REPLY"), count == 3, arguments[2].isWord("ON") {
            connection.pointee.ok()
        } else if what.isWord("LIST") || what.isWord("KILL") {
            guard connection.pointee.role == Role.admin else {
                fail(connection, "DENIED CLIENT LIST and KILL are the administrator's")
                return
            }
            if what.isWord("LIST") { listClients(connection) } else { killClient(connection, count) }
        } else {
            fail(
                connection,
                "ERR syntax: CLIENT ID | INFO | GETNAME | SETNAME name | SETINFO attribute value | NO-EVICT on|off "
                    + "| NO-TOUCH on|off | REPLY ON | LIST | KILL ID n")
        }
    }

    private func isSwitch(_ word: Argument) -> Bool { word.isWord("ON") || word.isWord("OFF") }

    /// What libraries say about themselves is checked as Redis does, and not kept.
    private mutating func setClientInformation(_ connection: UnsafeMutablePointer<Connection>) {
        guard arguments[2].isWord("LIB-NAME") || arguments[2].isWord("LIB-VER") else {
            fail(connection, "ERR CLIENT SETINFO knows LIB-NAME and LIB-VER")
            return
        }
        guard Self.isClientName(arguments[3]) else {
            fail(connection, Self.clientNameRule)
            return
        }
        connection.pointee.ok()
    }

    /// A connection as `CLIENT LIST` shows it.
    private func line(of client: UnsafeMutablePointer<Connection>) -> String {
        let descriptor = client.pointee.descriptor
        let name = names[descriptor].map { String(decoding: $0, as: UTF8.self) } ?? ""
        let namespace =
            engine.information(client.pointee.namespace).map { String(decoding: $0.name, as: UTF8.self) } ?? ""
        let role =
            client.pointee.role == Role.admin
            ? "admin" : client.pointee.role == Role.readWrite ? "read-write" : "read-only"
        let idle = (monotonic &- min(monotonic, client.pointee.activeAt)) / 1_000_000_000
        return "id=\(client.pointee.id) addr=\(peer(of: descriptor)) fd=\(descriptor) name=\(name) idle=\(idle) "
            + "db=\(namespace) user=\(role) resp=\(client.pointee.isResp3 ? 3 : 2) "
            + "qbuf=\(client.pointee.inputEnd - client.pointee.inputStart) omem=\(client.pointee.waitingOutput)\n"
    }

    /// The other end: an address (of IPv6 its network), or `uid:n` on a Unix socket.
    private func peer(of descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 17)
        guard zg_db_peer_address(descriptor, &bytes) == 0 else { return "" }
        switch bytes[0] {
        case 4: return bytes[1...4].map(String.init).joined(separator: ".")
        case 6:
            let words = stride(from: 1, to: 9, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
            return words.map { String($0, radix: 16) }.joined(separator: ":") + "::/64"
        default: return "uid:\((0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[1 + $1]) << UInt32(8 * $1) })"
        }
    }

    /// `CLIENT LIST`: a line each.
    private func listClients(_ connection: UnsafeMutablePointer<Connection>) {
        var text = ""
        for descriptor in 0...operations.descriptorMax {
            if let client = connections[descriptor] { text += line(of: client) }
        }
        connection.pointee.bulk(text)
    }

    /// `CLIENT KILL ID n`: how many there were.
    private mutating func killClient(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count == 4, arguments[2].isWord("ID"), let id = arguments[3].number else {
            fail(connection, "ERR syntax: CLIENT KILL ID n")
            return
        }
        var killed: UInt64 = 0
        for descriptor in 0...operations.descriptorMax {
            guard let client = connections[descriptor], client.pointee.id == id else { continue }
            if client == connection {
                // It is told first.
                client.pointee.isClosing = true
                client.pointee.inputStart = client.pointee.inputEnd
            } else {
                close(client)
            }
            killed += 1
        }
        connection.pointee.integer(killed)
    }
}

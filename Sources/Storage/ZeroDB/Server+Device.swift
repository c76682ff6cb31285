import LogEngine

/// Commands about the device and the process, in the original's form where that has a meaning here.
extension Server {
    /// `NSJUMP`: ends the segment; what comes next begins another.
    mutating func jump(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            try engine.sealSegment(time: now)
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// `INDEX DIRTY [RESET]`: index files that were overwritten since: there are none, as nothing is written in place.
    mutating func dirtyIndexes(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard arguments[1].isWord("DIRTY"), count == 2 || (count == 3 && arguments[2].isWord("RESET")) else {
            fail(connection, "ERR syntax: INDEX DIRTY [RESET]")
            return
        }
        if count == 2 { connection.pointee.array(0) } else { connection.pointee.ok() }
    }

    // MARK: Clients

    /// `CLIENT LIST`: a line each.
    func listClients(_ connection: UnsafeMutablePointer<Connection>) {
        var text = ""
        for descriptor in 0..<connectionCapacity {
            guard let client = connections[descriptor] else { continue }
            let name = names[Int32(descriptor)].map { String(decoding: $0, as: UTF8.self) } ?? ""
            let namespace =
                engine.information(client.pointee.namespace).map { String(decoding: $0.name, as: UTF8.self) } ?? ""
            text +=
                "id=\(client.pointee.id) fd=\(descriptor) name=\(name) db=\(namespace) "
                + "resp=\(client.pointee.isResp3 ? 3 : 2) qbuf=\(client.pointee.inputEnd - client.pointee.inputStart) "
                + "omem=\(client.pointee.waitingOutput)\n"
        }
        connection.pointee.bulk(text)
    }

    /// `CLIENT KILL ID n`: how many there were.
    mutating func killClient(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count == 4, arguments[2].isWord("ID"), let id = arguments[3].number else {
            fail(connection, "ERR syntax: CLIENT KILL ID n")
            return
        }
        var killed: UInt64 = 0
        for descriptor in 0..<connectionCapacity {
            guard let client = connections[descriptor], client.pointee.id == id else { continue }
            client.pointee.isClosing = true
            client.pointee.inputStart = client.pointee.inputEnd
            touch(client)
            killed += 1
        }
        connection.pointee.integer(killed)
    }

    /// `COMMAND COUNT | INFO [name…] | DOCS [name…]`
    func describeCommands(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        if count > 1, arguments[1].isWord("COUNT") {
            connection.pointee.integer(UInt64(Command.allCases.count - 1))
            return
        }
        let isDocs = count > 1 && arguments[1].isWord("DOCS")
        var chosen = Command.allCases.filter { $0 != .unknown }
        if count > 2 { chosen = (2..<count).map { table.find(arguments[$0]) } }
        if isDocs { chosen.removeAll { $0 == .unknown } }
        if isDocs { connection.pointee.map(chosen.count) } else { connection.pointee.array(chosen.count) }
        for command in chosen {
            if isDocs {
                put(connection, name: command)
                connection.pointee.map(2)
                for text in ["summary", "Documentation/zero-db.md", "group", "generic"] {
                    connection.pointee.bulk(text)
                }
            } else if command == .unknown {
                connection.pointee.null()
            } else {
                putInformation(connection, command)
            }
        }
    }

    private func put(_ connection: UnsafeMutablePointer<Connection>, name command: Command) {
        connection.pointee.bulk(
            UnsafeRawBufferPointer(start: command.name.utf8Start, count: command.name.utf8CodeUnitCount))
    }

    private func putInformation(_ connection: UnsafeMutablePointer<Connection>, _ command: Command) {
        connection.pointee.array(6)
        put(connection, name: command)
        if command.arity < 0 { connection.pointee.put(":-") } else { connection.pointee.put(":") }
        let arity = Array(String(abs(command.arity)).utf8)
        arity.withUnsafeBytes { connection.pointee.put(bytes: $0) }
        connection.pointee.put("\r\n")
        connection.pointee.array(1)
        connection.pointee.put(command.role == Role.readOnly ? "+readonly\r\n" : "+write\r\n")
        let first = UInt64(command.firstKey)
        for number in [first, first, first] { connection.pointee.integer(number) }
    }
}

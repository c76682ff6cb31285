import LogEngine

/// `COMMAND`: what clients ask to know which commands there are.
extension Server {
    /// `COMMAND [COUNT | LIST | INFO [name…] | DOCS [name…] | GETKEYS command argument…]`
    mutating func describeCommands(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let what = count > 1 ? arguments[1] : nil
        if what?.isWord("COUNT") == true, count == 2 {
            connection.pointee.integer(UInt64(Command.allCases.count - 1))
        } else if what?.isWord("LIST") == true, count == 2 {
            connection.pointee.array(Command.allCases.count - 1)
            for command in Command.allCases where command != .unknown { put(connection, name: command) }
        } else if what?.isWord("DOCS") == true {
            describe(connection, chosen(count).filter { $0 != .unknown })
        } else if what == nil || what?.isWord("INFO") == true {
            let chosen = chosen(count)
            connection.pointee.array(chosen.count)
            for command in chosen {
                if command == .unknown { connection.pointee.null() } else { putInformation(connection, command) }
            }
        } else if what?.isWord("GETKEYS") == true, count > 2 {
            giveKeys(connection, count)
        } else {
            fail(
                connection,
                "ERR syntax: COMMAND [COUNT | LIST | INFO [name…] | DOCS [name…] | GETKEYS command argument…]")
        }
    }

    /// The commands that are named, or all.
    private func chosen(_ count: Int) -> [Command] {
        if count > 2 { return (2..<count).map { table.find(arguments[$0]) } }
        return Command.allCases.filter { $0 != .unknown }
    }

    private func describe(_ connection: UnsafeMutablePointer<Connection>, _ commands: [Command]) {
        connection.pointee.map(commands.count)
        for command in commands {
            put(connection, name: command)
            connection.pointee.map(2)
            for text in ["summary", command.summary, "group", command.group] as [StaticString] {
                connection.pointee.bulk(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
            }
        }
    }

    /// In lower case, as Redis gives them and clients look them up.
    private func put(_ connection: UnsafeMutablePointer<Connection>, name command: Command) {
        connection.pointee.bulk("\(command.name)".lowercased())
    }

    private func putInformation(_ connection: UnsafeMutablePointer<Connection>, _ command: Command) {
        connection.pointee.array(6)
        put(connection, name: command)
        putSigned(connection, command.arity)
        connection.pointee.array(1)
        connection.pointee.put(
            command.role == Role.admin ? "+admin\r\n" : command.role == Role.readOnly ? "+readonly\r\n" : "+write\r\n")
        let keys = command.keys
        for number in [keys.first, keys.last, keys.step] {
            putSigned(connection, keys.first == 0 ? 0 : number)
        }
    }

    private func putSigned(_ connection: UnsafeMutablePointer<Connection>, _ number: Int) {
        connection.pointee.put(number < 0 ? ":-" : ":")
        connection.pointee.put("\(abs(number))\r\n")
    }

    /// `COMMAND GETKEYS command argument…`
    private mutating func giveKeys(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let command = table.find(arguments[2])
        let inner = count - 2
        guard command != .unknown, command.arity >= 0 ? inner == command.arity : inner >= -command.arity else {
            fail(connection, "ERR Invalid command specified, or a wrong number of arguments of it")
            return
        }
        let keys = command.keys
        guard keys.first > 0 else {
            fail(connection, "ERR The command has no key arguments")
            return
        }
        let last = keys.last < 0 ? inner + keys.last : keys.last
        let places = Array(stride(from: keys.first, through: last, by: keys.step))
        connection.pointee.array(places.count)
        for place in places { connection.pointee.bulk(arguments[2 + place].bytes) }
    }
}

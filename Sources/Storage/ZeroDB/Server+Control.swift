import CLinux
import LogEngine

extension Server {
    /// `PING [message]`
    func ping(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        if count > 1 { connection.pointee.bulk(arguments[1].bytes) } else { connection.pointee.put("+PONG\r\n") }
    }

    /// `HELLO [2|3 [AUTH user password] [SETNAME name]]`
    mutating func hello(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        var index = 2
        var name: [UInt8]?
        var credentials: (user: Argument, password: Argument)?
        if count > 1 {
            guard let version = arguments[1].number, version == 2 || version == 3 else {
                fail(connection, "NOPROTO unsupported protocol version")
                return
            }
            while index < count {
                if arguments[index].isWord("SETNAME"), index + 1 < count {
                    guard Self.isClientName(arguments[index + 1]) else {
                        fail(connection, Self.clientNameRule)
                        return
                    }
                    name = arguments[index + 1].array
                    index += 2
                } else if arguments[index].isWord("AUTH"), index + 2 < count {
                    credentials = (arguments[index + 1], arguments[index + 2])
                    index += 3
                } else {
                    fail(connection, "ERR syntax: HELLO [2|3 [AUTH user password] [SETNAME name]]")
                    return
                }
            }
            if let (user, password) = credentials {
                hello(connection, user: user, password: password, isResp3: version == 3, name: name)
                return
            }
            connection.pointee.isResp3 = version == 3
            if let name { names[connection.pointee.descriptor] = name }
        }
        greet(connection)
    }

    /// What HELLO answers.
    func greet(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.map(7)
        for (key, value) in [("server", "zero-db"), ("version", Program.version)] {
            connection.pointee.bulk(key)
            connection.pointee.bulk(value)
        }
        connection.pointee.bulk("proto")
        connection.pointee.integer(connection.pointee.isResp3 ? 3 : 2)
        connection.pointee.bulk("id")
        connection.pointee.integer(connection.pointee.id)
        for (key, value) in [("mode", "standalone"), ("role", engine.role == .replica ? "replica" : "master")] {
            connection.pointee.bulk(key)
            connection.pointee.bulk(value)
        }
        connection.pointee.bulk("modules")
        connection.pointee.array(0)
    }

    /// `SELECT namespace [password | SECURE proof [nonce]]`, by name; `0` is `default`, for clients that only know numbers.
    mutating func select(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        var name = arguments[1].array
        if name == [48], engine.namespace(named: name) == nil { name = Array("default".utf8) }
        guard connection.pointee.role == Role.admin else {
            if count >= 4, arguments[2].isWord("SECURE") {
                select(connection, name, proof: arguments[3], nonce: count > 4 ? arguments[4] : nil)
            } else if count == 3 {
                select(connection, name, password: arguments[2])
            } else {
                selectOpen(connection, name)
            }
            return
        }
        guard let id = engine.namespace(named: name) else {
            fail(connection, LogError.noNamespace)
            return
        }
        guard id == connection.pointee.namespace || hasRoom(id) else {
            fail(connection, Self.tooManyConnections)
            return
        }
        connection.pointee.namespace = id
        connection.pointee.ok()
    }

    /// `EPOCH [n]`: the epoch of this connection's writes.
    mutating func epoch(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count > 1 else {
            connection.pointee.integer(connection.pointee.epoch)
            return
        }
        guard let number = arguments[1].number else {
            fail(connection, "ERR an epoch is a number")
            return
        }
        connection.pointee.epoch = number
        connection.pointee.ok()
    }

    /// `TIME`
    func time(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.array(2)
        connection.pointee.bulk(String(now / 1_000_000_000))
        connection.pointee.bulk(String(now / 1000 % 1_000_000))
    }

    /// `CONFIG GET pattern…`
    mutating func configuration(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        if arguments[1].isWord("RESETSTAT"), connection.pointee.role == Role.admin {
            counters = Counters()
            connection.pointee.ok()
            return
        }
        if arguments[1].isWord("RELOAD"), count == 2, connection.pointee.role == Role.admin {
            reload(connection)
            return
        }
        guard arguments[1].isWord("GET"), count > 2 else {
            fail(
                connection,
                "ERR CONFIG knows GET and, for the administrator, RELOAD and RESETSTAT: settings are flags, or lines of --config"
            )
            return
        }
        let appendfsync = settings.sync == .always ? "always" : settings.sync == .interval ? "everysec" : "no"
        let values = [
            ("save", ""), ("appendonly", "yes"), ("appendfsync", appendfsync), ("maxmemory", "0"), ("databases", "1"),
            ("maxclients", String(settings.limits.clients)), ("timeout", String(settings.limits.idleSeconds)),
        ]
        let own = connection.pointee.role == Role.admin ? settings.named : []
        let found = (values + own).filter { item in
            (2..<count).contains { index in
                Array(item.0.utf8).withUnsafeBytes { Pattern.matches(arguments[index].bytes, $0) }
            }
        }
        connection.pointee.map(found.count)
        for (name, value) in found {
            connection.pointee.bulk(name)
            connection.pointee.bulk(value)
        }
    }

    // MARK: Namespaces

    /// `NSNEW name [MODE user|seq|ordered]`
    mutating func createNamespace(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        var settings = newNamespace
        if count > 2 {
            guard count == 4, arguments[2].isWord("MODE"), let mode = Self.mode(arguments[3]) else {
                fail(connection, "ERR syntax: NSNEW name [MODE user|seq|ordered]")
                return
            }
            settings.mode = mode
        }
        do throws(LogError) {
            _ = try engine.createNamespace(arguments[1].array, settings, time: now)
            hook("namespace-created", [arguments[1].text])
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// `NSDEL name [WIPE]`
    mutating func removeNamespace(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count == 2 || (count == 3 && arguments[2].isWord("WIPE")) else {
            fail(connection, "ERR syntax: NSDEL name [WIPE]")
            return
        }
        let name = arguments[1].array
        guard name != Array("default".utf8) else {
            fail(connection, "ERR the default namespace stays")
            return
        }
        do throws(LogError) {
            guard let id = engine.namespace(named: name) else { throw .noNamespace }
            guard id != connection.pointee.namespace else {
                fail(connection, "ERR this connection uses the namespace")
                return
            }
            try engine.removeNamespace(id, wipes: count == 3, time: now)
            leave(namespace: id)
            closeDoors(of: name)
            hook("namespace-deleted", [arguments[1].text])
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// `NSLIST`
    func listNamespaces(_ connection: UnsafeMutablePointer<Connection>) {
        let names = engine.namespaceNames
        connection.pointee.array(names.count)
        for name in names { connection.pointee.bulk(name) }
    }

    /// `NSINFO name`
    mutating func namespaceInformation(_ connection: UnsafeMutablePointer<Connection>) {
        guard let id = engine.namespace(named: arguments[1].array), let info = engine.information(id),
            connection.pointee.role == Role.admin || id == connection.pointee.namespace
        else {
            fail(connection, LogError.noNamespace)
            return
        }
        let settings = info.settings
        let mode =
            settings.mode == NamespaceMode.user
            ? "user" : settings.mode == NamespaceMode.ordered ? "ordered" : "sequential"
        connection.pointee.bulk(
            """
            # namespace
            name: \(String(decoding: info.name, as: UTF8.self))
            id: \(info.id)
            mode: \(mode)
            entries: \(info.entries)
            data_size_bytes: \(info.liveBytes)
            data_limits_bytes: \(settings.maxSize)
            fence_epoch: \(info.fence)
            worm: \(settings.isWorm ? "yes" : "no")
            locked: \(settings.isLocked ? "yes" : "no")
            frozen: \(settings.isFrozen ? "yes" : "no")
            public: \(settings.isPublic || settings.passwordVerifier.isEmpty ? "yes" : "no")
            password: \(settings.passwordVerifier.isEmpty ? "no" : "yes")
            \(properties(of: settings))
            created_ns: \(settings.created)\(followText(id))
            index_entries: \(info.slots)
            \(Self.spaceText(info))

            """)
    }

    /// `NSSET name property value`
    mutating func changeNamespace(_ connection: UnsafeMutablePointer<Connection>) {
        guard let id = engine.namespace(named: arguments[1].array), var settings = engine.information(id)?.settings
        else {
            fail(connection, LogError.noNamespace)
            return
        }
        guard settings.following == nil else {
            fail(connection, LogError.refused(.following))
            return
        }
        let (property, value) = (arguments[2], arguments[3])
        let flag = value.number == 1 ? true : value.number == 0 ? false : nil
        if property.isWord("MODE"), let mode = Self.mode(value) {
            settings.mode = mode
        } else if property.isWord("MAXSIZE"), let number = value.number {
            settings.maxSize = number
        } else if property.isWord("WORM"), let flag {
            settings.isWorm = flag
        } else if property.isWord("LOCK"), let flag {
            settings.isLocked = flag
        } else if property.isWord("FREEZE"), let flag {
            settings.isFrozen = flag
        } else if property.isWord("PUBLIC"), let flag {
            settings.isPublic = flag
        } else if property.isWord("PASSWORD") {
            changePassword(connection, id, value)
            return
        } else if !Self.apply(property, value, to: &settings) {
            fail(connection, Self.properties)
            return
        }
        do throws(LogError) {
            if let durability = settings.durability { try engine.declare(durability.policy, time: now) }
            try engine.changeNamespace(id, settings, time: now)
            applySettings(id)
            hook("namespace-updated", [arguments[1].text])
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// `NSFENCE name epoch`
    mutating func fence(_ connection: UnsafeMutablePointer<Connection>) {
        guard let epoch = arguments[2].number, let id = engine.namespace(named: arguments[1].array) else {
            fail(connection, "ERR NSFENCE namespace epoch")
            return
        }
        guard connection.pointee.role == Role.admin || id == connection.pointee.namespace else {
            fail(connection, "DENIED this connection is bound to its namespace")
            return
        }
        do throws(LogError) {
            if engine.following(id) != nil { throw .refused(.following) }
            try engine.fence(id, epoch: epoch, time: now)
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// `FLUSH`: only where there is nothing to lose.
    mutating func flushNamespace(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            if try engine.entryCount(connection.pointee.namespace) == 0 {
                connection.pointee.ok()
            } else {
                fail(connection, "ERR FLUSH is refused: the namespace is not empty and not private")
            }
        } catch { fail(connection, error) }
    }

    /// A definition ends the turn before it; if that failed, everybody who wrote in it has to know.
    mutating func failControl(_ connection: UnsafeMutablePointer<Connection>, _ error: LogError) {
        switch error {
        case .full, .readOnly, .disk: refuseTurn(error)
        default: break
        }
        if connection.pointee.uncertain < 0 { fail(connection, error) }
    }
}

import LogEngine

/// Commands that move a namespace from server to server.
extension Server {
    /// The commands that move a namespace.
    mutating func performMoving(
        _ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int
    ) {
        switch command {
        case .nssync: beginFollower(connection)
        case .nsfollow: followNamespace(connection, count)
        default: promoteNamespace(connection, count)
        }
    }

    /// `NSFOLLOW namespace host port [source-namespace] [AUTH user password]`, with `unix:PATH -` or `tls:host port`;
    /// `NSFOLLOW namespace NO ONE`: it is written to here from now on, whatever the source has.
    mutating func followNamespace(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        if count == 4, arguments[2].isWord("NO"), arguments[3].isWord("ONE") {
            endFollowing(connection)
            return
        }
        var at = 4
        var source = arguments[1].array
        if at < count, !arguments[at].isWord("AUTH") || count - at != 3 {
            source = arguments[at].array
            at += 1
        }
        var credentials: (user: [UInt8], password: [UInt8])?
        if count - at == 3, arguments[at].isWord("AUTH") {
            credentials = (arguments[at + 1].array, arguments[at + 2].array)
            at += 3
        }
        guard at == count, let address = MasterAddress(arguments[2].text, arguments[3].text) else {
            fail(
                connection,
                "ERR NSFOLLOW namespace host port [source-namespace] [AUTH user password], "
                    + "host: tls:host or unix:PATH with - as port; NSFOLLOW namespace NO ONE")
            return
        }
        guard !address.isTLS || settings.peerTLS != nil else {
            fail(connection, "ERR tls: needs --replica-tls-ca")
            return
        }
        do throws(LogError) {
            let id = try engine.follow(
                arguments[1].array, address: Array("\(address)".utf8), source: source, time: now)
            beginFollowing(id, credentials)
            connection.pointee.ok()
        } catch .namespaceExists {
            fail(connection, "ERR the namespace was written to here: only one that never was can follow")
        } catch { failControl(connection, error) }
    }

    private mutating func endFollowing(_ connection: UnsafeMutablePointer<Connection>) {
        guard let id = engine.namespace(named: arguments[1].array), engine.following(id) != nil else {
            fail(connection, "ERR there is no such namespace, or it follows nobody")
            return
        }
        do throws(LogError) {
            try promote(id)
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// The namespace is written to here from now on.
    private mutating func promote(_ id: UInt32) throws(LogError) {
        try engine.endFollowing(id, time: now)
        leave(namespace: id)
        applySettings(id)
        EventLog.warning("namespace_promoted", "namespace=\(id) next_sequence=\(engine.nextSequence)")
    }

    /// `NSPROMOTE namespace [epoch [milliseconds]]`: once everything of the source is here, and the source takes no writes
    /// any more because its fence has the epoch (without one: because it is locked or frozen), it is written to here.
    mutating func promoteNamespace(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let epoch = count > 2 ? arguments[2].number : nil
        let milliseconds = count > 3 ? arguments[3].number : Limits.promoteMilliseconds
        guard count <= 4, count == 2 || epoch != nil || arguments[2].isWord("-"), let milliseconds,
            milliseconds <= Limits.promoteMillisecondsMax
        else {
            fail(connection, "ERR NSPROMOTE namespace [epoch|- [milliseconds]]")
            return
        }
        guard let id = engine.namespace(named: arguments[1].array), engine.following(id) != nil,
            moving.sources.contains(where: { $0.namespace == id })
        else {
            fail(connection, "ERR there is no such namespace, or it follows nobody")
            return
        }
        connection.pointee.isPaused = true
        moving.promotions.append(
            .init(
                descriptor: connection.pointee.descriptor, connection: connection.pointee.id, namespace: id,
                epoch: epoch, deadline: monotonic &+ milliseconds * 1_000_000))
    }

    /// Answers those whose namespaces have everything, and those who have waited long enough.
    mutating func tendPromotions() {
        var index = 0
        while index < moving.promotions.count {
            let promotion = moving.promotions[index]
            guard let answer = outcome(promotion) else {
                index += 1
                continue
            }
            moving.promotions.remove(at: index)
            guard let connection = connections[Int(promotion.descriptor)],
                connection.pointee.id == promotion.connection
            else { continue }
            connection.pointee.isPaused = false
            if case .failure(let why) = answer { fail(connection, why.description) } else { connection.pointee.ok() }
            resume(connection)
        }
    }

    /// Nil: not yet.
    private mutating func outcome(_ promotion: Moving.Promotion) -> Result<Void, SettingsError>? {
        func failure(_ text: String) -> Result<Void, SettingsError> { .failure(SettingsError(description: text)) }
        guard let link = moving.sources.first(where: { $0.namespace == promotion.namespace }) else {
            return failure("ERR the namespace follows nobody any more")
        }
        // Who asked and left does not want it any more.
        guard connections[Int(promotion.descriptor)]?.pointee.id == promotion.connection else {
            return failure("")
        }
        let position = link.isStreaming ? link.receiver.position : nil
        let isFenced = promotion.epoch.map { position?.fence ?? 0 >= $0 } ?? position?.isClosed ?? false
        if let position, position.isComplete, isFenced {
            if missing(link) > 0 {
                return failure(
                    "CORRUPT \(missing(link)) places of the source's log are damaged, and what stood there is not here: "
                        + "NSFOLLOW namespace NO ONE takes what there is")
            }
            do throws(LogError) {
                try promote(promotion.namespace)
                return .success(())
            } catch { return failure(Self.message(error)) }
        }
        guard promotion.deadline <= monotonic else { return nil }
        if !link.isStreaming { return failure("ERR the source is not connected: \(link.lastError)") }
        if position?.isComplete == true {
            return failure(
                promotion.epoch == nil
                    ? "ERR the source still takes writes: NSSET lock 1 there, or give the epoch of its fence"
                    : "ERR the source's fence is \(position?.fence ?? 0): NSFENCE there")
        }
        return failure("ERR \(link.receiver.bytesLeft) bytes of the source's log are still to come")
    }
}

import LogEngine

/// Settings that change while the server runs: at SIGHUP, and at `CONFIG RELOAD`.
extension Server {
    /// Begins to read the settings again; `connection` waits for how it ended.
    mutating func reload(_ connection: UnsafeMutablePointer<Connection>?) {
        guard !operations.isReloading else {
            if let connection { fail(connection, "BUSY the settings are being read") }
            return
        }
        operations.isReloading = true
        if let connection {
            connection.pointee.isPaused = true
            operations.reloadedBy = (connection.pointee.descriptor, connection.pointee.id)
        }
        operations.reloader.begin(settings.arguments)
    }

    mutating func finishReload() {
        guard operations.isReloading, let result = operations.reloader.take() else { return }
        operations.isReloading = false
        let failure: String?
        switch result {
        case .failure(let error): failure = error.description
        case .success(let prepared): failure = apply(prepared)
        }
        if let failure { EventLog.warning("settings_refused", "reason=\"\(failure)\"") }
        guard let (descriptor, id) = operations.reloadedBy else { return }
        operations.reloadedBy = nil
        guard let connection = connections[Int(descriptor)], connection.pointee.id == id else { return }
        connection.pointee.isPaused = false
        if let failure {
            fail(connection, "ERR nothing was changed: \(failure)")
        } else {
            connection.pointee.ok()
        }
        resume(connection)
    }

    /// Takes new settings over; a sentence if that is not possible, and then nothing changed.
    private mutating func apply(_ prepared: Reloader.Prepared) -> String? {
        let new = prepared.settings
        let changed = new.differences(from: settings)
        let fixed = changed.filter { !Settings.changeable.contains($0) }
        guard fixed.isEmpty else { return "\(fixed.joined(separator: ", ")) cannot change while the server runs" }
        for name in new.allowances.map(\.namespace) + (new.tls?.allowances.map(\.namespace) ?? []) {
            guard engine.namespace(named: Array(name.utf8)) == nil else { continue }
            do throws(LogError) {
                _ = try engine.createNamespace(Array(name.utf8), NamespaceSettings(), time: now)
            } catch { return "namespace \(name): \(Self.message(error))" }
        }
        settings = new
        for id in 0..<tenantCapacity { applySettings(UInt32(id)) }
        tls = prepared.tls
        gate.administrator = new.administrator
        operations.hooks.options = new.hooks
        counters.reloads += 1
        EventLog.info("settings_changed", "changed=\(changed.joined(separator: ","))")
        return nil
    }

    /// A connection whose last command was answered at last goes on with what it said behind it.
    mutating func resume(_ connection: UnsafeMutablePointer<Connection>) {
        touch(connection)
        attach(connection)
        enqueue(connection)
    }
}

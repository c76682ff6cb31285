import LogEngine
import Simulation

/// Namespaces are made, changed, fenced and ended.
extension Run {
    func fence(_ engine: inout LogEngine) throws(Stop) {
        guard let namespace = model.visible.namespaces.randomElement(using: &random) else { return }
        let epoch = namespace.fence + UInt64(random.below(3)) &- (random.chance(20) ? 1 : 0)
        guard epoch < 1000 else { return }
        do throws(LogError) { try engine.fence(namespace.id, epoch: epoch, time: clock()) } catch {
            say("\(namespace.id) fence \(epoch): \(error)")
            if error == .fenced(epoch: namespace.fence), epoch < namespace.fence { return noteProgress(engine) }
            return try accept(error, &engine, doubtful: .fence(namespace.id, epoch))
        }
        say("\(namespace.id) fence \(epoch)")
        guard epoch >= namespace.fence else { throw .wrong("a fence went back") }
        if epoch > namespace.fence { add(.fence(namespace.id, epoch), engine) }
    }

    /// Namespaces are made, changed and ended.
    func namespaces(_ engine: inout LogEngine) throws(Stop) {
        let number = random.below(4)
        let name = Array((number == 3 ? "default" : "space-\(number)").utf8)
        guard let namespace = model.visible.namespaces.first(where: { $0.name == name }) else {
            return try makeNamespace(&engine, name)
        }
        if number < 3, random.chance(35) {
            let isWiped = compacts && random.chance(40)
            do throws(LogError) {
                try engine.removeNamespace(namespace.id, wipes: isWiped, time: clock())
            } catch {
                say("\(namespace.id) end: \(error)")
                return try accept(error, &engine, doubtful: .end(namespace.id))
            }
            say("\(namespace.id) ended\(isWiped ? ", to be wiped" : "")")
            if isWiped { noteWipe(namespace) }
            return add(.end(namespace.id), engine)
        }
        var settings = namespace.settings
        switch random.below(compacts ? 7 : 5) {
        case 0: settings.isLocked.toggle()
        case 1: settings.isFrozen.toggle()
        case 2: settings.isWorm = random.chance(30)
        case 3: settings.mode = mode()
        case 5: settings.history = policy()
        case 6: settings.reservation = random.chance(50) ? 0 : UInt64(random.below(8000))
        default: settings.maxSize = random.chance(50) ? 0 : UInt64(200 + random.below(3000))
        }
        let isRefused = settings.mode != namespace.settings.mode && !namespace.isFresh
        let change = Step.Change.namespace(id: namespace.id, name: name, settings)
        do throws(LogError) { try engine.changeNamespace(namespace.id, settings, time: clock()) } catch {
            say("\(namespace.id) settings: \(error)")
            if error == .reservationTooLarge, settings.reservation > 0 { return noteProgress(engine) }
            if error == .modeFixed, isRefused || namespace.isUncertain { return noteProgress(engine) }
            return try accept(error, &engine, doubtful: change)
        }
        let isForgotten = namespace.numbers.allSatisfy {
            namespace[$0].versions.isEmpty || namespace.mayBeForgotten($0)
        }
        if isRefused, !namespace.isUncertain, !isForgotten {
            throw .wrong("the mode of a namespace with keys was changed")
        }
        let flags = [settings.isLocked, settings.isFrozen, settings.isWorm]
        say(
            "\(namespace.id) settings: keeps \(settings.history.text), mode \(settings.mode), \(settings.maxSize) bytes, \(flags)"
        )
        add(change, engine)
    }

    private func makeNamespace(_ engine: inout LogEngine, _ name: [UInt8]) throws(Stop) {
        var settings = NamespaceSettings()
        if random.chance(30) { settings.maxSize = UInt64(200 + random.below(3000)) }
        settings.mode = mode()
        if compacts, random.chance(60) { settings.history = policy() }
        settings.created = clock()
        let id = model.visible.nextId
        let change = Step.Change.namespace(id: id, name: name, settings)
        var made: UInt32 = 0
        do throws(LogError) { made = try engine.createNamespace(name, settings, time: settings.created) } catch {
            say("new namespace: \(error)")
            return try accept(error, &engine, doubtful: change)
        }
        say("\(made) is new: mode \(settings.mode), keeps \(settings.history.text)")
        // Where damage took all that ever named a number it may be given again.
        let isLost = engine.report.damages.contains { !$0.isAttributed && !$0.lost.isEmpty }
        guard made == id || isLost || model.visible.namespaces.contains(where: \.isUncertain) else {
            throw .wrong("namespace number \(made) instead of \(id)")
        }
        add(.namespace(id: made, name: name, settings), engine)
    }

    private func policy() -> HistoryPolicy {
        switch random.below(5) {
        case 0: .all
        case 1: .last(UInt64(2 + random.below(3)))
        case 2: .duration(UInt64(random.below(2_000_000_000)))
        default: .none
        }
    }

    /// Its values have to be nowhere once that is done: those that are long enough not to be there by chance, and not in a
    /// file that was removed before this was asked.
    private func noteWipe(_ namespace: ModelNamespace) {
        guard !faults.lies, !faults.rots, !faults.fails else { return }
        let values = namespace.numbers.flatMap { namespace[$0].versions.compactMap(\.value) }
        wipes += values.lazy.filter { $0.count >= 24 && self.disk.holder(of: $0, onlyRemoved: true) == nil }.prefix(4)
    }

    private func mode() -> UInt8 {
        random.chance(30) ? NamespaceMode.user : random.chance(50) ? NamespaceMode.sequential : NamespaceMode.ordered
    }
}

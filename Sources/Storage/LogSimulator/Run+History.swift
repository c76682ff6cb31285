import LogEngine
import Simulation

/// Versions of a key.
extension Run {
    /// Every version of a key, newest first; what is committed is never missing and never another.
    func history(_ engine: inout LogEngine) throws(Stop) {
        guard damaged.isEmpty, !hasLied, !isIndexDamaged, !engine.turnHasWrites,
            let namespace = model.visible.namespaces.randomElement(using: &random), !namespace.settings.isFrozen,
            !damagedTables.contains(namespace.id)
        else { return }
        let number = pick(namespace)
        let key = namespace.bytes(number)
        var before: UInt64?
        var time = UInt64.max
        var times: [UInt64] = []
        let versions = Array(namespace[number].versions.reversed())
        for (rank, version) in versions.enumerated() {
            let found: Version?
            switch engine.formerVersion(namespace.id, key, before) {
            case .success(let version): found = version
            case .failure(let error): throw stop(error)
            }
            let isLetGo =
                rank == 0
                ? namespace.mayBeForgotten(number)
                : namespace.mayBeGone(version, newer: versions[rank - 1], rank: rank, now: latest)
            if found == nil, isLetGo { break }
            guard let found, found.sequence == version.sequence, found.isTombstone == (version.value == nil),
                found.valueLength == version.value?.count ?? 0, found.time <= time, found.time >= version.time
            else {
                let what = found.map { "\($0)" } ?? "nothing"
                throw .wrong("namespace \(namespace.id) key \(number): history has \(what), not \(version.sequence)")
            }
            (before, time) = (found.sequence, found.time)
            times.append(found.time)
        }
        if case .success(let found) = engine.formerVersion(namespace.id, key, before), let found, before != nil {
            throw .wrong("namespace \(namespace.id) key \(number): history has \(found.sequence), which never was")
        }
        try readAt(&engine, namespace, number, times)
    }

    /// A key as it was at a time; `times` are those of its versions, newest first.
    private func readAt(
        _ engine: inout LogEngine, _ namespace: ModelNamespace, _ number: Int, _ times: [UInt64]
    ) throws(Stop) {
        guard let near = times.randomElement(using: &random) else { return }
        let moment = near &- 1 &+ UInt64(random.below(3))
        let versions = Array(namespace[number].versions.reversed())
        let expected = times.firstIndex { $0 <= moment }.map { versions[$0] }
        switch engine.version(namespace.id, namespace.bytes(number), at: moment) {
        case .success(let found):
            guard found?.version.sequence == expected?.sequence, found?.value ?? [] == expected?.value ?? [] else {
                throw .wrong(
                    "namespace \(namespace.id) key \(number) at \(moment): \(found?.version.sequence ?? 0), not "
                        + "\(expected?.sequence ?? 0)")
            }
        case .failure(let error): throw stop(error)
        }
    }
}

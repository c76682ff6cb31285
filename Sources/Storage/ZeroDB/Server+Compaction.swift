import LogEngine

extension Server {
    /// The settings of a namespace that is made without any.
    var newNamespace: NamespaceSettings {
        var made = NamespaceSettings()
        made.history = settings.history
        return made
    }

    /// `COMPACT`: begins to compact all that has anything to give.
    mutating func compact(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            try engine.requestCompaction(time: now)
            hasWork = true
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// Lines of `NSINFO` about what the namespace takes on the disk.
    static func spaceText(_ info: NamespaceInformation) -> String {
        """
        history: \(info.settings.history.text)
        reservation_bytes: \(info.settings.reservation)
        disk_live_bytes: \(info.space.live)
        disk_history_bytes: \(info.space.history)
        disk_overhead_bytes: \(info.space.overhead)
        disk_bytes: \(info.space.total)
        """
    }

    /// INFO's sections about space and compaction.
    mutating func compactionSections() -> [(String, [(String, String)])] {
        let space = engine.spaceInformation()
        let info = engine.compactionInformation()
        let done = info.statistics
        return [
            (
                "Space",
                [
                    ("space_total_bytes", "\(space.total)"), ("space_free_bytes", "\(space.free)"),
                    ("space_available_bytes", "\(space.available)"),
                    ("space_compaction_room_bytes", "\(space.compactionRoom)"),
                    ("space_reserved_unused_bytes", "\(space.promised)"),
                ]
            ),
            (
                "Compaction",
                [
                    ("compaction_running", info.isRunning ? "1" : "0"),
                    ("compaction_rate", "\(settings.compactionRate)"),
                    ("compaction_dead_bytes", "\(info.deadBytes)"), ("compaction_runs", "\(done.runs)"),
                    ("compaction_failures", "\(done.failures)"), ("compaction_last_failure", info.lastFailure ?? ""),
                    ("compaction_copied_bytes", "\(done.copiedBytes)"),
                    ("compaction_freed_bytes", "\(done.freedBytes)"),
                    ("compaction_removed_segments", "\(done.removedSegments)"),
                    ("compaction_damaged_copied", "\(done.damagedCopied)"),
                    ("compaction_pinned_segments", "\(info.pinnedSegments)"),
                    ("wipes_pending", "\(info.wipesPending)"), ("wiped_bytes", "\(done.overwrittenBytes)"),
                    ("files_to_remove", "\(info.discardedFiles)"),
                ]
            ),
        ]
    }
}

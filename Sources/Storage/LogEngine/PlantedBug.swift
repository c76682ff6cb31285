/// A bug that the simulator must find: it proves the simulator. Release builds have none of them.
package enum PlantedBug: String, CaseIterable, Sendable {
    /// Says to have synced and has not.
    case skipSync
    /// A restart forgets that a key was ended.
    case dropTombstone
    /// Gives numbers again that somebody may have seen.
    case reuseSequence
    /// Lets a writer of a lower epoch write.
    case ignoreFence
    /// A restart forgets a fence.
    case forgetFence
    /// A turn that is refused stays in the index.
    case forgetUndo
    /// A restart takes the first records of a batch whose others are missing.
    case acceptTornBatch
    /// Records of a batch do not say that others belong to them.
    case batchWithoutEnd
    /// Serves a value without looking at its checksum.
    case trustValue
    /// A restart takes the end of the log without looking at its values.
    case trustTail
    /// A restart forgets that a namespace was ended.
    case loseNamespaceEnd
    /// A restart forgets that settings were changed.
    case forgetSettings
    /// After a restart a key's first version is served.
    case pointToOlderVersion
    /// Writes down as safe what is not synced yet.
    case markBeforeSync
    /// Takes a failed sync for a good one.
    case acknowledgeFailedSync
    /// Goes on after a failed sync.
    case goOnAfterFailedSync
    /// Tells of a background sync what was written after it was begun.
    case overstateBackgroundSync
    /// Lets a namespace grow over its quota.
    case ignoreQuota
    /// Does not count what an overwritten value gave back.
    case miscount
    /// Leaves in the log what was refused for want of space.
    case keepRefused
    /// A restart leaves a torn end where it is.
    case keepTornEnd
    /// Begins a segment before the one before it is durable.
    case rollWithoutSync
    /// Puts records into a segment whose header is not durable.
    case segmentWithoutSync
    /// Overwrites a key that had to be absent.
    case ignoreCondition
    /// Takes the system's memory for the medium after a restart.
    case trustMemory
    /// A version does not name the one before it.
    case wrongPrevious
    /// A version is older than the one before it.
    case timeGoesBack
    /// Answers writes that are gone because their turn was written in parts.
    case forgetTurnFailure
    /// Behind a checkpoint nothing of the log is read.
    case ignoreTail
    /// A table says to have records that it does not have yet.
    case overstateCheckpoint
    /// Believes a table's page without looking at its checksum.
    case trustTable
    /// After a restart an id is given again whose key was ended.
    case reuseId
    /// A page begins with the key that the one before ended with.
    case repeatCursor
    /// A range has the key that it ends before.
    case includeBound
    /// A namespace that has keys gets another mode.
    case changeMode
    /// A batch that is given up stays in the index.
    case keepAborted
    /// What was written at a time is not read at that time.
    case exclusiveTime
    /// Compaction leaves out some current versions.
    case dropLive
    /// Compaction forgets a deletion whose older versions stand in segments that it does not touch.
    case purgeEarly
    /// A change of the manifest is made before the segment that it names is durable.
    case publishBeforeSync
    /// Compaction removes a segment before the manifest says that it does not count.
    case removeInputFirst
    /// Compaction lets go what the policy keeps.
    case ignorePolicy
    /// Compaction lets go versions of a namespace that never changes.
    case compactWorm
    /// Compaction lets go what is superseded by records that are not durable.
    case decideBeforeDurable
    /// A replica acknowledges what it received and has not synced.
    case acknowledgeReceived
    /// A replica that asks again is sent the log from a record too far.
    case resumeLate
    /// A replica becomes the master without a higher epoch.
    case promoteWithoutEpoch
    /// What the new master does not have is not cut.
    case keepTail
    /// A restart forgets what a device is among its copies.
    case forgetRole
}

extension PlantedBug {
    /// Whether only a run with replicas can find it.
    package var isOfReplicas: Bool {
        switch self {
        case .acknowledgeReceived, .resumeLate, .promoteWithoutEpoch, .keepTail, .forgetRole: true
        default: false
        }
    }

    /// Whether only a run that compacts can find it.
    package var isOfCompaction: Bool {
        switch self {
        case .dropLive, .purgeEarly, .publishBeforeSync, .removeInputFirst, .ignorePolicy,
            .compactWorm,
            .decideBeforeDurable:
            true
        default: false
        }
    }
}

extension LogOptions {
    /// These options with a bug; without it where there are none.
    package func planting(_ bug: PlantedBug?) -> LogOptions {
        #if DEBUG
        var options = self
        options.planted = bug
        return options
        #else
        return self
        #endif
    }
}

extension LogEngine {
    /// Whether a bug was planted.
    package func isPlanted(_ bug: PlantedBug) -> Bool { plants(bug) }

    /// Whether a bug was planted. A constant in release builds, so that nothing of it is left there.
    @inline(__always)
    func plants(_ bug: PlantedBug) -> Bool {
        #if DEBUG
        return options.planted == bug
        #else
        return false
        #endif
    }
}

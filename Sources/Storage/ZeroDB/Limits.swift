/// Bounds of the server, each with the reason of its value.
enum Limits {
    /// Connections at once; more get an error and are closed.
    static let connectionsMax = 20_000
    /// Arguments of one command: a batch of this many keys already takes milliseconds.
    static let argumentsMax = 16_384
    /// Arguments of all commands of one transaction: each takes memory beside its bytes, an empty one too.
    static let transactionArgumentsMax = 65_536
    /// Bytes of one command, so that one client cannot take the memory of all.
    static let commandBytesMax = 64 << 20
    /// A line without arguments counts (`PING\r\n`) is typed by a person.
    static let inlineBytesMax = 64 << 10
    /// What a connection's buffers begin with, and shrink to when idle.
    static let bufferBytes = 16 << 10
    /// A buffer larger than this is given back when it is empty.
    static let bufferKeptBytes = 128 << 10
    /// A connection that does not take its replies gets no more commands executed beyond this.
    static let outputBytes = 1 << 20
    /// Room that is made for what a client only said it would send; the buffer then doubles as that comes.
    static let bufferStepBytes = 1 << 20
    /// Bytes of a client's name.
    static let clientNameBytes = 128
    /// Bytes of one receive; a larger one would keep the others waiting.
    static let readBytes = 256 << 10
    /// Arrivals that are taken in before anybody is served: all connections that there may be.
    static let arrivalsMax = 32_768
    /// Connections of one namespace, unless its settings say otherwise, so that others can still come in.
    static let namespaceConnectionsMax = 10_000

    // Costs are in units of about a nanosecond of the loop: a byte in or out is one.

    /// What a command costs beside its bytes.
    static let commandCost = 500
    /// What it costs to look after a connection at all: a receive and a send.
    static let visitCost = 7_000
    /// What a namespace gets in a round: a quarter of a millisecond, which others wait for it.
    static let quantumCost = 250_000
    /// A turn while several namespaces have connections: who comes waits for the rest of it at most.
    static let turnCost = 250_000
    /// Such a turn where syncs take long: so much may share one.
    static let turnCostShared = 2_000_000
    /// Bytes of a turn whose sync would be felt by other namespaces: the thread does it.
    static let deferredSyncBytes = 256 << 10
    /// Turns without a namespace after which it is served before those who are always there.
    static let rareTurns: UInt64 = 2
    /// What commands that are interrupted get of a turn while one namespace has all connections.
    static let longCostAlone = 1_000_000
    /// A turn while one namespace has all connections: larger, because more writes share one sync.
    static let turnCostAlone = 8_000_000
    /// Bytes of one reply with many values.
    static let replyBytesMax = 64 << 20
    /// Nanoseconds that a command with much to do is at work before others are looked at: a namespace's part of a round.
    static let sliceNanoseconds: UInt64 = 250_000
    /// Steps of such a command, and bytes of its reply, between two looks at the clock.
    static let sliceSteps = 16
    static let sliceBytes = 64 << 10
    /// Entries of an index that a scan takes at once, and keys, ended ones included, that it looks at for them.
    static let scanStep = 16
    static let scanStepVisits = 128
    /// Keys of one page of SCAN, KSCAN, RANGE, PREFIX.
    static let scanCountMax = 10_000
    /// Keys of one SCANX reply, and records of the log that it looks at.
    static let writeOrderKeys = 500
    static let writeOrderVisits = 2000
    /// How long WAIT may wait.
    static let waitMilliseconds: ClosedRange<UInt64> = 100...1_800_000
    /// What a namespace's interval may be.
    static let syncMilliseconds: ClosedRange<UInt64> = 10...60_000
    /// Doors that other processes handed over: one or two a tenant of a node.
    static let doorsMax = 4096
    /// Bytes of a door's label.
    static let doorLabelBytes = 128
    /// How long after the last write the log gets a mark.
    static let markNanoseconds: UInt64 = 1_000_000_000
    /// Bytes of one slice of work that nobody waits for: about a millisecond.
    static let maintenanceBytes = 512 << 10
    /// How often there is such a slice while somebody always waits: a tenth of the time at most.
    static let maintenanceNanoseconds: UInt64 = 10_000_000
    /// Replicas of one master: each costs it a copy of every byte.
    static let replicasMax = 64
    /// Bytes for one replica in one turn, so that copying a device does not keep clients waiting.
    static let replicaSendBytes = 1 << 20
    /// Bytes taken from the master in one turn, so that readers of a replica are served in between.
    static let replicaReadBytes = 2 << 20
    /// A master or replica that says nothing for so long is given up; positions come every second.
    static let replicaSilence: UInt64 = 15_000_000_000
    /// For so long records are gathered for a replica, and its acknowledgements not read, if nobody waits for them: each
    /// would otherwise make a turn of the loop, and so a sync, of its own.
    static let replicaGather: UInt64 = 4_000_000
    /// How often a replica is told where the master is: while it is behind, and when nothing happens.
    static let replicaPositionBusy: UInt64 = 20_000_000
    static let replicaPositionIdle: UInt64 = 1_000_000_000
    /// Followers of namespaces: each reads the log by itself.
    static let followersMax = 32
    /// Bytes of the log that are read for one follower in one turn: a third of a millisecond.
    static let followReadBytes = 1 << 20
    /// For so long records are gathered for a follower: each batch there says how far it has come.
    static let followGather: UInt64 = 20_000_000
    /// How often a source is told how far its follower has come.
    static let followAcknowledge: UInt64 = 100_000_000
    /// How long `NSPROMOTE` waits unless it says so, and at most.
    static let promoteMilliseconds: UInt64 = 10_000
    static let promoteMillisecondsMax: UInt64 = 3_600_000
    /// How long a stop in order waits for replicas to take the last records.
    static let replicaDrain: UInt64 = 1_000_000_000
    /// Bytes written after which a background sync begins at once: the disk takes them in some tens of milliseconds.
    static let unsyncedBytes: UInt64 = 16 << 20
    /// Time between background syncs with `--sync none`, so that the end of the log stays short of days.
    static let lazySyncNanoseconds: UInt64 = 30_000_000_000
    /// Keys of one RANGE or PREFIX reply unless it says how many.
    static let rangeCount = 100
    /// Keys that one such command looks at, ended ones included, a step's more or less.
    static let rangeVisits = 131_072
    /// Bytes of one such reply with values.
    static let rangeBytes = 1 << 20
}

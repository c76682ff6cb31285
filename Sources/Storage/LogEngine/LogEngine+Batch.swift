/// What an open batch began with.
struct BatchStart {
    var pendingCount: Int
    var nextSequence: UInt64
    var undo: Int
    var modeUndo: Int
    var lastTime: UInt64
    var namespace: UInt32
}

extension LogEngine {
    /// Opens a batch: the writes of one namespace until `closeBatch` happen together or not at all. Each may be
    /// refused; who then calls `abortBatch` has changed nothing. `count` and `bytes` bound the writes and what their
    /// keys and values have; they have to stand in one segment.
    public mutating func openBatch(
        _ namespace: UInt32, count: Int, bytes: Int, epoch: UInt64 = 0, time: UInt64
    ) throws(LogError) {
        precondition(batchLeft == 0 && openBatch == nil)
        _ = try writable(namespace, epoch)
        let space = bytes + count * (Format.recordHeaderBytes + 8)
        guard count > 0, bytes <= LogLimits.segmentBytesMax,
            space <= options.segmentBytes - Format.headerBlockBytes - 256
        else { throw .tooLarge }
        try ensureOpened(time)
        try ensureRoom(space, usesSlack: false)
        openBatch = BatchStart(
            pendingCount: pendingCount, nextSequence: nextSequence, undo: undo.count, modeUndo: modeUndo.count,
            lastTime: lastTime, namespace: namespace)
    }

    /// Whether the writes of now are a batch's.
    public var isBatchOpen: Bool { openBatch != nil }

    /// Ends a batch: each record says how many of it follow.
    public mutating func closeBatch() {
        guard let start = openBatch else { return }
        openBatch = nil
        var left = UInt32(truncatingIfNeeded: nextSequence - start.nextSequence)
        var at = start.pendingCount
        while at < pendingCount, left > 0, var header = RecordHeader(pending + at) {
            left -= 1
            header.batchRemaining = left
            header.seal(pending + at, seed: seed)
            at += header.totalBytes
        }
    }

    /// Takes back every write of the open batch.
    public mutating func abortBatch() {
        guard let start = openBatch else { return }
        openBatch = nil
        if !plants(.keepAborted) { revertWrites(after: start.undo, start.modeUndo) }
        indexWriter.drop(Int(nextSequence - start.nextSequence))
        (pendingCount, nextSequence, lastTime) = (start.pendingCount, start.nextSequence, start.lastTime)
    }

    /// Whether a condition holds for a key now.
    public func check(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, _ condition: WriteCondition
    ) throws(LogError) {
        try check(condition, current(readable(namespace), key, hasher.hash(key)))
    }
}

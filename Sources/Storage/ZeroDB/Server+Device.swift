import LogEngine

/// Commands about the device and the process, in the original's form where that has a meaning here.
extension Server {
    /// `NSJUMP`: ends the segment; what comes next begins another.
    mutating func jump(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            try engine.sealSegment(time: now)
            connection.pointee.ok()
        } catch { failControl(connection, error) }
    }

    /// `INDEX DIRTY [RESET]`: index files that were overwritten since: there are none, as nothing is written in place.
    mutating func dirtyIndexes(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard arguments[1].isWord("DIRTY"), count == 2 || (count == 3 && arguments[2].isWord("RESET")) else {
            fail(connection, "ERR syntax: INDEX DIRTY [RESET]")
            return
        }
        if count == 2 { connection.pointee.array(0) } else { connection.pointee.ok() }
    }
}

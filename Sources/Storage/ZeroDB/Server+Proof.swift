import Crypto
import LogEngine

extension Server {
    /// `GET key FROM a TO b`: the bytes from a up to b, which is not among them, as far as the value goes. All of the
    /// value is read, because its checksum covers all of it.
    mutating func getPart(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count == 6, arguments[2].isWord("FROM"), arguments[4].isWord("TO"), let from = arguments[3].number,
            let to = arguments[5].number, from <= to
        else {
            fail(connection, "ERR syntax: GET key [FROM a TO b], a not above b")
            return
        }
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            guard let length = try appendValue(connection, arguments[1]) else { return }
            let (low, high) = (Int(min(from, UInt64(length))), Int(min(to, UInt64(length))))
            connection.pointee.outputEnd = start
            connection.pointee.put(UInt8(ascii: "$"), UInt64(high - low))
            // Growing now would leave the value behind: there was room for all of it before.
            let output = connection.pointee.output
            (output + connection.pointee.outputEnd).copyMemory(
                from: output + start + Self.valueOffset + low, byteCount: high - low)
            connection.pointee.outputEnd += high - low
            connection.pointee.put("\r\n")
        } catch {
            connection.pointee.outputEnd = start
            fail(connection, error)
        }
    }

    /// Room before a value for what is said of it.
    private static var valueOffset: Int { 32 }

    /// Reads a value to `valueOffset` behind the end of the output, which does not change; returns its length. There is room for
    /// `valueOffset` bytes more behind it. A key that is not there is answered.
    private mutating func appendValue(
        _ connection: UnsafeMutablePointer<Connection>, _ key: Argument
    ) throws(LogError) -> Int? {
        guard let entry = try engine.find(connection.pointee.namespace, key.bytes) else {
            counters.misses += 1
            if hasUncertain { markUncertain(connection) }
            connection.pointee.null()
            return nil
        }
        counters.hits += 1
        if entry.sequence >= firstUncertain { markUncertain(connection) }
        connection.pointee.reserveOutput(Self.valueOffset + entry.valueLength + Self.valueOffset)
        let target = connection.pointee.output + connection.pointee.outputEnd + Self.valueOffset
        try engine.read(entry, connection.pointee.namespace, key.bytes, into: target)
        return entry.valueLength
    }

    /// `PROOF key ROOT`: root, number of leaves, length of the value. `PROOF key leaf…`: the same and, for each leaf,
    /// its number, its bytes and the hashes on the way to the root.
    mutating func proof(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let wantsRoot = count == 3 && arguments[2].isWord("ROOT")
        beginSlice(connection)
        do throws(LogError) {
            // Whether all of it can be answered is known before any of it is.
            var last: UInt64 = 0
            for index in 2..<(wantsRoot ? 2 : count) {
                guard let number = arguments[index].number, number <= UInt64(LogLimits.formatValueBytesMax) else {
                    fail(connection, "ERR syntax: PROOF key ROOT | PROOF key leaf…")
                    return
                }
                last = max(last, number)
            }
            guard let length = try appendValue(connection, arguments[1]) else { return }
            guard wantsRoot || last < UInt64(LeafTree.leafCount(length)) else {
                fail(connection, "ERR the value has \(LeafTree.leafCount(length)) leaves")
                return
            }
            let place = connection.pointee.output + connection.pointee.outputEnd + Self.valueOffset
            var long = LongCommand(.proof)
            long.proof = ProofWork(UnsafeRawBufferPointer(start: place, count: length), wantsRoot: wantsRoot)
            guard beginProof(connection, &long, leaves: count - 2) else {
                suspend(connection, long, from: 2, count)
                return
            }
            for index in 2..<(wantsRoot ? 2 : count) {
                put(connection, long.proof, leaf: arguments[index])
                if index + 1 < count, isSliceOver(connection) {
                    suspend(connection, long, from: index + 1, count)
                    return
                }
            }
        } catch { fail(connection, error) }
    }

    /// Goes on with a proof; whether it is done.
    mutating func proveLeft(_ connection: UnsafeMutablePointer<Connection>, _ long: inout LongCommand) -> Bool {
        guard beginProof(connection, &long, leaves: long.arguments) else { return false }
        while long.arguments > 0 {
            let leaf = takeArgument(connection, &long)
            if long.proof?.wantsRoot == false { put(connection, long.proof, leaf: leaf) }
            if long.arguments > 0, isSliceOver(connection) { return false }
        }
        return true
    }

    /// Hashes the leaves, in as many parts as it takes; then begins the reply. Whether it has begun.
    private mutating func beginProof(
        _ connection: UnsafeMutablePointer<Connection>, _ long: inout LongCommand, leaves: Int
    ) -> Bool {
        guard var work = long.proof, !work.tree.isWhole else { return true }
        // The only reference, so that nothing is copied.
        long.proof = nil
        defer { long.proof = work }
        while work.tree.leafCount < LeafTree.leafCount(work.value.count) {
            work.addLeaf()
            if isSliceOver(connection) { return false }
        }
        work.tree.end()
        connection.pointee.array(work.wantsRoot ? 3 : 4)
        connection.pointee.bulk(work.tree.root.bytes)
        connection.pointee.integer(UInt64(work.tree.leafCount))
        connection.pointee.integer(UInt64(work.value.count))
        if !work.wantsRoot { connection.pointee.array(leaves) }
        return true
    }

    private func put(_ connection: UnsafeMutablePointer<Connection>, _ proof: ProofWork?, leaf text: Argument) {
        guard let proof, let leaf = text.number.map({ Int($0) }) else { return }
        connection.pointee.array(3)
        connection.pointee.integer(UInt64(leaf))
        proof.value.withUnsafeBytes { bytes in
            connection.pointee.bulk(
                UnsafeRawBufferPointer(rebasing: bytes[LeafTree.range(leaf, proof.value.count)]))
        }
        let path = proof.tree.path(leaf)
        connection.pointee.array(path.count)
        for digest in path { connection.pointee.bulk(digest.bytes) }
    }
}

/// A value of which something is proved, and its hashes as far as they are made.
struct ProofWork {
    let value: [UInt8]
    let wantsRoot: Bool
    fileprivate(set) var tree: LeafTree

    init(_ value: UnsafeRawBufferPointer, wantsRoot: Bool) {
        (self.value, self.wantsRoot) = ([UInt8](value), wantsRoot)
        tree = LeafTree(length: value.count)
    }

    fileprivate mutating func addLeaf() {
        value.withUnsafeBytes {
            tree.add(UnsafeRawBufferPointer(rebasing: $0[LeafTree.range(tree.leafCount, $0.count)]))
        }
    }
}

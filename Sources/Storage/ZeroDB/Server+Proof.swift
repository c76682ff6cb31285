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
            if engine.turnHasWrites { markUncertain(connection) }
            connection.pointee.null()
            return nil
        }
        counters.hits += 1
        if entry.sequence >= engine.turnFirstSequence { markUncertain(connection) }
        connection.pointee.reserveOutput(Self.valueOffset + entry.valueLength + Self.valueOffset)
        let target = connection.pointee.output + connection.pointee.outputEnd + Self.valueOffset
        try engine.read(entry, connection.pointee.namespace, key.bytes, into: target)
        return entry.valueLength
    }

    /// `PROOF key ROOT`: root, number of leaves, length of the value. `PROOF key leaf…`: the same and, for each leaf,
    /// its number, its bytes and the hashes on the way to the root.
    mutating func proof(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let wantsRoot = count == 3 && arguments[2].isWord("ROOT")
        var leaves: [Int] = []
        if !wantsRoot {
            for index in 2..<count {
                guard let number = arguments[index].number, number <= UInt64(LogLimits.formatValueBytesMax) else {
                    fail(connection, "ERR syntax: PROOF key ROOT | PROOF key leaf…")
                    return
                }
                leaves.append(Int(number))
            }
        }
        guard leaves.count * MerkleTree.leafBytes <= Limits.replyBytesMax else {
            fail(connection, "ERR the reply would be larger than \(Limits.replyBytesMax) bytes")
            return
        }
        do throws(LogError) {
            guard let length = try appendValue(connection, arguments[1]) else { return }
            let value = [UInt8](
                UnsafeRawBufferPointer(
                    start: connection.pointee.output + connection.pointee.outputEnd + Self.valueOffset, count: length))
            let tree = value.withUnsafeBytes { MerkleTree($0) }
            guard leaves.allSatisfy({ $0 < tree.leafCount }) else {
                fail(connection, "ERR the value has \(tree.leafCount) leaves")
                return
            }
            reply(connection, tree, value, wantsRoot ? nil : leaves)
        } catch { fail(connection, error) }
    }

    private func reply(
        _ connection: UnsafeMutablePointer<Connection>, _ tree: MerkleTree, _ value: [UInt8], _ leaves: [Int]?
    ) {
        connection.pointee.array(leaves == nil ? 3 : 4)
        connection.pointee.bulk(tree.root.bytes)
        connection.pointee.integer(UInt64(tree.leafCount))
        connection.pointee.integer(UInt64(tree.length))
        guard let leaves else { return }
        connection.pointee.array(leaves.count)
        for leaf in leaves {
            connection.pointee.array(3)
            connection.pointee.integer(UInt64(leaf))
            value.withUnsafeBytes { bytes in
                connection.pointee.bulk(
                    UnsafeRawBufferPointer(rebasing: bytes[MerkleTree.range(leaf, value.count)]))
            }
            let path = tree.path(leaf)
            connection.pointee.array(path.count)
            for digest in path { connection.pointee.bulk(digest.bytes) }
        }
    }
}

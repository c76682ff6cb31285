import CanonicalJSON
import Crypto
import Merkle
public import Records

/// A whole state as lines of canonical JSON: a header with the signed checkpoint, then one line a key.
public enum LedgerSnapshot {
    /// The only format there is.
    public static let format = "zero-snapshot/1"

    /// The snapshot of a chain at a checkpoint of it, line by line, without line ends.
    public static func lines(_ chain: LedgerChain, _ checkpoint: Checkpoint, _ body: ([UInt8]) -> Void) {
        let header: JSONValue = [
            "format": .string(format), "checkpoint": checkpoint.value, "count": .integer(Int64(chain.state.count)),
            "peaks": .array(chain.log.peaks.map { .digest($0) }),
        ]
        body(header.canonicalBytes)
        chain.state.forEach { leaf in
            let line: JSONValue = ["key": .string(leaf.key.text), "value": leaf.entry.value]
            body(line.canonicalBytes)
        }
    }

    /// The snapshot of a chain at a checkpoint of it, a line end after each line.
    public static func bytes(_ chain: LedgerChain, _ checkpoint: Checkpoint) -> [UInt8] {
        var bytes: [UInt8] = []
        lines(chain, checkpoint) { line in
            bytes += line
            bytes.append(10)
        }
        return bytes
    }

    /// The chain of a snapshot. Believes nothing but the members' signatures: both roots are computed again.
    public static func read(_ bytes: [UInt8], genesis: Genesis) throws(ReplayError) -> (LedgerChain, Checkpoint) {
        let lines = bytes.split(separator: 10, omittingEmptySubsequences: false)
        guard lines.count >= 2, lines.last?.isEmpty ?? false else {
            throw .malformed("a snapshot without a header or last line end")
        }
        let (checkpoint, log, count) = try header(Array(lines[0]))
        do { try checkpoint.verify(genesis) } catch {
            throw .checkpoint(height: checkpoint.height, error.description)
        }
        guard count == lines.count - 2 else {
            throw .malformed("a snapshot of \(lines.count - 2) keys that says it has \(count)")
        }
        var leaves: [StateLeaf] = []
        leaves.reserveCapacity(count)
        for (number, line) in lines[1..<(count + 1)].enumerated() { leaves.append(try leaf(Array(line), number + 2)) }
        let state = LedgerState(genesis: genesis, height: checkpoint.height, time: checkpoint.time, leaves: leaves)
        guard state.count == count, state.root == checkpoint.stateRoot else {
            throw .stateRoot(height: checkpoint.height)
        }
        guard log.size == checkpoint.size, log.root == checkpoint.logRoot else {
            throw .logRoot(height: checkpoint.height)
        }
        var chain = LedgerChain(genesis: genesis)
        (chain.state, chain.log, chain.head) = (state, log, checkpoint.block)
        return (chain, checkpoint)
    }

    private static func header(_ line: [UInt8]) throws(ReplayError) -> (Checkpoint, LogFrontier, Int) {
        do {
            var fields = try ObjectReader(JSONValue(canonical: line), "a snapshot's header")
            let format = try fields.string("format")
            guard format == LedgerSnapshot.format else {
                throw fields.refuse("format", "“\(LedgerSnapshot.format)”", found: .string(format))
            }
            let checkpoint = try Checkpoint(fields.value("checkpoint"))
            let count = try fields.integer("count", in: Bounds.amount)
            let peaks = try fields.digests("peaks")
            try fields.finish()
            guard let log = LogFrontier(size: checkpoint.size, peaks: peaks) else {
                throw fields.refuse("peaks", "one for each bit of the log's size", found: .integer(Int64(peaks.count)))
            }
            return (checkpoint, log, Int(count))
        } catch { throw .malformed("a snapshot's first line: \(error)") }
    }

    private static func leaf(_ line: [UInt8], _ number: Int) throws(ReplayError) -> StateLeaf {
        do {
            var fields = try ObjectReader(JSONValue(canonical: line), "a snapshot's line")
            let text = try fields.string("key")
            guard let key = StateKey(text), key.text == text else {
                throw fields.refuse("key", "a key of the state", found: .string(text))
            }
            let value = try fields.value("value")
            try fields.finish()
            let entry = try StateEntry(value, at: key)
            guard entry.value == value else { throw fields.refuse("value", "what stands at \(text)", found: value) }
            return StateLeaf(key: key, entry: entry)
        } catch { throw .malformed("line \(number) of a snapshot: \(error)") }
    }
}

import CLinux
import LogEngine

/// What suits a device.
enum DeviceProfile: String, Sendable {
    /// Places cost nothing; what is asked first is read first.
    case ssd
    /// Each place costs a movement of the arm: what a turn reads is asked of the disk in the order of its places.
    case hdd
}

/// On a hard disk: before a turn is executed, a look at what its requests will read, so that the disk gets all of it at
/// once and in the order of its places. Nothing depends on it; what was not seen is read when its turn comes.
struct ReadAhead {
    /// Bytes of each connection's input that are looked at.
    static let peekBytes = 16 << 10
    /// Reads of a turn that are sorted; more are left to the next.
    static let extentsMax = 4096
    /// What lies between two reads is read too if it is less: so much passes under the arm while it would move.
    static let gapBytes: UInt64 = 256 << 10

    let scratch: UnsafeMutableRawPointer
    var extents: [Extent] = []

    init() {
        scratch = .allocate(byteCount: Self.peekBytes, alignment: 16)
        extents.reserveCapacity(Self.extentsMax)
    }

    func free() { scratch.deallocate() }
}

extension Server {
    /// Looks at what the connections have said that are readable.
    mutating func readAhead(_ events: UnsafeMutablePointer<zg_event_t>, _ count: Int) {
        guard readAhead != nil else { return }
        readAhead?.extents.removeAll(keepingCapacity: true)
        for index in 0..<count where events[index].events & UInt32(ZG_READABLE) != 0 {
            guard events[index].token >= Self.connectionToken, events[index].token >> 32 == 1,
                let connection = connections[Int(Int32(truncatingIfNeeded: events[index].token))],
                connection.pointee.tls == nil, connection.pointee.inputStart == connection.pointee.inputEnd
            else { continue }
            peek(connection)
        }
        submitReads()
    }

    private mutating func peek(_ connection: UnsafeMutablePointer<Connection>) {
        guard let scratch = readAhead?.scratch else { return }
        let got = zg_db_peek(connection.pointee.descriptor, scratch, ReadAhead.peekBytes)
        var at = 0
        while at < got {
            switch parser.parse(scratch + at, got - at) {
            case .command(let count, let bytes):
                note(connection.pointee.namespace, count)
                at += bytes
            case .empty(let bytes): at += bytes
            case .incomplete, .invalid: return
            }
        }
    }

    private mutating func note(_ namespace: UInt32, _ count: Int) {
        let last: Int
        switch table.find(arguments[0]) {
        case .get, .getseq: last = min(count, 2)
        case .mget: last = count
        default: return
        }
        for index in 1..<max(1, last) {
            guard (readAhead?.extents.count ?? .max) < ReadAhead.extentsMax,
                let entry = try? engine.find(namespace, arguments[index].bytes), !entry.isDamaged,
                let extent = engine.extent(of: entry)
            else { continue }
            readAhead?.extents.append(extent)
        }
    }

    /// Asks the disk for everything, in the order of places; neighbours are one request.
    private mutating func submitReads() {
        guard var extents = readAhead?.extents, extents.count > 1 else { return }
        extents.sort { ($0.segment, $0.offset) < ($1.segment, $1.offset) }
        var index = 0
        while index < extents.count {
            let first = extents[index]
            var end = first.offset + UInt64(first.length)
            index += 1
            while index < extents.count, extents[index].segment == first.segment,
                extents[index].offset <= end + ReadAhead.gapBytes
            {
                end = max(end, extents[index].offset + UInt64(extents[index].length))
                index += 1
            }
            zg_db_will_need(disk.descriptor(first.file), first.offset, end - first.offset)
            counters.readsAhead += 1
        }
    }
}

/// What a client can ask for.
enum Command: UInt8, CaseIterable {
    case unknown = 0
    case get, set, mget, mset, del, exists, length, keyseq, getseq, scan, dbsize
    case ping, echo, hello, auth, select, epoch, next, quit, reset, time, info, command, client, config
    case nsnew, nsdel, nslist, nsinfo, nsset, nsfence, flush, compact
    case status, metrics, hooks
    case range, prefix, kscan, batch, multi, exec, discard, watch, unwatch, proof
    case listen, unlisten, doors
    case setx, check, keytime, keycur, scanx, rscan, history, wait, mirror, nsjump, reload, stop, index
    case zsync, waitreplicas, promote, demote, replicaof, role
    case nssync, nsfollow, nspromote, master, data

    /// Name on the wire.
    var name: StaticString {
        switch self {
        case .unknown: "UNKNOWN"
        case .get: "GET"
        case .set: "SET"
        case .mget: "MGET"
        case .mset: "MSET"
        case .del: "DEL"
        case .exists: "EXISTS"
        case .length: "LENGTH"
        case .keyseq: "KEYSEQ"
        case .getseq: "GETSEQ"
        case .scan: "SCAN"
        case .dbsize: "DBSIZE"
        case .ping: "PING"
        case .echo: "ECHO"
        case .hello: "HELLO"
        case .auth: "AUTH"
        case .select: "SELECT"
        case .epoch: "EPOCH"
        case .next: "NEXT"
        case .quit: "QUIT"
        case .reset: "RESET"
        case .time: "TIME"
        case .info: "INFO"
        case .command: "COMMAND"
        case .client: "CLIENT"
        case .config: "CONFIG"
        case .nsnew: "NSNEW"
        case .nsdel: "NSDEL"
        case .nslist: "NSLIST"
        case .nsinfo: "NSINFO"
        case .nsset: "NSSET"
        case .nsfence: "NSFENCE"
        case .flush: "FLUSH"
        case .compact: "COMPACT"
        case .status: "DB.STATUS"
        case .metrics: "DB.METRICS"
        case .hooks: "HOOKS"
        case .range: "RANGE"
        case .prefix: "PREFIX"
        case .kscan: "KSCAN"
        case .batch: "BATCH"
        case .multi: "MULTI"
        case .exec: "EXEC"
        case .discard: "DISCARD"
        case .watch: "WATCH"
        case .unwatch: "UNWATCH"
        case .proof: "PROOF"
        case .listen: "LISTEN"
        case .unlisten: "UNLISTEN"
        case .doors: "DOORS"
        case .setx: "SETX"
        case .check: "CHECK"
        case .keytime: "KEYTIME"
        case .keycur: "KEYCUR"
        case .scanx: "SCANX"
        case .rscan: "RSCAN"
        case .history: "HISTORY"
        case .wait: "WAIT"
        case .mirror: "MIRROR"
        case .nsjump: "NSJUMP"
        case .reload: "RELOAD"
        case .stop: "STOP"
        case .index: "INDEX"
        case .zsync: "ZSYNC"
        case .waitreplicas: "WAITREPLICAS"
        case .promote: "PROMOTE"
        case .demote: "DEMOTE"
        case .replicaof: "REPLICAOF"
        case .role: "ROLE"
        case .nssync: "NSSYNC"
        case .nsfollow: "NSFOLLOW"
        case .nspromote: "NSPROMOTE"
        case .master: "MASTER"
        case .data: "DATA"
        }
    }

    /// Arguments with the name: exactly so many, or with a minus at least so many.
    var arity: Int {
        switch self {
        case .check, .keytime, .keycur: 2
        case .history, .wait, .index: -2
        case .setx: -3
        case .mirror, .master, .nsjump, .stop: 1
        case .scan, .scanx, .rscan, .reload: -1
        case .multi, .exec, .discard, .unwatch: 1
        case .get, .prefix, .kscan, .watch, .nsnew: -2
        case .range, .proof: -3
        case .batch: -4
        case .echo, .length, .keyseq, .getseq, .nsinfo: 2
        case .set: -3
        case .nsdel, .mget, .del, .exists, .config, .client, .select, .auth: -2
        case .mset: -3
        case .dbsize, .next, .quit, .reset, .time, .flush, .compact, .nslist: 1
        case .nsset: 4
        case .listen: 3
        case .unlisten: 2
        case .doors: 1
        case .zsync, .nssync: 7
        case .nsfollow: -4
        case .nspromote: -2
        case .data: -2
        case .waitreplicas: 3
        case .demote: 2
        case .promote: -1
        case .replicaof: -3
        case .role: 1
        case .nsfence: 3
        case .unknown, .ping, .hello, .epoch, .info, .command, .status, .metrics, .hooks: -1
        }
    }

    /// What a connection must at least be to use it.
    var role: UInt8 {
        switch self {
        case .setx: Role.readWrite
        case .mirror, .master, .data, .nsjump, .reload, .stop, .index, .nsfollow, .nspromote: Role.admin
        case .set, .mset, .del, .batch, .flush, .nsfence: Role.readWrite
        case .compact, .nsnew, .nsdel, .nslist, .nsset, .status, .metrics, .hooks, .listen, .unlisten, .doors,
            .zsync, .promote, .demote, .replicaof, .role:
            Role.admin
        default: Role.readOnly
        }
    }
}

/// From names to commands: an open table of 256 places, keyed by the name's bytes in upper case.
struct CommandTable {
    private struct Row {
        var low: UInt64 = 0
        var high: UInt64 = 0
        var command = Command.unknown
    }

    private let rows: UnsafeMutablePointer<Row>

    init() {
        rows = .allocate(capacity: 256)
        rows.initialize(repeating: Row(), count: 256)
        for command in Command.allCases where command != .unknown {
            let name = command.name
            let key = Self.key(UnsafeRawPointer(name.utf8Start), name.utf8CodeUnitCount)
            var index = Self.place(key.0, key.1)
            while rows[index].low != 0 { index = (index + 1) & 255 }
            rows[index] = Row(low: key.0, high: key.1, command: command)
        }
    }

    func free() { rows.deallocate() }

    @inline(__always)
    func find(_ name: Argument) -> Command {
        guard name.count > 0, name.count <= 16 else { return .unknown }
        let key = Self.key(name.base, name.count)
        var index = Self.place(key.0, key.1)
        while rows[index].low != 0 {
            if rows[index].low == key.0 && rows[index].high == key.1 { return rows[index].command }
            index = (index + 1) & 255
        }
        return .unknown
    }

    @inline(__always)
    private static func key(_ bytes: UnsafeRawPointer, _ count: Int) -> (UInt64, UInt64) {
        var low: UInt64 = 0
        var high: UInt64 = 0
        for index in 0..<count {
            var byte = bytes.load(fromByteOffset: index, as: UInt8.self)
            if byte >= 97 && byte <= 122 { byte -= 32 }
            if index < 8 {
                low |= UInt64(byte) << UInt64(8 * index)
            } else {
                high |= UInt64(byte) << UInt64(8 * (index - 8))
            }
        }
        return (low, high)
    }

    @inline(__always)
    private static func place(_ low: UInt64, _ high: UInt64) -> Int {
        Int(truncatingIfNeeded: ((low ^ high &* 31) &* 0x9e37_79b9_7f4a_7c15) >> 56)
    }
}

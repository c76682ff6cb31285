import CanonicalJSON
import Linux

/// What survives zero-core of one process, in `<run>/core/<key>.json`: enough for the next zero-core to go on with it.
/// Of this boot only; a record of another boot is forgotten.
struct ProcessRecord: Equatable {
    var key: ProcessKey
    var boot: String
    /// 0 while it does not run.
    var pid: Int32 = 0
    var startTime: UInt64 = 0
    var uid: UInt32 = 0
    var isReady = false
    var isStopping = false
    /// Raw status (256 + signal, -1 unknown) of a process that ended for good.
    var ended: Int32?
    var row = 0
    var restarts = 0
    /// Monotonic milliseconds.
    var started: UInt64 = 0
    var reason = ""

    init(_ key: ProcessKey, boot: String) { (self.key, self.boot) = (key, boot) }

    /// The document that is written.
    var document: JSONValue {
        var members: [String: JSONValue] = [
            "key": .string(key.description), "boot": .string(boot), "pid": .integer(Int64(pid)),
            "start_time": .integer(Int64(startTime)), "uid": .integer(Int64(uid)), "ready": .bool(isReady),
            "stopping": .bool(isStopping), "row": .integer(Int64(row)), "restarts": .integer(Int64(restarts)),
            "started_ms": .integer(Int64(started)), "reason": .string(reason),
        ]
        if let ended { members["ended"] = .integer(Int64(ended)) }
        return .object(members)
    }

    /// Reads what `document` wrote.
    init(_ bytes: [UInt8], subject: String) throws(JSONError) {
        var reader = try ObjectReader(try JSONValue(parsing: bytes), subject)
        let text = try reader.string("key")
        guard let key = ProcessKey(text: text) else { throw reader.refuse("key", "a process", found: .string(text)) }
        self.init(key, boot: try reader.string("boot"))
        pid = Int32(clamping: try reader.integer("pid"))
        startTime = UInt64(clamping: try reader.integer("start_time"))
        uid = UInt32(clamping: try reader.integer("uid"))
        isReady = try reader.bool("ready")
        isStopping = try reader.bool("stopping")
        ended = try reader.optionalInteger("ended").map { Int32(clamping: $0) }
        row = Int(try reader.integer("row"))
        restarts = Int(try reader.integer("restarts"))
        started = UInt64(clamping: try reader.integer("started_ms"))
        reason = try reader.string("reason")
        try reader.finish()
    }
}

extension ExitStatus {
    /// 0…255 a status, 256 + signal, -1 unknown: how records keep it.
    var raw: Int32 {
        switch self {
        case .code(let code): code
        case .signal(let number): 256 + number
        case .unknown: -1
        }
    }

    /// From `raw`.
    init(recorded raw: Int32) { self = raw < 0 ? .unknown : ExitStatus(raw: raw) }
}

/// The folder of records.
struct RecordStore {
    let folder: String
    let boot: String

    private func path(_ key: ProcessKey) -> String { "\(folder)/\(key).json" }

    func write(_ record: ProcessRecord) throws(SystemError) {
        try File.writeAtomically(path(record.key), record.document.canonicalBytes)
    }

    func erase(_ key: ProcessKey) { try? File.remove(path(key)) }

    /// The records of this boot; others, and files that are no records, are removed.
    func load(_ complain: (String) -> Void) -> [ProcessRecord] {
        var found: [ProcessRecord] = []
        for name in (try? File.list(folder)) ?? [] where name != "lock" {
            let path = "\(folder)/\(name)"
            do {
                let record = try ProcessRecord(try File.read(path, limit: 64 << 10), subject: path)
                if record.boot == boot, "\(record.key).json" == name {
                    found.append(record)
                    continue
                }
            } catch {
                complain("\(error)")
            }
            try? File.remove(path)
        }
        return found
    }
}

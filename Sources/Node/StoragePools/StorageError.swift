public import Bus
internal import CanonicalJSON
public import Linux

/// Why a volume or the pool could not be brought to what is asked.
public enum StorageError: Error, Sendable, CustomStringConvertible {
    /// A request that can never be fulfilled.
    case invalid(String)
    /// A request of an owner who was replaced.
    case epoch(volume: String, asked: Int64, recorded: Int64)
    /// The volume holds more than the asked size.
    case shrink(volume: String, asked: Int64, used: Int64)
    /// There is no room: what is missing and what is left, in bytes.
    case full(subject: String, needs: Int64, left: Int64)
    /// Something that is not there.
    case missing(String)
    /// A volume that was recorded is not on the disk any more.
    case lost(volume: String)
    /// A namespace that was recorded is not in the store any more.
    case lostNamespace(String)
    /// The store or the identity process refused what was asked for a namespace: its code and its words.
    case refused(String, String, String)
    /// The store or the identity process does not answer.
    case unreachable(String)
    /// A step of the system failed.
    case system(SystemError)
    /// A tool failed.
    case tool(SubprocessError)
    /// A file of the pool is not what it should be.
    case damaged(path: String, reason: String)

    /// One line for people.
    public var description: String {
        switch self {
        case .invalid(let why): why
        case .epoch(let volume, let asked, let recorded):
            "volume \(volume) belongs to epoch \(recorded); epoch \(asked) is over"
        case .shrink(let volume, let asked, let used):
            "volume \(volume) holds \(used) bytes and cannot be made \(asked) small"
        case .full(let subject, let needs, let left): "\(subject) has no room for \(needs) bytes, \(left) are left"
        case .missing(let what): "there is no \(what)"
        case .lost(let volume): "volume \(volume) is recorded but its data are gone from the pool"
        case .lostNamespace(let id): "zdb \(id) is recorded but its data are gone from the store"
        case .refused(let id, let code, let message): "zdb \(id): \(code) \(message)"
        case .unreachable(let why): why
        case .system(let error): "\(error)"
        case .tool(let error): "\(error)"
        case .damaged(let path, let reason): "\(path) \(reason)"
        }
    }

    /// The error as the bus carries it.
    public var onBus: BusError {
        let code =
            switch self {
            case .invalid: "BADREQUEST"
            case .epoch: "EPOCH"
            case .shrink: "CONFLICT"
            case .full: "NOSPACE"
            case .missing: "NOTFOUND"
            case .lost, .lostNamespace: "LOST"
            case .refused(_, let code, _): code == "QUOTA" ? "CONFLICT" : code == "NOSPACE" ? code : "FAILED"
            case .unreachable: "UNREACHABLE"
            case .system(let error): error.errno == .noSpace || error.errno == Errno(122) ? "NOSPACE" : "FAILED"
            case .tool, .damaged: "FAILED"
            }
        return BusError(code: code, message: description)
    }
}

/// Runs a body whose system calls and tools may fail, and gives their errors one type.
func storage<Value>(_ body: () throws -> Value) throws(StorageError) -> Value {
    do {
        return try body()
    } catch let error as StorageError {
        throw error
    } catch let error as SystemError {
        throw .system(error)
    } catch let error as SubprocessError {
        throw .tool(error)
    } catch {
        throw .invalid("\(error)")
    }
}

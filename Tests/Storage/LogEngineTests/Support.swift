import Simulation

@testable import LogEngine

/// Options small enough that segments end often.
func smallOptions(_ segmentBytes: Int = 32768, policy: SyncPolicy = .always) -> LogOptions {
    var options = LogOptions()
    options.segmentBytes = segmentBytes
    options.reserveBytes = 4096
    options.slackBytes = 512
    options.policy = policy
    options.fresh = (0x1111_2222_3333_4444, 0x5555_6666_7777_8888, 0x0123_4567_89ab_cdef)
    return options
}

extension LogEngine {
    static func open(_ disk: SimulatedDisk, _ options: LogOptions = smallOptions()) throws(LogError) -> LogEngine {
        try open(disk: disk, options: options, time: 1_700_000_000_000_000_000)
    }

    @discardableResult
    mutating func set(
        _ key: [UInt8], _ value: [UInt8], _ condition: WriteCondition = .none, epoch: UInt64 = 0, namespace: UInt32 = 1
    ) throws(LogError) -> UInt64 {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                do throws(LogError) {
                    result = .success(
                        try set(
                            namespace, key, value, condition: condition, epoch: epoch, time: 1_700_000_000_000_000_001))
                } catch { result = .failure(error) }
            }
        }
        return try result.get()
    }

    @discardableResult
    mutating func delete(_ key: [UInt8], namespace: UInt32 = 1) throws(LogError) -> UInt64 {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            do throws(LogError) { result = .success(try delete(namespace, key, time: 5)) } catch {
                result = .failure(error)
            }
        }
        return try result.get()
    }

    mutating func get(_ key: [UInt8], namespace: UInt32 = 1) throws(LogError) -> [UInt8]? {
        var result: Result<[UInt8]?, LogError> = .success(nil)
        key.withUnsafeBytes { key in
            do throws(LogError) {
                guard let entry = try find(namespace, key) else { return }
                var value = [UInt8](repeating: 0, count: entry.valueLength + 1)
                var failure: LogError?
                value.withUnsafeMutableBytes { bytes in
                    guard let base = bytes.baseAddress else { return }
                    do throws(LogError) { try read(entry, namespace, key, into: base) } catch { failure = error }
                }
                if let failure { throw failure }
                value.removeLast()
                result = .success(value)
            } catch { result = .failure(error) }
        }
        return try result.get()
    }

    /// Every key by scanning, with its value.
    mutating func everything(_ namespace: UInt32 = 1) throws(LogError) -> [[UInt8]: [UInt8]] {
        var result: [[UInt8]: [UInt8]] = [:]
        var cursor: UInt64 = 0
        var found: [Entry] = []
        repeat {
            cursor = try scan(namespace, from: cursor, count: 7, into: &found)
            for entry in found {
                var key = [UInt8](repeating: 0, count: 256)
                var failure: LogError?
                key.withUnsafeMutableBytes { bytes in
                    guard let base = bytes.baseAddress else { return }
                    do throws(LogError) { try readKey(entry, namespace, into: base) } catch { failure = error }
                }
                if let failure { throw failure }
                let name = Array(key.prefix(entry.keyLength))
                precondition(result[name] == nil, "a key was scanned twice")
                result[name] = try get(name, namespace: namespace)
            }
        } while cursor != 0
        return result
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

import LogEngine
import Simulation

// What the simulator asks of an engine, in arrays and results instead of pointers and typed closures.
extension LogEngine {
    mutating func put(
        _ namespace: UInt32, _ key: [UInt8], _ value: [UInt8], _ condition: WriteCondition, epoch: UInt64, time: UInt64
    ) -> Result<UInt64, LogError> {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                do throws(LogError) {
                    result = .success(
                        try set(namespace, key, value, condition: condition, epoch: epoch, time: time))
                } catch { result = .failure(error) }
            }
        }
        return result
    }

    mutating func end(
        _ namespace: UInt32, _ key: [UInt8], _ condition: WriteCondition, epoch: UInt64, time: UInt64
    ) -> Result<UInt64, LogError> {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            do throws(LogError) {
                result = .success(try delete(namespace, key, condition: condition, epoch: epoch, time: time))
            } catch { result = .failure(error) }
        }
        return result
    }

    /// A new value of a sequential namespace.
    mutating func addition(
        _ namespace: UInt32, _ value: [UInt8], epoch: UInt64, time: UInt64
    ) -> Result<(id: UInt64, sequence: UInt64), LogError> {
        var result: Result<(id: UInt64, sequence: UInt64), LogError> = .failure(.absent)
        value.withUnsafeBytes { value in
            do throws(LogError) { result = .success(try add(namespace, value, epoch: epoch, time: time)) } catch {
                result = .failure(error)
            }
        }
        return result
    }

    /// A value as it was elsewhere.
    mutating func restoration(
        _ namespace: UInt32, _ key: [UInt8], _ value: [UInt8], time: UInt64
    ) -> Result<UInt64, LogError> {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                do throws(LogError) { result = .success(try restore(namespace, key, value, time: time)) } catch {
                    result = .failure(error)
                }
            }
        }
        return result
    }

    func current(_ namespace: UInt32, _ key: [UInt8]) -> Result<Entry?, LogError> {
        var result: Result<Entry?, LogError> = .success(nil)
        key.withUnsafeBytes { key in
            do throws(LogError) { result = .success(try find(namespace, key)) } catch { result = .failure(error) }
        }
        return result
    }

    func lastVersion(_ namespace: UInt32, _ key: [UInt8]) -> Result<UInt64, LogError> {
        var result: Result<UInt64, LogError> = .success(0)
        key.withUnsafeBytes { key in
            do throws(LogError) { result = .success(try version(namespace, key)) } catch { result = .failure(error) }
        }
        return result
    }

    mutating func formerVersion(
        _ namespace: UInt32, _ key: [UInt8], _ before: UInt64?
    ) -> Result<Version?, LogError> {
        var result: Result<Version?, LogError> = .success(nil)
        key.withUnsafeBytes { key in
            do throws(LogError) { result = .success(try version(namespace, key, before: before)) } catch {
                result = .failure(error)
            }
        }
        return result
    }

    /// A key's version as it was at a time, and its value.
    mutating func version(
        _ namespace: UInt32, _ key: [UInt8], at time: UInt64
    ) -> Result<(version: Version, value: [UInt8])?, LogError> {
        var result: Result<(version: Version, value: [UInt8])?, LogError> = .success(nil)
        key.withUnsafeBytes { key in
            do throws(LogError) {
                guard let found = try version(namespace, key, at: time) else { return }
                result = .success((found, try value(found, namespace, key)))
            } catch { result = .failure(error) }
        }
        return result
    }

    private mutating func value(
        _ version: Version, _ namespace: UInt32, _ key: UnsafeRawBufferPointer
    ) throws(LogError) -> [UInt8] {
        var value = [UInt8](repeating: 0, count: version.valueLength + 1)
        var failure: LogError?
        value.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(LogError) { try readVersion(version, namespace, key, into: base) } catch { failure = error }
        }
        if let failure { throw failure }
        value.removeLast()
        return value
    }

    mutating func value(_ entry: Entry, _ namespace: UInt32, _ key: [UInt8]) -> Result<[UInt8], LogError> {
        var value = [UInt8](repeating: 0, count: entry.valueLength + 1)
        var failure: LogError?
        key.withUnsafeBytes { key in
            value.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                do throws(LogError) { try read(entry, namespace, key, into: base) } catch { failure = error }
            }
        }
        if let failure { return .failure(failure) }
        value.removeLast()
        return .success(value)
    }

    mutating func key(_ entry: Entry, _ namespace: UInt32) -> Result<[UInt8], LogError> {
        var key = [UInt8](repeating: 0, count: 256)
        var failure: LogError?
        key.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(LogError) { try readKey(entry, namespace, into: base) } catch { failure = error }
        }
        if let failure { return .failure(failure) }
        return .success(Array(key.prefix(entry.keyLength)))
    }
}

/// Runs a call with typed throws and gives its result.
func result<T>(_ body: () throws(LogError) -> T) -> Result<T, LogError> {
    do throws(LogError) { return .success(try body()) } catch { return .failure(error) }
}

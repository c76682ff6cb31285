import Glibc
import Linux
import Synchronization

/// A number that only grows.
public final class Counter: Sendable {
    private let number = Atomic<Int64>(0)
    init() {}

    /// Adds to it.
    public func add(_ amount: Int64 = 1) { number.add(amount, ordering: .relaxed) }
    /// The number now.
    public var value: Int64 { number.load(ordering: .relaxed) }
}

/// A number that goes up and down.
public final class Gauge: Sendable {
    private let number = Atomic<Int64>(0)
    init() {}

    /// Sets it.
    public func set(_ value: Int64) { number.store(value, ordering: .relaxed) }
    /// Adds to it; negative amounts are taken away.
    public func add(_ amount: Int64) { number.add(amount, ordering: .relaxed) }
    /// The number now.
    public var value: Int64 { number.load(ordering: .relaxed) }
}

/// A daemon's numbers, as Prometheus text on request.
public final class Metrics: Sendable {
    private enum Source: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case read(@Sendable () -> Int64)
        var value: Int64 {
            switch self {
            case .counter(let counter): counter.value
            case .gauge(let gauge): gauge.value
            case .read(let read): read()
            }
        }
    }
    private struct Family {
        let help: String
        let type: String
        var series: [(labels: String, source: Source)] = []
    }
    private let families = Mutex<[String: Family]>([:])
    private let started = Clock.monotonicNanoseconds()

    /// No numbers but the process's own.
    public init() {
        gauge("process_uptime_seconds", "Seconds since the daemon started.") { [started] in
            (Clock.monotonicNanoseconds() - started) / 1_000_000_000
        }
        gauge("process_resident_memory_bytes", "Resident memory in bytes.") {
            let pages = (try? File.readText("/proc/self/statm", limit: 200))?.split(separator: " ")
            return (pages.flatMap { $0.count > 1 ? Int64($0[1]) : nil } ?? 0) * Int64(getpagesize())
        }
        gauge("process_open_fds", "Open descriptors.") { Int64((try? File.list("/proc/self/fd").count) ?? 0) }
    }

    /// The counter of that name and labels; made when it is asked for first. Names end in `_total`.
    public func counter(
        _ name: String, _ help: String = "", _ labels: KeyValuePairs<String, String> = [:]
    ) -> Counter {
        let found = source(name, help, "counter", labels) { .counter(Counter()) }
        if case .counter(let counter) = found { return counter }
        return Counter()
    }

    /// The gauge of that name and labels; made when it is asked for first.
    public func gauge(_ name: String, _ help: String = "", _ labels: KeyValuePairs<String, String> = [:]) -> Gauge {
        let found = source(name, help, "gauge", labels) { .gauge(Gauge()) }
        if case .gauge(let gauge) = found { return gauge }
        return Gauge()
    }

    /// A gauge that is read when metrics are asked for.
    public func gauge(
        _ name: String, _ help: String, _ labels: KeyValuePairs<String, String> = [:],
        read: @escaping @Sendable () -> Int64
    ) {
        _ = source(name, help, "gauge", labels) { .read(read) }
    }

    private func source(
        _ name: String, _ help: String, _ type: String, _ labels: KeyValuePairs<String, String>, _ make: () -> Source
    ) -> Source {
        let text = labels.map { "\($0.key)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
        let made = make()
        return families.withLock { families in
            if let known = families[name]?.series.first(where: { $0.labels == text }) { return known.source }
            families[name, default: Family(help: help, type: type)].series.append((text, made))
            return made
        }
    }

    private static func escaped(_ value: String) -> String {
        var text = ""
        for character in value {
            switch character {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.append(character)
            }
        }
        return text
    }

    /// All numbers as Prometheus text.
    public func text() -> String {
        let snapshot = families.withLock { $0 }
        var text = ""
        for (name, family) in snapshot.sorted(by: { $0.key < $1.key }) {
            if !family.help.isEmpty { text += "# HELP \(name) \(family.help)\n" }
            text += "# TYPE \(name) \(family.type)\n"
            for (labels, source) in family.series {
                text += labels.isEmpty ? "\(name) \(source.value)\n" : "\(name){\(labels)} \(source.value)\n"
            }
        }
        return text
    }
}

internal import Linux
public import ObjectIndex

/// What is wrong with a store's settings, and where.
public struct StoreSettingsError: Error, Sendable, CustomStringConvertible {
    /// A sentence for people.
    public let description: String
}

/// A store as its file describes it: lines of `name value…`, `#` begins a comment.
///
///     store photos
///     data 4                # shards that suffice
///     parity 2
///     survive-nodes 2
///     survive-farms 1
///     backend 10.0.0.1:9900/photos farm=ghent node=a1 weight=2 log
///
/// Backends are numbered in their order, from 1; `log` marks those that keep the log.
public struct StoreSettings: Sendable {
    /// Names the store's keys.
    public var store = "store"
    /// How new data is kept.
    public var policy = Policy(
        k: 4, m: 2, margin: 1, graceMs: 3_600_000, codec: 0, contentDefined: true, minimumChunk: 256 << 10,
        averageChunk: 1 << 20, maximumChunk: 4 << 20, packSize: 1 << 20, deduplicates: true)
    /// In their order.
    public var backends: [Backend] = []
    /// The backends that keep the log.
    public var logMembers: [UInt16] = []
    /// Backends of the log that may be unreachable, and that may lie.
    public var logUnreachable = 1, logLying = 1
    /// A backend that is silent for so long is lost, and repair begins; seconds.
    public var lostAfter = 900

    /// The backends that keep the log, and what may happen to them.
    var quorum: LogQuorum {
        let names = backends.map { ($0.number, BackendAddress($0.address)?.namespace ?? "") }
        return LogQuorum(
            members: logMembers, namespaces: Dictionary(names, uniquingKeysWith: { first, _ in first }),
            unreachable: logUnreachable, lying: logLying)
    }

    /// Reads the file's text.
    public init(_ text: String) throws(StoreSettingsError) {
        var explicitLog = false
        for (index, raw) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let line = raw.prefix { $0 != "#" }
            let words = line.split(whereSeparator: {
                $0 == " " || $0 == "\t" || $0 == "=" && !line.hasPrefix("backend")
            }).map(String.init)
            guard let name = words.first else { continue }
            do throws(StoreSettingsError) {
                if name == "backend" {
                    explicitLog = try addBackend(Array(words.dropFirst())) || explicitLog
                } else {
                    guard words.count == 2 else { throw StoreSettingsError(description: "“\(name)” takes one value") }
                    try set(name, words[1])
                }
            } catch {
                throw StoreSettingsError(description: "line \(index + 1): \(error)")
            }
        }
        try finish(explicitLog)
    }

    /// Reads a file.
    public init(file: String) throws(StoreSettingsError) {
        let text: String
        do { text = try File.readText(file, limit: 1 << 20) } catch {
            throw StoreSettingsError(description: "\(error)")
        }
        do throws(StoreSettingsError) { try self.init(text) } catch {
            throw StoreSettingsError(description: "\(file): \(error)")
        }
    }

    private mutating func finish(_ explicitLog: Bool) throws(StoreSettingsError) {
        guard !backends.isEmpty else { throw StoreSettingsError(description: "no backend is named") }
        if !explicitLog { chooseLogMembers() }
        guard quorum.isSound else {
            throw StoreSettingsError(
                description:
                    "\(logMembers.count) backends keep the log: with \(logUnreachable) unreachable and \(logLying) lying ones it takes \(2 * logUnreachable + logLying + 1)"
            )
        }
    }

    /// So few, spread over farms, that the log outlives what the data does: any so many nodes, all nodes of any so many farms, and one liar beside
    /// them where there are enough. Where there are not, as much as there can be; `logShortfall` says so.
    private mutating func chooseLogMembers() {
        let ranked = rankedNodes()
        let away = max(policy.surviveNodes, ranked.count >= 3 ? 1 : 0)
        for lying in [1, 0] {
            for count in stride(from: lying + 1, through: ranked.count, by: 1) {
                let members = Array(ranked.prefix(count)), unreachable = (count - lying - 1) / 2
                if unreachable >= away, unreachable >= membersLost(members) {
                    return (logMembers, logUnreachable, logLying) = (members, unreachable, lying)
                }
            }
        }
        logMembers = ranked
        logLying = ranked.count >= 4 ? 1 : 0
        logUnreachable = max(0, (ranked.count - logLying - 1) / 2)
    }

    /// One backend of each node, those of different farms in turn.
    private func rankedNodes() -> [UInt16] {
        var nodes = Set<String>()
        var ofFarm: [String: Int] = [:]
        let turns = backends.filter { nodes.insert($0.farm + "/" + $0.node).inserted }.map { backend in
            defer { ofFarm[backend.farm, default: 0] += 1 }
            return (turn: ofFarm[backend.farm, default: 0], number: backend.number)
        }
        return turns.sorted { ($0.turn, $0.number) < ($1.turn, $1.number) }.map(\.number)
    }

    /// How many of them go with the farms that may go, in the worst case.
    private func membersLost(_ members: [UInt16]) -> Int {
        var ofFarm: [String: Int] = [:]
        for backend in backends where members.contains(backend.number) { ofFarm[backend.farm, default: 0] += 1 }
        return ofFarm.values.sorted(by: >).prefix(policy.surviveFarms).reduce(0, +)
    }

    /// Why the log does not outlive what the data is to outlive; nil: it does.
    var logShortfall: String? {
        let lost = max(policy.surviveNodes, membersLost(logMembers))
        if logUnreachable >= lost { return nil }
        return
            "the log is on \(logMembers.count) backends, of which \(logUnreachable) may be away, and \(lost) may go by the promise: "
            + "it takes \(2 * lost + 1) nodes, or \(2 * lost + 2) where one may lie, in at least \(2 * policy.surviveFarms + 1) farms"
    }

    private mutating func set(_ name: String, _ value: String) throws(StoreSettingsError) {
        func number(_ range: ClosedRange<Int>) throws(StoreSettingsError) -> Int {
            guard let number = Int(value), range.contains(number) else {
                throw StoreSettingsError(
                    description: "“\(name)” is a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        switch name {
        case "store": store = value
        case "data": policy.k = try number(1...128)
        case "parity": policy.m = try number(0...127)
        case "margin": policy.margin = try number(0...127)
        case "survive-nodes": policy.surviveNodes = try number(0...127)
        case "survive-farms": policy.surviveFarms = try number(0...127)
        case "grace": policy.graceMs = Int64(try number(0...31_536_000)) * 1000
        case "compression": policy.codec = try codec(value)
        case "chunk-least": policy.minimumChunk = try number(4096...4 << 20)
        case "chunk-usual": policy.averageChunk = try number(4096...4 << 20)
        case "chunk-most": policy.maximumChunk = try number(4096...4 << 20)
        case "cutting": policy.contentDefined = try choice(name, value, "content", "fixed")
        case "deduplicate": policy.deduplicates = try choice(name, value, "yes", "no")
        case "log-unreachable": logUnreachable = try number(0...100)
        case "log-lying": logLying = try number(0...100)
        case "lost-after": lostAfter = try number(1...31_536_000)
        default: throw StoreSettingsError(description: "“\(name)” is not a setting")
        }
    }

    private func choice(_ name: String, _ value: String, _ yes: String, _ no: String) throws(StoreSettingsError) -> Bool
    {
        guard value == yes || value == no else { throw StoreSettingsError(description: "“\(name)” is \(yes) or \(no)") }
        return value == yes
    }

    private func codec(_ value: String) throws(StoreSettingsError) -> UInt8 {
        guard let index = ["auto", "none", "lz4", "zstd"].firstIndex(of: value) else {
            throw StoreSettingsError(description: "“compression” is auto, none, lz4 or zstd")
        }
        return UInt8(index)
    }

    /// Whether it said that it keeps the log.
    private mutating func addBackend(_ words: [String]) throws(StoreSettingsError) -> Bool {
        guard let address = words.first, BackendAddress(address) != nil else {
            throw StoreSettingsError(description: "a backend is host:port/namespace or unix:/path/namespace")
        }
        var farm = "farm", node = "node-\(backends.count + 1)", weight: UInt32 = 1, keepsLog = false
        for word in words.dropFirst() {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            switch (parts[0], parts.count) {
            case ("log", 1): keepsLog = true
            case ("farm", 2): farm = parts[1]
            case ("node", 2): node = parts[1]
            case ("weight", 2):
                guard let number = UInt32(parts[1]), number > 0 else {
                    throw StoreSettingsError(description: "a weight is a whole number above 0")
                }
                weight = number
            default: throw StoreSettingsError(description: "“\(word)”: farm=, node=, weight= or log may stand here")
            }
        }
        let number = UInt16(backends.count + 1)
        backends.append(Backend(number: number, address: address, farm: farm, node: node, weight: weight, capacity: 0))
        if keepsLog { logMembers.append(number) }
        return keepsLog
    }
}

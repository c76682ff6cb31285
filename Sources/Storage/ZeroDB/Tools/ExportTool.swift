import Linux
import LogEngine
import RESP

/// `zero-db export`: namespaces, keys, values, deletions and times as a portable stream.
enum ExportTool {
    static func run(_ arguments: [String]) throws(Tool.Failure) -> Int32 {
        var arguments = arguments
        let withSecrets = Tool.takeFlag("--with-secrets", from: &arguments)
        let passwordFile = try Tool.take("--password-file", from: &arguments)
        guard let from = arguments.first, !from.hasPrefix("-") else {
            throw Tool.Failure(status: 2, description: "usage: zero-db export DIR|HOST:PORT|SOCKET [NS…] > STREAM")
        }
        let wanted = Set(arguments.dropFirst().map { Array($0.utf8) })
        switch try Place.parse(from, passwordFile: passwordFile) {
        case .directory(let path): return try DirectoryExport.run(path, wanted, withSecrets: withSecrets)
        case .server(let client): return try ServerExport.run(client, wanted)
        }
    }

    static func check(_ wanted: Set<[UInt8]>, _ found: Set<[UInt8]>) throws(Tool.Failure) {
        if let missing = wanted.subtracting(found).first {
            throw Tool.Failure(
                status: 1, description: "there is no namespace \(String(decoding: missing, as: UTF8.self))")
        }
    }

    static let broken = Tool.Failure(status: 1, description: "the stream could not be written")
}

/// From a directory that no server uses: the whole history.
private enum DirectoryExport {
    /// What namespaces there are at the end of the log.
    struct Survey: LogVisitor {
        struct Namespace {
            var name: [UInt8]
            var definition: ScannedRecord
            /// Everything up to here is dead.
            var flushed: UInt64 = 0
        }
        var namespaces: [UInt32: Namespace] = [:]
        var oldest: UInt64 = 0

        mutating func visit(_ record: ScannedRecord, in scanner: borrowing LogScanner) {
            if oldest == 0 { oldest = record.time }
            switch record.type {
            case RecordType.namespace:
                let flushed = namespaces[record.namespace]?.flushed ?? 0
                namespaces[record.namespace] = Namespace(name: record.key, definition: record, flushed: flushed)
            case RecordType.namespaceEnd: namespaces[record.namespace] = nil
            case RecordType.flush: namespaces[record.namespace]?.flushed = record.sequence
            default: break
            }
        }

        mutating func visit(_ problem: LogProblem) {}
    }

    struct Emitter: LogVisitor {
        var writer: ExportStream.Writer
        let namespaces: [UInt32: Survey.Namespace]
        var isBroken = false
        var damaged = 0

        mutating func visit(_ record: ScannedRecord, in scanner: borrowing LogScanner) {
            guard !isBroken, let namespace = namespaces[record.namespace], record.sequence > namespace.flushed else {
                return
            }
            var frame = ExportStream.Frame(
                type: .tombstone, namespace: record.namespace, time: record.time, sequence: record.sequence,
                key: record.key)
            switch record.type {
            case RecordType.value:
                // What is damaged was reported by `visit(problem)`.
                guard let value = scanner.value(of: record) else { return }
                (frame.type, frame.value) = (.value, value)
            case RecordType.tombstone: break
            default: return
            }
            isBroken = !writer.add(frame)
        }

        mutating func visit(_ problem: LogProblem) {
            damaged += 1
            let key = problem.key.map { ", key \(Tool.readable($0))" } ?? ""
            Tool.write(
                "zero-db: segment \(problem.segment) offset \(problem.offset): \(problem.kind.rawValue) is damaged and left out\(key)\n",
                to: 2)
        }
    }

    static func run(_ path: String, _ wanted: Set<[UInt8]>, withSecrets: Bool) throws(Tool.Failure) -> Int32 {
        let (disk, _, isUsed) = try Tool.open(reading: path)
        if isUsed {
            throw Tool.Failure(
                status: 1, description: "\(path) is used by a server: export from that, HOST:PORT or SOCKET")
        }
        var result: Result<Int32, Tool.Failure> = .success(0)
        do throws(LogError) {
            var scanner = try LogScanner(disk: disk)
            var survey = Survey()
            scanner.run(&survey)
            result = emit(&scanner, survey, wanted, withSecrets: withSecrets)
        } catch {
            throw Tool.Failure(status: 1, description: "\(path): \(Server.message(error))")
        }
        return try result.get()
    }

    private static func emit(
        _ scanner: inout LogScanner, _ survey: Survey, _ wanted: Set<[UInt8]>, withSecrets: Bool
    ) -> Result<Int32, Tool.Failure> {
        do throws(Tool.Failure) {
            try ExportTool.check(wanted, Set(survey.namespaces.values.map(\.name)))
            let chosen = survey.namespaces.filter { wanted.isEmpty || wanted.contains($0.value.name) }
            var emitter = Emitter(
                writer: .init(1, created: UInt64(max(0, Clock.wallNanoseconds())), start: survey.oldest),
                namespaces: chosen)
            for (id, namespace) in chosen.sorted(by: { $0.key < $1.key }) {
                var settings = NamespaceSettings(decoding: scanner.value(of: namespace.definition) ?? [])
                if !withSecrets { settings.passwordVerifier = [] }
                let frame = ExportStream.Frame(
                    type: .namespace, namespace: id, time: namespace.definition.time, key: namespace.name,
                    value: settings.encoding)
                guard emitter.writer.add(frame) else { throw ExportTool.broken }
            }
            scanner.run(&emitter)
            guard !emitter.isBroken, emitter.writer.finish() else { throw ExportTool.broken }
            return .success(emitter.damaged == 0 ? 0 : 1)
        } catch {
            return .failure(error)
        }
    }
}

/// From a server that runs: what is there now.
private enum ServerExport {
    static func run(_ client: RESPClient, _ wanted: Set<[UInt8]>) throws(Tool.Failure) -> Int32 {
        let names = (try client.run(Array("NSLIST".utf8)).items ?? []).compactMap(\.bytes)
        try ExportTool.check(wanted, Set(names))
        var writer = ExportStream.Writer(1, created: UInt64(max(0, Clock.wallNanoseconds())), start: 0)
        for (index, name) in names.enumerated() where wanted.isEmpty || wanted.contains(name) {
            let text = try client.run(Array("NSINFO".utf8), name).bytes ?? []
            let frame = ExportStream.Frame(
                type: .namespace, namespace: UInt32(index), key: name, value: settings(text).encoding)
            guard writer.add(frame) else { throw ExportTool.broken }
            try values(client, name, UInt32(index), &writer)
        }
        guard writer.finish() else { throw ExportTool.broken }
        return 0
    }

    private static func settings(_ text: [UInt8]) -> NamespaceSettings {
        var fields: [String: String] = [:]
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { fields[String(parts[0])] = parts[1].filter { !$0.isWhitespace } }
        }
        var settings = NamespaceSettings()
        func isOn(_ name: String) -> Bool { fields[name] == "yes" || fields[name] == "1" }
        settings.maxSize = fields["data_limits_bytes"].flatMap { UInt64($0) } ?? 0
        (settings.isWorm, settings.isLocked, settings.isFrozen) = (isOn("worm"), isOn("locked"), isOn("frozen"))
        settings.isPublic = isOn("public") && isOn("password")
        switch fields["mode"] {
        case "sequential", "seq": settings.mode = NamespaceMode.sequential
        case "ordered": settings.mode = NamespaceMode.ordered
        default: break
        }
        return settings
    }

    private static func values(
        _ client: RESPClient, _ name: [UInt8], _ number: UInt32, _ writer: inout ExportStream.Writer
    ) throws(Tool.Failure) {
        _ = try client.run(Array("SELECT".utf8), name)
        var cursor = Array("0".utf8)
        repeat {
            let reply = try client.run(Array("SCAN".utf8), cursor, Array("COUNT".utf8), Array("256".utf8)).items ?? []
            guard reply.count == 2, let next = reply[0].bytes, let keys = reply[1].items?.compactMap(\.bytes) else {
                throw Tool.Failure(status: 1, description: "\(client.endpoint): SCAN gave no cursor and keys")
            }
            // One reply at a time: values may have megabytes.
            let replies = try client.run(keys.map { [Array("GETSEQ".utf8), $0] })
            for (key, reply) in zip(keys, replies) {
                // It was deleted in between.
                guard let pair = reply.items, pair.count == 2, let value = pair[1].bytes else { continue }
                let frame = ExportStream.Frame(
                    type: .value, namespace: number, sequence: UInt64(max(0, pair[0].integer ?? 0)), key: key,
                    value: value)
                guard writer.add(frame) else { throw ExportTool.broken }
            }
            cursor = next
        } while cursor != Array("0".utf8)
    }
}

import Bytes
import LogEngine

/// `zero-db check`: reads every byte of a device that has a meaning and compares it with its checksum.
enum CheckTool {
    private struct Checker: LogVisitor {
        var problems: [LogProblem] = []
        var records: UInt64 = 0
        var values: UInt64 = 0
        var names: [UInt32: [UInt8]] = [:]

        mutating func visit(_ record: ScannedRecord, in scanner: borrowing LogScanner) {
            records += 1
            if record.type == RecordType.value { values += 1 }
            if record.type == RecordType.namespace { names[record.namespace] = record.key }
        }

        mutating func visit(_ problem: LogProblem) { problems.append(problem) }
    }

    static func run(_ arguments: [String]) throws(Tool.Failure) -> Int32 {
        var arguments = arguments
        let output = try Tool.take("-o", from: &arguments)
        guard arguments.count == 1, output == nil || output == "json" || output == "text" else {
            throw Tool.Failure(status: 2, description: "usage: zero-db check DIR [-o json]")
        }
        let (disk, _, isUsed) = try Tool.open(reading: arguments[0])
        var checker = Checker()
        do throws(LogError) {
            var scanner = try LogScanner(disk: disk)
            if scanner.segmentCount > 0 {
                scanner.run(&checker)
                Tool.write(output == "json" ? json(checker, scanner, isUsed) : plain(checker, scanner, isUsed), to: 1)
                return checker.problems.isEmpty ? 0 : 1
            }
        } catch {
            throw Tool.Failure(status: 1, description: "\(arguments[0]): \(Server.message(error))")
        }
        throw Tool.Failure(status: 2, description: "\(arguments[0]): there is no segment in this directory")
    }

    private static func plain(_ checker: Checker, _ scanner: borrowing LogScanner, _ isUsed: Bool) -> String {
        var text = ""
        for problem in checker.problems {
            text +=
                "bad: segment \(problem.segment) offset \(problem.offset) bytes \(problem.length): \(problem.kind.rawValue)"
            if !problem.sequences.isEmpty {
                text += ", sequence \(problem.sequences.lowerBound)"
                if problem.sequences.count > 1 { text += " to \(problem.sequences.upperBound - 1)" }
            }
            if let name = problem.namespace.flatMap({ checker.names[$0] }) {
                text += ", namespace \(String(decoding: name, as: UTF8.self))"
            }
            if let key = problem.key { text += ", key \(Tool.readable(key))" }
            text += "\n"
        }
        if isUsed { text += "a server uses the directory: its last writes are not judged\n" }
        if scanner.unfinishedBytes > 0 {
            text += "\(scanner.unfinishedBytes) bytes at the end were never fully written; a start cuts them\n"
        }
        let count = checker.problems.count
        text += "\(scanner.segmentCount) segments, \(scanner.bytes) bytes, \(checker.records) records: "
        return text + (count == 0 ? "all good\n" : "\(count) bad\n")
    }

    private static func json(_ checker: Checker, _ scanner: borrowing LogScanner, _ isUsed: Bool) -> String {
        let problems = checker.problems.map { problem in
            var fields = [
                "\"segment\":\(problem.segment)", "\"offset\":\(problem.offset)", "\"bytes\":\(problem.length)",
                "\"what\":\"\(problem.kind.rawValue)\"",
            ]
            if !problem.sequences.isEmpty {
                fields.append("\"first_sequence\":\(problem.sequences.lowerBound)")
                fields.append("\"last_sequence\":\(problem.sequences.upperBound - 1)")
            }
            if let name = problem.namespace.flatMap({ checker.names[$0] }) {
                fields.append("\"namespace\":\"\(String(decoding: name, as: UTF8.self))\"")
            }
            if let key = problem.key { fields.append("\"key_hex\":\"\(Hex.encode(key))\"") }
            return "{\(fields.joined(separator: ","))}"
        }
        return
            "{\"device\":\"\(Hex.encode(scanner.device))\",\"segments\":\(scanner.segmentCount),\"bytes\":\(scanner.bytes),"
            + "\"records\":\(checker.records),\"values\":\(checker.values),\"unfinished_bytes\":\(scanner.unfinishedBytes),"
            + "\"in_use\":\(isUsed),\"problems\":[\(problems.joined(separator: ","))]}\n"
    }
}

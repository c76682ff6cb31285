internal import CLinux
internal import Glibc
internal import Linux

/// Talks to a running HAProxy over its admin socket. Every call blocks, at most `Limits.exchangeMilliseconds`.
struct ProxyAdmin {
    let socket: String

    /// A server as the proxy has it.
    struct RunningServer: Equatable {
        var address: String
        var port: Int
        /// Takes no requests.
        var isInMaintenance: Bool
        /// Its checks failed, so that it is sent no requests.
        var isDown = false
    }

    /// Numbers of one backend or of the frontend.
    struct Counters: Equatable {
        var sessions: Int64 = 0
        var requests: Int64 = 0
        var bytesIn: Int64 = 0
        var bytesOut: Int64 = 0
        var retries: Int64 = 0
        var redispatches: Int64 = 0
        var responses: [Int64] = [0, 0, 0, 0, 0]
    }

    /// Sends commands, a few lines if they are many, and returns what the proxy said to each line.
    func run(_ commands: [String]) throws(GatewayError) {
        var line = ""
        for command in commands {
            if line.utf8.count + command.utf8.count + 2 > Limits.lineMax {
                _ = try ask(line)
                line = ""
            }
            line += line.isEmpty ? command : "; \(command)"
        }
        if !line.isEmpty { _ = try ask(line) }
    }

    /// Sends one line and returns the answer.
    func ask(_ line: String) throws(GatewayError) -> String {
        do throws(SystemError) {
            let connection = Descriptor(try checked("connect", socket, zg_unix_connect(socket)))
            try connection.writeAll(Array((line + "\n").utf8), socket)
            var answer: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let end = Clock.monotonicNanoseconds() + Int64(Limits.exchangeMilliseconds) * 1_000_000
            while answer.count < Limits.answerMax {
                let left = (end - Clock.monotonicNanoseconds()) / 1_000_000
                guard left > 0, zg_poll_in(connection.raw, Int32(left)) > 0 else {
                    throw SystemError("read", socket, Errno(ETIMEDOUT))
                }
                let count = read(connection.raw, &buffer, buffer.count)
                let error = errno
                if count == 0 { return String(decoding: answer, as: UTF8.self) }
                if count < 0, error != EINTR { throw SystemError("read", socket, Errno(error)) }
                if count > 0 { answer += buffer[..<count] }
            }
            throw SystemError("read", socket, Errno(EFBIG))
        } catch {
            throw .proxy("\(error)")
        }
    }

    /// The `description` that the running configuration carries.
    func runningDescription() throws(GatewayError) -> String {
        let answer = try ask("show info")
        for line in answer.split(separator: "\n") where line.hasPrefix("description: ") {
            return String(line.dropFirst("description: ".count))
        }
        throw .proxy("it does not say which configuration it runs")
    }

    /// Hosts and slots as the proxy has them; a host that stands twice is given with an impossible slot.
    func map(_ path: String) throws(GatewayError) -> [String: String] {
        let answer = try ask("show map \(path)")
        var entries: [String: String] = [:]
        for line in answer.split(separator: "\n") {
            // `<address of the entry> <host> <slot>`
            let words = line.split(separator: " ")
            guard words.count == 3, words[0].hasPrefix("0x") else {
                throw .proxy("its map is not readable: \(line.prefix(100))")
            }
            let host = String(words[1])
            entries[host] = entries[host] == nil ? String(words[2]) : ""
        }
        return entries
    }

    /// Servers by `backend/name`; of these backends, or of all when none is named.
    func servers(_ backends: [String] = []) throws(GatewayError) -> [String: RunningServer] {
        let questions = backends.map { "show servers state \($0)" }
        let answer = try ask(questions.isEmpty ? "show servers state" : questions.joined(separator: "; "))
        var lines = answer.split(separator: "\n")[...]
        guard lines.popFirst() == "1", let header = lines.popFirst(), header.hasPrefix("# ") else {
            throw .proxy("its table of servers is not readable: \(answer.prefix(100))")
        }
        let columns = header.dropFirst(2).split(separator: " ")
        guard let backendAt = columns.firstIndex(of: "be_name"), let nameAt = columns.firstIndex(of: "srv_name"),
            let addressAt = columns.firstIndex(of: "srv_addr"), let portAt = columns.firstIndex(of: "srv_port"),
            let stateAt = columns.firstIndex(of: "srv_admin_state"),
            let workAt = columns.firstIndex(of: "srv_op_state")
        else { throw .proxy("its table of servers lacks columns: \(header)") }
        var servers: [String: RunningServer] = [:]
        // Each answer of several begins with the same two lines.
        for line in lines where line != "1" && line != header {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count >= columns.count - 2, words.count > portAt, let port = Int(words[portAt]),
                let state = Int(words[stateAt])
            else { throw .proxy("its table of servers is not readable: \(line.prefix(100))") }
            // Bits: 0x01 forced maintenance, 0x08 forced drain. Of the other state 0 is: stopped.
            servers["\(words[backendAt])/\(words[nameAt])"] = RunningServer(
                address: String(words[addressAt]), port: port, isInMaintenance: state & 0x09 != 0,
                isDown: words[workAt] == "0")
        }
        return servers
    }

    /// Counters of the frontend (`http`) and of every backend, by name.
    func counters() throws(GatewayError) -> [String: Counters] {
        // 3: frontends (1) and backends (2).
        let answer = try ask("show stat -1 3 -1")
        var lines = answer.split(separator: "\n")[...]
        guard let header = lines.popFirst(), header.hasPrefix("# ") else {
            throw .proxy("its statistics are not readable: \(answer.prefix(100))")
        }
        var columns: [Substring: Int] = [:]
        for (index, name) in header.dropFirst(2).split(separator: ",").enumerated() { columns[name] = index }
        var counters: [String: Counters] = [:]
        for line in lines {
            let words = line.split(separator: ",", omittingEmptySubsequences: false)
            func number(_ column: Substring) -> Int64 {
                columns[column].flatMap { $0 < words.count ? Int64(words[$0]) : nil } ?? 0
            }
            guard let name = words.first else { continue }
            var found = Counters()
            (found.sessions, found.requests) = (number("scur"), number("req_tot"))
            if found.requests == 0 { found.requests = number("stot") }
            (found.bytesIn, found.bytesOut) = (number("bin"), number("bout"))
            (found.retries, found.redispatches) = (number("wretr"), number("wredis"))
            found.responses = [
                number("hrsp_1xx"), number("hrsp_2xx"), number("hrsp_3xx"), number("hrsp_4xx"), number("hrsp_5xx"),
            ]
            counters[String(name)] = found
        }
        return counters
    }
}

internal import Bus
internal import CanonicalJSON
internal import Crypto
internal import HTTP
internal import Linux
public import Service
internal import Shim

/// Core-X of one contract on one node: logs of its containers and programs run in them, for signed requests.
public final class CoreXServer: Sendable {
    /// The port of every contract's Core-X, on its link address.
    public static let port: UInt16 = 7700
    /// Between two looks into a log that is followed.
    private static let followPause: Duration = .milliseconds(200)
    /// So many pauses without a line, and it is looked who may still read, and what.
    private static let accessPauses = 5
    /// Most lines of `tail`.
    private static let tailMax = 100_000

    private let state: String
    private let run: String
    private let accessFile: String
    private let host: String
    private let log: Log
    private let gate = Gatekeeper()
    private let http: OnceBox<HTTPServer> = OnceBox()

    /// Serves contract `contract` (16 hex digits) of a node; `listen` is `address:port`, nil: the contract's link address.
    public init(state: String, run: String, contract: String, listen: String?, log: Log) throws {
        (self.state, self.run, self.log) = (state, run, log)
        accessFile = "\(run)/compute/access/\(contract).json"
        let address: String
        var port = Self.port
        if let listen, let colon = listen.lastIndex(of: ":"), let number = UInt16(listen[listen.index(after: colon)...])
        {
            (address, port) = (String(listen[..<colon]), number)
        } else {
            address = try Access.read(accessFile).link
        }
        host = "\(address):\(port)"
        let options = HTTPServer.Options(
            address: address, port: port, bodyMax: 64 << 10, connectionsMax: 64, connectionsOfAddressMax: 64)
        let server = try HTTPServer(options) { [weak self] request in
            guard let self else { return .text(503, "stopping\n") }
            return await self.answer(request)
        }
        http.set(server)
    }

    /// Ends all connections.
    public func stop() { http.value?.stop() }

    private func answer(_ request: HTTPRequest) async -> HTTPResponse {
        do throws(Refusal) {
            let access = try Access.read(accessFile)
            try gate.check(request, access, host: host, now: Clock.wallMilliseconds())
            let response = try await serve(request, access)
            log.info("served", ["method": request.method, "path": request.path])
            return response
        } catch {
            log.warn("refused", ["code": error.code, "from": request.remoteAddress])
            return error.response
        }
    }

    private func serve(_ request: HTTPRequest, _ access: Access) async throws(Refusal) -> HTTPResponse {
        let parts = request.pathComponents
        guard parts.count >= 2, parts[0] == "v1", parts[1] == "workloads" else {
            throw Refusal(404, "NOTFOUND", "there is no \(request.path)")
        }
        if parts.count == 2, request.method == "GET" { return await list(access) }
        guard parts.count == 4 else { throw Refusal(404, "NOTFOUND", "there is no \(request.path)") }
        if let id = access.zdbs[parts[2]], parts[3] == "usage", request.method == "GET" { return try await usage(id) }
        guard let id = access.workloads[parts[2]] else {
            let names = access.workloads.keys.sorted().joined(separator: ", ")
            throw Refusal(404, "NOTFOUND", "there is no container “\(parts[2])” here; there is: \(names)")
        }
        let paths = ShimPaths(state: state, run: run, id: id)
        switch (request.method, parts[3]) {
        case ("GET", "logs"): return try logs(request, parts[2], paths)
        case ("POST", "exec"): return try exec(request, paths)
        default: throw Refusal(405, "BADREQUEST", "no \(request.method) of \(request.path)")
        }
    }

    /// `GET /v1/workloads`.
    private func list(_ access: Access) async -> HTTPResponse {
        var list: [JSONValue] = []
        for (name, id) in access.workloads.sorted(by: { $0.key < $1.key }) {
            let socket = ShimPaths(state: state, run: run, id: id).socket
            var entry: JSONValue = ["name": .string(name), "id": .string(id)]
            let client = BusClient(socket, patience: .milliseconds(200))
            if let reply = try? await client.call("SHIM.STATE", deadline: .seconds(2)),
                let found = try? ShimState(reply)
            {
                entry["state"] = .string(found.name.rawValue)
                entry["ready"] = .bool(found.ready)
                entry["starts"] = .integer(found.starts)
                entry["reason"] = found.reason.map { .string($0) }
                entry["started"] = found.started.map { .integer($0) }
            } else {
                entry["state"] = "waiting"
            }
            list.append(entry)
        }
        return .json(200, JSONValue.object(["workloads": .array(list)]).canonicalBytes)
    }

    /// `GET /v1/workloads/<name>/usage`: what a zdb holds.
    private func usage(_ id: String) async throws(Refusal) -> HTTPResponse {
        do throws(BusError) {
            let client = BusClient("\(run)/storage.sock", patience: .seconds(1))
            let reply = try await client.call("STORAGE.USAGE", ["id": .string(id)], deadline: .seconds(5))
            return .json(200, reply.canonicalBytes)
        } catch {
            if error.code == "NOTFOUND" { throw Refusal(404, "NOTFOUND", error.message) }
            throw Refusal(503, "UNAVAILABLE", error.message)
        }
    }

    /// `GET /v1/workloads/<name>/logs?tail=N&follow=1`: records as in the log ring.
    private func logs(_ request: HTTPRequest, _ name: String, _ paths: ShimPaths) throws(Refusal) -> HTTPResponse {
        let tail = request.query["tail"].map { Int($0) } ?? 1000
        guard let tail, (0...Self.tailMax).contains(tail) else {
            throw Refusal(400, "BADREQUEST", "tail must be 0 to \(Self.tailMax)")
        }
        let follows = request.query["follow"] == "1"
        let key = request.headers["zero-key"].flatMap { try? PublicKey(address: $0) }
        let (state, run, accessFile) = (state, run, accessFile)
        return .stream(200, type: "text/plain") { writer in
            var id = paths.id
            var reader = LogReader(folder: paths.logs)
            var records = try reader.tail(tail)
            var pauses = 0
            while true {
                var bytes: [UInt8] = []
                for record in records { record.append(to: &bytes) }
                try await writer.write(bytes)
                if !follows || writer.isClosed { return }
                records = try reader.more()
                guard records.isEmpty else { continue }
                try await Task.sleep(for: Self.followPause)
                pauses += 1
                guard pauses % Self.accessPauses == 0 else { continue }
                // The contract may be over, the key revoked, or another instance be there by now.
                guard let access = try? Access.read(accessFile), let next = access.workloads[name], let key,
                    access.mayUse(key, at: Clock.wallMilliseconds())
                else { return }
                if next == id { continue }
                records = try reader.more()
                id = next
                reader = LogReader(folder: ShimPaths(state: state, run: run, id: next).logs)
                records += try reader.tail(Self.tailMax)
            }
        }
    }

    /// `POST /v1/workloads/<name>/exec?request=…`, upgraded to frames.
    private func exec(_ request: HTTPRequest, _ paths: ShimPaths) throws(Refusal) -> HTTPResponse {
        guard request.headers["upgrade"]?.lowercased() == CoreXClient.protocolName else {
            throw Refusal(426, "BADREQUEST", "exec needs “Upgrade: \(CoreXClient.protocolName)”")
        }
        guard let text = request.query["request"], let body = try? JSONValue(parsing: Array(text.utf8)),
            let words = body["args"]?.array, !words.isEmpty
        else { throw Refusal(400, "BADREQUEST", "request must be JSON with args") }
        let log = log
        return .upgrade(to: CoreXClient.protocolName) { stream in
            var bridge = ExecBridge(stream: stream, socket: paths.socket, request: body)
            bridge.run()
            log.info("exec ended", ["container": paths.id])
        }
    }
}

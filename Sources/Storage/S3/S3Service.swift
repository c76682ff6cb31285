public import HTTP
public import Linux
public import Objects

/// A gateway that listens, and its metrics beside it.
public final class S3Service: Sendable {
    private let server: HTTPStreamServer
    private let metrics: HTTPStreamServer?
    /// The port of S3.
    public var port: UInt16 { server.port }

    /// Starts to serve at once; metrics only where a port is given for them.
    public init(_ gateway: S3Gateway, _ options: HTTPStreamServer.Options, metricsPort: UInt16? = nil)
        throws(SystemError)
    {
        server = try HTTPStreamServer(options) { gateway.begin($0) }
        guard let metricsPort else {
            metrics = nil
            return
        }
        let own = HTTPStreamServer.Options(address: options.address, port: metricsPort, connectionsMax: 16)
        metrics = try HTTPStreamServer(own) { head in
            guard head.method == "GET", head.target == "/metrics" else { return .respond(HTTPStreamResponse(404)) }
            return .respond(
                HTTPStreamResponse(
                    200, headers: [("Content-Type", "text/plain; version=0.0.4")], .bytes(Array(gateway.metrics.utf8))))
        }
    }
    /// Stops; running requests are waited for.
    public func stop() {
        server.stop()
        metrics?.stop()
    }

    /// Reads keys from a file: a line `<access key> <secret> <identity> [owner]`; `#` begins a comment.
    public static func readKeys(_ path: String) throws -> [AccessKey] {
        var keys: [AccessKey] = []
        for line in try File.readText(path, limit: 1 << 20).split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ").map { String($0) }
            guard words.count == 3 || words.count == 4 && words[3] == "owner" else {
                throw KeyFileError(description: "\(path): a line is “<access key> <secret> <identity> [owner]”")
            }
            keys.append(
                AccessKey(id: words[0], secret: words[1], identity: words[2], isOwner: words.count == 4, rights: [:]))
        }
        return keys
    }

    /// The owner's key, its secret the first line of a file.
    public static func ownerKey(_ id: String, _ path: String) throws -> AccessKey {
        guard let line = try File.readText(path, limit: 4096).split(separator: "\n").first else {
            throw KeyFileError(description: "\(path) holds no secret")
        }
        return AccessKey(id: id, secret: String(line), identity: "owner", isOwner: true, rights: [:])
    }

    /// What is wrong with a file of keys.
    public struct KeyFileError: Error, CustomStringConvertible {
        /// A sentence.
        public let description: String
    }
}

public import Crypto
public import RESP

/// Where chunks are kept, by id. Calls block.
public protocol ChunkStore: AnyObject, Sendable {
    /// Which of `ids` are there, in their order.
    func holds(_ ids: [Digest]) throws(FlistError) -> [Bool]
    /// Stores chunks that are not there yet and says which were new.
    func add(_ chunks: [SealedChunk]) throws(FlistError) -> [Bool]
    /// The stored bytes, or nil.
    func fetch(_ id: Digest) throws(FlistError) -> [UInt8]?
}

/// Chunks in a Zero-DB, in the namespace that the connection is bound to.
public final class ZeroDBChunkStore: ChunkStore {
    private let idle: Monitor<[RESPClient]>
    private let deadline: Duration

    /// Connects to `endpoint` when chunks are asked for, with at most `connections`; `setup` runs first on each.
    public init(
        _ endpoint: RESPClient.Endpoint, connections: Int = 4, setup: [[[UInt8]]] = [],
        deadline: Duration = .seconds(60)
    ) {
        idle = Monitor((0..<max(1, connections)).map { _ in RESPClient(endpoint, setup: setup) })
        self.deadline = deadline
    }

    /// Asks with `EXISTS`.
    public func holds(_ ids: [Digest]) throws(FlistError) -> [Bool] {
        try exchange(ids.map { [Array("EXISTS".utf8), $0.bytes] }).map { $0.integer == 1 }
    }

    /// Stores with `SET id bytes IFABSENT`.
    public func add(_ chunks: [SealedChunk]) throws(FlistError) -> [Bool] {
        let commands = chunks.map {
            [Array("SET".utf8), $0.reference.id.bytes, $0.stored, Array("IFABSENT".utf8)]
        }
        return try exchange(commands).map { !$0.isNull && $0.integer != 0 }
    }

    /// Fetches with `GET`.
    public func fetch(_ id: Digest) throws(FlistError) -> [UInt8]? {
        guard let reply = try exchange([[Array("GET".utf8), id.bytes]]).first else { return nil }
        return reply.bytes
    }

    private func exchange(_ commands: [[[UInt8]]]) throws(FlistError) -> [RESPValue] {
        guard let client = idle.wait({ $0.popLast() }) else { return [] }
        defer { idle.updateOne { $0.append(client) } }
        let replies: [RESPValue]
        do { replies = try client.pipeline(commands, deadline: deadline) } catch { throw .store("\(error)") }
        guard replies.count == commands.count else { throw .store("another number of replies than commands") }
        for (command, reply) in zip(commands, replies) {
            guard let failure = reply.failure else { continue }
            // The store answers, and will not find other bytes however often it is asked.
            if failure.code == "CORRUPT", command.count > 1, let id = Digest(command[1]) {
                throw .damaged(id, reason: failure.message)
            }
            throw .store("\(failure.code) \(failure.message)")
        }
        return replies
    }
}

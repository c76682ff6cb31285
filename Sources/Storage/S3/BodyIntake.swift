import Bytes
import Crypto
import HTTP
import Objects

/// Takes a body as the client protects it: chunks off, hashes along. Hands the data to `sink`, without a copy.
final class BodyIntake {
    private var chunks: ChunkedBody?
    private let payload: SignatureV4.Payload
    private var sha256: SHA256Hasher?
    let md5 = EVPHasher.md5()
    private var checksum: ChecksumHasher?
    private var wanted: [UInt8]?
    private let contentMD5: [UInt8]?
    let declared: Int64?
    /// A checksum comes behind the body.
    private var awaitsTrailer = false
    private(set) var count: Int64 = 0
    private let max: Int64

    /// What came of it.
    struct Result {
        let etag: [UInt8]
        let size: Int64
        let checksum: (algorithm: ChecksumAlgorithm, value: [UInt8])?
    }

    /// `computes`: a checksum to compute where the client sends none.
    init(_ request: S3Request, max: Int64, computes: ChecksumAlgorithm? = nil) throws {
        self.max = max
        payload = try SignatureV4.payload(request)
        var length = request.header("content-length").flatMap { Int64($0) }
        switch payload {
        case .unsigned: break
        case .hash: sha256 = SHA256Hasher()
        case .chunks(let isSigned, let hasTrailer):
            length = request.header("x-amz-decoded-content-length").flatMap { Int64($0) }
            guard length != nil else {
                throw S3Error("MissingContentLength", 411, "x-amz-decoded-content-length is missing")
            }
            var signer: ChunkSigner?
            if isSigned {
                guard let signature = request.signature else { throw S3Error.accessDenied() }
                signer = ChunkSigner(
                    key: signature.signingKey(request.secret), time: signature.time, scope: signature.scope,
                    previous: signature.signature)
            }
            chunks = ChunkedBody(signer: signer, hasTrailer: hasTrailer)
        }
        declared = length
        if let length, length > max { throw S3Error("EntityTooLarge", 400, "Your proposed upload is too large") }
        contentMD5 = try Self.contentMD5(request)
        try readChecksum(request, computes)
    }

    private static func contentMD5(_ request: S3Request) throws -> [UInt8]? {
        guard let text = request.header("content-md5") else { return nil }
        guard let hash = Base64.decode(text), hash.count == 16 else {
            throw S3Error("InvalidDigest", 400, "The Content-MD5 you specified is not valid.")
        }
        return hash
    }

    private func readChecksum(_ request: S3Request, _ computes: ChecksumAlgorithm?) throws {
        // There it is that of the object, not of the document.
        if request.head.method == "POST", request.has("uploadId") { return }
        var found: [(ChecksumAlgorithm, String)] = []
        for (name, value) in request.head.headers {
            if let algorithm = ChecksumAlgorithm(header: name) { found.append((algorithm, value)) }
        }
        if found.count > 1 {
            throw S3Error.invalidRequest(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
        }
        if let (algorithm, value) = found.first {
            guard let bytes = Base64.decode(value), bytes.count == algorithm.length else {
                throw S3Error("BadDigest", 400, "Value for \(algorithm.header) header is invalid.")
            }
            wanted = bytes
            checksum = ChecksumHasher(algorithm)
        } else if let trailer = request.header("x-amz-trailer") {
            guard let algorithm = ChecksumAlgorithm(header: trailer.lowercased()) else {
                throw S3Error.invalidRequest("The value specified in the x-amz-trailer header is not supported")
            }
            checksum = ChecksumHasher(algorithm)
            if case .chunks(_, hasTrailer: true) = payload { awaitsTrailer = true }
        } else if let name = request.header("x-amz-sdk-checksum-algorithm"),
            let algorithm = ChecksumAlgorithm(name: name)
        {
            checksum = ChecksumHasher(algorithm)
        } else if let computes {
            checksum = ChecksumHasher(computes)
        }
    }

    func take(_ piece: UnsafeRawBufferPointer, _ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        if chunks != nil {
            try chunks?.take(piece) { try self.data($0, sink) }
        } else {
            try data(piece, sink)
        }
    }

    private func data(_ piece: UnsafeRawBufferPointer, _ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        count += Int64(piece.count)
        if count > max { throw S3Error("EntityTooLarge", 400, "Your proposed upload is too large") }
        if let declared, count > declared { throw Self.otherLength }
        md5.update(piece)
        sha256?.update(piece)
        checksum?.update(piece)
        try sink(piece)
    }

    private static let otherLength = S3Error(
        "IncompleteBody", 400, "You did not provide the number of bytes you declared")

    /// Everything is there: does it match what the client said?
    func finish() throws -> Result {
        if let chunks, !chunks.isDone { throw S3Error("IncompleteBody", 400, "The body ended within a chunk") }
        if let declared, declared != count { throw Self.otherLength }
        if case .hash(let hash) = payload, let found = sha256?.finish(), found.bytes != hash {
            throw S3Error(
                "XAmzContentSHA256Mismatch", 400, "The provided x-amz-content-sha256 does not match what was computed.")
        }
        let etag = md5.finish()
        if let contentMD5, contentMD5 != etag {
            throw S3Error("BadDigest", 400, "The Content-MD5 you specified did not match what we received.")
        }
        guard let checksum else { return Result(etag: etag, size: count, checksum: nil) }
        let algorithm = checksum.algorithm
        let value = checksum.finish()
        for (name, text) in chunks?.trailers ?? [] where ChecksumAlgorithm(header: name) == algorithm {
            guard let bytes = Base64.decode(text), bytes.count == algorithm.length else {
                throw S3Error("BadDigest", 400, "Value for \(algorithm.header) trailing header is invalid.")
            }
            wanted = bytes
        }
        if awaitsTrailer, wanted == nil {
            throw S3Error("MalformedTrailerError", 400, "The checksum that was announced did not come behind the body")
        }
        if let wanted, wanted != value {
            throw S3Error(
                "BadDigest", 400, "The \(algorithm.rawValue) you specified did not match the calculated checksum.")
        }
        return Result(etag: etag, size: count, checksum: (algorithm, value))
    }
}

/// A request whose body is a document, or nothing.
final class Document: HTTPStreamHandler {
    typealias Run = @Sendable (S3Gateway, S3Request, [UInt8]) throws -> HTTPStreamResponse
    private let gateway: S3Gateway
    private let request: S3Request
    private let run: Run
    private var intake: BodyIntake?
    private let max: Int
    private var bytes: [UInt8] = []
    /// Memory that this has of what all documents may have.
    private var held = 0
    private var failure: (any Error)?
    private var discarded: Int64 = 0

    init(_ gateway: S3Gateway, _ request: S3Request, _ run: @escaping Run) {
        (self.gateway, self.request, self.run) = (gateway, request, run)
        max = request.operation == "PostObject" ? S3Limits.formMax : S3Limits.documentMax
        do {
            intake = try BodyIntake(request, max: Int64(max))
        } catch {
            failure = error
        }
    }
    func receive(_ piece: UnsafeRawBufferPointer) -> Bool {
        guard failure == nil, let intake else {
            discarded += Int64(piece.count)
            return discarded <= S3Limits.discardMax
        }
        do {
            try intake.take(piece) { part in
                try makeRoom(bytes.count + part.count)
                bytes.append(contentsOf: part)
            }
        } catch {
            failure = error
            bytes = []
            giveBack()
        }
        return true
    }
    /// Anybody may send documents: those of strangers, and those of who signed, have bounded memory together. It is counted as it comes, so
    /// that nobody takes room by an announcement.
    private func makeRoom(_ count: Int) throws {
        if count <= held { return }
        let wanted = min(max, Swift.max(held + Self.step, count))
        guard budget.take(wanted - held) else {
            throw S3Error("SlowDown", 503, "Too many documents are sent at once. Please reduce your request rate.")
        }
        // Pages that are not written take no memory; and what is not copied to a larger place is not there twice.
        if held == 0 { bytes.reserveCapacity(intake?.declared.map { Int(clamping: $0) } ?? 0) }
        held = wanted
    }
    private func giveBack() {
        budget.giveBack(held)
        held = 0
    }
    private var budget: MemoryBudget { request.caller.isAnonymous ? gateway.ofStrangers : gateway.ofSigners }
    private static let step = 64 << 10
    deinit { giveBack() }
    func finish() -> HTTPStreamResponse {
        gateway.answer(request) {
            if let failure { throw failure }
            _ = try intake?.finish()
            return try run(gateway, request, bytes)
        }
    }
    func ended(complete: Bool) {}
}

/// A request whose body becomes data of the store.
final class DataIntake: HTTPStreamHandler {
    typealias Done = (any StoredData, BodyIntake.Result) throws -> HTTPStreamResponse
    private let gateway: S3Gateway
    private let request: S3Request
    private let intake: BodyIntake
    private let done: Done
    private var writer: (any ObjectWriter)?
    private var failure: (any Error)?
    private var discarded: Int64 = 0

    init(
        _ gateway: S3Gateway, _ request: S3Request, customerKey: [UInt8]?, computes: ChecksumAlgorithm?,
        _ done: @escaping Done
    ) throws {
        (self.gateway, self.request, self.done) = (gateway, request, done)
        intake = try BodyIntake(request, max: S3Limits.putMax, computes: computes)
        writer = try gateway.store.write(customerKey: customerKey)
    }
    func receive(_ piece: UnsafeRawBufferPointer) -> Bool {
        guard failure == nil, let writer else {
            discarded += Int64(piece.count)
            return discarded <= S3Limits.discardMax
        }
        do {
            try intake.take(piece) { try writer.write($0) }
        } catch {
            fail(error)
        }
        return true
    }
    private func fail(_ error: any Error) {
        failure = error
        writer?.abandon()
        writer = nil
    }
    func finish() -> HTTPStreamResponse {
        gateway.counters.count(received: intake.count)
        return gateway.answer(request) {
            do {
                if let failure { throw failure }
                let result = try intake.finish()
                guard let data = try writer?.finish() else { throw S3Error("InternalError", 500, "the writer is gone") }
                writer = nil
                return try done(data, result)
            } catch {
                fail(error)
                throw error
            }
        }
    }
    func ended(complete: Bool) {
        writer?.abandon()
        writer = nil
    }
}

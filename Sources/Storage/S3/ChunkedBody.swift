import Crypto

/// Takes the `aws-chunked` coding off a body, piece by piece, and checks the chunks' signatures.
struct ChunkedBody {
    private enum State { case header, data, dataEnd, trailer, done }
    private static let lineMax = 16 << 10

    private var state = State.header
    private var line: [UInt8] = []
    private var left = 0
    private var signature = ""
    private var hasher = SHA256Hasher()
    private var signer: ChunkSigner?
    private let hasTrailer: Bool
    /// What came behind the last chunk.
    private(set) var trailers: [(name: String, value: String)] = []
    var isDone: Bool { state == .done && line.isEmpty }

    init(signer: ChunkSigner?, hasTrailer: Bool) { (self.signer, self.hasTrailer) = (signer, hasTrailer) }

    private static let malformed = S3Error("IncompleteBody", 400, "The chunks of the body are malformed")
    private static let mismatch = S3Error(
        "SignatureDoesNotMatch", 403, "The signature of a chunk does not match what was calculated")

    /// Takes a piece; hands on what is data.
    mutating func take(_ piece: UnsafeRawBufferPointer, _ data: (UnsafeRawBufferPointer) throws -> Void) throws {
        var index = 0
        while index < piece.count {
            if state == .data {
                let count = min(left, piece.count - index)
                let part = UnsafeRawBufferPointer(rebasing: piece[index..<index + count])
                if signer != nil { hasher.update(part) }
                try data(part)
                left -= count
                index += count
                if left == 0 { try endChunk() }
                continue
            }
            let byte = piece[index]
            index += 1
            if byte != 10 {
                line.append(byte)
                if line.count > Self.lineMax { throw Self.malformed }
                continue
            }
            if line.last == 13 { line.removeLast() }
            try takeLine()
            line.removeAll(keepingCapacity: true)
        }
    }

    private mutating func endChunk() throws {
        if signer != nil {
            if signer?.accepts(signature, hash: hasher.finish().hex) != true { throw Self.mismatch }
            hasher = SHA256Hasher()
        }
        state = .dataEnd
    }

    private mutating func takeLine() throws {
        switch state {
        case .header: try takeHeader()
        case .dataEnd:
            guard line.isEmpty else { throw Self.malformed }
            state = .header
        case .trailer: try takeTrailer()
        case .data: break
        case .done: guard line.isEmpty else { throw Self.malformed }
        }
    }

    private mutating func takeHeader() throws {
        let text = String(decoding: line, as: UTF8.self)
        let parts = text.split(separator: ";", omittingEmptySubsequences: false)
        guard let first = parts.first, !first.isEmpty, first.utf8.count <= 12, let size = Int(first, radix: 16),
            size >= 0
        else { throw Self.malformed }
        signature = ""
        for part in parts.dropFirst() where part.hasPrefix("chunk-signature=") {
            signature = String(part.dropFirst(16))
        }
        if signer != nil, signature.isEmpty { throw Self.malformed }
        left = size
        if size > 0 {
            state = .data
        } else {
            if signer != nil { try endChunk() }
            state = .trailer
        }
    }

    private mutating func takeTrailer() throws {
        if line.isEmpty {
            if hasTrailer, signer != nil, !trailers.isEmpty { throw Self.mismatch }
            state = .done
            return
        }
        guard hasTrailer, let colon = line.firstIndex(of: 58) else { throw Self.malformed }
        let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
        let value = SignatureV4.squeezed(String(decoding: line[(colon + 1)...], as: UTF8.self))
        if name == "x-amz-trailer-signature" {
            let text = trailers.map { "\($0.name):\($0.value)\n" }.joined()
            if signer != nil, signer?.acceptsTrailer(value, text) != true { throw Self.mismatch }
            state = .done
        } else {
            if trailers.count >= 16 { throw Self.malformed }
            trailers.append((name, value))
        }
    }
}

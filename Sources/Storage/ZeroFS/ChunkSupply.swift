import Crypto
import Flist
import Glibc
import Linux
import Service
import Synchronization

/// Gets chunks for a mount: from memory, from the folder, from the store; each once, however many ask for it.
final class ChunkSupply: ChunkSource {
    /// One fetch that is under way. The monitor of flights protects it.
    private final class Flight: @unchecked Sendable {
        var result: Result<[UInt8], FlistError>?
    }

    /// Memory for opened content: some files being read at once, with what was read ahead. The kernel keeps the rest, and
    /// there is a process a container.
    static let memoryBytes = 32 << 20
    /// Chunks read ahead that wait for a thread; more are forgotten.
    private static let wishesMax = 64
    private static let retryMilliseconds = 50

    private let store: any ChunkStore
    private let disk: DiskCache?
    private let waitMilliseconds: Int
    private let log: Log
    private let memory = BoundedCache<Digest, [UInt8]>(limit: memoryBytes)
    private let flights = Monitor<[Digest: Flight]>([:])
    private let wishes = Monitor<[ChunkReference]>([])
    private let publicSecret = Atomic<Bool>(false)
    /// Whether the store failed last time, so that it is logged once.
    private let isAbsent = Atomic<Bool>(false)

    init(
        _ store: any ChunkStore, _ disk: DiskCache?, waitMilliseconds: Int, log: Log, readers: Int = 3
    ) {
        (self.store, self.disk, self.waitMilliseconds, self.log) = (store, disk, waitMilliseconds, log)
        for _ in 0..<readers { startThread { [self] in readAhead() } }
    }

    /// From now on every key must be the one that contents give under the secret of public images.
    func requirePublicKeys() { publicSecret.store(true, ordering: .relaxed) }

    /// The plaintext of a chunk. Content is kept in memory; directories are kept decoded by the reader.
    func plaintext(_ reference: ChunkReference, _ kind: ChunkKind) throws(FlistError) -> [UInt8] {
        if kind == .content, let held = memory.value(reference.id) { return held }
        let (flight, isMine) = flights.withLock { flights in
            if let flight = flights[reference.id] { return (flight, false) }
            let flight = Flight()
            flights[reference.id] = flight
            return (flight, true)
        }
        if !isMine {
            guard let result = flights.wait({ _ in flight.result }) else { throw .missing(reference.id) }
            return try result.get()
        }
        let result: Result<[UInt8], FlistError>
        // It may have arrived between the look into memory and the start of this flight.
        if kind == .content, let held = memory.value(reference.id) {
            result = .success(held)
        } else {
            do throws(FlistError) { result = .success(try fetch(reference, kind)) } catch { result = .failure(error) }
        }
        if kind == .content, case .success(let plain) = result {
            memory.insert(reference.id, plain, cost: plain.count + 256)
        }
        flights.update { flights in
            flight.result = result
            flights[reference.id] = nil
        }
        return try result.get()
    }

    /// Gets chunks soon, if nobody does it before.
    func wish(_ references: [ChunkReference]) {
        let wanted = references.filter { !memory.contains($0.id) }
        for reference in wanted {
            wishes.updateOne { wishes in if wishes.count < Self.wishesMax { wishes.append(reference) } }
        }
    }

    private func readAhead() {
        while true {
            let next: ChunkReference? = wishes.wait { $0.isEmpty ? nil : $0.removeFirst() }
            guard let next, !memory.contains(next.id) else { continue }
            // Whoever needs it will see the error.
            _ = try? plaintext(next, .content)
        }
    }

    private var secret: ConvergenceSecret? { publicSecret.load(ordering: .relaxed) ? .publicImages : nil }

    private func fetch(_ reference: ChunkReference, _ kind: ChunkKind) throws(FlistError) -> [UInt8] {
        if let disk, let stored = disk.read(reference.id) {
            do throws(FlistError) {
                return try ChunkCodec.open(stored, reference, kind, secret)
            } catch {
                guard case .wrongIdentifier = error else { throw error }
                log.warn("cached chunk is damaged", ["chunk": reference.id.hex])
                disk.remove(reference.id)
            }
        }
        let deadline = Clock.monotonicNanoseconds() + Int64(waitMilliseconds) * 1_000_000
        var wasWrong = false
        while true {
            do throws(FlistError) {
                guard let stored = try store.fetch(reference.id) else { throw .missing(reference.id) }
                let plain = try ChunkCodec.open(stored, reference, kind, secret)
                if isAbsent.exchange(false, ordering: .relaxed) { log.info("store is back") }
                disk?.write(reference.id, stored)
                return plain
            } catch {
                switch error {
                case .store(let reason):
                    if !isAbsent.exchange(true, ordering: .relaxed) { log.warn("store is absent", ["reason": reason]) }
                    guard Clock.monotonicNanoseconds() < deadline else { throw error }
                    usleep(UInt32(Self.retryMilliseconds * 1_000))
                case .wrongIdentifier where !wasWrong: wasWrong = true
                default: throw error
                }
            }
        }
    }
}

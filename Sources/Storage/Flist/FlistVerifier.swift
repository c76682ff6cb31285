import Crypto

/// Walks a whole flist and checks every chunk.
public struct FlistVerifier {
    /// One thing that is wrong.
    public struct Finding: Sendable, Equatable {
        /// The file or directory that cannot be read whole, as text for people.
        public let path: String
        /// What is wrong, with the chunk's id.
        public let error: FlistError
    }

    /// What a walk found.
    public struct Report: Sendable {
        /// Sums over what could be reached.
        public var totals = RootChunk.Totals()
        /// Distinct chunks that were looked at.
        public var chunks = 0
        /// What is wrong, in order of the walk.
        public var findings: [Finding] = []
        /// Whether all is as it should be.
        public var isSound: Bool { findings.isEmpty }
    }

    private let source: any ChunkSource
    private let findingsMax: Int
    private var report = Report()
    private var checked: Set<Digest> = []
    private var bad: [Digest: FlistError] = [:]
    private var groups: [UInt64: Entry] = [:]

    /// Looks through `source`; stops after `findingsMax` findings.
    public init(_ source: any ChunkSource, findingsMax: Int = 1_000) {
        (self.source, self.findingsMax) = (source, findingsMax)
    }

    /// Walks the flist at `reference`. Throws only where the root itself cannot be read.
    public mutating func verify(_ reference: ChunkReference) throws(FlistError) -> Report {
        let reader = try FlistReader(reference, source)
        (report, checked, bad, groups) = (Report(), [reference.id], [:], [:])
        count(reader.root.entry)
        check(reader, try reader.file(FlistReader.rootInode), "/", depth: 0)
        if report.isSound, report.totals != reader.root.totals {
            find("/", .malformed(.root, reason: "sums differ from those of the tree", offset: 0))
        }
        report.chunks = checked.count
        return report
    }

    private var isFull: Bool { report.findings.count >= findingsMax }

    private mutating func find(_ path: String, _ error: FlistError) {
        if !isFull { report.findings.append(Finding(path: path, error: error)) }
    }

    private mutating func check(
        _ reader: FlistReader, _ located: FlistReader.Located, _ path: String, depth: Int
    ) {
        guard case .directory(let directory) = located.entry.content else { return }
        guard depth <= FlistLimits.depth else {
            return find(
                path, .limit(subject: "depth of directories", value: UInt64(depth), limit: UInt64(FlistLimits.depth)))
        }
        var start = located.slot + 1
        var subdirectories: UInt64 = 0
        var last: [UInt8] = []
        for reference in directory.parts {
            if isFull { return }
            checked.insert(reference.chunk.id)
            do throws(FlistError) {
                let part = try reader.part(reference)
                for (index, entry) in part.entries.enumerated() {
                    if !last.lexicographicallyPrecedes(entry.name) {
                        find(path, .malformed(.directory, reason: "names of parts overlap", offset: 0))
                    }
                    last = entry.name
                    if case .directory = entry.content { subdirectories += 1 }
                    let child = FlistReader.Located(
                        entry: entry, slot: start + part.starts[index], parent: located.inode)
                    check(reader, child: child, (path == "/" ? "" : path) + "/" + Self.text(entry.name), depth)
                }
            } catch { find(path, error) }
            start += reference.slots
        }
        if subdirectories != directory.subdirectories, report.isSound {
            find(path, .malformed(.directory, reason: "other number of directories than the parent says", offset: 0))
        }
    }

    private mutating func check(
        _ reader: FlistReader, child: FlistReader.Located, _ path: String, _ depth: Int
    ) {
        let entry = child.entry
        if entry.hardLink != 0 {
            if let first = groups[entry.hardLink] {
                if first.content != entry.content || first.attributes != entry.attributes || first.links != entry.links
                {
                    find(path, .malformed(.directory, reason: "names of one hard link differ", offset: 0))
                }
                return
            }
            groups[entry.hardLink] = entry
            let index = Int(entry.hardLink - 1)
            guard index < reader.root.hardLinks.count, reader.root.hardLinks[index] == child.slot else {
                return find(path, .malformed(.root, reason: "hard link is not in the root's table", offset: 0))
            }
        }
        count(entry)
        switch entry.content {
        case .directory: check(reader, child, path, depth: depth + 1)
        case .file(_, let tree): check(reader, tree.references, tree.depth, path)
        default: break
        }
    }

    private mutating func count(_ entry: Entry) {
        if !entry.attributes.extended.isEmpty { report.totals.withExtendedAttributes += 1 }
        switch entry.content {
        case .file(let size, _):
            report.totals.files += 1
            report.totals.bytes += size
        case .directory: report.totals.directories += 1
        default: report.totals.others += 1
        }
    }

    private mutating func check(
        _ reader: FlistReader, _ references: [SizedReference], _ depth: UInt8, _ path: String
    ) {
        for reference in references {
            if isFull { return }
            if depth > 0 {
                checked.insert(reference.chunk.id)
                do throws(FlistError) {
                    check(reader, try reader.list(reference, depth - 1).references, depth - 1, path)
                } catch { find(path, error) }
                continue
            }
            if let error = bad[reference.chunk.id] {
                find(path, error)
                continue
            }
            guard checked.insert(reference.chunk.id).inserted else { continue }
            do throws(FlistError) {
                let plain = try source.plaintext(reference.chunk, .content)
                guard UInt64(plain.count) == reference.size else {
                    throw .badChunk(reference.chunk.id, reason: "has \(plain.count) bytes, not \(reference.size)")
                }
            } catch {
                bad[reference.chunk.id] = error
                find(path, error)
            }
        }
    }

    /// A name as text; bytes that are not printable ASCII or valid UTF-8 become `\xNN`.
    public static func text(_ name: [UInt8]) -> String {
        if let text = String(validating: name, as: UTF8.self), !name.contains(where: { $0 < 32 || $0 == 127 }) {
            return text
        }
        return name.map { byte in
            if byte >= 32 && byte < 127 { return String(UnicodeScalar(byte)) }
            let digits = String(byte, radix: 16)
            return "\\x" + (digits.count == 1 ? "0" : "") + digits
        }.joined()
    }
}

import CLinux
import Glibc
import Linux
import LogEngine

/// Reads the files of threefoldtech's 0-db (data version 3, index version 4): `<data>/<namespace>/d0…`, and for
/// names, settings and to find the way behind damage `<index>/<namespace>/i0…` and `zdb-namespace`.
///
/// The data files hold everything that was ever written, in order, deletions too; so they alone say what is there.
struct OriginalSource: ImportSource {
    private struct Place {
        let namespace: Int
        let file: Int
        let offset: Int
        let time: UInt64
    }
    private struct Namespace {
        let name: [UInt8]
        var settings: NamespaceSettings
        var paths: [String] = []
    }

    /// Data files that are read from at the moment: those of all namespaces would be too many, and too large for memory.
    private final class OpenFiles {
        private static let countMax = 64
        private var open: [(path: String, descriptor: Int32)] = []

        deinit { for file in open { _ = Glibc.close(file.descriptor) } }

        /// So many bytes of a file; nil if they cannot be read.
        func read(_ path: String, at offset: Int, _ count: Int) -> [UInt8]? {
            var descriptor = open.first { $0.path == path }?.descriptor ?? -1
            if descriptor < 0 {
                descriptor = zg_open(path, O_RDONLY | O_CLOEXEC, 0)
                guard descriptor >= 0 else { return nil }
                if open.count == Self.countMax { _ = Glibc.close(open.removeFirst().descriptor) }
                open.append((path, descriptor))
            }
            var bytes = [UInt8](repeating: 0, count: count)
            let got = bytes.withUnsafeMutableBytes { buffer -> Int in
                var done = 0
                while done < count, let base = buffer.baseAddress {
                    let part = pread(descriptor, base + done, count - done, off_t(offset + done))
                    if part <= 0 { break }
                    done += part
                }
                return done
            }
            return got == count ? bytes : nil
        }
    }

    private static let headerBytes = 28
    private static let entryBytes = 18
    private static let isDeleted: UInt8 = 1
    private static let isTruncated: UInt8 = 2

    private var namespaces: [Namespace] = []
    private let files = OpenFiles()
    /// All records of all namespaces in the order of their times, and within a namespace in the order of its files.
    private var places: [Place] = []
    private var position = 0
    private(set) var problems = 0
    var oldest: UInt64 { places.first?.time ?? 0 }

    init(data: String, index: String) throws(Tool.Failure) {
        let names: [String]
        do throws(SystemError) { names = try File.list(data).sorted() } catch {
            throw Tool.Failure(status: 2, description: "\(error)")
        }
        for name in names where File.exists("\(data)/\(name)/d0") {
            guard LogEngine.isName(Array(name.utf8)) else {
                report("namespace \(name): its name cannot be used here")
                continue
            }
            try add(name, data: "\(data)/\(name)", index: "\(index)/\(name)")
        }
        guard !namespaces.isEmpty else {
            throw Tool.Failure(status: 2, description: "\(data): there is no namespace of a 0-db here (NAME/d0)")
        }
        // Times of a namespace never go back here; the sort keeps the order of what has the same time.
        places = places.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }.map(
            \.element)
    }

    private mutating func report(_ text: String) {
        problems += 1
        Tool.write("zero-db: \(text)\n", to: 2)
    }

    // MARK: Frames

    mutating func next() throws(Tool.Failure) -> ExportStream.Frame? {
        defer { position += 1 }
        if position < namespaces.count {
            let namespace = namespaces[position]
            return .init(
                type: .namespace, namespace: UInt32(position), key: namespace.name, value: namespace.settings.encoding)
        }
        guard position - namespaces.count < places.count else { return nil }
        let place = places[position - namespaces.count]
        let path = namespaces[place.namespace].paths[place.file]
        // It was whole when the file was walked through.
        guard let head = files.read(path, at: place.offset, Self.entryBytes) else {
            throw Self.unreadable(path, place.offset)
        }
        let (keyLength, length) = (Int(head[0]), min(Int(Self.word(head, 1)), LogLimits.valueBytesMax))
        let isDeletion = head[13] & Self.isDeleted != 0
        let rest = keyLength + (isDeletion ? 0 : length)
        guard let bytes = files.read(path, at: place.offset + Self.entryBytes, rest) else {
            throw Self.unreadable(path, place.offset)
        }
        return .init(
            type: isDeletion ? .tombstone : .value, namespace: UInt32(place.namespace), time: place.time,
            key: Array(bytes[..<keyLength]), value: Array(bytes[keyLength...]))
    }

    private static func unreadable(_ path: String, _ offset: Int) -> Tool.Failure {
        Tool.Failure(status: 1, description: "\(path) offset \(offset): what was there before cannot be read any more")
    }

    // MARK: Files

    private mutating func add(_ name: String, data: String, index: String) throws(Tool.Failure) {
        var settings = NamespaceSettings()
        readSettings("\(index)/zdb-namespace", name, &settings)
        // The mode stands behind the header of each index file; ids are the same 8 bytes here.
        if let first = try? File.read("\(index)/i0", limit: 4 << 30), first.count >= 29, first[28] == 1 {
            settings.mode = NamespaceMode.sequential
        }
        var namespace = Namespace(name: Array(name.utf8), settings: settings)
        var time: UInt64 = 0
        var number = 0
        while File.exists("\(data)/d\(number)") {
            let path = "\(data)/d\(number)"
            let bytes: [UInt8]
            do throws(SystemError) { bytes = try File.read(path, limit: 4 << 30) } catch {
                throw Tool.Failure(status: 1, description: "\(error)")
            }
            namespace.paths.append(path)
            if bytes.count >= Self.headerBytes, Array(bytes[..<4]) == Array("DAT0".utf8), Self.word(bytes, 4) == 3 {
                walk(bytes, path, index: index, number, &time)
            } else {
                report("\(path): this is no data file of version 3")
            }
            number += 1
        }
        namespaces.append(namespace)
    }

    /// Finds the records of a file. Behind damage it goes on where the index knows of the next good one.
    private mutating func walk(_ bytes: [UInt8], _ path: String, index: String, _ file: Int, _ time: inout UInt64) {
        var offset = Self.headerBytes
        // All index files have to be read for it, so only where it is needed.
        var known: [Int]?
        while offset < bytes.count {
            guard let length = Self.goodRecord(bytes, offset) else {
                let places = known ?? Self.offsets(index: index, file: file)
                known = places
                let next = places.first { $0 > offset && Self.goodRecord(bytes, $0) != nil } ?? bytes.count
                report("\(path) offset \(offset) bytes \(next - offset): no good record, left out")
                offset = next
                continue
            }
            // What 0-db's own compaction let go has no key or no value.
            let (keyLength, flags) = (bytes[offset], bytes[offset + 13])
            if keyLength > 0, flags & Self.isTruncated == 0 {
                time = max(time, UInt64(Self.word(bytes, offset + 14)) * 1_000_000_000)
                places.append(Place(namespace: namespaces.count, file: file, offset: offset, time: time))
            }
            offset += length
        }
    }

    /// The length of a record that is whole and whose value has its checksum; nil if there is none.
    private static func goodRecord(_ bytes: [UInt8], _ offset: Int) -> Int? {
        guard offset + entryBytes <= bytes.count else { return nil }
        let (keyLength, length, flags) = (Int(bytes[offset]), Int(word(bytes, offset + 1)), bytes[offset + 13])
        let total = entryBytes + keyLength + length
        guard flags & ~(isDeleted | isTruncated) == 0, length <= LogLimits.valueBytesMax,
            offset + total <= bytes.count, keyLength > 0 || flags & isTruncated != 0
        else { return nil }
        if flags & (isDeleted | isTruncated) != 0 { return length == 0 || flags & isTruncated != 0 ? total : nil }
        let value = bytes[offset + entryBytes + keyLength..<offset + total]
        // Castagnoli's polynomial, but beginning with 0 and not inverted at the end.
        return ExportStream.checksum(0, value) == word(bytes, offset + 9) ? total : nil
    }

    /// Where a namespace's index says that records of a data file stand, ascending.
    private static func offsets(index: String, file number: Int) -> [Int] {
        var found: Set<Int> = []
        var item = 0
        while let bytes = try? File.read("\(index)/i\(item)", limit: 4 << 30) {
            item += 1
            guard bytes.count >= 29, Array(bytes[..<4]) == Array("IDX0".utf8), word(bytes, 4) == 4 else { continue }
            var at = 29
            while at + 34 <= bytes.count {
                if Int(word(bytes, at + 14)) == number { found.insert(Int(word(bytes, at + 1))) }
                at += 34 + Int(bytes[at])
            }
        }
        return found.sorted()
    }

    /// `zdb-namespace`: version, lengths of name and password, maximum size, flags, name, password in clear.
    private mutating func readSettings(_ path: String, _ name: String, _ settings: inout NamespaceSettings) {
        guard let bytes = try? File.read(path, limit: 4096), bytes.count >= 15, Self.word(bytes, 0) == 1 else { return }
        settings.maxSize = UInt64(Self.word(bytes, 6)) | UInt64(Self.word(bytes, 10)) << 32
        settings.isPublic = bytes[14] & 1 != 0
        settings.isWorm = bytes[14] & 2 != 0
        let (nameLength, passwordLength) = (Int(bytes[4]), Int(bytes[5]))
        guard passwordLength > 0, bytes.count >= 15 + nameLength + passwordLength else { return }
        let password = Array(bytes[15 + nameLength..<15 + nameLength + passwordLength])
        guard let text = String(validating: password, as: UTF8.self),
            let verifier = try? PasswordFile.verifier(text: text, name)
        else {
            report("namespace \(name): its password cannot be taken over")
            return
        }
        settings.passwordVerifier = verifier.encoded
    }

    private static func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16 | UInt32(bytes[at + 3]) << 24
    }
}

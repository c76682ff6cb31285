import CLinux
import Crypto
import Flist
import Glibc
import Linux

/// Reads a directory of the host into a layer, by descriptors and without following symbolic links.
struct DirectoryReader {
    private struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    private let pipeline: ChunkPipeline
    private let onRead: (Int64) -> Void
    private var linked: [Identity: LayerNode] = [:]
    private var files = 0
    private var bytesRead: Int64 = 0

    init(_ pipeline: ChunkPipeline, onRead: @escaping (Int64) -> Void) {
        (self.pipeline, self.onRead) = (pipeline, onRead)
    }

    /// The whole tree below `path`.
    mutating func read(_ path: String) throws(ImportError) -> LayerNode {
        let descriptor = try open(-100, path, isDirectory: true, path)
        var status = zg_tree_status_t()
        let result = zg_tree_status_of(descriptor.raw, "", &status)
        guard result == 0 else { throw .unreadable(path: path, reason: "\(Errno(-result))") }
        let root = LayerNode(try attributes(descriptor.raw, status, path, [0]), .directory(isStated: true))
        try fill(root, descriptor, path, depth: 0)
        return root
    }

    private func open(
        _ directory: Int32, _ name: String, isDirectory: Bool, _ path: String
    ) throws(ImportError) -> Descriptor {
        let raw = zg_tree_open(directory, name, isDirectory ? 1 : 0)
        guard raw >= 0 else { throw .unreadable(path: path, reason: "\(Errno(-raw))") }
        return Descriptor(raw)
    }

    private mutating func fill(
        _ node: LayerNode, _ directory: borrowing Descriptor, _ path: String, depth: Int
    ) throws(ImportError) {
        guard depth < FlistLimits.depth else {
            throw .unreadable(path: path, reason: "directories are nested too deeply")
        }
        for name in try names(directory.raw, path) {
            files += 1
            guard files <= ImportLimits.files else { throw .unreadable(path: path, reason: "too many files") }
            let childPath = path + "/" + FlistVerifier.text(name)
            let child = try child(directory.raw, name, childPath, depth: depth)
            if let child { node.children[name] = child }
        }
    }

    private func names(_ directory: Int32, _ path: String) throws(ImportError) -> [[UInt8]] {
        var bytes: UnsafeMutablePointer<CChar>?
        var count = 0
        let result = zg_tree_names(directory, &bytes, &count)
        guard result == 0 else { throw .unreadable(path: path, reason: "\(Errno(-result))") }
        defer { free(bytes) }
        let all = UnsafeRawBufferPointer(start: bytes, count: count)
        return all.split(separator: 0).map { Array($0) }
    }

    /// One name; nil where it vanished meanwhile.
    private mutating func child(
        _ directory: Int32, _ name: [UInt8], _ path: String, depth: Int
    ) throws(ImportError) -> LayerNode? {
        var status = zg_tree_status_t()
        let cName = name.map { CChar(bitPattern: $0) } + [0]
        let result = zg_tree_status_of(directory, cName, &status)
        if result == -ENOENT { return nil }
        guard result == 0 else { throw .unreadable(path: path, reason: "\(Errno(-result))") }
        let identity = Identity(device: status.device, inode: status.inode)
        let isDirectory = status.mode & S_IFMT == S_IFDIR
        if !isDirectory, status.links > 1, let known = linked[identity] { return known }
        let attributes = try attributes(directory, status, path, cName)
        let node = LayerNode(attributes, .pipe)
        switch status.mode & S_IFMT {
        case S_IFDIR:
            node.content = .directory(isStated: true)
            let raw = zg_tree_open(directory, cName, 1)
            guard raw >= 0 else { throw .unreadable(path: path, reason: "\(Errno(-raw))") }
            try fill(node, Descriptor(raw), path, depth: depth + 1)
        case S_IFREG: node.content = .file(try content(directory, cName, path))
        case S_IFLNK: node.content = .symbolicLink(try target(directory, cName, path))
        case S_IFCHR: node.content = .characterDevice(major: status.major, minor: status.minor)
        case S_IFBLK: node.content = .blockDevice(major: status.major, minor: status.minor)
        case S_IFIFO: break
        default: return nil  // sockets mean nothing without the process that listens
        }
        if !isDirectory, status.links > 1 { linked[identity] = node }
        return node
    }

    private mutating func content(
        _ directory: Int32, _ name: [CChar], _ path: String
    ) throws(ImportError) -> FileContent {
        let raw = zg_tree_open(directory, name, 0)
        guard raw >= 0 else { throw .unreadable(path: path, reason: "\(Errno(-raw))") }
        let descriptor = Descriptor(raw)
        let content = FileContent()
        var cutter = ContentCutter()
        let pipeline = pipeline
        let emit = { (chunk: [UInt8]) throws(ImportError) in try pipeline.submit(chunk, content) }
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let got = Glibc.read(descriptor.raw, &buffer, buffer.count)
            if got < 0 {
                let code = errno
                if code == EINTR { continue }
                throw .unreadable(path: path, reason: "\(Errno(code))")
            }
            if got == 0 { break }
            bytesRead += Int64(got)
            onRead(bytesRead)
            let result: Result<Void, ImportError> = buffer.withUnsafeBytes { bytes in
                do throws(ImportError) {
                    return .success(try cutter.add(UnsafeRawBufferPointer(rebasing: bytes[..<got]), emit))
                } catch { return .failure(error) }
            }
            try result.get()
        }
        try cutter.finish(emit)
        return content
    }

    private func target(_ directory: Int32, _ name: [CChar], _ path: String) throws(ImportError) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: FlistLimits.targetBytes + 1)
        let count = zg_tree_readlink(directory, name, &buffer, buffer.count)
        guard count > 0, count <= FlistLimits.targetBytes else {
            throw .unreadable(path: path, reason: count < 0 ? "\(Errno(Int32(-count)))" : "impossible link target")
        }
        return buffer[..<Int(count)].map { UInt8(bitPattern: $0) }
    }

    private func attributes(
        _ directory: Int32, _ status: zg_tree_status_t, _ path: String, _ cName: [CChar]
    ) throws(ImportError) -> FileAttributes {
        FileAttributes(
            mode: UInt16(status.mode & 0o7777), uid: status.uid, gid: status.gid,
            modified: FileTime(seconds: status.mtime_seconds, nanoseconds: status.mtime_nanoseconds),
            extended: try extended(directory, cName, path))
    }

    /// Extended attributes; none where the file system has none. POSIX ACLs are kept as what they are stored as.
    private func extended(
        _ directory: Int32, _ name: [CChar], _ path: String
    ) throws(ImportError) -> [ExtendedAttribute] {
        var names = [CChar](repeating: 0, count: 256)
        var count = zg_tree_list_xattr(directory, name, &names, names.count)
        if count == -Int64(ERANGE) {
            names = [CChar](repeating: 0, count: 65_536)
            count = zg_tree_list_xattr(directory, name, &names, names.count)
        }
        if count == -Int64(ENOTSUP) || count == -Int64(ENOENT) || count == 0 { return [] }
        guard count > 0 else { throw .unreadable(path: path, reason: "extended attributes: \(Errno(Int32(-count)))") }
        var found: [ExtendedAttribute] = []
        for attribute in names[..<Int(count)].split(separator: 0) {
            var value = [UInt8](repeating: 0, count: FlistLimits.attributeValueBytes)
            let length = zg_tree_get_xattr(directory, name, Array(attribute) + [0], &value, value.count)
            if length == -Int64(ENODATA) { continue }
            guard length >= 0 else {
                throw .unreadable(path: path, reason: "extended attributes: \(Errno(Int32(-length)))")
            }
            found.append(
                ExtendedAttribute(name: attribute.map { UInt8(bitPattern: $0) }, value: Array(value[..<Int(length)])))
        }
        guard found.reduce(0, { $0 + $1.name.count + $1.value.count }) <= FlistLimits.attributesBytes else {
            throw .unreadable(path: path, reason: "extended attributes are over the limit")
        }
        return found.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }
}

import Bytes
import Crypto
import Flist
import Linux

/// Remembers what a layer's archive holds, under its diff id, so that an unchanged layer is not read again.
///
/// The file is derived and only a hint: it ends in its own SHA-256, and the chunks it names are looked for in the store.
struct LayerCache {
    /// The encoding's version; files of another are ignored.
    private static let magic = Array("zero layer 1\n".utf8)
    private static let fileBytes = 256 << 20
    /// A cached tree was written by this code from an archive that the limits allowed.
    private static let nodes = ImportLimits.files * 2

    private let folder: String

    init(_ folder: String) throws(ImportError) {
        self.folder = folder + "/layers"
        do { try File.makeDirectories(self.folder, mode: 0o700) } catch {
            throw .unreadable(path: self.folder, reason: "\(error)")
        }
    }

    private func path(_ diff: Digest) -> String { folder + "/" + diff.hex }

    /// Keeps a layer whose pipeline was drained. Failure to write costs only time later.
    func keep(_ layer: LayerNode, _ diff: Digest) {
        var encoder = Encoder()
        encoder.writer.append(Self.magic)
        encoder.node(layer)
        let body = encoder.writer.bytes
        try? File.writeAtomically(path(diff), body + SHA256.hash(body).bytes)
    }

    /// The layer and all chunks that its files need, or nil.
    func layer(_ diff: Digest) -> (root: LayerNode, chunks: Set<Digest>)? {
        guard File.exists(path(diff)), let bytes = try? File.read(path(diff), limit: Self.fileBytes), bytes.count > 45
        else { return nil }
        let body = Array(bytes[..<(bytes.count - 32)])
        guard SHA256.hash(body).bytes[...] == bytes[(bytes.count - 32)...], body.starts(with: Self.magic) else {
            return nil
        }
        var decoder = Decoder(reader: ByteReader(body))
        guard (try? decoder.reader.take(Self.magic.count)) != nil, let root = try? decoder.node(depth: 0),
            decoder.reader.isAtEnd
        else { return nil }
        return (root, decoder.chunks)
    }

    private struct Encoder {
        var writer = ByteWriter()
        var seen: [ObjectIdentifier: UInt64] = [:]

        mutating func node(_ node: LayerNode) {
            if let number = seen[ObjectIdentifier(node)] {
                writer.u8(0)
                writer.varint(number)
                return
            }
            seen[ObjectIdentifier(node)] = UInt64(seen.count)
            switch node.content {
            case .directory(let isStated): directory(node, isStated)
            case .file(let content):
                writer.u8(2)
                let pieces = content.complete
                writer.varint(UInt64(pieces.count))
                for piece in pieces {
                    writer.varint(piece.size)
                    writer.append(piece.chunk.id.bytes)
                    writer.append(piece.chunk.key.bytes)
                }
            case .symbolicLink(let target):
                writer.u8(3)
                writer.lengthPrefixed(target)
            case .characterDevice(let major, let minor):
                writer.u8(4)
                writer.u32(major)
                writer.u32(minor)
            case .blockDevice(let major, let minor):
                writer.u8(5)
                writer.u32(major)
                writer.u32(minor)
            case .pipe: writer.u8(6)
            case .link(let target):
                writer.u8(7)
                writer.varint(UInt64(target.count))
                for name in target { writer.lengthPrefixed(name) }
            }
            attributes(node.attributes)
        }

        private mutating func directory(_ node: LayerNode, _ isStated: Bool) {
            writer.u8(1)
            writer.u8((isStated ? 1 : 0) | (node.isOpaque ? 2 : 0))
            writer.varint(UInt64(node.whiteouts.count))
            for name in node.whiteouts { writer.lengthPrefixed(name) }
            writer.varint(UInt64(node.children.count))
            for (name, child) in node.children {
                writer.lengthPrefixed(name)
                self.node(child)
            }
        }

        private mutating func attributes(_ attributes: FileAttributes) {
            writer.u16(attributes.mode)
            writer.u32(attributes.uid)
            writer.u32(attributes.gid)
            writer.u64(UInt64(bitPattern: attributes.modified.seconds))
            writer.u32(attributes.modified.nanoseconds)
            writer.varint(UInt64(attributes.extended.count))
            for attribute in attributes.extended {
                writer.lengthPrefixed(attribute.name)
                writer.lengthPrefixed(attribute.value)
            }
        }
    }

    private struct Decoder {
        var reader: ByteReader
        var nodes: [LayerNode] = []
        var chunks: Set<Digest> = []

        func damaged() -> ByteError { .truncated(offset: reader.offset, wanted: 0) }

        mutating func node(depth: Int) throws(ByteError) -> LayerNode {
            let kind = try reader.u8()
            if kind == 0 {
                let number = try reader.varint()
                guard number < UInt64(nodes.count) else { throw damaged() }
                return nodes[Int(number)]
            }
            guard depth <= FlistLimits.depth + 1, nodes.count < LayerCache.nodes else { throw damaged() }
            let node = LayerNode.implied()
            nodes.append(node)
            switch kind {
            case 1: try directory(node, depth)
            case 2:
                var pieces: [SizedReference] = []
                for _ in 0..<(try reader.varint()) {
                    let size = try reader.varint()
                    guard let id = Digest(try reader.take(32)), let key = ChunkKey(try reader.take(32)) else {
                        throw damaged()
                    }
                    chunks.insert(id)
                    pieces.append(SizedReference(size: size, chunk: ChunkReference(id: id, key: key)))
                }
                node.content = .file(FileContent(pieces))
            case 3: node.content = .symbolicLink(try reader.lengthPrefixed(limit: FlistLimits.targetBytes))
            case 4: node.content = .characterDevice(major: try reader.u32(), minor: try reader.u32())
            case 5: node.content = .blockDevice(major: try reader.u32(), minor: try reader.u32())
            case 6: node.content = .pipe
            case 7:
                var target: [[UInt8]] = []
                for _ in 0..<(try reader.varint()) {
                    target.append(try reader.lengthPrefixed(limit: FlistLimits.nameBytes))
                }
                node.content = .link(to: target)
            default: throw damaged()
            }
            node.attributes = try attributes()
            return node
        }

        private mutating func directory(_ node: LayerNode, _ depth: Int) throws(ByteError) {
            let flags = try reader.u8()
            node.content = .directory(isStated: flags & 1 != 0)
            node.isOpaque = flags & 2 != 0
            for _ in 0..<(try reader.varint()) {
                node.whiteouts.insert(try reader.lengthPrefixed(limit: FlistLimits.nameBytes))
            }
            for _ in 0..<(try reader.varint()) {
                let name = try reader.lengthPrefixed(limit: FlistLimits.nameBytes)
                node.children[name] = try self.node(depth: depth + 1)
            }
        }

        private mutating func attributes() throws(ByteError) -> FileAttributes {
            let (mode, uid, gid) = (try reader.u16(), try reader.u32(), try reader.u32())
            let time = FileTime(seconds: Int64(bitPattern: try reader.u64()), nanoseconds: try reader.u32())
            var extended: [ExtendedAttribute] = []
            for _ in 0..<(try reader.varint()) {
                let name = try reader.lengthPrefixed(limit: FlistLimits.attributeNameBytes)
                let value = try reader.lengthPrefixed(limit: FlistLimits.attributeValueBytes)
                extended.append(ExtendedAttribute(name: name, value: value))
            }
            return FileAttributes(mode: mode, uid: uid, gid: gid, modified: time, extended: extended)
        }
    }
}

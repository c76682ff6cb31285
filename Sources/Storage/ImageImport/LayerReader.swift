import Flist

/// Reads a tar archive into a layer; contents go to the pipeline as they pass by.
struct LayerReader {
    private let subject: String
    private let pipeline: ChunkPipeline
    let root = LayerNode.implied()
    private var files = 0

    init(_ subject: String, _ pipeline: ChunkPipeline) { (self.subject, self.pipeline) = (subject, pipeline) }

    /// Reads the whole archive.
    mutating func read(_ tar: TarReader) throws(ImportError) {
        var cutter = ContentCutter()
        while let member = try tar.next() {
            files += 1
            guard files <= ImportLimits.files else { throw refusal(member, "the archive has too many files") }
            try add(member, tar, &cutter)
        }
        try tar.drain()
    }

    private func refusal(_ member: TarMember, _ reason: String) -> ImportError {
        .badArchive(subject: subject, path: FlistVerifier.text(member.path), reason: reason)
    }

    private func add(_ member: TarMember, _ tar: TarReader, _ cutter: inout ContentCutter) throws(ImportError) {
        guard var names = ImagePath.names(member.path) else { throw refusal(member, "path leaves the image") }
        guard let name = names.popLast() else {
            guard member.kind == .directory else { throw refusal(member, "has no name") }
            root.attributes = try attributes(member)
            root.content = .directory(isStated: true)
            return
        }
        // What aufs kept for itself is no part of the image.
        if names.contains(where: { $0.starts(with: ImagePath.reserved) }) { return }
        guard !names.contains(where: { $0.starts(with: ImagePath.whiteout) }) else {
            throw refusal(member, "path goes through a removed name")
        }
        let parent = try directory(names, member)
        if name.starts(with: ImagePath.whiteout) {
            if name == ImagePath.opaque { parent.isOpaque = true }
            if name.starts(with: ImagePath.reserved) { return }
            let hidden = Array(name.dropFirst(ImagePath.whiteout.count))
            guard !hidden.isEmpty, hidden != [0x2e], hidden != [0x2e, 0x2e] else {
                throw refusal(member, "removes nothing")
            }
            parent.whiteouts.insert(hidden)
            return
        }
        if member.kind == .directory, let existing = parent.children[name], existing.isDirectory {
            existing.attributes = try attributes(member)
            existing.content = .directory(isStated: true)
            return
        }
        parent.children[name] = try node(member, tar, &cutter)
    }

    private func node(
        _ member: TarMember, _ tar: TarReader, _ cutter: inout ContentCutter
    ) throws(ImportError) -> LayerNode {
        switch member.kind {
        case .hardLink:
            guard let target = ImagePath.names(member.link), !target.isEmpty else {
                throw refusal(member, "hard link leaves the image")
            }
            if let existing = lookup(target), !existing.isDirectory { return existing }
            return LayerNode(try attributes(member), .link(to: target))
        case .file:
            let content = FileContent()
            let node = LayerNode(try attributes(member), .file(content))
            let pipeline = pipeline
            let emit = { (chunk: [UInt8]) throws(ImportError) in try pipeline.submit(chunk, content) }
            try tar.content { bytes throws(ImportError) in try cutter.add(bytes, emit) }
            try cutter.finish(emit)
            return node
        case .symbolicLink:
            guard !member.link.isEmpty, member.link.count <= FlistLimits.targetBytes, !member.link.contains(0) else {
                throw refusal(member, "symbolic link has an impossible target")
            }
            return LayerNode(try attributes(member), .symbolicLink(member.link))
        case .directory: return LayerNode(try attributes(member), .directory(isStated: true))
        case .characterDevice:
            return LayerNode(try attributes(member), .characterDevice(major: member.major, minor: member.minor))
        case .blockDevice:
            return LayerNode(try attributes(member), .blockDevice(major: member.major, minor: member.minor))
        case .pipe: return LayerNode(try attributes(member), .pipe)
        }
    }

    /// The directory of this layer at `names`, made where it is not there; links inside the layer are followed.
    private func directory(_ names: [[UInt8]], _ member: TarMember) throws(ImportError) -> LayerNode {
        guard names.count <= FlistLimits.depth else { throw refusal(member, "directories are nested too deeply") }
        var names = names
        var followed = 0
        var node = root
        var index = 0
        while index < names.count {
            let name = names[index]
            if let next = node.children[name] {
                if case .symbolicLink(let target) = next.content {
                    followed += 1
                    guard followed <= ImportLimits.links else { throw refusal(member, "too many links on the way") }
                    names = ImagePath.follow(target, from: names[..<index]) + names[(index + 1)...]
                    guard names.count <= FlistLimits.depth else {
                        throw refusal(member, "directories are nested too deeply")
                    }
                    (node, index) = (root, 0)
                    continue
                }
                if next.isDirectory {
                    (node, index) = (next, index + 1)
                    continue
                }
            }
            let made = LayerNode.implied()
            node.children[name] = made
            (node, index) = (made, index + 1)
        }
        return node
    }

    private func lookup(_ names: [[UInt8]]) -> LayerNode? {
        var node = root
        for name in names {
            guard let next = node.children[name] else { return nil }
            node = next
        }
        return node
    }

    private func attributes(_ member: TarMember) throws(ImportError) -> FileAttributes {
        var extended: [ExtendedAttribute] = []
        var total = 0
        for (name, value) in member.extended.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            guard !name.isEmpty, name.count <= FlistLimits.attributeNameBytes, !name.contains(0),
                value.count <= FlistLimits.attributeValueBytes
            else { throw refusal(member, "extended attribute is over the limit") }
            total += name.count + value.count
            extended.append(ExtendedAttribute(name: name, value: value))
        }
        guard total <= FlistLimits.attributesBytes else {
            throw refusal(member, "extended attributes are over the limit")
        }
        return FileAttributes(
            mode: member.mode, uid: member.uid, gid: member.gid,
            modified: FileTime(seconds: member.seconds, nanoseconds: member.nanoseconds), extended: extended)
    }
}

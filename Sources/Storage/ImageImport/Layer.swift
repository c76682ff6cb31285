import Flist

/// One name of a layer.
final class LayerNode {
    enum Content {
        /// `isStated` where the archive has an entry for it, and not only for something below it.
        case directory(isStated: Bool)
        case file(FileContent)
        case symbolicLink([UInt8])
        case characterDevice(major: UInt32, minor: UInt32)
        case blockDevice(major: UInt32, minor: UInt32)
        case pipe
        /// A hard link to a file of a lower layer.
        case link(to: [[UInt8]])
    }

    var attributes: FileAttributes
    var content: Content
    var children: [[UInt8]: LayerNode] = [:]
    /// Names of lower layers that this layer removes.
    var whiteouts: Set<[UInt8]> = []
    /// Whether this layer hides all that lower layers have in this directory.
    var isOpaque = false

    init(_ attributes: FileAttributes, _ content: Content) { (self.attributes, self.content) = (attributes, content) }

    var isDirectory: Bool { if case .directory = content { true } else { false } }

    /// A directory that nothing was said about.
    static func implied() -> LayerNode {
        LayerNode(
            FileAttributes(mode: 0o755, uid: 0, gid: 0, modified: FileTime(seconds: 0)), .directory(isStated: false))
    }
}

/// Paths inside an image: lists of names, never paths of the host.
enum ImagePath {
    static let whiteout = Array(".wh.".utf8)
    static let opaque = Array(".wh..wh..opq".utf8)
    static let reserved = Array(".wh..wh.".utf8)

    /// The names of a path; nil where it goes above its start or has a name that no file system allows.
    static func names(_ path: [UInt8]) -> [[UInt8]]? {
        var names: [[UInt8]] = []
        for part in path.split(separator: 0x2f) where part != [0x2e] {
            if part == [0x2e, 0x2e] || part.contains(0) || part.count > FlistLimits.nameBytes { return nil }
            names.append(Array(part))
        }
        return names
    }

    /// Where a symbolic link in a directory leads, by its text; `..` stops at the root.
    static func follow(_ target: [UInt8], from directory: ArraySlice<[UInt8]>) -> [[UInt8]] {
        var names = target.first == 0x2f ? [] : Array(directory)
        for part in target.split(separator: 0x2f) where part != [0x2e] {
            if part == [0x2e, 0x2e] { _ = names.popLast() } else { names.append(Array(part)) }
        }
        return names
    }

    static func text(_ names: some Sequence<[UInt8]>) -> String {
        "/" + names.map { FlistVerifier.text($0) }.joined(separator: "/")
    }
}

/// Puts layers on each other.
struct LayerMerger {
    private let subject: String
    let root: TreeNode
    private var made: [ObjectIdentifier: TreeNode] = [:]
    private var links: [(parent: TreeNode, name: [UInt8], target: [[UInt8]], path: [[UInt8]])] = []

    /// Works on `root`, a directory.
    init(_ root: TreeNode, _ subject: String) { (self.root, self.subject) = (root, subject) }

    /// Puts `layer` on top of the tree.
    mutating func apply(_ layer: LayerNode) throws(ImportError) {
        if case .directory(isStated: true) = layer.content { root.attributes = layer.attributes }
        try merge(layer, into: root, [])
        for link in links {
            guard let target = resolve(link.target, followLast: false), !target.isDirectory else {
                throw .badArchive(
                    subject: subject, path: ImagePath.text(link.path),
                    reason: "hard link to \(ImagePath.text(link.target)), which is not there")
            }
            link.parent.setChild(link.name, target)
        }
        (links, made) = ([], [:])
    }

    private mutating func merge(_ layer: LayerNode, into node: TreeNode, _ path: [[UInt8]]) throws(ImportError) {
        guard path.count <= FlistLimits.depth else {
            throw .badArchive(subject: subject, path: ImagePath.text(path), reason: "directories are nested too deeply")
        }
        if layer.isOpaque { node.children = [:] }
        for name in layer.whiteouts { node.setChild(name, nil) }
        for (name, child) in layer.children {
            let childPath = path + [name]
            switch child.content {
            case .directory(let isStated):
                let directory = place(child, isStated, name, node, path)
                try merge(child, into: directory, childPath)
            case .link(let target): links.append((node, name, target, childPath))
            default: node.setChild(name, make(child))
            }
        }
    }

    /// The directory that a layer's directory becomes: the one below it, or a new one.
    private func place(
        _ child: LayerNode, _ isStated: Bool, _ name: [UInt8], _ parent: TreeNode, _ path: [[UInt8]]
    ) -> TreeNode {
        if let below = parent.child(name) {
            if below.isDirectory {
                if isStated { below.attributes = child.attributes }
                return below
            }
            // As other unpackers do: a file below a linked directory lands where the link leads.
            if !isStated, case .symbolicLink(let target) = below.content,
                let linked = resolve(ImagePath.follow(target, from: path[...]), followLast: true), linked.isDirectory
            {
                return linked
            }
        }
        let directory = TreeNode(child.attributes, .directory([:]))
        parent.setChild(name, directory)
        return directory
    }

    private mutating func make(_ node: LayerNode) -> TreeNode {
        if let made = made[ObjectIdentifier(node)] { return made }
        let content: TreeNode.Content =
            switch node.content {
            case .file(let content): .file(content.complete)
            case .symbolicLink(let target): .symbolicLink(target)
            case .characterDevice(let major, let minor): .characterDevice(major: major, minor: minor)
            case .blockDevice(let major, let minor): .blockDevice(major: major, minor: minor)
            default: .pipe
            }
        let tree = TreeNode(node.attributes, content)
        made[ObjectIdentifier(node)] = tree
        return tree
    }

    /// The file at a path of the tree, symbolic links followed inside the tree.
    func resolve(_ path: [[UInt8]], followLast: Bool) -> TreeNode? {
        var rest = Array(path.reversed())
        var above: [[UInt8]] = []
        var nodes = [root]
        var followed = 0
        while let name = rest.popLast() {
            if name == [0x2e, 0x2e] {
                if nodes.count > 1 {
                    nodes.removeLast()
                    above.removeLast()
                }
                continue
            }
            guard let node = nodes.last, let next = node.child(name) else { return nil }
            if case .symbolicLink(let target) = next.content, !rest.isEmpty || followLast {
                followed += 1
                guard followed <= ImportLimits.links else { return nil }
                if target.first == 0x2f { (nodes, above) = ([root], []) }
                let parts = target.split(separator: 0x2f).map(Array.init).filter { $0 != [0x2e] }
                rest += parts.reversed()
                continue
            }
            nodes.append(next)
            above.append(name)
        }
        return nodes.last
    }
}

/// One file of a tree that becomes a flist. Several names may lead to one node: those are hard links.
///
/// Built and used by one thread.
public final class TreeNode {
    /// What the node is.
    public enum Content {
        /// A regular file: its pieces in order.
        case file([SizedReference])
        /// A directory: its names.
        case directory([[UInt8]: TreeNode])
        /// A symbolic link and its target.
        case symbolicLink([UInt8])
        /// A character device.
        case characterDevice(major: UInt32, minor: UInt32)
        /// A block device.
        case blockDevice(major: UInt32, minor: UInt32)
        /// A named pipe.
        case pipe
        /// A Unix socket's name.
        case socket
    }

    /// Owner, mode, time, extended attributes.
    public var attributes: FileAttributes
    /// What it is.
    public var content: Content

    /// A node.
    public init(_ attributes: FileAttributes, _ content: Content) {
        (self.attributes, self.content) = (attributes, content)
    }

    /// Whether it is a directory.
    public var isDirectory: Bool { if case .directory = content { true } else { false } }

    /// The names in a directory; empty for everything else. Setting it makes the node a directory.
    public var children: [[UInt8]: TreeNode] {
        get { if case .directory(let children) = content { children } else { [:] } }
        set { content = .directory(newValue) }
    }

    /// Adds or replaces a name in a directory without copying its table.
    public func setChild(_ name: [UInt8], _ node: TreeNode?) {
        guard case .directory(var children) = content else { return }
        content = .pipe
        children[name] = node
        content = .directory(children)
    }

    /// A name in a directory.
    public func child(_ name: [UInt8]) -> TreeNode? {
        if case .directory(let children) = content { children[name] } else { nil }
    }
}

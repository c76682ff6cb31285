internal import Linux

/// Which image is mounted: `zero-fs` names its mounts `zero:<root hash>`.
public enum ImageMount {
    private static let prefix = "zero:"
    /// Digits of the hash that tell images apart; fewer are not trusted.
    private static let digitsMin = 16

    /// What `source` in the table of mounts says of the image at `path`; nil where nothing, or nothing of ours, is mounted.
    public static func name(at path: String) -> String? {
        guard let table = try? File.readText("/proc/self/mountinfo", limit: 16 << 20) else { return nil }
        let escaped = escape(path)
        var found: String?
        for line in table.split(separator: "\n") {
            // "36 35 98:0 / /mnt opts … - type source options"; the last mount of a place is the one that is seen.
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard words.count > 6, words[4] == escaped, let dash = words[5...].firstIndex(of: "-"),
                dash + 2 < words.endIndex
            else { continue }
            let source = words[dash + 2]
            found = source.hasPrefix(prefix) ? String(source.dropFirst(prefix.count)) : nil
        }
        return found
    }

    /// As the kernel writes paths there. By hand: `replacing` brings half a megabyte into every shim.
    private static func escape(_ path: String) -> String {
        var text = ""
        for scalar in path.unicodeScalars {
            switch scalar {
            case " ": text += "\\040"
            case "\t": text += "\\011"
            case "\n": text += "\\012"
            case "\\": text += "\\134"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// Whether another image than `root` is mounted at `path`.
    public static func isOther(at path: String, than root: String) -> Bool {
        guard let name = name(at: path), name.utf8.count >= digitsMin else { return false }
        return !root.hasPrefix(name)
    }
}

/// The forms that names in contracts have.
public enum Names {
    /// Lower-case letters, digits and hyphens; a letter or digit at both ends; at most `limit` long.
    public static func isLabel(_ text: String, limit: Int) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, let last = bytes.last, bytes.count <= limit else { return false }
        return isLowerOrDigit(first) && isLowerOrDigit(last) && bytes.allSatisfy { isLowerOrDigit($0) || $0 == 0x2D }
    }

    /// A workload's, volume's or gateway's name: `[a-z0-9-]{1,24}`, no hyphen at the ends.
    public static func isWorkload(_ text: String) -> Bool { isLabel(text, limit: ContractLimits.workloadNameLength) }

    /// A contract's name: `[a-z0-9-]{1,40}`, no hyphen at the ends.
    public static func isContract(_ text: String) -> Bool { isLabel(text, limit: ContractLimits.contractNameLength) }

    /// An image's name: parts of `[a-z0-9._-]` that begin with a letter or digit, joined by `/`.
    public static func isImage(_ text: String) -> Bool {
        guard !text.isEmpty, text.utf8.count <= ContractLimits.imageNameLength else { return false }
        return text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(isImagePart)
    }

    /// A POSIX environment name: `[A-Za-z_][A-Za-z0-9_]*`.
    public static func isEnvironment(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, bytes.count <= 128, !(0x30...0x39).contains(first) else { return false }
        return bytes.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F
        }
    }

    /// An absolute path without empty, `.` or `..` parts and without a slash at its end.
    public static func isAbsolutePath(_ text: String) -> Bool {
        guard text.utf8.first == 0x2F, text.utf8.count <= ContractLimits.path else { return false }
        guard !text.utf8.contains(0), text != "/" else { return false }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        return parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    private static func isImagePart(_ part: Substring) -> Bool {
        guard let first = part.utf8.first, isLowerOrDigit(first) else { return false }
        return part.utf8.allSatisfy { isLowerOrDigit($0) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F }
    }

    private static func isLowerOrDigit(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
    }
}

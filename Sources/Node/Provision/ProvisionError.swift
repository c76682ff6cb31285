/// Why a contract cannot be made real on this node, although the ledger accepted it.
public enum ProvisionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The placement leaves out something that this node needs.
    case placement(workload: String, lacks: String)
    /// The image's record is gone or has no variant for this node's architecture.
    case image(workload: String, String)
    /// The image is private and the placement brought no key for it.
    case privateImage(workload: String, String)
    /// Neither image nor contract say what to start.
    case nothingToRun(workload: String, String)

    /// One line for people.
    public var description: String {
        switch self {
        case .placement(let workload, let lacks): "the placement of \(workload) lacks \(lacks)"
        case .image(let workload, let name): "\(workload): the image \(name) has no variant for this node's processor"
        case .privateImage(let workload, let name):
            "\(workload): the image \(name) is private and its key was not placed"
        case .nothingToRun(let workload, let name):
            "\(workload): the image \(name) has no command; give the container `args`"
        }
    }
}

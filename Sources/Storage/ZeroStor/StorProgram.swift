/// The program `zero-stor`.
public enum StorProgram {
    /// Runs a command line; the exit status.
    public static func run(arguments: [String]) -> Int32 { 0 }
}

import CanonicalJSON

/// The command line of `zero-core`.
struct CoreOptions: Equatable {
    var state = ""
    var run = ""
    var units = ""
    var bin = ""
    var share = ""
    var logsToTerminal = false
    var onlyCheck = false
    var printConfig = false

    enum Request: Equatable {
        case run(CoreOptions)
        case help
        case version
    }

    struct Fault: Error, CustomStringConvertible {
        let description: String
    }

    static let help = """
        usage: zero-core --state DIR --run DIR --units DIR [options]

        Starts the programs of a node from unit files, keeps them running, and adopts those that an
        earlier zero-core left. Usually started by zero-watch.

          --state DIR     the node's folder on disk; logs go to DIR/log
          --run DIR       the node's folder of this boot; the bus socket is DIR/core.sock
          --units DIR     folder of *.unit files
          --bin DIR       value of {bin}; default: the folder of zero-core
          --share DIR     value of {share}; default: the folder that holds --units
          --log-stderr    keep own messages on the terminal, not in DIR/log/core.log
          --check         read the units, say what is wrong with them, end
          --print-config  say what the options are, end
          --help          this text
          --version       the version
        """

    private static let paths = ["--state", "--run", "--units", "--bin", "--share"]
    private static let switches = ["--log-stderr", "--check", "--print-config"]

    private mutating func set(_ name: String, _ value: String) {
        switch name {
        case "--state": state = value
        case "--run": run = value
        case "--units": units = value
        case "--bin": bin = value
        case "--share": share = value
        case "--log-stderr": logsToTerminal = true
        case "--check": onlyCheck = true
        default: printConfig = true
        }
    }

    /// Reads the words after the program's name; `executable` is its path.
    static func parse(_ words: [String], executable: String, current: String) throws(Fault) -> Request {
        var options = CoreOptions()
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--help" { return .help }
            if word == "--version" { return .version }
            if switches.contains(word) {
                options.set(word, "")
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard paths.contains(parts[0]) else {
                let near = nearest(to: parts[0], among: paths + switches)
                throw Fault(description: "unknown option “\(word)”" + (near.map { "; did you mean “\($0)”?" } ?? ""))
            }
            guard let value = parts.count > 1 ? parts[1] : rest.popFirst(), !value.isEmpty else {
                throw Fault(description: "“\(parts[0])” needs a value")
            }
            options.set(parts[0], absolute(value, current))
        }
        try options.complete(executable: executable)
        return .run(options)
    }

    private mutating func complete(executable: String) throws(Fault) {
        let needed = onlyCheck ? [("--units", units)] : [("--state", state), ("--run", run), ("--units", units)]
        for (name, value) in needed where value.isEmpty { throw Fault(description: "“\(name)” is missing") }
        if !onlyCheck, run.split(separator: "/").count < 2 {
            throw Fault(description: "“--run \(run)” must be a folder of its own: its owner and mode are set")
        }
        if bin.isEmpty { bin = CoreOptions.parent(executable) }
        if share.isEmpty { share = CoreOptions.parent(units) }
    }

    private static func parent(_ path: String) -> String {
        let parts = path.split(separator: "/")
        return "/" + parts.dropLast().joined(separator: "/")
    }

    private static func absolute(_ path: String, _ current: String) -> String {
        var path = path.hasPrefix("/") ? path : "\(current)/\(path)"
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }
}

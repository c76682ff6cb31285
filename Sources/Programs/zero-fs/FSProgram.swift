import CanonicalJSON
import Crypto
import Flist
import Glibc
import ImageImport
import RESP
import Service
import ZeroFS

/// Mounts flists; also imports and checks them by hand.
struct FSProgram {
    static let help = """
        Usage: zero-fs [mount] --state DIR --run DIR --instance ID    mount the image of a container, as zero-core starts it
               zero-fs mount --config FILE                            mount what FILE says
               zero-fs import PATH --store STORE [options]            import an OCI layout, a tar archive or a directory
               zero-fs verify ROOT KEY --store STORE                  fetch and check everything below a root

        Options:
          --store STORE      unix:/path or host:port of a Zero-DB
          --namespace NAME   namespace to select there
          --secret HEX       convergence secret of a private image: 64 hexadecimal digits (default: public)
          --cache DIR        folder for what makes the next import quicker
          --reference NAME   which image of a layout that holds several
          --log-level LEVEL  debug, info, warn or error (default info)
          --help  --version

        """

    private static let known: Set<String> = [
        "state", "run", "instance", "config", "store", "namespace", "secret", "cache", "reference", "log-level",
    ]

    private var words: [String] = []
    private var options: [String: String] = [:]

    static func main(_ arguments: [String]) -> Never {
        let program = FSProgram(arguments.dropFirst())
        do {
            switch program.words.first ?? "mount" {
            case "mount" where program.words.count <= 1: try program.mount()
            case "import" where program.words.count == 2: try program.importImage(program.words[1])
            case "verify" where program.words.count == 3:
                if try !program.verify(program.words[1], program.words[2]) { exit(1) }
            default: fail("unknown command; see --help", status: 2)
            }
        } catch {
            Daemon.failed("\(error)")
            fail("\(error)")
        }
        exit(0)
    }

    private init(_ arguments: ArraySlice<String>) {
        var rest = arguments
        while let word = rest.popFirst() {
            switch word {
            case "--help", "-h":
                print(Self.help, terminator: "")
                exit(0)
            case "--version":
                print("zero-fs \(Daemon.version)")
                exit(0)
            case _ where word.hasPrefix("--"):
                let name = String(word.dropFirst(2))
                guard Self.known.contains(name) else { Self.fail("unknown option \(word); see --help", status: 2) }
                guard let value = rest.popFirst() else { Self.fail("\(word) needs a value", status: 2) }
                options[name] = value
            default: words.append(word)
            }
        }
    }

    private static func tell(_ text: String) {
        let bytes = Array(text.utf8)
        _ = write(2, bytes, bytes.count)
    }

    private static func fail(_ message: String, status: Int32 = 1) -> Never {
        tell("zero-fs: \(message)\n")
        exit(status)
    }

    private func required(_ name: String) -> String {
        guard let value = options[name] else { Self.fail("--\(name) is missing; see --help", status: 2) }
        return value
    }

    private func mount() throws(MountError) {
        guard let level = LogLevel(name: options["log-level"] ?? "info") else {
            Self.fail("--log-level is debug, info, warn or error", status: 2)
        }
        var node: MountProgram.Node?
        if options["instance"] != nil || options["state"] != nil {
            node = MountProgram.Node(state: required("state"), run: required("run"), instance: required("instance"))
        }
        let order = options["config"] ?? node?.order ?? required("config")
        let log = Log(service: "fs", level: level)
        try MountProgram.run(order: order, node, inherited: MountProgram.inherited("fuse"), log: log)
    }

    private func store() -> ZeroDBChunkStore {
        guard let endpoint = MountOrder.endpoint(required("store")) else {
            Self.fail("--store is unix:/path or host:port", status: 2)
        }
        let setup = options["namespace"].map { [[Array("SELECT".utf8), Array($0.utf8)]] } ?? []
        return ZeroDBChunkStore(endpoint, setup: setup)
    }

    private func secret() -> ConvergenceSecret {
        guard let hex = options["secret"] else { return .publicImages }
        guard let digest = Digest(hex: hex), let secret = ConvergenceSecret(digest.bytes) else {
            Self.fail("--secret is 64 hexadecimal digits", status: 2)
        }
        return secret
    }

    private func importImage(_ path: String) throws(ImportError) {
        let settings = ImageImporter.Options(
            secret: secret(), cache: options["cache"], reference: options["reference"])
        let isTerminal = isatty(2) == 1
        let importer = ImageImporter(store(), settings) { progress in
            if isTerminal { Self.tell("\r\u{1b}[K\(progress.step): \(progress.bytes / 1_000_000) MB") }
            return true
        }
        let image = try importer.run(path)
        if isTerminal { Self.tell("\r\u{1b}[K") }
        for variant in image.architectures {
            print(
                "\(variant.architecture) \(variant.root.id.hex) \(variant.root.key.hex) \(variant.config.canonicalText)"
            )
        }
        let counts = image.counts
        Self.tell(
            "chunks=\(counts.chunks) new=\(counts.newChunks) new_bytes=\(counts.newBytes) "
                + "content_bytes=\(counts.contentBytes) reused_layers=\(counts.reusedLayers)\n")
    }

    private func verify(_ root: String, _ key: String) throws(FlistError) -> Bool {
        guard let id = Digest(hex: root), let key = ChunkKey(hex: key) else {
            Self.fail("ROOT and KEY are 64 hexadecimal digits", status: 2)
        }
        let report = try ImageImporter.verify(
            ChunkReference(id: id, key: key), store(), secret: options["secret"].map { _ in secret() })
        for finding in report.findings { print("\(finding.path): \(finding.error)") }
        let totals = report.totals
        let verdict = report.isSound ? "sound" : "\(report.findings.count) findings"
        print(
            "\(totals.files) files, \(totals.directories) directories, \(totals.bytes) bytes, \(report.chunks) chunks: "
                + verdict)
        return report.isSound
    }
}

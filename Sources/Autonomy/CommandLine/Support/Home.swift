import CanonicalJSON
import Crypto
import Glibc
import Linux
import Terminal

/// A user's folder: `$ZERO_HOME`, or `~/.config/zero`.
struct Home: Sendable {
    let path: String
    var identities: String { path + "/identities" }
    var gridFile: String { path + "/grid.json" }

    static func find() throws -> Home {
        if let path = Environment.value("ZERO_HOME"), !path.isEmpty { return Home(path: absolute(path)) }
        if let home = Environment.value("HOME"), !home.isEmpty { return Home(path: home + "/.config/zero") }
        throw CommandError(
            .failed, "no folder for your keys", why: "neither $ZERO_HOME nor $HOME is set",
            next: "export ZERO_HOME=~/.config/zero")
    }

    /// The path from the root, without a slash at its end.
    static func absolute(_ path: String) -> String {
        var path = path
        if !path.hasPrefix("/") {
            let buffer = getcwd(nil, 0)
            defer { free(buffer) }
            path = (buffer.map { String(cString: $0) } ?? "") + "/" + path
        }
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Under `sudo`, what root wrote in the folder of the user who asked becomes that user's, who could not read it otherwise.
    func giveToOwner() {
        guard geteuid() == 0, let uid = Environment.value("SUDO_UID").flatMap({ UInt32($0) }), uid != 0,
            let gid = Environment.value("SUDO_GID").flatMap({ UInt32($0) })
        else { return }
        var above = File.parent(path)
        while above != "/", (try? File.status(above))?.uid == 0, above.hasSuffix("/.config") {
            above = File.parent(above)
        }
        guard (try? File.status(above))?.uid == uid else { return }
        if above != File.parent(path) { try? File.changeOwner(File.parent(path), uid: uid, gid: gid) }
        give(path, uid, gid)
    }

    private func give(_ path: String, _ uid: UInt32, _ gid: UInt32) {
        guard let status = try? File.status(path, follow: false) else { return }
        if status.uid == 0 { try? File.changeOwner(path, uid: uid, gid: gid) }
        guard status.isDirectory else { return }
        for name in (try? File.list(path)) ?? [] { give("\(path)/\(name)", uid, gid) }
    }

    /// The grid that `zero up` or `zero join` chose.
    func grid() throws -> GridConfiguration {
        guard File.exists(gridFile) else {
            throw CommandError(
                .unreachable, "no grid is configured", why: "\(gridFile) does not exist",
                next: "`zero up` starts one on this machine")
        }
        return try GridConfiguration(File.read(gridFile, limit: 1 << 20), path: gridFile)
    }

    func write(_ grid: GridConfiguration) throws {
        try File.makeDirectories(path, mode: 0o700)
        try File.writeDurably(gridFile, grid.value.canonicalBytes, mode: 0o600)
    }
}

/// The grid that commands talk to: `grid.json`.
struct GridConfiguration: Sendable, Hashable {
    /// `https://127.0.0.1:7600`.
    var ledgerURL: String
    /// SHA-256 of the ledger's public key, in the form that the ledger prints.
    var ledgerPin: String
    /// The ledger's id: the hash of its genesis document.
    var ledgerID: Digest
    /// Where chunks of images are stored: a socket, or host and port.
    var store: String
    /// Names of gateways are `<name>.<domain>`.
    var domain: String
    /// The gateway's HTTP port.
    var httpPort: Int64
    /// The grid's first node.
    var node: PublicKey
    /// The folder of a grid on this machine.
    var folder: String?

    init(
        ledgerURL: String, ledgerPin: String, ledgerID: Digest, store: String, domain: String, httpPort: Int64,
        node: PublicKey,
        folder: String?
    ) {
        (self.ledgerURL, self.ledgerPin, self.ledgerID, self.store) = (ledgerURL, ledgerPin, ledgerID, store)
        (self.domain, self.httpPort, self.node, self.folder) = (domain, httpPort, node, folder)
    }

    init(_ bytes: [UInt8], path: String) throws {
        do {
            var fields = try ObjectReader(JSONValue(parsing: bytes), path)
            var ledger = try ObjectReader(fields.value("ledger"), "ledger of \(path)")
            (ledgerURL, ledgerPin) = (try ledger.string("url"), try ledger.string("pin"))
            let id = try ledger.string("id")
            guard let ledgerID = Digest(hex: id) else {
                throw CommandError(
                    .invalid, "\(path): the ledger's id is not a hash", next: "`zero up` writes it again")
            }
            self.ledgerID = ledgerID
            try ledger.finish()
            (store, domain) = (try fields.string("store"), try fields.string("domain"))
            httpPort = try fields.integer("http_port")
            node = try PublicKey(address: fields.string("node"))
            folder = try fields.optionalString("folder")
            try fields.finish()
        } catch let error as CommandError { throw error } catch {
            throw CommandError(.invalid, "\(path) cannot be read", why: "\(error)", next: "`zero up` writes it again")
        }
    }

    var value: JSONValue {
        var fields: [String: JSONValue] = [
            "ledger": .object(["url": .string(ledgerURL), "pin": .string(ledgerPin), "id": .string(ledgerID.hex)]),
            "store": .string(store), "domain": .string(domain), "http_port": .integer(httpPort),
            "node": .string(node.address),
        ]
        if let folder { fields["folder"] = .string(folder) }
        return .object(fields)
    }

    /// Where a gateway's name answers.
    func url(_ name: String) -> String {
        httpPort == 80 ? "http://\(name).\(domain)/" : "http://\(name).\(domain):\(httpPort)/"
    }
}

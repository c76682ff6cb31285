import Bytes
import CanonicalJSON
import Contracts
import Crypto
import Flist
import ImageImport
import LedgerState
import Linux
import RESP
import Records
import Terminal

/// `zero image …`.
struct ImageCommand {
    let context: Context
    private let passphrase: Passphrase

    init(_ context: Context) {
        self.context = context
        passphrase = Passphrase(context)
    }

    func run() async throws {
        switch context.invocation.path.last {
        case "import": try await importImage()
        case "list": try await list()
        case "show": try await show()
        case "verify": try await verify()
        default: try await remove()
        }
    }

    // MARK: Import

    private func importImage() async throws {
        let path = Home.absolute(context.argument("path"))
        guard File.exists(path) else {
            throw CommandError(.notFound, "there is nothing at \(context.argument("path"))")
        }
        let name = try name(path)
        let session = try LedgerSession(context)
        let isPublic = context.invocation.has("public")
        let state = try await session.state()
        let signer = try await session.signer(passphrase: passphrase)
        guard let own = ConvergenceSecret(signer.imageSecret) else {
            throw CommandError(
                .locked, "the image secret of `\(signer.identity.name)` is damaged", next: "`zero identity recover`")
        }
        let secret = isPublic ? ConvergenceSecret.publicImages : own
        let begin = Clock.monotonicNanoseconds()
        let image = try await read(path, name, secret, store: session.grid.store)
        try await session.register(signer, passphrase: passphrase, in: state)
        let body = ImageBody(
            name: name, isPublic: isPublic,
            index: try image.architectures.map { try variant($0, isPublic: isPublic, signer) },
            stores: ["node/" + session.grid.node.address])
        if let entry = state.image(signer.author, name), entry.body == body {
            context.console.progress("no changes")
            return report(entry.record, body, image.counts, changed: false)
        }
        let written = try await session.write(.image(body), by: signer)
        let seconds = Double(Clock.monotonicNanoseconds() - begin) / 1e9
        context.console.progress(
            "\(Amount.text(Int64(image.counts.contentBytes))) in \(Int(seconds * 10)) tenths of a second")
        report(written.record.id, body, image.counts, changed: true)
    }

    private func name(_ path: String) throws -> String {
        if let name = context.invocation.option("name") {
            guard Names.isImage(name) else {
                throw CommandError(
                    .usage, "`\(name)` is not a name for an image",
                    why: "it is parts of a-z, 0-9, `.`, `_`, `-` joined by /", next: "for example examples/nginx")
            }
            return name
        }
        let last = path.split(separator: "/").last.map(String.init) ?? ""
        let stem =
            [".tar.gz", ".tar.zst", ".tgz", ".tar"].first(where: last.hasSuffix).map { String(last.dropLast($0.count)) }
            ?? last
        guard Names.isImage(stem.lowercased()) else {
            throw CommandError(.usage, "`\(last)` gives no name for the image", next: "add --name NAME")
        }
        return stem.lowercased()
    }

    private func read(_ path: String, _ name: String, _ secret: ConvergenceSecret, store: String) async throws
        -> ImportedImage
    {
        let progress = Progress("reading \(name)", on: context.console)
        let (invocation, cache) = (context.invocation, context.home.path + "/cache/import")
        do {
            let image = try await runBlocking {
                let options = ImageImporter.Options(
                    secret: secret, cache: cache, reference: invocation.option("reference"),
                    architectures: invocation.all("arch"))
                let importer = ImageImporter(ZeroDBChunkStore(.unix(store)), options) { report in
                    let total = report.total.map { " of \(Amount.text($0))" } ?? ""
                    progress.update(
                        "\(report.step): \(Amount.text(report.bytes))\(total), \(report.counts.newChunks) new chunks")
                    return true
                }
                return try importer.run(path)
            }
            progress.finish("read \(name)")
            return image
        } catch let error as ImportError {
            progress.fail()
            if case .storing(.store(let reason)) = error,
                ["NOSPACE", "QUOTA"].contains(where: { reason.hasPrefix($0) })
            {
                throw CommandError(
                    .failed, "the image store is full", why: reason,
                    next: "make room on the node's disk and import it again; what was stored is not sent twice")
            }
            if case .storing(let reason) = error {
                throw CommandError(
                    .unreachable, "the image store does not take chunks", why: "\(reason)", next: "`zero status`")
            }
            throw CommandError(.invalid, "the image cannot be imported", why: "\(error)")
        }
    }

    private func variant(_ image: ImportedArchitecture, isPublic: Bool, _ signer: Signer) throws -> ImageBody.Variant {
        let key = image.root.key.bytes
        var sealed: [PublicKey: [UInt8]] = [:]
        if !isPublic {
            for reader in Set([signer.author, signer.agent.publicKey]) {
                sealed[reader] = try SecretEnvelope.sealKey(
                    key, name: Placement.imageKey, contract: nil, to: SealingPublicKey(from: reader))
            }
        }
        let arch = image.architecture.replacing("/", with: "-")
        return ImageBody.Variant(
            arch: arch, root: image.root.id, key: isPublic ? key : nil, sealed: isPublic ? nil : sealed,
            config: image.config, size: Int64(image.totals.bytes))
    }

    private func report(_ record: Digest, _ body: ImageBody, _ counts: ImportCounts, changed: Bool) {
        let rows = body.index.map { [$0.arch, $0.root.hex, Amount.text($0.size)] }
        context.console.emit(
            [
                "name": .string(body.name), "record": .string(record.hex), "public": .bool(body.isPublic),
                "changed": .bool(changed),
                "chunks": .integer(Int64(counts.chunks)), "new_chunks": .integer(Int64(counts.newChunks)),
                "new_bytes": .integer(Int64(counts.newBytes)),
                "index": .array(
                    body.index.map {
                        ["arch": .string($0.arch), "root": .string($0.root.hex), "size": .integer($0.size)]
                    }),
            ],
            """
            Image   \(body.name)\(body.isPublic ? ", public" : ", private")
            Chunks  \(counts.chunks), of them new \(counts.newChunks) with \(Amount.text(Int64(counts.newBytes)))

            """ + Table("ARCH", "ROOT", "SIZE", rows: rows).text(context.console.style))
    }

    // MARK: Looking

    private func list() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let own = try? session.identity().address
        let names = (try? session.keys.addresses()) ?? [:]
        let images = ImageResolver.all(in: state).filter {
            $0.author == own || context.invocation.has("all") || (own == nil && $0.entry.body.isPublic)
        }
        if context.invocation.has("names") {
            return context.console.print(
                images.map { $0.author == own ? $0.entry.body.name : "\($0.author.address)/\($0.entry.body.name)" }
                    .joined(separator: "\n"))
        }
        let rows = images.map { author, entry in
            [
                entry.body.name, names.first { $0.value == author }?.key ?? author.address,
                entry.body.isPublic ? "public" : "private",
                entry.body.index.map(\.arch).joined(separator: ","),
                Amount.text(entry.body.index.map(\.size).max() ?? 0),
                String(entry.body.index.first?.root.hex.prefix(12) ?? ""),
            ]
        }
        context.console.emit(
            [
                "images": .array(
                    images.map { author, entry in
                        [
                            "name": .string(entry.body.name), "author": .string(author.address),
                            "public": .bool(entry.body.isPublic),
                            "record": .string(entry.record.hex),
                            "index": .array(
                                entry.body.index.map {
                                    ["arch": .string($0.arch), "root": .string($0.root.hex), "size": .integer($0.size)]
                                }),
                        ]
                    })
            ],
            Table("IMAGE", "AUTHOR", "READERS", "ARCH", "SIZE", "ROOT", rows: rows).text(context.console.style))
        if images.isEmpty { context.console.progress("none; next: zero image import <path>") }
    }

    private func find(_ session: LedgerSession, _ state: LedgerState) throws -> ImageResolver.Found {
        let identity = try session.identity()
        do {
            return try ImageResolver(state: state, identity: identity, keys: session.keys).resolve(
                context.argument("image"))
        } catch let error as ImageResolver.Failure {
            throw CommandError(.notFound, error.what, why: error.why, next: error.hint)
        }
    }

    private func show() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let found = try find(session, state)
        let body = found.entry.body
        var lines = [
            "Image   \(body.name), \(body.isPublic ? "public" : "private")",
            "Author  \(found.reference.author.address)",
            "Record  \(found.entry.record.hex)", "Stores  \(body.stores.joined(separator: ", "))",
        ]
        for variant in body.index {
            lines += ["", "\(variant.arch)", "  root    \(variant.root.hex)", "  size    \(Amount.text(variant.size))"]
            for (key, value) in (variant.config.object ?? [:]).sorted(by: { $0.key < $1.key }) {
                let text =
                    value.string ?? value.array?.compactMap(\.string).joined(separator: " ") ?? value.canonicalText
                lines.append("  \(key)\(String(repeating: " ", count: max(1, 8 - key.count)))\(Table.clean(text))")
            }
        }
        context.console.emit(
            [
                "author": .string(found.reference.author.address), "record": .string(found.entry.record.hex),
                "image": body.value,
            ],
            lines.joined(separator: "\n") + "\n")
    }

    private func verify() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let found = try find(session, state)
        let body = found.entry.body
        let signer = body.isPublic ? nil : try await session.signer(passphrase: passphrase)
        var findings: [String] = []
        var chunks = 0
        let progress = Progress("verifying \(body.name)", on: context.console)
        for variant in body.index {
            guard
                let key = try variant.key
                    ?? signer.map({ try PlacementSealer.imageKey(variant, body.name, [$0.agent]) }),
                let chunkKey = ChunkKey(key)
            else {
                throw CommandError(.invalid, "the key of `\(body.name)` is not of its form")
            }
            let reference = ChunkReference(id: variant.root, key: chunkKey)
            let store = session.grid.store
            let secret =
                body.isPublic ? ConvergenceSecret.publicImages : signer.flatMap { ConvergenceSecret($0.imageSecret) }
            do {
                let report = try await runBlocking {
                    try ImageImporter.verify(reference, ZeroDBChunkStore(.unix(store)), secret: secret)
                }
                chunks += report.chunks
                findings += report.findings.map { "\(variant.arch) \($0.path): \($0.error)" }
            } catch let error as FlistError { findings.append("\(variant.arch): \(error)") }
        }
        guard findings.isEmpty else {
            progress.fail()
            throw CommandError(
                .invalid, "`\(body.name)` is damaged", why: findings.prefix(20).joined(separator: "\n"),
                next: "import it again: what is damaged is stored anew")
        }
        progress.finish("every chunk is what it should be")
        context.console.emit(
            ["name": .string(body.name), "chunks": .integer(Int64(chunks)), "sound": true],
            "\(body.name): \(chunks) chunks, all sound\n")
    }

    private func remove() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let found = try find(session, state)
        let name = found.entry.body.name
        guard found.reference.author == (try session.identity().address) else {
            throw CommandError(
                .refused, "`\(name)` is not yours", why: "its author is \(found.reference.author.address)")
        }
        if !context.invocation.has("yes") {
            guard context.console.isInteractive else {
                throw CommandError(.usage, "nobody is there to confirm it", next: "add --yes")
            }
            guard context.console.confirm("Remove the image \(name)?") else {
                throw CommandError(.failed, "nothing was done", why: "you said no")
            }
        }
        let signer = try await session.signer(passphrase: passphrase)
        try await session.write(.image(ImageBody(removing: name)), by: signer)
        context.console.emit(["name": .string(name), "removed": true], "Removed \(name)\n")
    }
}

import CanonicalJSON
import Crypto
import Flist
import Linux
import Testing

@testable import ImageImport

@Suite struct LayoutTests {
    private func layers(_ bodies: [(inout Tar) -> Void]) throws -> Imported {
        let folder = try Folder()
        var layout = try Layout(folder)
        try layout.add(
            bodies.map { body in
                var tar = Tar()
                body(&tar)
                return tar.finished
            })
        return try Imported(try layout.finish())
    }

    @Test func whiteoutsHideOnlyLowerLayers() throws {
        let image = try layers([
            { tar in
                tar.file("keep", "1")
                tar.file("gone", "1")
                tar.file("dir/old", "1")
                tar.file("replaced", "1")
                tar.file("tree/a/b", "1")
            },
            { tar in
                tar.file(".wh.gone")
                // The order in the archive says nothing: this file is of the same layer.
                tar.file("replaced", "2")
                tar.file(".wh.replaced")
                tar.file("dir/new", "2")
                tar.file("dir/.wh.old")
                tar.file(".wh.tree")
                tar.file("tree/c", "2")
                tar.file("dir/.wh..wh.plnk/123", "aufs")
            },
        ])
        #expect(try image.names() == ["dir", "keep", "replaced", "tree"])
        #expect(try image.content("replaced") == "2")
        #expect(try image.names("dir") == ["new"])
        #expect(try image.names("tree") == ["c"])
    }

    @Test func opaqueDirectoriesHideAllBelowThem() throws {
        let image = try layers([
            { tar in
                tar.directory("dir", mode: 0o700)
                tar.file("dir/old", "1")
                tar.file("dir/sub/old", "1")
            },
            { tar in
                tar.file("dir/new", "2")
                tar.file("dir/.wh..wh..opq")
            },
        ])
        #expect(try image.names("dir") == ["new"])
        // Only what lies in it is hidden, not what it is.
        #expect(try image.entry("dir")?.attributes.mode == 0o700)
    }

    @Test func typesReplaceEachOther() throws {
        let image = try layers([
            { tar in
                tar.file("file", "1")
                tar.file("dir/below", "1")
                tar.add(name("link"), type: "2", link: "dir")
                tar.add(name("merged"), type: "2", link: "dir")
            },
            { tar in
                tar.file("file/now-a-directory", "2")
                tar.file("dir", "now a file")
                tar.directory("link")
                tar.file("link/x", "2")
            },
        ])
        #expect(try image.content("file/now-a-directory") == "2")
        #expect(try image.content("dir") == "now a file")
        #expect(try image.names("link") == ["x"])
    }

    /// Debian's /bin is a link to usr/bin; a layer that has bin/x without bin/ means usr/bin/x.
    @Test func pathsFollowLinksOfLowerLayers() throws {
        let image = try layers([
            { tar in
                tar.file("usr/bin/sh", "1")
                tar.add(name("bin"), type: "2", link: "usr/bin")
            },
            { tar in tar.file("bin/new", "2") },
            { tar in tar.add(name("copy"), type: "1", link: "bin/sh") },
        ])
        #expect(try image.entry("bin")?.content == .symbolicLink(name("usr/bin")))
        #expect(try image.names("usr/bin") == ["new", "sh"])
        #expect(try image.content("copy") == "1")
        #expect(try image.entry("copy")?.links == 2)
    }

    @Test(arguments: ["plain", "gzip", "zstd", "two members"])
    func compressions(kind: String) throws {
        let folder = try Folder()
        var layout = try Layout(folder)
        var tar = Tar()
        tar.file("file", String(repeating: "some content. ", count: 50_000))
        let bytes = tar.finished
        try layout.add([bytes], docker: kind == "gzip") { bytes in
            switch kind {
            case "gzip", "zstd": return try compressed(kind, bytes)
            case "two members":
                return try compressed("gzip", Array(bytes[..<70_000])) + compressed("gzip", Array(bytes[70_000...]))
            default: return bytes
            }
        }
        let image = try Imported(try layout.finish())
        #expect(try image.entry("file")?.size == 700_000)
        #expect(image.image.architectures[0].config == ["cmd": ["/bin/sh"]])
    }

    @Test func damagedCompressionIsNoticed() throws {
        var tar = Tar()
        tar.file("file", String(repeating: "some content. ", count: 5_000))
        for program in ["gzip", "zstd"] {
            let good = try compressed(program, tar.finished)
            for bytes in [Array(good[..<(good.count - 3)]), Array(good[..<(good.count / 2)])] {
                let folder = try Folder()
                let path = try folder.write("a", bytes)
                #expect(throws: ImportError.self) {
                    try ImageImporter(MemoryStore(), .init(secret: .publicImages)).run(path)
                }
            }
        }
    }

    @Test func severalArchitecturesAndNames() throws {
        let folder = try Folder()
        var layout = try Layout(folder)
        var tar = Tar()
        tar.file("file", "x")
        try layout.add([tar.finished], architecture: "amd64")
        try layout.add([tar.finished], architecture: "arm64")
        let image = try Imported(try layout.finish())
        #expect(image.image.architectures.map(\.architecture) == ["amd64", "arm64"])
        #expect(image.image.architectures[0].root == image.image.architectures[1].root)
        try layout.add([tar.finished], architecture: "amd64", name: "other")
        let path = try layout.finish()
        #expect(throws: ImportError.self) { try Imported(path) }
        let chosen = try Imported(path, MemoryStore(), .init(secret: .publicImages, reference: "other"))
        #expect(chosen.image.architectures.count == 1)
        #expect(throws: ImportError.self) {
            try Imported(path, MemoryStore(), .init(secret: .publicImages, reference: "none"))
        }
        #expect(throws: ImportError.self) {
            try Imported(
                path, MemoryStore(), .init(secret: .publicImages, reference: "other", architectures: ["riscv64"]))
        }
    }

    @Test func wrongDigestsAreRefused() throws {
        for victim in 0..<3 {
            let folder = try Folder()
            var layout = try Layout(folder)
            var tar = Tar()
            tar.file("file", "x")
            try layout.add([tar.finished])
            let path = try layout.finish()
            let blobs = try File.list("\(path)/blobs/sha256").sorted()
            let blob = "\(path)/blobs/sha256/\(blobs[victim])"
            try File.write(blob, try File.read(blob) + [32])
            #expect { try Imported(path) } throws: { error in
                if case ImportError.wrongDigest = error { true } else { false }
            }
        }
    }

    @Test func wrongDiffIdIsRefused() throws {
        let folder = try Folder()
        var layout = try Layout(folder)
        var tar = Tar()
        tar.file("file", "x")
        try layout.add([tar.finished]) { _ in
            var other = Tar()
            other.file("file", "y")
            return other.finished
        }
        let path = try layout.finish()
        #expect { try Imported(path) } throws: { error in
            if case ImportError.wrongDigest = error { true } else { false }
        }
    }

    @Test func secondImportReadsOnlyWhatIsNew() throws {
        let folder = try Folder()
        let cache = try Folder()
        let options = ImageImporter.Options(secret: .publicImages, cache: cache.path)
        var layout = try Layout(folder)
        var base = Tar()
        for index in 0..<50 { base.file("base/\(index)", String(repeating: "\(index) ", count: 2_000)) }
        var top = Tar()
        top.add(name("hard"), type: "1", link: "base/3")
        top.file("top", "1")
        try layout.add([base.finished, top.finished])
        let store = MemoryStore()
        let first = try Imported(try layout.finish(), store, options)
        let second = try Imported(folder.path, store, options)
        #expect(second.image.counts.reusedLayers == 2)
        #expect(second.image.counts.newChunks == 0)
        #expect(second.image.architectures[0].root == first.image.architectures[0].root)
        // One changed file in a rebuilt layer: its chunk and the directories above it are new.
        let folder2 = try Folder()
        var layout2 = try Layout(folder2)
        var rebuilt = Tar()
        for index in 0..<50 {
            rebuilt.file("base/\(index)", index == 7 ? "changed" : String(repeating: "\(index) ", count: 2_000))
        }
        try layout2.add([rebuilt.finished, top.finished])
        let third = try Imported(try layout2.finish(), store, options)
        #expect(third.image.counts.reusedLayers == 1)
        #expect(third.image.counts.newChunks <= 4)
        #expect(try third.content("base/7") == "changed")
        // A store that lost everything gets everything again, whatever the cache says.
        store.removeAll()
        let fourth = try Imported(folder.path, store, options)
        #expect(fourth.image.counts.reusedLayers == 0)
        #expect(fourth.image.architectures[0].root == first.image.architectures[0].root)
        // A damaged cache costs time only.
        for name in try File.list(cache.path) {
            try File.write("\(cache.path)/\(name)/chunks.v1", [1, 2, 3])
            for layer in try File.list("\(cache.path)/\(name)/layers") {
                try File.write("\(cache.path)/\(name)/layers/\(layer)", Array(repeating: 9, count: 100))
            }
        }
        let fifth = try Imported(folder.path, store, options)
        #expect(fifth.image.architectures[0].root == first.image.architectures[0].root)
    }

    @Test func privateImagesHaveOtherChunks() throws {
        let folder = try Folder()
        let path = try folder.write("tree/file", name("content"))
        let secret = try #require(ConvergenceSecret(Array(repeating: 1, count: 32)))
        let open = try Imported(File.parent(path))
        let closed = try Imported(File.parent(path), MemoryStore(), .init(secret: secret))
        #expect(open.image.architectures[0].root.id != closed.image.architectures[0].root.id)
        #expect(try closed.content("file") == "content")
    }

    @Test func stopsWhenAsked() throws {
        let folder = try Folder()
        var tar = Tar()
        for index in 0..<200 { tar.add(name("f\(index)"), content: Random.bytes(200_000)) }
        let path = try folder.write("a.tar", tar.finished)
        #expect(throws: ImportError.stopped) {
            try ImageImporter(MemoryStore(), .init(secret: .publicImages)) { _ in false }.run(path)
        }
    }

    @Test func failingStoreEndsTheImport() throws {
        final class Broken: ChunkStore {
            func holds(_ ids: [Digest]) throws(FlistError) -> [Bool] { throw .store("down") }
            func add(_ chunks: [SealedChunk]) throws(FlistError) -> [Bool] { throw .store("down") }
            func fetch(_ id: Digest) throws(FlistError) -> [UInt8]? { throw .store("down") }
        }
        let folder = try Folder()
        let path = try folder.write("tree/file", name("content"))
        #expect(throws: ImportError.storing(.store("down"))) {
            try ImageImporter(Broken(), .init(secret: .publicImages)).run(File.parent(path))
        }
    }

    @Test func directoriesOfTheHost() throws {
        let folder = try Folder()
        _ = try folder.write("tree/a/file", name("content"))
        for command in [
            ["/bin/ln", "TREE/a/file", "TREE/hard"], ["/bin/ln", "-s", "/etc/passwd", "TREE/soft"],
            ["/usr/bin/mkfifo", "TREE/pipe"],
            ["/bin/chmod", "2755", "TREE/a"], ["/usr/bin/touch", "-d", "@1600000000.123456789", "TREE/a/file"],
        ] {
            let words = command.map { $0.replacing("TREE", with: "\(folder.path)/tree") }
            #expect(try Subprocess.run(words[0], Array(words[1...])).status == 0)
        }
        let image = try Imported("\(folder.path)/tree")
        #expect(try image.names() == ["a", "hard", "pipe", "soft"])
        #expect(try image.entry("a")?.attributes.mode == 0o2755)
        #expect(
            try image.entry("a/file")?.attributes.modified == FileTime(seconds: 1_600_000_000, nanoseconds: 123_456_789)
        )
        #expect(try image.entry("hard")?.links == 2)
        #expect(try image.entry("soft")?.content == .symbolicLink(name("/etc/passwd")))
    }

    @Test(arguments: ["/nowhere", "/dev/null"])
    func whatIsNoImage(path: String) {
        #expect(throws: ImportError.self) { try ImageImporter(MemoryStore(), .init(secret: .publicImages)).run(path) }
    }

    @Test func looseJSON() throws {
        let text = #"{"a": null, "b": [1, null, 2.5, "\u00e9\ud83d\ude00\n"], "c": {"d": true}} "#
        let value = try LooseJSON.parse(name(text), "test")
        #expect(value == ["b": [1, "2.5", "é😀\n"], "c": ["d": true]])
        for bad in [
            "", "{", "{\"a\":}", "[1,]", "nul", "\"\\ud800\"", "{\"a\":1,\"a\":2}", "1 2",
            String(repeating: "[", count: 100), "\"\u{1}\"",
        ] {
            #expect(throws: ImportError.self) { try LooseJSON.parse(name(bad), "test") }
        }
    }
}

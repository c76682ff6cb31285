import Crypto
import Flist
import Linux
import Testing

@testable import ImageImport

@Suite struct TarTests {
    private func imported(_ tar: Tar) throws -> Imported {
        let folder = try Folder()
        return try Imported(try folder.write("a.tar", tar.finished))
    }

    private func refused(_ bytes: [UInt8], _ words: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let folder = try Folder()
        let path = try folder.write("a.tar", bytes)
        do {
            _ = try ImageImporter(MemoryStore(), .init(secret: .publicImages)).run(path)
            Issue.record("was imported", sourceLocation: sourceLocation)
        } catch { #expect("\(error)".contains(words), sourceLocation: sourceLocation) }
    }

    @Test func everyTypeOfMember() throws {
        var tar = Tar()
        tar.directory(".", mode: 0o711)
        tar.directory("./etc")
        tar.add(name("etc/file"), content: name("hello"), mode: 0o4750, uid: 12, gid: 34, time: 1_600_000_000)
        tar.add(name("etc/again"), type: "1", link: "./etc/file")
        tar.add(name("soft"), type: "2", link: "/etc/file")
        tar.add(name("null"), type: "3", major: 1, minor: 3)
        tar.add(name("disk"), type: "4", major: 8, minor: 1)
        tar.add(name("pipe"), type: "6")
        tar.file("/absolute/deep/er", "x")
        let image = try imported(tar)
        #expect(try image.names() == ["absolute", "disk", "etc", "null", "pipe", "soft"])
        let file = try #require(try image.entry("etc/file"))
        #expect(
            file.attributes
                == FileAttributes(mode: 0o4750, uid: 12, gid: 34, modified: FileTime(seconds: 1_600_000_000)))
        #expect(file.links == 2)
        #expect(try image.entry("etc/again")?.hardLink == file.hardLink)
        #expect(try image.entry("soft")?.content == .symbolicLink(name("/etc/file")))
        #expect(try image.entry("null")?.content == .characterDevice(major: 1, minor: 3))
        #expect(try image.entry("disk")?.content == .blockDevice(major: 8, minor: 1))
        #expect(try image.entry("pipe")?.content == .pipe)
        #expect(try image.content("absolute/deep/er") == "x")
        #expect(image.reader.root.entry.attributes.mode == 0o711)
    }

    @Test("A long name of which the header holds a part that ends in a slash is still a file's")
    func cutBehindASlash() throws {
        let folder = String(repeating: "n", count: 99) + "/"
        var tar = Tar()
        tar.pax([("path", name(folder + "pax"))])
        tar.add(name(folder), content: name("one"))
        tar.add(name("././@LongLink"), type: "L", content: name(folder + "gnu") + [0])
        tar.add(name(folder), content: name("two"))
        tar.add(name("old/"))
        tar.file("old/file", "three")
        let image = try imported(tar)
        #expect(try image.content(folder + "pax") == "one")
        #expect(try image.content(folder + "gnu") == "two")
        #expect(try image.content("old/file") == "three")
    }

    @Test func longNamesTimesAndAttributes() throws {
        let long = String(repeating: "long-part/", count: 20) + String(repeating: "n", count: 200)
        var tar = Tar()
        tar.pax([
            ("path", name(long)), ("mtime", name("1700000000.123456789")), ("uid", name("4000000000")),
            ("SCHILY.xattr.security.capability", [1, 0, 10, 0]), ("SCHILY.xattr.user.a=b", name("v")),
            ("LIBARCHIVE.xattr.user.lib", name("aGk")), ("comment", name("x")),
        ])
        tar.add(name("short"), content: name("pax"))
        tar.add(name("././@LongLink"), type: "L", content: name(String(repeating: "g", count: 150)) + [0])
        tar.add(name("././@LongLink"), type: "K", content: name(String(repeating: "t", count: 150)) + [0])
        tar.add(name("ggg"), type: "2", link: "ttt")
        tar.pax([("mtime", name("-1.5"))])
        tar.file("before", "1970")
        tar.add([0x6e, 0xff, 0xfe], content: name("bytes"))
        let image = try imported(tar)
        let entry = try #require(try image.entry(long))
        #expect(entry.attributes.modified == FileTime(seconds: 1_700_000_000, nanoseconds: 123_456_789))
        #expect(entry.attributes.uid == 4_000_000_000)
        // A key ends at the first `=`: the name of an attribute cannot hold one.
        #expect(
            entry.attributes.extended.map(\.name) == [name("security.capability"), name("user.a"), name("user.lib")])
        #expect(entry.attributes.extended.map(\.value) == [[1, 0, 10, 0], name("b=v"), name("hi")])
        #expect(
            try image.entry(String(repeating: "g", count: 150))?.content
                == .symbolicLink(name(String(repeating: "t", count: 150))))
        #expect(try image.entry("before")?.attributes.modified == FileTime(seconds: -2, nanoseconds: 500_000_000))
        #expect(try image.reader.lookup(path: [[0x6e, 0xff, 0xfe]]) != nil)
    }

    @Test func refusesWhatWouldBeWrong() throws {
        for path in ["../evil", "a/../../evil", "a/.."] {
            var tar = Tar()
            tar.file(path, "x")
            try refused(tar.finished, "leaves the image")
        }
        var tar = Tar()
        tar.add(name("link"), type: "1", link: "../../etc/shadow")
        try refused(tar.finished, "leaves the image")
        tar = Tar()
        tar.add(name("link"), type: "1", link: "missing")
        try refused(tar.finished, "is not there")
        tar = Tar()
        tar.pax([("GNU.sparse.major", name("1"))])
        tar.file("sparse")
        try refused(tar.finished, "sparse")
        tar = Tar()
        tar.add(name("sparse"), type: "S")
        try refused(tar.finished, "sparse")
        tar = Tar()
        tar.file("cut", String(repeating: "x", count: 3_000))
        try refused(Array(tar.bytes[..<2_000]), "ends too early")
        tar = Tar()
        tar.file("sum")
        tar.bytes[0] ^= 1
        try refused(tar.finished, "checksum")
        tar = Tar()
        tar.add(name("x"), type: "x", content: name("garbage"))
        try refused(tar.finished, "PAX")
        tar = Tar()
        tar.file(".wh.gone/below")
        try refused(tar.finished, "removed name")
        tar = Tar()
        tar.add(name("x"), type: "Z")
        try refused(tar.finished, "unknown member type")
        try refused(name("not a tar at all") + [UInt8](repeating: 1, count: 2_000), "octal")
    }

    /// A path through a symbolic link stays inside the image.
    @Test func linksLeadOnlyInside() throws {
        var tar = Tar()
        tar.add(name("out"), type: "2", link: "/../../etc")
        tar.file("out/passwd", "mine")
        tar.add(name("loop"), type: "2", link: "loop")
        let image = try imported(tar)
        #expect(try image.content("etc/passwd") == "mine")
        tar.file("loop/x", "y")
        try refused(tar.finished, "links")
    }

    @Test func whatRealTarMakes() throws {
        let folder = try Folder()
        _ = try folder.write("tree/a/file", name("content"))
        _ = try folder.write(
            "tree/" + String(repeating: "d", count: 120) + "/" + String(repeating: "f", count: 120), name("far"))
        _ = try Subprocess.run("/bin/ln", ["\(folder.path)/tree/a/file", "\(folder.path)/tree/hard"])
        _ = try Subprocess.run("/usr/bin/truncate", ["-s", "3000000", "\(folder.path)/tree/zeros"])
        for format in ["gnu", "pax", "ustar", "v7"] {
            if format != "gnu" && format != "pax" {
                try? File.removeTree("\(folder.path)/tree/" + String(repeating: "d", count: 120))
            }
            let tar = "\(folder.path)/\(format).tar"
            let made = try Subprocess.run(
                "/bin/tar", ["-C", "\(folder.path)/tree", "--format=\(format)", "-cf", tar, "."])
            #expect(made.status == 0)
            let image = try Imported(tar)
            #expect(try image.content("a/file") == "content", "\(format)")
            #expect(try image.entry("hard")?.links == 2)
            #expect(try image.entry("zeros")?.size == 3_000_000)
        }
    }

    /// Whatever the bytes, reading ends with members or an error.
    @Test func survivesDamage() throws {
        var tar = Tar()
        tar.pax([("path", name("some/path")), ("mtime", name("1.5"))])
        tar.file("a", "content")
        tar.add(name("l"), type: "1", link: "some/path")
        tar.add(name("././@LongLink"), type: "L", content: name("longname"))
        tar.file("b", String(repeating: "y", count: 700))
        let good = tar.finished
        var random = SystemRandomNumberGenerator()
        for _ in 0..<3_000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                bytes[place] = UInt8.random(in: 0...255, using: &random)
                if Bool.random(using: &random) { Self.fixSums(&bytes) }
            }
            let reader = TarReader(Bytes(bytes), "fuzz")
            do {
                while let member = try reader.next() {
                    var count = 0
                    try reader.content { count += $0.count }
                    #expect(UInt64(count) == member.size)
                }
            } catch {}
        }
    }

    private static func fixSums(_ bytes: inout [UInt8]) {
        for start in stride(from: 0, to: bytes.count - 511, by: 512)
        where Array(bytes[start + 257..<start + 262]) == name("ustar") {
            bytes.replaceSubrange(start + 148..<start + 156, with: [UInt8](repeating: 32, count: 8))
            let sum = bytes[start..<start + 512].reduce(0) { $0 + Int($1) }
            bytes.replaceSubrange(start + 148..<start + 156, with: Tar.octal(sum, 7) + [32])
        }
    }

    private final class Bytes: ByteSource {
        private var rest: ArraySlice<UInt8>
        init(_ bytes: [UInt8]) { rest = bytes[...] }
        func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
            let part = rest.prefix(min(buffer.count, 700))
            buffer.copyBytes(from: part)
            rest = rest.dropFirst(part.count)
            return part.count
        }
    }
}

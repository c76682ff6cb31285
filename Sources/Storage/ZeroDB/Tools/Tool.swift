import Glibc
import Linux
import LogEngine
import Simulation

/// What `zero-db` does beside serving: `check`, `export`, `import`, `password`.
enum Tool {
    /// Why a tool stopped: a sentence, and the exit status (1: the data; 2: how it was called).
    struct Failure: Error {
        let status: Int32
        let description: String
    }

    static let usage = """

        zero-db check DIR [-o json]
            reads everything, changes nothing, reports every bad byte; status 1 if there is one
        zero-db export DIR|HOST:PORT|SOCKET [NS…] [--with-secrets] [--password-file FILE] > STREAM
            a directory: all versions with their times; a server: what is there now
        zero-db import DIR|HOST:PORT|SOCKET [--password-file FILE] < STREAM
        zero-db import DIR|HOST:PORT|SOCKET --original DATA [--original-index INDEX]
            the files of threefoldtech's 0-db: all versions, deletions, namespaces and their settings
        zero-db password < PASSWORD
            the line that --admin-password-file may hold instead of a password

        """

    /// Runs a tool; nil if the arguments name none.
    static func run(_ arguments: [String]) -> Int32? {
        guard let name = arguments.first else { return nil }
        let rest = Array(arguments.dropFirst())
        do throws(Failure) {
            switch name {
            case "check": return try CheckTool.run(rest)
            case "export": return try ExportTool.run(rest)
            case "import": return try ImportTool.run(rest)
            case "password":
                let (status, output) = PasswordFile.run()
                write(output, to: status == 0 ? 1 : 2)
                return status
            default: return nil
            }
        } catch {
            write("zero-db: \(error.description)\n", to: 2)
            return error.status
        }
    }

    static func write(_ text: String, to descriptor: Int32) { writeAll(Array(text.utf8), to: descriptor) }

    /// Writes everything; false if the reader is gone or the disk is full.
    @discardableResult
    static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { all in
                Glibc.write(descriptor, all.baseAddress.map { $0 + sent }, all.count - sent)
            }
            if count < 0 {
                if errno == EINTR { continue }
                return false
            }
            sent += count
        }
        return true
    }

    /// A key as a person and a program can read it.
    static func readable(_ key: [UInt8]) -> String {
        if !key.isEmpty, key.allSatisfy({ (33...126).contains($0) && $0 != 34 && $0 != 92 }) {
            return String(decoding: key, as: UTF8.self)
        }
        let digits = Array("0123456789abcdef".utf8)
        return "0x" + String(decoding: key.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// A directory's disk for reading, and whether a server uses it.
    static func open(reading directory: String) throws(Failure) -> (disk: FileDisk, lock: Int32, isUsed: Bool) {
        guard File.exists(directory) else {
            throw Failure(status: 2, description: "\(directory): there is no such directory")
        }
        let lock = Glibc.open(directory + "/lock", O_RDONLY | O_CLOEXEC)
        let isUsed = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0
        return (FileDisk(directory: directory, segmentBytes: 4 << 30, isReadOnly: true), lock, isUsed)
    }

    /// The value of an option, taken out of the arguments.
    static func take(_ name: String, from arguments: inout [String]) throws(Failure) -> String? {
        guard let index = arguments.firstIndex(of: name) else { return nil }
        guard index + 1 < arguments.count else { throw Failure(status: 2, description: "\(name) needs a value") }
        let value = arguments[index + 1]
        arguments.removeSubrange(index...index + 1)
        return value
    }

    static func takeFlag(_ name: String, from arguments: inout [String]) -> Bool {
        guard let index = arguments.firstIndex(of: name) else { return false }
        arguments.remove(at: index)
        return true
    }
}

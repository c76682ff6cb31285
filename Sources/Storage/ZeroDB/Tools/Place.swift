import Glibc
import Linux
import LogEngine
import RESP

/// Where a tool reads from or writes to: a device's directory, or a server.
enum Place {
    case directory(String)
    case server(RESPClient)

    static func parse(_ text: String, passwordFile: String?) throws(Tool.Failure) -> Place {
        var setup: [[[UInt8]]] = []
        if let passwordFile {
            do throws(SystemError) {
                var password = try File.read(passwordFile, limit: 4096)
                while let last = password.last, last == 10 || last == 13 { password.removeLast() }
                setup = [[Array("AUTH".utf8), password]]
            } catch { throw Tool.Failure(status: 2, description: "\(error)") }
        }
        let mode = (try? File.status(text).mode).map { $0 & UInt32(S_IFMT) }
        if mode == UInt32(S_IFSOCK) { return .server(RESPClient(.unix(text), setup: setup)) }
        if mode == nil, let colon = text.lastIndex(of: ":"), !text.contains("/"),
            let port = UInt16(text[text.index(after: colon)...])
        {
            let host = String(text[..<colon])
            return .server(RESPClient(.tcp(host: host.isEmpty ? "127.0.0.1" : host, port: port), setup: setup))
        }
        return .directory(text)
    }
}

extension RESPClient {
    /// Commands to a server; an error among the replies is a failure.
    func run(_ commands: [[[UInt8]]]) throws(Tool.Failure) -> [RESPValue] {
        let replies: [RESPValue]
        do throws(RESPClientError) { replies = try pipeline(commands, deadline: .seconds(120)) } catch {
            throw Tool.Failure(status: 1, description: "\(error)")
        }
        for reply in replies {
            if let failure = reply.failure {
                throw Tool.Failure(status: 1, description: "\(endpoint): \(failure.code) \(failure.message)")
            }
        }
        return replies
    }

    func run(_ words: [UInt8]...) throws(Tool.Failure) -> RESPValue { try run([words]).first ?? .null }
}

import Crypto
import Glibc
import Linux

/// Passwords in files and on standard input, for `--admin-password-file` and `zero-db password`.
enum PasswordFile {
    /// What recognises the password in a file: its text without the end of the line, or a verifier's line.
    static func verifier(_ path: String) throws(SettingsError) -> PasswordVerifier {
        let text: String
        do throws(SystemError) { text = try File.readText(path, limit: 4096) } catch {
            throw SettingsError(description: "\(error)")
        }
        return try verifier(text: text, path)
    }

    static func verifier(text: String, _ subject: String) throws(SettingsError) -> PasswordVerifier {
        var password = Array(text.utf8)
        while let last = password.last, last == 10 || last == 13 { password.removeLast() }
        let line = String(decoding: password, as: UTF8.self)
        if line.hasPrefix(PasswordVerifier.linePrefix) {
            guard let verifier = PasswordVerifier(line: line) else {
                throw SettingsError(description: "\(subject): the verifier is damaged")
            }
            return verifier
        }
        guard (1...PasswordVerifier.passwordBytesMax).contains(password.count) else {
            throw SettingsError(description: "\(subject): a password has 1 to 512 bytes")
        }
        do throws(CryptoError) { return try PasswordVerifier(password: password, salt: Random.bytes(16)) } catch {
            throw SettingsError(description: "\(subject): \(error)")
        }
    }

    /// `zero-db password`: a password from standard input, its verifier to standard output.
    static func run() -> (status: Int32, output: String) {
        var input: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1024)
        while input.count < 4096 {
            let count = read(0, &buffer, buffer.count)
            if count <= 0 { break }
            input += buffer.prefix(count)
        }
        do throws(SettingsError) {
            return (0, try verifier(text: String(decoding: input, as: UTF8.self), "standard input").line + "\n")
        } catch {
            return (2, "zero-db: \(error)\n")
        }
    }
}

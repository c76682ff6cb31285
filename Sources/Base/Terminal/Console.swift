public import CanonicalJSON
import Glibc
public import Linux
import Synchronization

/// Where a program speaks: results to standard output, everything else to standard error.
public struct Console: Sendable {
    /// How results are written.
    public enum Format: String, Sendable, CaseIterable {
        /// For people.
        case table
        /// For programs.
        case json
    }

    /// How results are written.
    public var format: Format
    /// Colours of results.
    public var style: Style
    /// Colours of errors and progress.
    public var errorStyle: Style
    /// Whether progress is shown.
    public var showsProgress: Bool
    /// Whether somebody sits there who can answer.
    public let isInteractive: Bool

    /// The process's own streams; `NO_COLOR` and `TERM=dumb` switch colours off.
    public init(format: Format, quiet: Bool = false) {
        let plain = Environment.value("NO_COLOR").map { !$0.isEmpty } ?? false || Environment.value("TERM") == "dumb"
        let (input, output, errors) = (isatty(0) == 1, isatty(1) == 1, isatty(2) == 1)
        self.format = format
        style = Style(coloured: output && !plain && format == .table)
        errorStyle = Style(coloured: errors && !plain)
        showsProgress = errors && !quiet
        isInteractive = input && errors
    }

    /// Writes a result: `json` for programs, `text` for people.
    public func emit(_ json: @autoclosure () -> JSONValue, _ text: @autoclosure () -> String) {
        write(1, format == .json ? json().canonicalText + "\n" : text())
    }

    /// Writes a result that has one form.
    public func print(_ text: String) { next(text) }

    /// Writes a part of a result that goes on; false once nobody reads there any more.
    @discardableResult
    public func next(_ text: String) -> Bool { write(1, text.hasSuffix("\n") || text.isEmpty ? text : text + "\n") }

    /// Writes bytes of somebody else to standard output; false once nobody reads there any more.
    @discardableResult
    public func raw(_ bytes: [UInt8]) -> Bool { writeAll(1, bytes) }

    /// Writes bytes of somebody else to standard error.
    public func rawError(_ bytes: [UInt8]) { writeAll(2, bytes) }

    /// A line that is neither result nor error: for people, also on a pipe.
    public func note(_ text: String) { write(2, text + "\n") }

    /// A line about what goes on; nothing on a pipe.
    public func progress(_ text: String) { if showsProgress { write(2, text + "\n") } }

    /// An error: what, why, what to do.
    public func error(_ text: String) { write(2, errorStyle.red("error:") + " " + text + "\n") }

    @discardableResult
    private func write(_ descriptor: Int32, _ text: String) -> Bool { writeAll(descriptor, Array(text.utf8)) }

    /// Writes everything, or gives up: who closed the other end does not want it.
    @discardableResult
    private func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
        var offset = 0
        while offset < bytes.count {
            let count = unsafe bytes[offset...].withUnsafeBytes { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress, buffer.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                // Who closed a pipe does not want more; anything else is a result that nobody has.
                if descriptor == 1, errno != EPIPE { Console.lost.store(errno, ordering: .relaxed) }
                return false
            }
            offset += count
        }
        return true
    }

    private static let lost = Atomic<Int32>(0)

    /// Why a result could not be written to standard output, such as a full disk; nil where all of it was, or its reader
    /// had enough.
    public static var lostOutput: Errno? {
        let number = lost.load(ordering: .relaxed)
        return number == 0 ? nil : Errno(number)
    }

    /// Columns of the terminal that progress is shown on.
    var width: Int {
        var size = winsize()
        guard unsafe ioctl(2, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    // MARK: Questions

    /// Asks something with a yes or no; no without a person to answer.
    public func confirm(_ question: String) -> Bool {
        guard isInteractive else { return false }
        write(2, question + " [y/N] ")
        let answer = readLine(strippingNewline: true)?.lowercased() ?? ""
        return answer == "y" || answer == "yes"
    }

    /// Asks for a line that is not shown. Nil without a person to answer. Ctrl-C ends the process with the terminal as it was.
    public func secret(_ question: String) -> [UInt8]? {
        guard isInteractive else { return nil }
        var before = termios()
        guard unsafe tcgetattr(0, &before) == 0 else { return nil }
        var silent = before
        // Keys come one by one, so that an interrupt can put the terminal back first.
        silent.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
        _ = unsafe tcsetattr(0, TCSAFLUSH, &silent)
        // Asked only now: whoever answers at once must not be shown.
        write(2, question + ": ")
        let line = secretLine()
        _ = unsafe tcsetattr(0, TCSAFLUSH, &before)
        write(2, "\n")
        if line == nil {
            // To the process: threads of the pool have signals blocked.
            kill(getpid(), SIGINT)
            sleep(1)
        }
        return line
    }

    /// Reads keys up to the end of the line; nil after Ctrl-C or Ctrl-D on an empty line.
    private func secretLine() -> [UInt8]? {
        var line: [UInt8] = []
        while true {
            var key: UInt8 = 0
            let count = unsafe read(0, &key, 1)
            if count < 0 && errno == EINTR { continue }
            guard count == 1 else { return line.isEmpty ? nil : line }
            switch key {
            case 0x03: return nil
            case 0x04 where line.isEmpty: return nil
            case 0x0A, 0x0D: return line
            case 0x15: line = []
            case 0x08, 0x7F:
                // A character's following bytes go with it.
                while let last = line.popLast(), last & 0xC0 == 0x80 {}
            default: line.append(key)
            }
        }
    }
}

/// The process's environment.
public enum Environment {
    /// The variable's value.
    public static func value(_ name: String) -> String? {
        guard let found = unsafe getenv(name) else { return nil }
        return unsafe String(cString: found)
    }
}

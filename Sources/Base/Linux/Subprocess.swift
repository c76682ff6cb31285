internal import CLinux
internal import Glibc

/// Why a program could not be run to its end.
public enum SubprocessError: Error, Sendable, CustomStringConvertible {
    /// It could not be started.
    case start(SystemError)
    /// It ran longer than allowed and was killed.
    case timeout(program: String, seconds: Int)
    /// It ended with a status other than 0; the last of what it said on stderr.
    case failed(program: String, arguments: [String], status: Int32, errors: String)

    /// One line for people.
    public var description: String {
        switch self {
        case .start(let error): "\(error)"
        case .timeout(let program, let seconds): "\(program) did not end within \(seconds) s and was stopped"
        case .failed(let program, let arguments, let status, let errors):
            "\(program) \(arguments.first ?? "") ended with status \(status): \(errors)"
        }
    }
}

/// Runs other programs: no shell, no inherited descriptors, a session of its own, bounded output. Blocking; a control
/// plane calls it inside `runBlocking`.
public enum Subprocess {
    /// What a program said and how it ended.
    public struct Output: Sendable {
        /// 0…255 for an exit, 256 + signal for a death by signal.
        public let status: Int32
        /// Standard output, at most 16 MiB.
        public let output: [UInt8]
        /// Standard error, at most 16 MiB.
        public let errors: [UInt8]
        /// Standard output as text.
        public var text: String { String(decoding: output, as: UTF8.self) }
        /// Standard error as text.
        public var errorText: String { String(decoding: errors, as: UTF8.self) }
    }

    /// The most of each output that is kept.
    public static let outputLimit = 16 << 20

    /// Runs a program to its end. `executable` is searched in PATH; `environment` nil inherits this process's.
    public static func run(
        _ executable: String, _ arguments: [String], environment: [String]? = nil, input: [UInt8]? = nil,
        timeout seconds: Int = 60
    ) throws(SubprocessError) -> Output {
        do throws(SystemError) {
            let out = try pipe()
            let err = try pipe()
            let source = try inputDescriptor(input)
            let pid = try spawn(executable, arguments, environment, source.raw, out.write, err.write)
            close(out.write)
            close(err.write)
            return try collect(pid, Descriptor(out.read), Descriptor(err.read), executable, seconds)
        } catch {
            if error.errno == Errno(ETIMEDOUT) { throw .timeout(program: executable, seconds: seconds) }
            throw .start(error)
        }
    }

    /// Runs a program that must end with status 0.
    @discardableResult
    public static func check(
        _ executable: String, _ arguments: [String], environment: [String]? = nil, input: [UInt8]? = nil,
        timeout seconds: Int = 60
    ) throws(SubprocessError) -> Output {
        let output = try run(executable, arguments, environment: environment, input: input, timeout: seconds)
        guard output.status == 0 else {
            let said = output.errorText.split(separator: "\n").suffix(3).joined(separator: "; ")
            throw .failed(program: executable, arguments: arguments, status: output.status, errors: said)
        }
        return output
    }

    private static func pipe() throws(SystemError) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        try checked("pipe", "", zg_pipe(&ends))
        return (ends[0], ends[1])
    }

    /// Input goes through memory and not a pipe, so that a program that does not read cannot block us.
    private static func inputDescriptor(_ input: [UInt8]?) throws(SystemError) -> Descriptor {
        guard let input else { return try Descriptor.open("/dev/null", O_RDONLY) }
        let memory = Descriptor(try checked("memfd_create", "input", zg_memfd("input")))
        try memory.writeAll(input, "input")
        lseek(memory.raw, 0, SEEK_SET)
        return memory
    }

    private static func spawn(
        _ executable: String, _ arguments: [String], _ environment: [String]?, _ input: Int32, _ output: Int32,
        _ errors: Int32
    ) throws(SystemError) -> Int32 {
        var argv = ([executable] + arguments).map { strdup($0) }
        argv.append(nil)
        var envp = environment?.map { strdup($0) } ?? []
        envp.append(nil)
        defer { for pointer in argv + envp { free(pointer) } }
        let result = envp.withUnsafeMutableBufferPointer { own in
            zg_spawn_simple(executable, argv, environment == nil ? nil : own.baseAddress, input, output, errors)
        }
        if result < 0 {
            close(output)
            close(errors)
        }
        return try checked("start", executable, result)
    }

    private static func collect(
        _ pid: Int32, _ output: consuming Descriptor, _ errors: consuming Descriptor, _ executable: String,
        _ seconds: Int
    ) throws(SystemError) -> Output {
        let deadline = Clock.monotonicNanoseconds() + Int64(seconds) * 1_000_000_000
        var texts: [[UInt8]] = [[], []]
        var open: [Int32] = [output.raw, errors.raw]
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while !open.isEmpty {
            let left = (deadline - Clock.monotonicNanoseconds()) / 1_000_000
            var ready = [UInt8](repeating: 0, count: open.count)
            let found = left <= 0 ? 0 : zg_poll_many(open, Int32(open.count), Int32(min(left, 3_600_000)), &ready)
            if found == 0 {
                kill(-pid, SIGKILL)
                kill(pid, SIGKILL)
                var status: Int32 = 0
                _ = zg_wait(pid, 1, &status)
                throw SystemError("run", executable, Errno(ETIMEDOUT))
            }
            for (fd, isReady) in zip(open, ready) where isReady == 1 {
                let count = read(fd, &buffer, buffer.count)
                if count > 0 {
                    let which = fd == output.raw ? 0 : 1
                    if texts[which].count + count <= outputLimit { texts[which] += buffer[..<count] }
                } else if count == 0 || errno != EINTR {
                    open.removeAll { $0 == fd }
                }
            }
        }
        var status: Int32 = 0
        try checked("wait", executable, zg_wait(pid, 1, &status))
        return Output(status: status, output: texts[0], errors: texts[1])
    }
}

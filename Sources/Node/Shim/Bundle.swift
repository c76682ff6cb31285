internal import CanonicalJSON

/// The OCI configuration of a container: what Docker would give it, and never more.
struct Bundle {
    let spec: ContainerSpec
    let paths: ShimPaths
    let user: ContainerUser
    let seccomp: JSONValue
    /// The start helper on the node.
    let initPath: String
    /// Whether the kernel counts swap.
    let limitsSwap: Bool
    /// Hard limit of open files of this process: without CAP_SYS_RESOURCE nothing above it can be had.
    let fileLimit: UInt64

    /// Docker's 14.
    static let capabilities = [
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ]
    /// Paths that show the node's own affairs.
    static let masked = [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]
    /// Paths that would change the node.
    static let readOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    /// One cgroup period; the kernel's default.
    private static let period: Int64 = 100_000
    /// Docker's limit of open files, where the node allows it.
    private static let filesMax: UInt64 = 1_048_576

    var hasFileSecrets: Bool { spec.secrets.values.contains { $0.variables.isEmpty } }

    /// `config.json`.
    var config: JSONValue {
        [
            "ociVersion": "1.0.2", "hostname": .string(spec.hostname), "mounts": .array(mounts), "process": process,
            "root": ["path": .string(paths.rootfs), "readonly": false],
            "linux": [
                "cgroupsPath": .string(paths.controlGroup), "namespaces": .array(namespaces), "resources": resources,
                "maskedPaths": strings(Self.masked), "readonlyPaths": strings(Self.readOnly), "seccomp": seccomp,
                "sysctl": ["net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"],
            ],
        ]
    }

    /// The process that starts: the program, or zero-init in front of it where there are secrets.
    private var process: JSONValue {
        var arguments = spec.arguments
        if !spec.secrets.isEmpty {
            var words = ["/.zero-init"]
            for (name, secret) in spec.secrets.sorted(by: { $0.key < $1.key }) {
                words += secret.variables.flatMap { ["--env", "\(name)=\($0)"] }
                if secret.variables.isEmpty { words += ["--file", name] }
            }
            arguments = words + ["--"] + arguments
        }
        return process(arguments, environment: [:], directory: spec.directory, terminal: false)
    }

    /// A process of this container, for its start and for `SHIM.EXEC`.
    func process(
        _ arguments: [String], environment more: [String: String], directory: String, terminal: Bool
    ) -> JSONValue {
        var variables = ["PATH": Self.defaultPath, "HOSTNAME": spec.hostname]
        if let home = user.home, !home.isEmpty { variables["HOME"] = home }
        if terminal { variables["TERM"] = "xterm" }
        variables.merge(spec.environment) { _, new in new }
        variables.merge(more) { _, new in new }
        let set = strings(Self.capabilities)
        let files = Int64(min(fileLimit, Self.filesMax))
        return [
            "terminal": .bool(terminal), "args": strings(arguments), "cwd": .string(directory),
            "env": strings(variables.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }),
            "user": [
                "uid": .integer(Int64(user.uid)), "gid": .integer(Int64(user.gid)),
                "additionalGids": .array(user.groups.map { .integer(Int64($0)) }),
            ],
            "capabilities": ["bounding": set, "effective": set, "permitted": set],
            "noNewPrivileges": true,
            "rlimits": [
                ["type": "RLIMIT_NOFILE", "soft": .integer(files), "hard": .integer(files)],
                ["type": "RLIMIT_CORE", "soft": 0, "hard": 0],
            ],
        ]
    }

    private var namespaces: [JSONValue] {
        var list: [JSONValue] = ["pid", "ipc", "uts", "mount", "cgroup"].map { ["type": .string($0)] }
        list.append(spec.netns.map { ["type": "network", "path": .string($0)] } ?? ["type": "network"])
        return list
    }

    private var resources: JSONValue {
        var resources: [String: JSONValue] = [
            "devices": [["allow": false, "access": "rwm"]], "pids": ["limit": .integer(spec.limits.pids)],
        ]
        if let memory = spec.limits.memory {
            var bounds: [String: JSONValue] = ["limit": .integer(memory)]
            // Equal to the limit: no swap beside it.
            if limitsSwap { bounds["swap"] = .integer(memory) }
            resources["memory"] = .object(bounds)
        }
        if let cpu = spec.limits.cpuMilli {
            resources["cpu"] = [
                // The kernel refuses quotas under 1 ms.
                "quota": .integer(max(1000, cpu * Self.period / 1000)), "period": .integer(Self.period),
                "shares": .integer(min(262_144, max(2, cpu * 1024 / 1000))),
            ]
        }
        return .object(resources)
    }

    private var mounts: [JSONValue] {
        var list = [
            mount("/proc", "proc", "proc", []),
            mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts", "devpts", "devpts",
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ]
        for name in ["hosts", "resolv.conf", "hostname"] {
            list.append(
                mount("/etc/\(name)", "bind", "\(paths.bundle)/\(name)", ["bind", "nosuid", "nodev", "noexec"]))
        }
        if !spec.secrets.isEmpty {
            list.append(mount("/.zero-init", "bind", initPath, ["bind", "ro", "nosuid", "nodev"]))
        }
        if hasFileSecrets {
            let owner = ["mode=0700", "uid=\(user.uid)", "gid=\(user.gid)"]
            list.append(mount("/run/secrets", "tmpfs", "secrets", ["nosuid", "nodev", "noexec", "size=2m"] + owner))
        }
        for volume in spec.volumes.sorted(by: { $0.at < $1.at }) {
            list.append(
                mount(volume.at, "bind", volume.path, ["bind", "nosuid", "nodev", volume.readOnly ? "ro" : "rw"]))
        }
        return list
    }

    private func mount(_ at: String, _ type: String, _ source: String, _ options: [String]) -> JSONValue {
        let flags = type == "proc" ? ["nosuid", "noexec", "nodev"] : options
        return [
            "destination": .string(at), "type": .string(type), "source": .string(source), "options": strings(flags),
        ]
    }

    private func strings(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }

    /// Contents of the files under `/etc` that describe the network.
    var files: [(name: String, text: String)] {
        let own = spec.address ?? "127.0.1.1"
        let local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        return [
            ("hosts", local + "\(own)\t\(spec.hostname)\n"),
            ("resolv.conf", spec.dns.map { "nameserver \($0)\noptions timeout:2 attempts:2\n" } ?? ""),
            ("hostname", spec.hostname + "\n"),
        ]
    }
}

import Glibc
import Linux

/// What a stopped grid must not leave behind, and how to find and remove it.
struct Leftovers: Sendable {
    let folder: GridFolder

    /// Something that is still there.
    struct Item: Sendable, Hashable {
        /// `process`, `mount`, `namespace`, `interface`, `cgroup`, `file`.
        var kind: String
        var name: String
    }

    /// Stops processes and removes mounts and folders of this boot; what it cannot remove stays for `find` to report.
    func remove(_ installation: Installation?) {
        for process in processes() { _ = process.signal(SIGTERM) }
        if !waitUntilGone(milliseconds: 1_500) {
            for process in processes() { _ = process.signal(SIGKILL) }
            _ = waitUntilGone(milliseconds: 3_000)
        }
        removeGroups()
        if let installation {
            // Both know what they made by their own records; failing here is reported by what is found afterwards.
            _ = try? Subprocess.run(
                installation.bin + "/zero-network", ["purge", "--state", folder.state, "--run", folder.run])
        }
        unmountAll()
        if let installation {
            _ = try? Subprocess.run(
                installation.bin + "/zero-storage", ["unmount", "--state", folder.state, "--run", folder.run])
        }
        unmountAll()
        if mounts().isEmpty { try? File.removeTree(folder.runRoot) }
        LinkRanges(folder).release()
    }

    /// Everything of the grid that is still there.
    func find() -> [Item] {
        var items = processes().map {
            Item(kind: "process", name: "\($0.pid) \(command($0.pid).joined(separator: " "))")
        }
        items += mounts().map { Item(kind: "mount", name: $0) }
        items += members().sorted().map { Item(kind: "process", name: "\($0) of a container") }
        items += groups().map { Item(kind: "cgroup", name: $0) }
        items += network()
        if File.exists(folder.runRoot) { items.append(Item(kind: "file", name: folder.runRoot)) }
        return items
    }

    // MARK: Processes

    /// Whether a program of the grid runs.
    var hasProcesses: Bool { !processes().isEmpty }

    /// Processes that were started for this grid: their arguments name its run or state folder.
    private func processes() -> [ProcessIdentity] {
        let own = getpid()
        let names = (try? File.list("/proc")) ?? []
        return names.compactMap { Int32($0) }.filter { $0 != own && belongs($0) }.compactMap {
            ProcessIdentity(pid: $0)
        }
    }

    private func belongs(_ pid: Int32) -> Bool {
        let words = command(pid)
        guard let program = words.first else { return false }
        let name = program.split(separator: "/").last.map(String.init) ?? program
        let known = name.hasPrefix("zero-") || ["haproxy", "dnsmasq", "runc", "crun"].contains(name)
        return known && words.contains { mentions($0, folder.run) || mentions($0, folder.state) }
    }

    /// Whether `word` is the folder or a path in it, or an option with such a value.
    private func mentions(_ word: String, _ path: String) -> Bool {
        let value = word.hasPrefix("--") ? word.split(separator: "=", maxSplits: 1).last.map(String.init) ?? word : word
        return value == path || value.hasPrefix(path + "/")
    }

    private func command(_ pid: Int32) -> [String] {
        guard let bytes = try? File.read("/proc/\(pid)/cmdline", limit: 1 << 20) else { return [] }
        return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    }

    private func waitUntilGone(milliseconds: Int64) -> Bool {
        let end = Clock.monotonicNanoseconds() + milliseconds * 1_000_000
        while !processes().isEmpty {
            guard Clock.monotonicNanoseconds() < end else { return false }
            usleep(20_000)
        }
        return true
    }

    // MARK: Mounts

    /// Mount points in the grid's folders, deepest first.
    private func mounts() -> [String] {
        guard let text = try? File.readText("/proc/self/mountinfo") else { return [] }
        let points = text.split(separator: "\n").compactMap { line -> String? in
            let fields = line.split(separator: " ")
            return fields.count > 4 ? Leftovers.unescaped(fields[4]) : nil
        }
        let own = points.filter { point in
            [folder.runRoot, folder.state].contains { point == $0 || point.hasPrefix($0 + "/") }
        }
        return own.sorted { $0.utf8.count > $1.utf8.count }
    }

    /// `\040` and the like, as mountinfo writes spaces.
    private static func unescaped(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == 0x5C, rest.count >= 3,
                let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func unmountAll() {
        for _ in 0..<3 {
            let points = mounts()
            if points.isEmpty { return }
            for point in points where umount2(point, 0) != 0 { _ = umount2(point, Int32(MNT_DETACH)) }
        }
    }

    // MARK: Containers

    /// Ids of containers that were ever made here and not removed: their folders.
    private func containers() -> Set<String> {
        let folders = [folder.state + "/compute/containers", folder.run + "/shim"]
        let names = folders.flatMap { (try? File.list($0)) ?? [] }
        return Set(
            names.filter { name in name.contains("-") && name.utf8.allSatisfy { $0 != 0x2F } && !name.hasPrefix(".") })
    }

    /// Control groups of those containers, in every hierarchy that the kernel has.
    private func groups() -> [String] {
        let ids = containers().sorted()
        guard !ids.isEmpty else { return [] }
        let roots = Leftovers.groupRoots()
        return ids.flatMap { id in roots.map { "\($0)/zero/\(id)" } }.filter { File.exists($0) }
    }

    private static func groupRoots() -> [String] {
        let top = "/sys/fs/cgroup"
        let names = (try? File.list(top)) ?? []
        return [top] + names.map { "\(top)/\($0)" }.filter { File.exists($0 + "/zero") }
    }

    /// Processes of containers whose shim is gone.
    private func members() -> Set<Int32> {
        var found: Set<Int32> = []
        for group in groups() { Leftovers.collect(group, &found) }
        return found
    }

    private static func collect(_ group: String, _ found: inout Set<Int32>) {
        let text = (try? File.readText(group + "/cgroup.procs", limit: 1 << 20)) ?? ""
        found.formUnion(text.split(separator: "\n").compactMap { Int32($0) })
        for name in (try? File.list(group)) ?? [] {
            let child = group + "/" + name
            if (try? File.status(child, follow: false))?.isDirectory == true { collect(child, &found) }
        }
    }

    /// Ends what still runs in them and removes them.
    private func removeGroups() {
        let end = Clock.monotonicNanoseconds() + 3_000_000_000
        while case let left = members(), !left.isEmpty, Clock.monotonicNanoseconds() < end {
            for pid in left { kill(pid, SIGKILL) }
            usleep(20_000)
        }
        for group in groups() { removeGroup(group) }
        // The common parents, where nobody else is in them.
        for root in Leftovers.groupRoots() { _ = rmdir(root + "/zero") }
    }

    private func removeGroup(_ path: String) {
        for name in (try? File.list(path)) ?? [] {
            let child = path + "/" + name
            if (try? File.status(child, follow: false))?.isDirectory == true { removeGroup(child) }
        }
        for _ in 0..<20 where rmdir(path) != 0 && errno == EBUSY { usleep(10_000) }
    }

    // MARK: Networks

    /// Namespaces that the network daemon recorded and that are still there.
    private func network() -> [Item] {
        let own = (try? File.list(folder.state + "/network")) ?? []
        let contracts = Set(own.compactMap { name in name.split(separator: ".").first.map { String($0.prefix(8)) } })
        let names = (try? File.list("/run/netns")) ?? []
        return names.filter { name in
            let parts = name.split(separator: "-")
            return parts.count >= 2 && (parts[0] == "zc" || parts[0] == "zw") && contracts.contains(String(parts[1]))
        }.map { Item(kind: "namespace", name: $0) }
    }
}

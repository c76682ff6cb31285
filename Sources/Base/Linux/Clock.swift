internal import CLinux
internal import Glibc

/// The machine's clocks.
public enum Clock {
    /// Nanoseconds that only grow; stops while the machine sleeps.
    public static func monotonicNanoseconds() -> Int64 { zg_clock_nanoseconds(CLOCK_MONOTONIC) }
    /// Nanoseconds since boot, sleep included: what leases run on.
    public static func bootNanoseconds() -> Int64 { zg_clock_nanoseconds(CLOCK_BOOTTIME) }
    /// Nanoseconds since 1970, as far as this machine knows.
    public static func wallNanoseconds() -> Int64 { zg_clock_nanoseconds(CLOCK_REALTIME) }
    /// Milliseconds since 1970, as far as this machine knows.
    public static func wallMilliseconds() -> Int64 { wallNanoseconds() / 1_000_000 }

    /// Blocks the thread for so long.
    public static func sleep(nanoseconds: Int64) {
        var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        nanosleep(&time, nil)
    }

    /// The kernel's name for this boot; another after every boot.
    public static func bootIdentity() -> String {
        let text = (try? File.readText("/proc/sys/kernel/random/boot_id", limit: 100)) ?? ""
        return String(text.prefix { !$0.isWhitespace })
    }
}

internal import CLinux
internal import Glibc

/// Makes the process hard to look into: no core dumps, no tracing by its own uid, and memory that is not swapped where
/// the system allows it. Says what did not work.
public enum Hardening {
    /// What was done.
    public struct Outcome: Sendable {
        /// PR_SET_DUMPABLE 0 and RLIMIT_CORE 0.
        public let isUndumpable: Bool
        /// mlockall over all memory, now and later.
        public let isLocked: Bool
    }

    /// Applies what can be applied.
    public static func apply() -> Outcome {
        let undumpable = zg_set_no_dump() == 0
        var limit = rlimit()
        // Under a finite limit a later allocation would fail when it is reached, so then only the key itself is locked,
        // which libsodium does for every secret that it holds.
        let isUnlimited = getrlimit(Int32(__RLIMIT_MEMLOCK.rawValue), &limit) == 0 && limit.rlim_cur == ~0
        let locked = isUnlimited && mlockall(Int32(MCL_CURRENT | MCL_FUTURE)) == 0
        return Outcome(isUndumpable: undumpable, isLocked: locked)
    }
}

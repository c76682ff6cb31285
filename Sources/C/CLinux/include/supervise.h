// What a process manager needs: spawn with everything that has to happen between fork and exec, signals, reaping, logs.
// For a process with one thread. Every function returns -errno on failure.
#ifndef ZG_SUPERVISE_H
#define ZG_SUPERVISE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Most descriptors (beside 0, 1, 2) that a spawned process may inherit.
enum { ZG_SPAWN_DESCRIPTORS_MAX = 32 };

/// The bits of `capabilities` that mean: leave every set as it is.
#define ZG_CAPABILITIES_ALL UINT64_MAX

/// How to start a process. Whoever forks must have one thread, or accept that only async-signal-safe work is done.
typedef struct {
    /// Absolute path of the program.
    const char *path;
    /// Arguments and environment, each ended by a null pointer.
    char *const *arguments;
    char *const *environment;
    uint32_t uid, gid;
    /// Supplementary groups: exactly these.
    const uint32_t *groups;
    size_t group_count;
    /// Bit n is capability n: permitted, effective, inheritable, ambient and bounding set.
    uint64_t capabilities;
    int no_new_privs;
    /// An open network namespace that is entered while still privileged, or -1.
    int netns;
    /// What becomes 0, 1 and 2.
    int input, output, errors;
    /// What becomes 3, 4, … ; an entry of -1 stays closed. Everything else is closed.
    const int *descriptors;
    size_t descriptor_count;
    /// Where a step before exec that fails writes `ERROR=<step>: <why>\n`, or -1.
    int failure;
    /// RLIMIT_NOFILE and RLIMIT_DATA, 0 leaves them; RLIMIT_CORE is always set to 0.
    uint64_t file_limit, data_limit;
} zg_spawn_t;

/// Forks a child that waits at a gate: it runs only after `zg_spawn_release` and ends if this process dies before.
/// Returns the pid; `gate` is what to release or close.
int zg_spawn(const zg_spawn_t *how, int *gate);
/// Opens the gate and closes it.
int zg_spawn_release(int gate);

/// A pipe for `ZERO_NOTIFY_FD`: the reading end does not block; the writing end is opened for both, so that a
/// writer is never killed by SIGPIPE when its reader died. Both close on exec.
int zg_notify_pipe(int ends[2]);
/// Number of a capability of capabilities(7), named in lower case without `cap_`, or -EINVAL.
int zg_capability(const char *name);
/// The highest capability that the kernel knows.
int zg_capability_last(void);

/// pidfd_send_signal.
int zg_pidfd_signal(int pidfd, int signal);
/// How a process that was not our child ended, as `zg_child_peek`; -errno where the kernel does not say.
int zg_pidfd_exit(int pidfd, int *status);
/// prctl(PR_SET_CHILD_SUBREAPER).
int zg_subreaper(void);
/// A dead child, still a zombie: 0 if there is none, else its pid; `status` is the exit status, or 256 + signal.
int zg_child_peek(int *status);
/// Removes the zombie.
int zg_child_reap(int32_t pid);
/// Blocks the signals and returns a non-blocking signalfd for them.
int zg_signalfd(const int *signals, size_t count);
/// The next signal of a signalfd, or 0 when there is none.
int zg_signalfd_read(int fd);

/// Raises the limit of open files of this process as far as it goes; returns it.
int zg_raise_file_limit(void);
/// A connected pair of Unix sockets that keep messages apart, close-on-exec, non-blocking.
int zg_packet_pair(int pair[2]);
/// Sends SIGKILL to every child of a process but two; returns how many there were.
int zg_kill_children(int32_t parent, int32_t except, int32_t also);

/// Opens a file and takes a record lock on all of it, which ends with this process and is not inherited; -EAGAIN
/// when another process holds it.
int zg_lock_file(const char *path);
/// Opens (or makes, mode 0644) a file for appending, close-on-exec, never through a symbolic link.
int zg_open_append(const char *path);
/// Makes a directory if it is missing and sets its mode and owner; -ELOOP or -ENOTDIR if something else is there.
int zg_directory(const char *path, uint32_t mode, uint32_t uid, uint32_t gid);
/// Keeps a log that others append to bounded: when it is over `max` bytes its last `max` bytes go to `older` and it
/// is cut to nothing. Returns 1 if it was cut.
int zg_log_rotate(const char *path, const char *older, uint64_t max);
/// Makes this process' 1 and 2 the descriptor.
int zg_redirect_output(int fd);
/// Sets or clears close-on-exec.
int zg_close_on_exec(int fd, int on);

#endif

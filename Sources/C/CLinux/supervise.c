#define _GNU_SOURCE
#include "include/supervise.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// MARK: Between fork and exec. Only system calls: no allocation, no stdio.

static void say(int fd, const char *text, size_t length) {
    if (write(fd, text, length) < 0) return;
}

static void fail(int failure, const char *step) {
    const char *why = strerrordesc_np(errno);
    char line[256];
    size_t used = 0;
    const char *parts[] = {"ERROR=", step, ": ", why ? why : "unknown error", "\n"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        size_t length = strlen(parts[i]);
        if (used + length > sizeof(line)) break;
        memcpy(line + used, parts[i], length);
        used += length;
    }
    if (failure < 0 || write(failure, line, used) < 0) say(STDERR_FILENO, line, used);
    _exit(errno == ENOENT ? 127 : 126);
}

static void default_signals(void) {
    // The system call itself: glibc refuses 32 and 33, which a careless parent may have left ignored.
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = {SIG_DFL, 0, NULL, 0};
    for (int number = 1; number < 65; number++) syscall(SYS_rt_sigaction, number, &action, NULL, sizeof(action.mask));
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void set_limits(const zg_spawn_t *how) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0) fail(how->failure, "limit core dumps");
    if (how->file_limit) {
        struct rlimit files = {how->file_limit, how->file_limit};
        struct rlimit have;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
            // Without CAP_SYS_RESOURCE what is there cannot be raised: then as much as may be had.
            if (errno != EPERM || getrlimit(RLIMIT_NOFILE, &have) < 0) fail(how->failure, "limit open files");
            have.rlim_cur = have.rlim_max;
            if (setrlimit(RLIMIT_NOFILE, &have) < 0) fail(how->failure, "limit open files");
        }
    }
    if (how->data_limit) {
        struct rlimit data = {how->data_limit, how->data_limit};
        if (setrlimit(RLIMIT_DATA, &data) < 0) fail(how->failure, "limit memory");
    }
}

static void drop_privileges(const zg_spawn_t *how) {
    int all = how->capabilities == ZG_CAPABILITIES_ALL;
    if (syscall(SYS_setgroups, how->group_count, how->groups) < 0) fail(how->failure, "set groups");
    if (!all) {
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
            if (how->capabilities >> cap & 1) continue;
            if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) fail(how->failure, "drop capabilities");
        }
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) fail(how->failure, "keep capabilities");
    }
    if (syscall(SYS_setresgid, how->gid, how->gid, how->gid) < 0) fail(how->failure, "set group");
    if (syscall(SYS_setresuid, how->uid, how->uid, how->uid) < 0) fail(how->failure, "set user");
    if (!all) {
        uint32_t low = (uint32_t)how->capabilities, high = (uint32_t)(how->capabilities >> 32);
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
        struct __user_cap_data_struct data[2] = {{low, low, low}, {high, high, high}};
        if (syscall(SYS_capset, &header, data) < 0) fail(how->failure, "set capabilities");
        for (int cap = 0; cap < 64; cap++) {
            if (!(how->capabilities >> cap & 1)) continue;
            if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0) fail(how->failure, "raise capabilities");
        }
    }
    if (how->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail(how->failure, "set no_new_privs");
}

/// Puts every descriptor at its number: first all above the numbers that are wanted, then down.
static void place_descriptors(zg_spawn_t *how) {
    int count = 3 + (int)how->descriptor_count, high[3 + ZG_SPAWN_DESCRIPTORS_MAX];
    int wanted[3 + ZG_SPAWN_DESCRIPTORS_MAX] = {how->input, how->output, how->errors};
    for (size_t i = 0; i < how->descriptor_count; i++) wanted[3 + i] = how->descriptors[i];
    if (how->failure >= 0) {
        int moved = fcntl(how->failure, F_DUPFD_CLOEXEC, count + 8);
        if (moved < 0) fail(how->failure, "place descriptors");
        how->failure = moved;
    }
    for (int i = 0; i < count; i++) {
        high[i] = wanted[i] < 0 ? -1 : fcntl(wanted[i], F_DUPFD_CLOEXEC, count + 8);
        if (wanted[i] >= 0 && high[i] < 0) fail(how->failure, "place descriptors");
    }
    for (int i = 0; i < count; i++) {
        if (high[i] < 0) close(i);
        else if (dup2(high[i], i) < 0) fail(how->failure, "place descriptors");
    }
    // Close-on-exec and not closed: the failure pipe has to live until exec.
    if (syscall(SYS_close_range, (unsigned)count, ~0U, 1U << 2) < 0) {
        for (int fd = count; fd < 65536; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

/// The program as root sees it, above every number that is wanted; -1 where there is none.
static int open_program(const zg_spawn_t *how) {
    int plain = open(how->path, O_PATH | O_CLOEXEC);
    if (plain < 0) return -1;
    int high = fcntl(plain, F_DUPFD_CLOEXEC, 3 + (int)how->descriptor_count);
    close(plain);
    return high;
}

static void become(const zg_spawn_t *original, int gate_reader, int gate_writer) {
    zg_spawn_t how = *original;
    close(gate_writer);
    char word = 0;
    ssize_t got;
    do got = read(gate_reader, &word, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) _exit(125);
    setsid();
    default_signals();
    umask(0077);
    if (chdir("/") < 0) fail(how.failure, "enter /");
    if (how.netns >= 0 && setns(how.netns, CLONE_NEWNET) < 0) fail(how.failure, "enter network namespace");
    place_descriptors(&how);
    set_limits(&how);
    int program = open_program(&how);
    drop_privileges(&how);
    execve(how.path, how.arguments, how.environment);
    // Somewhere under a folder that the account cannot enter, as /root: the program itself may be for everybody.
    if (errno == EACCES && program >= 0) {
        syscall(SYS_execveat, program, "", how.arguments, how.environment, AT_EMPTY_PATH);
    }
    fail(how.failure, "run program");
}

int zg_spawn(const zg_spawn_t *how, int *gate) {
    int ends[2];
    if (how->descriptor_count > ZG_SPAWN_DESCRIPTORS_MAX) return -E2BIG;
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    // No handler of ours may run in the child.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    int problem = errno;
    if (pid == 0) become(how, ends[0], ends[1]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[0]);
    if (pid < 0) {
        close(ends[1]);
        return -problem;
    }
    *gate = ends[1];
    return pid;
}

int zg_spawn_release(int gate) {
    ssize_t wrote;
    // A child that was killed at the gate gives EPIPE; SIGPIPE must not end us for it.
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before);
    do wrote = write(gate, "g", 1);
    while (wrote < 0 && errno == EINTR);
    int problem = errno;
    sigaction(SIGPIPE, &before, NULL);
    close(gate);
    return wrote == 1 ? 0 : -problem;
}

int zg_notify_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
    int both = open(path, O_RDWR | O_CLOEXEC);
    if (both >= 0) {
        close(ends[1]);
        ends[1] = both;
    }
    return 0;
}

// MARK: Capabilities

static const char *const capability_names[] = {
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
};

int zg_capability(const char *name) {
    for (size_t i = 0; i < sizeof(capability_names) / sizeof(*capability_names); i++) {
        if (strcmp(capability_names[i], name) == 0) return (int)i;
    }
    return -EINVAL;
}

int zg_capability_last(void) {
    int cap = 0;
    while (cap < 63 && prctl(PR_CAPBSET_READ, cap + 1, 0, 0, 0) >= 0) cap++;
    return cap;
}

// MARK: Watching processes

int zg_pidfd_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int zg_pidfd_exit(int pidfd, int *status) {
    // PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15; the headers of Debian 12 are older.
    struct {
        uint64_t mask, cgroup;
        uint32_t numbers[11];
        int32_t exit;
    } info = {.mask = 1 << 3};
    if (ioctl(pidfd, _IOWR(0xFF, 11, info), &info) < 0) return -errno;
    if (!(info.mask & 1 << 3)) return -ENODATA;
    *status = WIFEXITED(info.exit) ? WEXITSTATUS(info.exit) : 256 + WTERMSIG(info.exit);
    return 0;
}

int zg_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0; }

int zg_child_peek(int *status) {
    siginfo_t found = {0};
    if (waitid(P_ALL, 0, &found, WEXITED | WNOHANG | WNOWAIT) < 0) return errno == ECHILD ? 0 : -errno;
    if (found.si_pid == 0) return 0;
    *status = found.si_code == CLD_EXITED ? found.si_status : 256 + found.si_status;
    return found.si_pid;
}

int zg_child_reap(int32_t pid) { return waitpid(pid, NULL, WNOHANG) < 0 ? -errno : 0; }

int zg_signalfd(const int *signals, size_t count) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++) sigaddset(&set, signals[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int zg_signalfd_read(int fd) {
    struct signalfd_siginfo info;
    ssize_t got = read(fd, &info, sizeof(info));
    if (got == (ssize_t)sizeof(info)) return (int)info.ssi_signo;
    return got < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

int zg_raise_file_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0) return -errno;
    files.rlim_cur = files.rlim_max > 65536 ? 65536 : files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : (int)files.rlim_cur;
}

int zg_packet_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ? -errno : 0;
}

int zg_kill_children(int32_t parent, int32_t except, int32_t also) {
    DIR *proc = opendir("/proc");
    if (!proc) return -errno;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], line[512], state = 0;
        int pid = atoi(entry->d_name), above = 0;
        if (pid <= 0) continue;
        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        ssize_t got = read(fd, line, sizeof(line) - 1);
        close(fd);
        if (got <= 0) continue;
        line[got] = 0;
        const char *rest = strrchr(line, ')');
        if (!rest || sscanf(rest + 1, " %c %d", &state, &above) != 2) continue;
        if (above != parent || pid == except || pid == also || state == 'Z') continue;
        if (kill(pid, SIGKILL) == 0) count++;
    }
    closedir(proc);
    return count;
}

// MARK: Files

int zg_lock_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &lock) == 0) return fd;
    int problem = errno == EACCES ? EAGAIN : errno;
    close(fd);
    return -problem;
}

int zg_open_append(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
    if (fd < 0) return -errno;
    if (fchmod(fd, 0644) == 0) return fd;
    int problem = errno;
    close(fd);
    return -problem;
}

int zg_directory(const char *path, uint32_t mode, uint32_t uid, uint32_t gid) {
    if (mkdir(path, 0700) < 0 && errno != EEXIST) return -errno;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -errno;
    struct stat now;
    int problem = 0;
    if (fstat(fd, &now) < 0) problem = errno;
    else if ((now.st_uid != uid || now.st_gid != gid) && fchown(fd, uid, gid) < 0) problem = errno;
    else if ((now.st_mode & 07777) != mode && fchmod(fd, mode) < 0) problem = errno;
    close(fd);
    return -problem;
}

static int copy_tail(int from, const char *older, off_t start) {
    int to = open(older, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (to < 0) return -errno;
    int problem = 0;
    static char piece[65536];
    for (off_t at = start;;) {
        ssize_t got = pread(from, piece, sizeof(piece), at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) problem = errno;
        if (got <= 0) break;
        if (write(to, piece, (size_t)got) != got) {
            problem = errno ? errno : ENOSPC;
            break;
        }
        at += got;
        // A writer that is faster than we are must not keep us here.
        if (at - start > (off_t)64 << 20) break;
    }
    close(to);
    return -problem;
}

int zg_log_rotate(const char *path, const char *older, uint64_t max) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -errno;
    struct stat now;
    int result = 0;
    if (fstat(fd, &now) < 0) result = -errno;
    else if ((uint64_t)now.st_size > max) {
        // Cut even when the copy fails (a full disk): the bound comes first.
        int copied = copy_tail(fd, older, now.st_size - (off_t)max);
        result = ftruncate(fd, 0) < 0 ? -errno : copied < 0 ? copied : 1;
    }
    close(fd);
    return result;
}

int zg_redirect_output(int fd) {
    return dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0 ? -errno : 0;
}

int zg_close_on_exec(int fd, int on) { return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0; }

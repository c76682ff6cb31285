#define _GNU_SOURCE
#include "include/container.h"
#include "include/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
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
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// From <sys/mount.h>, which clashes with <linux/mount.h> in glibc 2.36.
int umount2(const char *path, int flags);
enum { DETACH = 2, NO_FOLLOW = 8 };

int zg_container_open(int folder, const char *path, int kind, int how) {
    struct open_how request = {0};
    request.resolve = RESOLVE_NO_MAGICLINKS;
    if (how == ZG_PATH_ROOTED) {
        request.resolve |= RESOLVE_IN_ROOT;
    } else {
        request.resolve |= RESOLVE_NO_SYMLINKS;
        if (folder >= 0) request.resolve |= RESOLVE_BENEATH;
    }
    request.flags = O_CLOEXEC;
    if (kind == ZG_OPEN_READ) request.flags |= O_RDONLY | O_NONBLOCK | O_NOCTTY;
    if (kind == ZG_OPEN_PATH) request.flags |= O_PATH;
    if (kind == ZG_OPEN_FOLDER) request.flags |= O_RDONLY | O_DIRECTORY;
    int fd = (int)syscall(SYS_openat2, folder >= 0 ? folder : AT_FDCWD, path, &request, sizeof(request));
    return fd < 0 ? -errno : fd;
}

int zg_container_is_mount(int fd) {
    struct statx found;
    if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE, &found) < 0) return -errno;
    if (!(found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)) return -EOPNOTSUPP;
    return (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int64_t zg_container_mount_device(const char *path) {
    int fd = zg_container_open(-1, path, ZG_OPEN_PATH, ZG_PATH_PLAIN);
    if (fd < 0) return fd;
    struct statx found;
    int64_t result;
    if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &found) < 0) {
        result = -errno;
    } else if (!(found.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
        result = 0;
    } else {
        result = (int64_t)found.stx_dev_major << 32 | found.stx_dev_minor;
    }
    close(fd);
    return result;
}

static int configure_overlay(int context, int lower, int upper, int work) {
    static const char *const keys[3] = {"lowerdir", "upperdir", "workdir"};
    const int folders[3] = {lower, upper, work};
    char path[32];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", folders[i]);
        if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, keys[i], path, 0) < 0) return -errno;
    }
    if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", "zero", 0) < 0) return -errno;
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) return -errno;
    return 0;
}

int zg_container_overlay(int lower, int upper, int work, int target) {
    int context = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    int result = configure_overlay(context, lower, upper, work);
    if (result == 0) {
        int mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
        if (mount < 0) {
            result = -errno;
        } else {
            unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
            if (syscall(SYS_move_mount, mount, "", target, "", flags) < 0) result = -errno;
            close(mount);
        }
    }
    close(context);
    return result;
}

int zg_container_detach(const char *path) {
    if (umount2(path, DETACH | NO_FOLLOW) == 0) return 0;
    return errno == EINVAL || errno == ENOENT ? 0 : -errno;
}

int zg_container_detach_open(int fd) {
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return umount2(path, DETACH) < 0 ? -errno : 0;
}

static int fifo(const char *path, int flags) {
    if (mkfifo(path, 0600) < 0 && errno != EEXIST) return -errno;
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -errno;
    struct stat found;
    if (fstat(fd, &found) < 0 || !S_ISFIFO(found.st_mode)) {
        close(fd);
        return -ENXIO;
    }
    return fd;
}

int zg_container_fifo_reader(const char *path) { return fifo(path, O_RDONLY | O_NONBLOCK); }

int zg_container_fifo_keeper(const char *path) { return fifo(path, O_RDWR); }

int zg_container_listen(int folder, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof(address.sun_path)) return -ENAMETOOLONG;
    if (unlinkat(folder, name, 0) < 0 && errno != ENOENT) return -errno;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    mode_t old = umask(0111);
    int bad = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(old);
    if (bad == 0 && listen(fd, 64) < 0) bad = -errno;
    if (bad == 0) return fd;
    close(fd);
    return bad;
}

int zg_container_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    // An ignored SIGCHLD, inherited, would take the statuses of our children away.
    signal(SIGCHLD, SIG_DFL);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int zg_container_signal_next(int fd) {
    struct signalfd_siginfo info;
    ssize_t got = read(fd, &info, sizeof(info));
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return got == sizeof(info) ? (int)info.ssi_signo : 0;
}

int zg_container_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0; }

int zg_container_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

static void plain_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < 65; i++) signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int place_descriptors(const int *fds, size_t count) {
    int high[16];
    if (count > 16) return -E2BIG;
    for (size_t i = 0; i < count; i++) {
        int fd = fds[i] >= 0 ? fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0) return -errno;
        high[i] = fcntl(fd, F_DUPFD_CLOEXEC, 64);
        if (high[i] < 0) return -errno;
    }
    for (size_t i = 0; i < count; i++) {
        if (dup2(high[i], (int)i) < 0) return -errno;
    }
    return 0;
}

int zg_container_start(const char *path, char *const argv[], char *const envp[], const int *fds, size_t count) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        int code = -errno;
        close(report[0]);
        close(report[1]);
        return code;
    }
    if (pid == 0) {
        // The report must not lie where the new descriptors go.
        int out = fcntl(report[1], F_DUPFD_CLOEXEC, 100);
        int code = out < 0 ? -errno : place_descriptors(fds, count);
        if (code == 0) {
            syscall(SYS_close_range, (unsigned)count, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
            plain_signals();
            execve(path, argv, envp);
            code = -errno;
        }
        if (write(out < 0 ? report[1] : out, &code, sizeof(code)) < 0) _exit(126);
        _exit(127);
    }
    close(report[1]);
    int code = 0;
    ssize_t got;
    do got = read(report[0], &code, sizeof(code));
    while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got == 0) return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    return got == sizeof(code) && code < 0 ? code : -EIO;
}

static int plain_status(int status) {
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    return 255;
}

int zg_container_reap(int *status) {
    int raw;
    pid_t pid;
    do pid = waitpid(-1, &raw, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid < 0) return errno == ECHILD ? 0 : -errno;
    if (pid > 0) *status = plain_status(raw);
    return pid;
}

static int64_t milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int zg_container_wait(int pid, int timeout_ms, int *status) {
    int pidfd = zg_pidfd_open(pid);
    if (pidfd < 0) return pidfd;
    int64_t until = milliseconds() + timeout_ms;
    for (;;) {
        int raw;
        pid_t ended = waitpid(pid, &raw, WNOHANG);
        if (ended == pid || (ended < 0 && errno != EINTR)) {
            int code = ended < 0 ? -errno : 0;
            if (code == 0) *status = plain_status(raw);
            close(pidfd);
            return code;
        }
        int64_t left = until - milliseconds();
        if (left <= 0) break;
        struct pollfd wait = {.fd = pidfd, .events = POLLIN};
        poll(&wait, 1, (int)left);
    }
    close(pidfd);
    return -ETIMEDOUT;
}

int zg_container_pidfd_status(int pidfd, int *status) {
    // struct pidfd_info of Linux 6.13 and later, version 0; PIDFD_INFO_EXIT came with 6.15.
    struct {
        uint64_t mask, cgroup;
        uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
        int32_t exit;
    } info = {.mask = 1ULL << 3};
    if (ioctl(pidfd, _IOWR(0xFF, 11, info), &info) < 0) return -ENODATA;
    if (!(info.mask & (1ULL << 3))) return -ENODATA;
    *status = plain_status(info.exit);
    return 0;
}

int zg_container_file_limit(uint64_t *soft, uint64_t *hard) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    *soft = limit.rlim_cur;
    *hard = limit.rlim_max;
    return 0;
}

// The address others use: the first one of a link that is up and not the loopback; 127.0.0.1 where there is none.
static struct sockaddr_in own_address(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct ifaddrs *list;
    if (getifaddrs(&list) < 0) return address;
    for (struct ifaddrs *item = list; item; item = item->ifa_next) {
        if (!item->ifa_addr || item->ifa_addr->sa_family != AF_INET) continue;
        if (!(item->ifa_flags & IFF_UP) || (item->ifa_flags & IFF_LOOPBACK)) continue;
        address.sin_addr = ((struct sockaddr_in *)item->ifa_addr)->sin_addr;
        break;
    }
    freeifaddrs(list);
    return address;
}

static int probe_http(int fd, const char *path, uint16_t port) {
    char text[1024];
    int length = snprintf(
        text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost:%u\r\nUser-Agent: zero-probe\r\nConnection: close\r\n\r\n",
        path, port);
    if (length < 0 || (size_t)length >= sizeof(text)) return ZG_PROBE_PROTOCOL;
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length) return ZG_PROBE_REFUSED;
    size_t have = 0;
    while (have < sizeof(text) - 1) {
        ssize_t got = recv(fd, text + have, sizeof(text) - 1 - have, 0);
        if (got <= 0) break;
        have += (size_t)got;
        if (memchr(text, '\n', have)) break;
    }
    text[have] = 0;
    unsigned status = 0;
    if (sscanf(text, "HTTP/%*d.%*d %3u", &status) != 1) return ZG_PROBE_PROTOCOL;
    return status >= 200 && status < 400 ? ZG_PROBE_READY : ZG_PROBE_STATUS;
}

int zg_container_probe(int netns, uint16_t port, const char *http_path, int timeout_ms) {
    pid_t pid = fork();
    if (pid != 0) return pid < 0 ? -errno : pid;
    plain_signals();
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = (timeout_ms % 1000) * 1000};
    alarm((unsigned)(timeout_ms / 1000) + 1);
    if (setns(netns, CLONE_NEWNET) < 0) _exit(ZG_PROBE_NETWORK);
    // SO_SNDTIMEO bounds connect() too.
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) _exit(ZG_PROBE_NETWORK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    struct sockaddr_in address = own_address(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) _exit(ZG_PROBE_REFUSED);
    _exit(http_path ? probe_http(fd, http_path, port) : ZG_PROBE_READY);
}

int zg_container_console(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return -errno;
    char text[4096];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {.iov_base = text, .iov_len = sizeof(text)};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    int result = got < 0 ? -errno : -EPROTO;
    struct cmsghdr *header = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&result, CMSG_DATA(header), sizeof(int));
    }
    close(fd);
    return result;
}

static int empty_folder(int folder, dev_t device, int depth) {
    if (depth > 512) return -ELOOP;
    int copy = fcntl(folder, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return -errno;
    DIR *list = fdopendir(copy);
    if (!list) {
        int code = -errno;
        close(copy);
        return code;
    }
    rewinddir(list);
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(list))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(folder, entry->d_name, 0) == 0 || errno == ENOENT) continue;
        if (errno != EISDIR && errno != EPERM) {
            result = -errno;
            break;
        }
        int child = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat found;
        if (child < 0 || fstat(child, &found) < 0) {
            result = -errno;
        } else if (found.st_dev != device) {
            result = -EXDEV;
        } else {
            result = empty_folder(child, device, depth + 1);
        }
        if (child >= 0) close(child);
        if (result == 0 && unlinkat(folder, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) result = -errno;
    }
    closedir(list);
    return result;
}

int zg_container_remove_tree(int folder, const char *name) {
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT) return 0;
        return unlinkat(folder, name, 0) == 0 ? 0 : -errno;
    }
    struct stat found;
    int result = fstat(fd, &found) < 0 ? -errno : empty_folder(fd, found.st_dev, 0);
    close(fd);
    if (result == 0 && unlinkat(folder, name, AT_REMOVEDIR) < 0 && errno != ENOENT) result = -errno;
    return result;
}

#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int zg_spawn_simple(const char *path, char *const argv[], char *const envp[], int in, int out, int err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int from[3] = {in, out, err};
    for (int target = 0; target < 3; target++) {
        // dup2 onto itself would keep the close-on-exec flag; glibc clears it in that case.
        posix_spawn_file_actions_adddup2(&actions, from[target], target);
    }
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    pid_t pid = 0;
    int error = posix_spawnp(&pid, path, &actions, &attributes, argv, envp ? envp : environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error ? -error : pid;
}

int zg_pidfd_open(int pid) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int zg_wait(int pid, int block, int *status) {
    int raw = 0;
    for (;;) {
        pid_t found = waitpid(pid, &raw, block ? 0 : WNOHANG);
        if (found < 0 && errno == EINTR) continue;
        if (found < 0) return -errno;
        if (found > 0) *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 256 + WTERMSIG(raw);
        return found;
    }
}

int zg_pipe(int fds[2]) { return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0; }

int zg_poll_in(int fd, int milliseconds) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int count = poll(&entry, 1, milliseconds);
    return count < 0 ? -errno : count;
}

int zg_poll_many(const int *fds, int count, int milliseconds, uint8_t *ready) {
    struct pollfd entries[16];
    if (count > 16) return -EINVAL;
    for (int i = 0; i < count; i++) entries[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    int found = poll(entries, (nfds_t)count, milliseconds);
    if (found < 0) return -errno;
    for (int i = 0; i < count; i++) ready[i] = entries[i].revents != 0;
    return found;
}

int zg_kill(int pid, int signal) { return kill(pid, signal) < 0 ? -errno : 0; }

int zg_set_no_dump(void) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0) return -errno;
    return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}

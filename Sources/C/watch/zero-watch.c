// zero-watch keeps zero-core alive: starts it, starts it again when it dies, holds descriptors for it meanwhile. It has
// no state but that, so that it has no reason to die itself. On a node it is process 1's only child, or process 1.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ITEMS_MAX = 256, NAME_MAX_BYTES = 168, USAGE = 64 };

static const char usage[] =
    "usage: zero-watch --core PROGRAM [--background] [options of zero-core]\n\n"
    "Starts zero-core, starts it again whenever it dies, ends when it ends well. SIGTERM shuts the node down.\n"
    "  --background   go on alone once zero-core is ready; until then its status is this program's\n"
    "  --adopt PID    watch a zero-core that runs (used by zero-core itself, with a socket as descriptor 3)\n";

static struct { char name[NAME_MAX_BYTES]; int fd; } items[ITEMS_MAX];
static int item_count, link_fd = -1, ready_fd = -1, core_pidfd = -1, waiting_fd = -1, is_background, is_ready, said_bye;
static int is_leaving;
static long long started_at;
static pid_t core_pid;
static char *core_words[64], store_list[ITEMS_MAX * (NAME_MAX_BYTES + 12) + 32], program[4096];
static const char *state_folder;

static long long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void drop(const char *name) {
    for (int i = 0; i < item_count; i++) {
        if (strcmp(items[i].name, name) != 0) continue;
        close(items[i].fd);
        items[i] = items[--item_count];
        return;
    }
}

/// Takes every message that waits: `store <name>` with a descriptor, `drop <name>`, `leaving`, `bye`.
static void read_link(void) {
    for (;;) {
        char text[256], space[CMSG_SPACE(sizeof(int))];
        struct iovec part = {text, sizeof(text) - 1};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
        ssize_t got = recvmsg(link_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return;
        text[got] = 0;
        int fd = -1;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        if (strcmp(text, "bye") == 0) said_bye = 1;
        if (strcmp(text, "leaving") == 0) is_leaving = 1;
        if (strncmp(text, "drop ", 5) == 0) drop(text + 5);
        int is_store = strncmp(text, "store ", 6) == 0 && strlen(text + 6) < NAME_MAX_BYTES && fd >= 0;
        if (is_store) drop(text + 6);
        if (is_store && item_count < ITEMS_MAX) {
            strcpy(items[item_count].name, text + 6);
            items[item_count++].fd = fd;
        } else if (fd >= 0) {
            close(fd);
        }
    }
}

static void put_number(const char *name, int number) {
    char text[16];
    snprintf(text, sizeof(text), "%d", number);
    setenv(name, text, 1);
}

static int start_core(void) {
    int pair[2], ready[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
    if (pipe2(ready, O_CLOEXEC) < 0) ready[0] = ready[1] = -1;
    core_pid = fork();
    if (core_pid == 0) {
        setsid();
        char *end = store_list;
        *end = 0;
        for (int i = 0; i < item_count; i++) {
            fcntl(items[i].fd, F_SETFD, 0);
            end += sprintf(end, "%s%s:%d", i ? "," : "", items[i].name, items[i].fd);
        }
        fcntl(pair[1], F_SETFD, 0);
        if (ready[1] >= 0) fcntl(ready[1], F_SETFD, 0);
        put_number("ZERO_WATCH_FD", pair[1]);
        put_number("ZERO_NOTIFY_FD", ready[1]);
        // The next one goes on with a shutdown that has begun.
        put_number("ZERO_WATCH_LEAVING", is_leaving);
        setenv("ZERO_WATCH_STORE", store_list, 1);
        setenv("ZERO_WATCH_PROGRAM", program, 1);
        // Our signals stay blocked: one that comes before zero-core reads them waits for it.
        execv(core_words[0], core_words);
        dprintf(STDERR_FILENO, "zero-watch: %s: %s\n", core_words[0], strerror(errno));
        _exit(errno == ENOENT ? USAGE : 126);
    }
    int problem = errno;
    close(pair[1]);
    if (ready[1] >= 0) close(ready[1]);
    if (core_pid < 0) {
        close(pair[0]);
        if (ready[0] >= 0) close(ready[0]);
        core_pid = 0;
        return -problem;
    }
    ready_fd = ready[0];
    link_fd = pair[0];
    started_at = milliseconds();
    return 0;
}

/// zero-core is ready: messages go to its log from here on, and who waits for us is told.
static void became_ready(void) {
    if (is_ready++ || !is_background) return;
    char path[4096];
    snprintf(path, sizeof(path), "%s/log/core.log", state_folder ? state_folder : "");
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (log < 0) log = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    close(null);
    close(log);
    if (waiting_fd >= 0 && write(waiting_fd, "R", 1) == 1) close(waiting_fd);
}

/// Reaps; returns 1 when zero-core ended, with its status.
static int reap(int *status) {
    int found = 0, raw;
    for (pid_t pid; (pid = waitpid(-1, &raw, WNOHANG)) > 0;) {
        if (pid != core_pid) continue;
        found = 1;
        *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 256 + WTERMSIG(raw);
    }
    return found;
}

static void go_to_background(void) {
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) < 0) exit(71);
    pid_t pid = fork();
    if (pid < 0) exit(71);
    if (pid == 0) {
        close(pair[0]);
        setsid();
        waiting_fd = pair[1];
        return;
    }
    close(pair[1]);
    char word = 0;
    if (read(pair[0], &word, 1) == 1) _exit(0);
    int raw = 0;
    waitpid(pid, &raw, 0);
    _exit(WIFEXITED(raw) && WEXITSTATUS(raw) ? WEXITSTATUS(raw) : 1);
}

static void shut(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/// zero-core is dead: ends too where that was meant, else says after how many milliseconds it is started again.
static int core_ended(int status, int delay) {
    if (link_fd >= 0) read_link();
    core_pid = 0;
    shut(&link_fd);
    shut(&ready_fd);
    shut(&core_pidfd);
    if (said_bye || status == 0) exit(0);
    if (status == USAGE || (is_background && !is_ready)) exit(status < 256 ? status : 1);
    if (milliseconds() - started_at > 10000) delay = 50;
    delay = delay > 5000 ? 10000 : delay * 2;
    if (status < 0) dprintf(STDERR_FILENO, "zero-watch: zero-core is gone; again in %d ms\n", delay);
    else if (status < 256) dprintf(STDERR_FILENO, "zero-watch: zero-core: status %d; again in %d ms\n", status, delay);
    else dprintf(STDERR_FILENO, "zero-watch: zero-core: signal %d; again in %d ms\n", status - 256, delay);
    return delay;
}

static void parse(int argc, char **argv, int *adopt) {
    int count = 1;
    for (int i = 1; i < argc; i++) {
        int has_value = i + 1 < argc;
        if (strcmp(argv[i], "--help") == 0) exit(write(STDOUT_FILENO, usage, sizeof(usage) - 1) < 0);
        else if (strcmp(argv[i], "--background") == 0) is_background = 1;
        else if (strcmp(argv[i], "--core") == 0 && has_value) core_words[0] = argv[++i];
        else if (strcmp(argv[i], "--adopt") == 0 && has_value) *adopt = atoi(argv[++i]);
        else if (count < 62) {
            if (strcmp(argv[i], "--state") == 0 && has_value) state_folder = argv[i + 1];
            core_words[count++] = argv[i];
        }
    }
    if (core_words[0]) return;
    dprintf(STDERR_FILENO, "zero-watch: --core is missing\n%s", usage);
    exit(USAGE);
}

int main(int argc, char **argv) {
    int adopt = 0, delay = 50, status = 0;
    parse(argc, argv, &adopt);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0) program[0] = 0;
    sigset_t set;
    int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    sigemptyset(&set);
    for (int i = 0; i < 4; i++) sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (is_background) go_to_background();
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || signals < 0) exit(71);
    if (adopt > 0) {
        core_pid = adopt;
        link_fd = fcntl(3, F_DUPFD_CLOEXEC, 4);
        core_pidfd = (int)syscall(SYS_pidfd_open, adopt, 0);
        is_ready = 1;
        close(3);
    }
    long long next = 0;
    for (;;) {
        if (core_pid == 0 && milliseconds() >= next && start_core() < 0) next = milliseconds() + 1000;
        struct pollfd fds[] = {
            {signals, POLLIN, 0}, {link_fd, POLLIN, 0}, {ready_fd, POLLIN, 0}, {core_pidfd, POLLIN, 0}};
        long long left = next - milliseconds();
        poll(fds, 4, core_pid ? -1 : left > 0 ? (int)left : 0);
        if (fds[1].revents & POLLIN) read_link();
        if (fds[1].revents & POLLHUP) { read_link(); shut(&link_fd); }
        if (fds[2].revents) {
            char word[16];
            if (read(ready_fd, word, sizeof(word)) > 0) became_ready();
            shut(&ready_fd);
        }
        struct signalfd_siginfo info;
        while (fds[0].revents && read(signals, &info, sizeof(info)) == sizeof(info)) {
            if (info.ssi_signo == SIGCHLD) continue;
            // A zero-core that is not there is needed to stop what runs.
            if (core_pid == 0 && start_core() < 0) continue;
            kill(core_pid, info.ssi_signo == SIGHUP ? SIGHUP : SIGTERM);
        }
        int ended = reap(&status);
        if (!ended && fds[3].revents) { ended = 1; status = -1; }
        if (ended) next = milliseconds() + (delay = core_ended(status, delay));
    }
}

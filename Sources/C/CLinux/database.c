#define _GNU_SOURCE
#include "include/database.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int zg_db_read(int fd, uint64_t offset, void *first, size_t first_length, void *second, size_t second_length) {
    struct iovec parts[2] = {{first, first_length}, {second, second_length}};
    size_t left = first_length + second_length;
    while (left > 0) {
        ssize_t got = preadv(fd, parts, 2, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) return -ENODATA;
        left -= (size_t)got;
        offset += (uint64_t)got;
        for (int i = 0; i < 2 && got > 0; i++) {
            size_t step = (size_t)got < parts[i].iov_len ? (size_t)got : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + step;
            parts[i].iov_len -= step;
            got -= (ssize_t)step;
        }
    }
    return 0;
}

int zg_db_write(int fd, uint64_t offset, const void *bytes, size_t length) {
    while (length > 0) {
        ssize_t wrote = pwrite(fd, bytes, length, (off_t)offset);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return -errno;
        bytes = (const char *)bytes + wrote;
        length -= (size_t)wrote;
        offset += (uint64_t)wrote;
    }
    return 0;
}

// Through syscall(), because libc's recv() and send() are places where a thread can be cancelled: in a program with more
// than one thread each of them enters and leaves that state by two locked instructions, for which nobody here has a use.

ssize_t zg_db_receive(int fd, void *bytes, size_t length) {
    for (;;) {
        ssize_t got = syscall(SYS_recvfrom, fd, bytes, length, 0, NULL, NULL);
        if (got >= 0) return got;
        if (errno != EINTR) return -errno;
    }
}

ssize_t zg_db_receive_passed(int fd, void *bytes, size_t length, int *descriptor, int *stopped) {
    union {
        char space[CMSG_SPACE(sizeof(int) * 4)];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message;
    ssize_t got;
    do {
        message = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        got = syscall(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    // One that found no room in our table is cut off; the kernel stopped behind it all the same.
    *stopped = message.msg_controllen != 0 || (message.msg_flags & MSG_CTRUNC) != 0;
    if (!*stopped) return got;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h != NULL; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (*descriptor < 0) *descriptor = passed;
            else close(passed);
        }
    }
    return got;
}

ssize_t zg_db_send(int fd, const void *bytes, size_t length) {
    for (;;) {
        ssize_t sent = syscall(SYS_sendto, fd, bytes, length, MSG_NOSIGNAL, NULL, 0);
        if (sent >= 0) return sent;
        if (errno != EINTR) return -errno;
    }
}

void zg_db_nodelay(int fd) {
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int zg_db_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    int code = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (code != 0) return -code;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int zg_db_signal(int fd) {
    struct signalfd_siginfo info;
    ssize_t got = read(fd, &info, sizeof(info));
    return got == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

int64_t zg_db_raise_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return (int64_t)limit.rlim_cur;
}

// A mapped page that cannot be read raises SIGBUS in the thread that touches it.
static sigjmp_buf mapped_jump;
static volatile sig_atomic_t mapped_active;

static void mapped_fault(int number, siginfo_t *info, void *context) {
    (void)info;
    (void)context;
    if (mapped_active) siglongjmp(mapped_jump, 1);
    signal(number, SIG_DFL);
    raise(number);
}

static void mapped_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = mapped_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

int zg_db_copy_mapped(void *to, const void *from, size_t length) {
    static int installed;
    if (!installed) {
        mapped_install();
        installed = 1;
    }
    if (sigsetjmp(mapped_jump, 0) != 0) {
        mapped_active = 0;
        return 1;
    }
    mapped_active = 1;
    memcpy(to, from, length);
    mapped_active = 0;
    return 0;
}

const void *zg_db_map(int fd, size_t length) {
    void *at = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return NULL;
    // A page that is not in memory costs its own read, not that of 32 pages around it.
    madvise(at, length, MADV_RANDOM);
    return at;
}

void zg_db_unmap(const void *at, size_t length) {
    if (at != NULL) munmap((void *)at, length);
}

struct zg_db_syncer {
    pthread_mutex_t lock;
    pthread_cond_t work;
    int wake;
    int fd;
    int busy;
    int done;
    int result;
};

static void *syncer_run(void *argument) {
    zg_db_syncer_t *syncer = argument;
    pthread_mutex_lock(&syncer->lock);
    for (;;) {
        while (syncer->fd < 0) pthread_cond_wait(&syncer->work, &syncer->lock);
        int fd = syncer->fd;
        syncer->fd = -1;
        pthread_mutex_unlock(&syncer->lock);
        int result = fdatasync(fd) < 0 ? -errno : 0;
        pthread_mutex_lock(&syncer->lock);
        syncer->result = result;
        syncer->done = 1;
        syncer->busy = 0;
        uint64_t one = 1;
        ssize_t wrote = write(syncer->wake, &one, sizeof(one));
        (void)wrote;
    }
    return NULL;
}

zg_db_syncer_t *zg_db_syncer_start(int wake) {
    zg_db_syncer_t *syncer = calloc(1, sizeof(*syncer));
    if (syncer == NULL) return NULL;
    pthread_mutex_init(&syncer->lock, NULL);
    pthread_cond_init(&syncer->work, NULL);
    syncer->wake = wake;
    syncer->fd = -1;
    pthread_t thread;
    if (pthread_create(&thread, NULL, syncer_run, syncer) != 0) {
        free(syncer);
        return NULL;
    }
    pthread_detach(thread);
    return syncer;
}

int zg_db_syncer_submit(zg_db_syncer_t *syncer, int fd) {
    int result = -EBUSY;
    pthread_mutex_lock(&syncer->lock);
    if (!syncer->busy && !syncer->done) {
        syncer->busy = 1;
        syncer->fd = fd;
        pthread_cond_signal(&syncer->work);
        result = 0;
    }
    pthread_mutex_unlock(&syncer->lock);
    return result;
}

int zg_db_syncer_result(zg_db_syncer_t *syncer, int *result) {
    pthread_mutex_lock(&syncer->lock);
    int done = syncer->done;
    if (done) {
        *result = syncer->result;
        syncer->done = 0;
    }
    pthread_mutex_unlock(&syncer->lock);
    return done;
}

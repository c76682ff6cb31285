#define _GNU_SOURCE
#include "include/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fill_unix(struct sockaddr_un *address, const char *path) {
    size_t length = strlen(path);
    if (length == 0) return -EINVAL;
    if (length >= sizeof(address->sun_path)) return -ENAMETOOLONG;
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
    return 0;
}

static int close_with(int fd, int result) {
    close(fd);
    return result;
}

int zg_unix_connect(const char *path) {
    struct sockaddr_un address;
    int bad = fill_unix(&address, path);
    if (bad < 0) return bad;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EINTR) return close_with(fd, -errno);
    }
    return fd;
}

int zg_unix_listen(const char *path, uint32_t mode, int backlog) {
    struct sockaddr_un address;
    struct stat old;
    int bad = fill_unix(&address, path);
    if (bad < 0) return bad;
    if (lstat(path, &old) == 0) {
        if (!S_ISSOCK(old.st_mode)) return -EEXIST;
        if (unlink(path) < 0 && errno != ENOENT) return -errno;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) return close_with(fd, -errno);
    // Nobody can connect before listen(), so the mode is right before the first client.
    if (chmod(path, mode) < 0 || listen(fd, backlog) < 0) {
        int code = -errno;
        unlink(path);
        return close_with(fd, code);
    }
    return fd;
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int connect_one(const struct addrinfo *info, int64_t until) {
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, info->ai_addr, info->ai_addrlen) < 0) {
        if (errno != EINPROGRESS) return close_with(fd, -errno);
        int64_t left = until - now_ms();
        int ready = zg_poll(fd, ZG_WRITABLE, left < 0 ? 0 : (int)left);
        if (ready <= 0) return close_with(fd, ready == 0 ? -ETIMEDOUT : ready);
        int error = 0;
        socklen_t size = sizeof(error);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return close_with(fd, -errno);
        if (error != 0) return close_with(fd, -error);
    }
    int bad = zg_socket_nonblocking(fd, 0);
    return bad < 0 ? close_with(fd, bad) : fd;
}

static int resolve(const char *host, uint16_t port, int flags, struct addrinfo **list) {
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    int code = getaddrinfo(host, service, &hints, list);
    if (code == 0) return 0;
    return code == EAI_SYSTEM ? -errno : code == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH;
}

int zg_tcp_connect(const char *host, uint16_t port, int timeout_ms) {
    struct addrinfo *list = NULL;
    int64_t until = now_ms() + timeout_ms;
    int code = resolve(host, port, AI_ADDRCONFIG, &list);
    if (code < 0) code = resolve(host, port, 0, &list);
    if (code < 0) return code;
    code = -EHOSTUNREACH;
    for (struct addrinfo *info = list; info != NULL; info = info->ai_next) {
        code = connect_one(info, until);
        if (code >= 0) break;
    }
    freeaddrinfo(list);
    return code;
}

int zg_tcp_connect_begin(const char *host, uint16_t port) {
    struct addrinfo *list = NULL;
    int code = resolve(host, port, AI_ADDRCONFIG, &list);
    if (code < 0) code = resolve(host, port, 0, &list);
    if (code < 0) return code;
    code = -EHOSTUNREACH;
    for (struct addrinfo *info = list; info != NULL && code < 0; info = info->ai_next) {
        int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            code = -errno;
            continue;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(fd, info->ai_addr, info->ai_addrlen) == 0 || errno == EINPROGRESS) {
            code = fd;
        } else {
            code = close_with(fd, -errno);
        }
    }
    freeaddrinfo(list);
    return code;
}

int zg_connect_result(int fd) {
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0) return -errno;
    return -code;
}

int zg_tcp_listen(const char *address, uint16_t port, int backlog) {
    struct addrinfo *list = NULL;
    int code = resolve(address, port, AI_PASSIVE | AI_NUMERICHOST, &list);
    if (code < 0) return code;
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        code = -errno;
        freeaddrinfo(list);
        return code;
    }
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    int failed = bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, backlog) < 0;
    code = failed ? -errno : 0;
    freeaddrinfo(list);
    return failed ? close_with(fd, code) : fd;
}

int zg_tcp_port(int fd) {
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) return -errno;
    if (address.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&address)->sin_port);
    if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return -EAFNOSUPPORT;
}

int zg_accept(int fd) {
    for (;;) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client >= 0) return client;
        if (errno != EINTR && errno != ECONNABORTED) return -errno;
    }
}

int zg_socket_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

int zg_peer(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
    *pid = peer.pid;
    *uid = peer.uid;
    *gid = peer.gid;
    return 0;
}

ssize_t zg_send(int fd, const void *bytes, size_t length, const int *descriptors, size_t count) {
    union {
        char space[CMSG_SPACE(sizeof(int) * ZG_DESCRIPTORS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > ZG_DESCRIPTORS_MAX || (count > 0 && length == 0)) return -EINVAL;
    if (count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
    }
    for (;;) {
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent >= 0) return sent;
        if (errno != EINTR) return -errno;
    }
}

// Keeps descriptors that fit and closes the rest, so that a peer cannot fill our table.
static void collect(struct msghdr *message, int *descriptors, size_t max, size_t *count) {
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        size_t here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (*count < max) descriptors[(*count)++] = fd;
            else close(fd);
        }
    }
}

ssize_t zg_receive(int fd, void *bytes, size_t length, int *descriptors, size_t max, size_t *count) {
    union {
        char space[CMSG_SPACE(sizeof(int) * ZG_DESCRIPTORS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    *count = 0;
    for (;;) {
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        collect(&message, descriptors, max, count);
        return got;
    }
}

int zg_idle_broken(int fd) {
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got >= 0) return 1;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : 1;
}

int zg_poll(int fd, uint32_t events, int timeout_ms) {
    int64_t until = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
    for (;;) {
        struct pollfd item = {.fd = fd, .events = (short)events};
        int ready = poll(&item, 1, timeout_ms);
        if (ready > 0) return (item.revents & POLLNVAL) ? -EBADF : item.revents;
        if (ready == 0) return 0;
        if (errno != EINTR) return -errno;
        if (timeout_ms >= 0) {
            int64_t left = until - now_ms();
            timeout_ms = left < 0 ? 0 : (int)left;
        }
    }
}

int zg_socket_nonblocking(int fd, int on) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -errno;
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return wanted == flags || fcntl(fd, F_SETFL, wanted) == 0 ? 0 : -errno;
}

int zg_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int zg_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data.u64 = token};
    int what = operation == 1 ? EPOLL_CTL_ADD : operation == 2 ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    return epoll_ctl(epoll, what, fd, &event) < 0 ? -errno : 0;
}

int zg_epoll_wait(int epoll, zg_event_t *events, int max, int timeout_ms) {
    struct epoll_event ready[256];
    if (max > 256) max = 256;
    int count = epoll_wait(epoll, ready, max, timeout_ms);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        events[i].events = ready[i].events;
        events[i].token = ready[i].data.u64;
    }
    return count;
}

int zg_eventfd(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int zg_eventfd_signal(int fd) {
    uint64_t one = 1;
    ssize_t wrote = write(fd, &one, sizeof(one));
    // EAGAIN means that the counter is full: the reader will wake anyway.
    return wrote == sizeof(one) || errno == EAGAIN ? 0 : -errno;
}

int zg_eventfd_clear(int fd) {
    uint64_t value;
    ssize_t got = read(fd, &value, sizeof(value));
    return got == sizeof(value) || errno == EAGAIN ? 0 : -errno;
}

// zero-door: opens a listening TCP socket in the network namespace that it runs in and hands it to a Zero-DB.
//
//   ip netns exec NAME zero-door SOCKET NAMESPACE LABEL ADDRESS PORT
//
// It connects to the Unix socket SOCKET, says `LISTEN NAMESPACE LABEL` with the socket's descriptor beside it (SCM_RIGHTS),
// and ends with status 0 when that is answered with OK. Otherwise one line on standard error says why. A program of its own,
// because only a process without threads may enter another namespace.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// As many clients wait to be accepted as in the store's own sockets; the store is asked for 10 s at most.
enum { BACKLOG = 512, SECONDS = 10, TEXT_MAX = 1024 };

static int fail(const char *what, const char *subject) {
    fprintf(stderr, "%s %s: %s\n", what, subject, strerror(errno));
    return 1;
}

static int open_listener(const char *address, const char *port) {
    struct sockaddr_storage place = {0};
    socklen_t length;
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    if (*end != 0 || number == 0 || number > 65535) return errno = EINVAL, -1;
    if (strchr(address, ':')) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&place;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)number);
        length = sizeof(*in6);
        if (inet_pton(AF_INET6, address, &in6->sin6_addr) != 1) return errno = EINVAL, -1;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&place;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)number);
        length = sizeof(*in);
        if (inet_pton(AF_INET, address, &in->sin_addr) != 1) return errno = EINVAL, -1;
    }
    int fd = socket(place.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0) return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) return -1;
    if (place.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) return -1;
    if (bind(fd, (struct sockaddr *)&place, length) < 0 || listen(fd, BACKLOG) < 0) return -1;
    return fd;
}

static int connect_store(const char *path) {
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(place.sun_path)) return errno = ENAMETOOLONG, -1;
    memcpy(place.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct timeval patience = {.tv_sec = SECONDS};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) return -1;
    return connect(fd, (struct sockaddr *)&place, sizeof(place)) < 0 ? -1 : fd;
}

static int send_with(int fd, const char *text, size_t length, int descriptor) {
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {.iov_base = (void *)text, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space};
    message.msg_controllen = sizeof(control.space);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &descriptor, sizeof(int));
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -1;
}

int main(int count, char **words) {
    if (count != 6) {
        fprintf(stderr, "usage: zero-door SOCKET NAMESPACE LABEL ADDRESS PORT\n");
        return 64;
    }
    char text[TEXT_MAX], reply[TEXT_MAX];
    int length = snprintf(
        text, sizeof(text), "*3\r\n$6\r\nLISTEN\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(words[2]), words[2],
        strlen(words[3]), words[3]);
    if (length < 0 || (size_t)length >= sizeof(text)) return errno = ENAMETOOLONG, fail("LISTEN", words[3]);
    int listener = open_listener(words[4], words[5]);
    if (listener < 0) return fail("cannot listen on", words[4]);
    int store = connect_store(words[1]);
    if (store < 0) return fail("cannot reach", words[1]);
    if (send_with(store, text, (size_t)length, listener) < 0) return fail("cannot hand a socket to", words[1]);
    size_t got = 0;
    while (got < sizeof(reply) - 1 && !memchr(reply, '\n', got)) {
        ssize_t more = read(store, reply + got, sizeof(reply) - 1 - got);
        if (more < 0 && errno == EINTR) continue;
        if (more <= 0) return fail("no answer of", words[1]);
        got += (size_t)more;
    }
    reply[got] = 0;
    if (strncmp(reply, "+OK\r\n", 5) == 0) return 0;
    fprintf(stderr, "%.*s\n", (int)strcspn(reply + 1, "\r\n"), reply + 1);
    return 1;
}

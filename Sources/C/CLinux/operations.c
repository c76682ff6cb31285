#define _GNU_SOURCE
#include "include/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

int zg_db_peer_address(int fd, uint8_t address[17]) {
    memset(address, 0, 17);
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0) return -errno;
    if (peer.ss_family == AF_INET) {
        address[0] = 4;
        memcpy(address + 1, &((struct sockaddr_in *)&peer)->sin_addr, 4);
        return 0;
    }
    if (peer.ss_family == AF_INET6) {
        const struct in6_addr *six = &((struct sockaddr_in6 *)&peer)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six)) {
            address[0] = 4;
            memcpy(address + 1, six->s6_addr + 12, 4);
            return 0;
        }
        address[0] = 6;
        memcpy(address + 1, six->s6_addr, 8);
        return 0;
    }
    struct ucred credentials;
    length = sizeof(credentials);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    address[0] = 1;
    memcpy(address + 1, &credentials.uid, 4);
    return 0;
}

int zg_db_timer(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int zg_db_timer_set(int fd, uint32_t milliseconds) {
    struct timespec period = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    struct itimerspec setting = {period, period};
    return timerfd_settime(fd, 0, &setting, NULL) < 0 ? -errno : 0;
}

ssize_t zg_db_peek(int fd, void *bytes, size_t length) {
    ssize_t got = recv(fd, bytes, length, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 ? -errno : got;
}

void zg_db_will_need(int fd, uint64_t offset, uint64_t length) {
    (void)posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_WILLNEED);
}

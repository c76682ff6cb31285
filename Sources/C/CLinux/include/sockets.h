// Sockets: Unix and TCP streams, descriptor passing, readiness. Every function returns -errno on failure.
#ifndef ZG_SOCKETS_H
#define ZG_SOCKETS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Most descriptors that one message may carry.
enum { ZG_DESCRIPTORS_MAX = 16 };

/// Readiness bits of `zg_poll` and `zg_epoll_wait`; the values are the kernel's.
enum { ZG_READABLE = 0x001, ZG_WRITABLE = 0x004, ZG_FAULT = 0x008, ZG_HANGUP = 0x010, ZG_PEER_CLOSED = 0x2000 };

/// One ready descriptor: the readiness bits and the token it was registered with.
typedef struct {
    uint32_t events;
    uint64_t token;
} zg_event_t;

/// A connected Unix stream socket, close-on-exec, blocking.
int zg_unix_connect(const char *path);
/// A listening Unix stream socket at `path` (an old socket there is replaced), non-blocking.
int zg_unix_listen(const char *path, uint32_t mode, int backlog);
/// A connected TCP socket, close-on-exec, blocking, TCP_NODELAY; waits at most `timeout_ms`.
int zg_tcp_connect(const char *host, uint16_t port, int timeout_ms);
/// A TCP socket that is being connected, non-blocking, TCP_NODELAY; writable when `zg_connect_result` can tell.
int zg_tcp_connect_begin(const char *host, uint16_t port);
/// 0 if a socket that was being connected is, else -errno.
int zg_connect_result(int fd);
/// A listening TCP socket, non-blocking, SO_REUSEADDR.
int zg_tcp_listen(const char *address, uint16_t port, int backlog);
/// The local port of a bound socket, or -errno.
int zg_tcp_port(int fd);
/// accept4 with close-on-exec and non-blocking.
int zg_accept(int fd);
/// A connected pair of Unix stream sockets, close-on-exec.
int zg_socket_pair(int pair[2]);
/// SO_PEERCRED.
int zg_peer(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid);
/// Sends some bytes, with descriptors on the first of them; returns how many bytes went.
ssize_t zg_send(int fd, const void *bytes, size_t length, const int *descriptors, size_t count);
/// Receives some bytes and the descriptors with them (close-on-exec); 0 is the end of the stream.
ssize_t zg_receive(int fd, void *bytes, size_t length, int *descriptors, size_t max, size_t *count);
/// 1 if the peer closed or sent bytes unasked while idle, 0 if the connection is quiet.
int zg_idle_broken(int fd);
/// Waits for readiness of one descriptor; 0 is the timeout (-1 waits for ever), else readiness bits.
int zg_poll(int fd, uint32_t events, int timeout_ms);
/// Sets O_NONBLOCK on or off.
int zg_socket_nonblocking(int fd, int on);

/// epoll_create1 with close-on-exec.
int zg_epoll_create(void);
/// Adds (1), changes (2) or removes (3) a descriptor.
int zg_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t token);
/// Waits; returns the number of events.
int zg_epoll_wait(int epoll, zg_event_t *events, int max, int timeout_ms);
/// A non-blocking, close-on-exec eventfd.
int zg_eventfd(void);
/// Adds one to an eventfd.
int zg_eventfd_signal(int fd);
/// Empties an eventfd.
int zg_eventfd_clear(int fd);

#endif

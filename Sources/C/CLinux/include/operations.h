// What Zero-DB's operations need: who a peer is, for limits an address.
#ifndef ZG_OPERATIONS_H
#define ZG_OPERATIONS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Who is at the other end, as 17 bytes that compare: the kind (4, 6 or 1 for a Unix socket), then 4 bytes of IPv4, the
/// first 8 of IPv6 (a site has all of them), or 4 of the uid; the rest zero. 0 or -errno.
int zg_db_peer_address(int fd, uint8_t address[17]);
/// What waits to be received, left there: bytes, 0 at the end, or -errno.
ssize_t zg_db_peek(int fd, void *bytes, size_t length);
/// Asks the disk for bytes of a file that will be read soon; a hint.
void zg_db_will_need(int fd, uint64_t offset, uint64_t length);
/// A timer that is readable once in so many milliseconds; -errno.
int zg_db_timer(void);
/// Sets a timer's period; 0 stops it.
int zg_db_timer_set(int fd, uint32_t milliseconds);

#endif

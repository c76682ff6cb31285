// What Zero-DB's loop needs beside sockets: positioned reads and writes, a thread that syncs, signals as a descriptor.
// Every function returns -errno on failure.
#ifndef ZG_DATABASE_H
#define ZG_DATABASE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Reads all of two buffers from an offset; 0, or -ENODATA where the file ends before.
int zg_db_read(int fd, uint64_t offset, void *first, size_t first_length, void *second, size_t second_length);
/// Writes all bytes at an offset; on failure part of them may be written.
int zg_db_write(int fd, uint64_t offset, const void *bytes, size_t length);
/// One recv, without descriptors: bytes, 0 at the end of the stream, or -EAGAIN.
ssize_t zg_db_receive(int fd, void *bytes, size_t length);
/// One recv with a descriptor, if one came; more are closed. `stopped`: descriptors came, so that there may be more bytes behind
/// what was returned although it is less than asked for. `descriptor` is left alone if none came.
ssize_t zg_db_receive_passed(int fd, void *bytes, size_t length, int *descriptor, int *stopped);
/// One send: bytes that went, or -EAGAIN.
ssize_t zg_db_send(int fd, const void *bytes, size_t length);
/// TCP_NODELAY; harmless on other sockets.
void zg_db_nodelay(int fd);
/// Blocks TERM, INT and HUP, ignores PIPE, and returns a descriptor that is readable when one of the three came.
int zg_db_signals(void);
/// The next signal, or 0.
int zg_db_signal(int fd);
/// Raises the limit of open files to the hard one; returns it.
int64_t zg_db_raise_files(void);

/// Copies from mapped memory; 1 if the memory could not be read because its file ends before or the disk failed.
/// One thread only may call it; the first call installs handlers for SIGBUS.
int zg_db_copy_mapped(void *to, const void *from, size_t length);
/// A read-only shared mapping of so many bytes of a file, which may still be shorter; NULL if there is none.
const void *zg_db_map(int fd, size_t length);
/// Ends such a mapping; NULL is none.
void zg_db_unmap(const void *at, size_t length);

/// A thread that makes one file durable at a time.
typedef struct zg_db_syncer zg_db_syncer_t;
/// Starts the thread, which signals `wake` (an eventfd) after each sync; NULL if that is not possible.
zg_db_syncer_t *zg_db_syncer_start(int wake);
/// Asks for one fdatasync; -EBUSY while one is under way.
int zg_db_syncer_submit(zg_db_syncer_t *syncer, int fd);
/// 1 and the result of a sync that has ended, once; 0 if none has.
int zg_db_syncer_result(zg_db_syncer_t *syncer, int *result);

#endif

// A read-only file system over libfuse's low-level API, behind plain prototypes.
//
// The caller fills `zg_fuse_operations`, opens a session over a /dev/fuse descriptor that is mounted (or about
// to be) and lets any number of threads call `zg_fuse_session_step`. Results below zero are -errno.
#ifndef ZG_CFUSE_H
#define ZG_CFUSE_H

#include <stddef.h>
#include <stdint.h>

typedef struct zg_fuse_session zg_fuse_session;
typedef struct zg_fuse_request zg_fuse_request;
typedef struct zg_fuse_listing zg_fuse_listing;

// What the kernel is told about a file. `mode` has type and permission bits.
typedef struct zg_fuse_attributes {
    uint64_t inode;
    uint64_t size;
    int64_t mtime_seconds;
    uint32_t mtime_nanoseconds;
    uint32_t mode;
    uint32_t links;
    uint32_t uid;
    uint32_t gid;
    uint32_t major;
    uint32_t minor;
} zg_fuse_attributes;

typedef struct zg_fuse_totals {
    uint64_t bytes;
    uint64_t inodes;
} zg_fuse_totals;

typedef struct zg_fuse_slice {
    const void *bytes;
    size_t count;
} zg_fuse_slice;

// `context` is the pointer given to zg_fuse_session_open. Every function may be called from several threads.
typedef struct zg_fuse_operations {
    // 0 and attributes, or -errno; -ENOENT is remembered by the kernel.
    int (*lookup)(void *context, uint64_t parent, const char *name, zg_fuse_attributes *found);
    int (*attributes)(void *context, uint64_t inode, zg_fuse_attributes *found);
    // Bytes written, or -errno.
    int (*readlink)(void *context, uint64_t inode, char *target, size_t capacity);
    // Calls zg_fuse_listing_add for each entry after `offset` until that says it is full. 0 or -errno.
    int (*list)(void *context, uint64_t inode, uint64_t offset, zg_fuse_listing *listing);
    // Calls zg_fuse_reply_read or returns -errno; 0 means that it replied.
    int (*read)(void *context, uint64_t inode, uint64_t offset, size_t count, zg_fuse_request *request);
    // The length of the value or of the list of NUL-ended names, written where capacity is enough; or -errno.
    int64_t (*get_xattr)(void *context, uint64_t inode, const char *name, char *value, size_t capacity);
    int64_t (*list_xattr)(void *context, uint64_t inode, char *names, size_t capacity);
    void (*totals)(void *context, zg_fuse_totals *totals);
    // The kernel's first message, which a later process needs to take the session over.
    void (*initialised)(void *context, const void *message, size_t count);
} zg_fuse_operations;

// Mounts `descriptor` (of /dev/fuse) read-only at `mountpoint`.
int zg_fuse_mount(int descriptor, const char *mountpoint, const char *source);
// Detaches the mount at `mountpoint`.
int zg_fuse_unmount(const char *mountpoint);
// Chunks come and go by the hundred a second: memory that went back to the kernel each time would have to be zeroed
// again, which costs as much as decrypting. A few arenas bound what many threads hold.
void zg_fuse_keep_memory(void);
// Opens /dev/fuse.
int zg_fuse_open_device(void);
// 1 where the descriptor belongs to a live mount, 0 where it was never mounted or is dead.
int zg_fuse_is_connected(int descriptor);

// Creates a session over `descriptor`, which stays the caller's. NULL and *error on failure.
zg_fuse_session *zg_fuse_session_open(
    int descriptor, const zg_fuse_operations *operations, void *context, int verbose, int *error);
// Makes a new session believe that the kernel said `message` (an earlier session's first message; with a count of
// zero, one is made up), without answering it.
int zg_fuse_session_adopt(zg_fuse_session *session, const void *message, size_t count);
// Asks the kernel to send again what an earlier process read and did not answer.
int zg_fuse_session_resend(zg_fuse_session *session);
// Receives and handles one request. 0, or -ENODEV when the mount is gone, or another -errno.
int zg_fuse_session_step(zg_fuse_session *session, void **scratch);
void zg_fuse_scratch_free(void **scratch);
void zg_fuse_session_close(zg_fuse_session *session);

// 0 where the entry fits, 1 where the listing is full. `next` is the offset that continues after this entry.
int zg_fuse_listing_add(
    zg_fuse_listing *listing, const char *name, const zg_fuse_attributes *attributes, uint64_t next);
void zg_fuse_reply_read(zg_fuse_request *request, const zg_fuse_slice *slices, size_t count);

#endif

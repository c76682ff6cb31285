// Files: what is on disk and its attributes.
#ifndef ZG_FILES_H
#define ZG_FILES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t mode, uid, gid, links;
    uint64_t device, inode, rdev, blocks;
    int64_t size, mtime_seconds;
    uint32_t mtime_nanoseconds;
} zg_status_t;

// Fill `out` for a path (links followed or not) or a descriptor.
int zg_stat(const char *path, int follow, zg_status_t *out);
int zg_fstat(int fd, zg_status_t *out);
int zg_open(const char *path, int flags, uint32_t mode);
int zg_open_directory(const char *path);
// One component below `directory`, which may not be a symbolic link.
int zg_openat_nofollow(int directory, const char *name, int flags, uint32_t mode);
// A path inside `root`, resolved as if `root` were "/" (openat2, RESOLVE_IN_ROOT, no magic links).
int zg_open_in_root(int root, const char *path, int flags, uint32_t mode);
int zg_unlinkat(int directory, const char *name, int is_directory);
// Names of a directory, each ended by a zero byte, "." and ".." left out; *out is malloc'ed, the count of bytes returned.
int64_t zg_list(const char *path, char **out);
int zg_fdatasync(int fd);
int zg_fsync(int fd);
int zg_flock(int fd, int exclusive);
int zg_fallocate(int fd, int64_t offset, int64_t length);
int zg_memfd(const char *name);
int zg_memfd_seal(int fd);
// Bytes that are free for an unprivileged user, and in all, on the file system of `path`.
int zg_free_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes);
int64_t zg_clock_nanoseconds(int clock);

#endif

// Walking a directory tree by descriptors, so that nobody can lead the walk elsewhere by changing names.
#ifndef ZG_CLINUX_TREE_H
#define ZG_CLINUX_TREE_H

#include <stddef.h>
#include <stdint.h>

typedef struct zg_tree_status {
    uint64_t size, device, inode, links;
    int64_t mtime_seconds;
    uint32_t mtime_nanoseconds, mode, uid, gid, major, minor;
} zg_tree_status_t;

// The directory or file `name` of `directory` (-100: the current one), never through a symbolic link.
int zg_tree_open(int directory, const char *name, int is_directory);
int zg_tree_status_of(int directory, const char *name, zg_tree_status_t *status);
// Length of the target, at most `capacity`.
int64_t zg_tree_readlink(int directory, const char *name, char *target, size_t capacity);
// The names of a directory, each followed by NUL, without `.` and `..`; malloc'ed.
int zg_tree_names(int directory, char **names, size_t *count);
// Names of extended attributes, or the value of one, of `directory/name` itself; lengths.
int64_t zg_tree_list_xattr(int directory, const char *name, char *names, size_t capacity);
int64_t zg_tree_get_xattr(int directory, const char *name, const char *attribute, void *value, size_t capacity);

#endif

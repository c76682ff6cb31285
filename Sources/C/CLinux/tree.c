#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

int zg_tree_open(int directory, const char *name, int is_directory) {
    // O_NONBLOCK: a pipe that took the place of a file must not stop the walk.
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (is_directory ? O_DIRECTORY : 0);
    int descriptor = openat(directory, name, flags);
    return descriptor < 0 ? -errno : descriptor;
}

int zg_tree_status_of(int directory, const char *name, zg_tree_status_t *status) {
    struct stat found;
    if (fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW | (name[0] ? 0 : AT_EMPTY_PATH)) < 0) return -errno;
    *status = (zg_tree_status_t){
        .size = (uint64_t)found.st_size, .device = found.st_dev, .inode = found.st_ino, .links = found.st_nlink,
        .mtime_seconds = found.st_mtim.tv_sec, .mtime_nanoseconds = (uint32_t)found.st_mtim.tv_nsec,
        .mode = found.st_mode, .uid = found.st_uid, .gid = found.st_gid,
        .major = major(found.st_rdev), .minor = minor(found.st_rdev),
    };
    return 0;
}

int64_t zg_tree_readlink(int directory, const char *name, char *target, size_t capacity) {
    ssize_t count = readlinkat(directory, name, target, capacity);
    return count < 0 ? -errno : count;
}

int zg_tree_names(int directory, char **names, size_t *count) {
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return -errno;
    DIR *stream = fdopendir(copy);
    if (!stream) {
        int error = errno;
        close(copy);
        return -error;
    }
    char *bytes = NULL;
    size_t used = 0, capacity = 0;
    int result = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (!entry) {
            result = -errno;
            break;
        }
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        size_t length = strlen(entry->d_name) + 1;
        if (used + length > capacity) {
            capacity = (used + length) * 2 + 4096;
            char *grown = realloc(bytes, capacity);
            if (!grown) {
                result = -ENOMEM;
                break;
            }
            bytes = grown;
        }
        memcpy(bytes + used, entry->d_name, length);
        used += length;
    }
    closedir(stream);
    if (result < 0) {
        free(bytes);
        return result;
    }
    *names = bytes;
    *count = used;
    return 0;
}

// There is no llistxattrat: the path through the descriptor's entry in /proc names the same file.
static void path_of(char *path, size_t capacity, int directory, const char *name) {
    snprintf(path, capacity, "/proc/self/fd/%d/%s", directory, name[0] ? name : ".");
}

int64_t zg_tree_list_xattr(int directory, const char *name, char *names, size_t capacity) {
    char path[320];
    path_of(path, sizeof path, directory, name);
    ssize_t count = llistxattr(path, names, capacity);
    return count < 0 ? -errno : count;
}

int64_t zg_tree_get_xattr(int directory, const char *name, const char *attribute, void *value, size_t capacity) {
    char path[320];
    path_of(path, sizeof path, directory, name);
    ssize_t count = lgetxattr(path, attribute, value, capacity);
    return count < 0 ? -errno : count;
}

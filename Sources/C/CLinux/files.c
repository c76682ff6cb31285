#define _GNU_SOURCE
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int fill(int result, const struct stat *from, zg_status_t *out) {
    if (result < 0) return -errno;
    out->mode = from->st_mode;
    out->uid = from->st_uid;
    out->gid = from->st_gid;
    out->links = (uint32_t)from->st_nlink;
    out->device = from->st_dev;
    out->inode = from->st_ino;
    out->rdev = from->st_rdev;
    out->blocks = (uint64_t)from->st_blocks;
    out->size = from->st_size;
    out->mtime_seconds = from->st_mtim.tv_sec;
    out->mtime_nanoseconds = (uint32_t)from->st_mtim.tv_nsec;
    return 0;
}

static int check(int result) { return result < 0 ? -errno : result; }

int zg_stat(const char *path, int follow, zg_status_t *out) {
    struct stat status;
    return fill(follow ? stat(path, &status) : lstat(path, &status), &status, out);
}

int zg_fstat(int fd, zg_status_t *out) {
    struct stat status;
    return fill(fstat(fd, &status), &status, out);
}

int zg_open(const char *path, int flags, uint32_t mode) { return check(open(path, flags | O_CLOEXEC, mode)); }

int zg_open_directory(const char *path) { return check(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }

int zg_openat_nofollow(int directory, const char *name, int flags, uint32_t mode) {
    return check(openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC, mode));
}

int zg_open_in_root(int root, const char *path, int flags, uint32_t mode) {
    struct open_how how = {0};
    how.flags = (uint64_t)(flags | O_CLOEXEC);
    how.mode = (flags & (O_CREAT | O_TMPFILE)) ? mode : 0;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return check((int)syscall(SYS_openat2, root, path, &how, sizeof how));
}

int zg_unlinkat(int directory, const char *name, int is_directory) {
    return check(unlinkat(directory, name, is_directory ? AT_REMOVEDIR : 0));
}

int64_t zg_list(const char *path, char **out) {
    DIR *directory = opendir(path);
    if (!directory) return -errno;
    char *names = NULL;
    size_t used = 0, room = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (!entry) break;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        size_t length = strlen(entry->d_name) + 1;
        if (used + length > room) {
            room = (used + length) * 2;
            char *larger = realloc(names, room);
            if (!larger) {
                free(names);
                closedir(directory);
                return -ENOMEM;
            }
            names = larger;
        }
        memcpy(names + used, entry->d_name, length);
        used += length;
    }
    int error = errno;
    closedir(directory);
    if (error) {
        free(names);
        return -error;
    }
    *out = names;
    return (int64_t)used;
}

int zg_fdatasync(int fd) { return check(fdatasync(fd)); }
int zg_fsync(int fd) { return check(fsync(fd)); }
int zg_flock(int fd, int exclusive) { return check(flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)); }
int zg_fallocate(int fd, int64_t offset, int64_t length) { return check(fallocate(fd, 0, offset, length)); }
int zg_memfd(const char *name) { return check(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)); }

int zg_memfd_seal(int fd) {
    return check(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
}


int zg_free_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes) {
    struct statvfs status;
    if (statvfs(path, &status) < 0) return -errno;
    *free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    *total_bytes = (uint64_t)status.f_blocks * status.f_frsize;
    return 0;
}

int64_t zg_clock_nanoseconds(int clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) < 0) return -errno;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

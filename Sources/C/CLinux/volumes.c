#define _GNU_SOURCE
#include "volumes.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static int check(int result) { return result < 0 ? -errno : result; }

static int open_folder(const char *path) { return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW); }

// One ioctl on a folder.
static int folder_ioctl(const char *path, unsigned long request, void *argument) {
    int fd = open_folder(path);
    if (fd < 0) return -errno;
    int result = check(ioctl(fd, request, argument));
    close(fd);
    return result;
}

// ---- loop devices and mounts

static int configure(int number, int file, const char *name, char device[ZG_DEVICE_PATH_MAX]) {
    snprintf(device, ZG_DEVICE_PATH_MAX, "/dev/loop%d", number);
    int loop = open(device, O_RDWR | O_CLOEXEC);
    if (loop < 0 && (errno == ENOENT || errno == ENXIO)) {
        // A /dev without udev: make the node.
        if (mknod(device, S_IFBLK | 0600, makedev(7, (unsigned)number)) < 0 && errno != EEXIST) return -errno;
        loop = open(device, O_RDWR | O_CLOEXEC);
    }
    if (loop < 0) return -errno;
    struct loop_config config;
    memset(&config, 0, sizeof config);
    config.fd = (uint32_t)file;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    strncpy((char *)config.info.lo_file_name, name, LO_NAME_SIZE - 1);
    if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) return loop;
    int error = errno;
    close(loop);
    return -error;
}

int zg_loop_attach(const char *path, char device[ZG_DEVICE_PATH_MAX]) {
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return -errno;
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) {
        int error = errno;
        close(file);
        return -error;
    }
    int result = -EBUSY;
    // Between asking for a free device and taking it somebody else may take it.
    for (int attempt = 0; attempt < 64 && result == -EBUSY; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        result = number < 0 ? -errno : configure(number, file, path, device);
    }
    close(control);
    close(file);
    return result;
}

int zg_loop_resize(const char *device) {
    int loop = open(device, O_RDWR | O_CLOEXEC);
    if (loop < 0) return -errno;
    int result = check(ioctl(loop, LOOP_SET_CAPACITY, 0));
    close(loop);
    return result;
}

int zg_truncate(const char *path, int64_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    int result = check(ftruncate(fd, size));
    if (result == 0) result = check(fsync(fd));
    close(fd);
    return result;
}

int zg_mount_btrfs(const char *device, const char *target, const char *options) {
    return check(mount(device, target, "btrfs", MS_NODEV | MS_NOSUID | MS_NOATIME, options));
}

int zg_unmount(const char *target) { return check(umount2(target, UMOUNT_NOFOLLOW)); }

int zg_is_btrfs_mount(const char *path) {
    struct statfs filesystem;
    struct stat here, above;
    char parent[4096];
    if (snprintf(parent, sizeof parent, "%s/..", path) >= (int)sizeof parent) return -ENAMETOOLONG;
    if (statfs(path, &filesystem) < 0 || lstat(path, &here) < 0 || lstat(parent, &above) < 0) return -errno;
    return filesystem.f_type == BTRFS_SUPER_MAGIC && here.st_dev != above.st_dev;
}

int zg_is_read_only(const char *path) {
    struct statvfs filesystem;
    if (statvfs(path, &filesystem) < 0) return -errno;
    return (filesystem.f_flag & ST_RDONLY) != 0;
}

int zg_sync_filesystem(const char *path) {
    int fd = open_folder(path);
    if (fd < 0) return -errno;
    int result = check(syncfs(fd));
    close(fd);
    return result;
}

// ---- subvolumes

int zg_subvolume_create(const char *parent, const char *name) {
    struct btrfs_ioctl_vol_args_v2 arguments;
    memset(&arguments, 0, sizeof arguments);
    if (strlen(name) > BTRFS_SUBVOL_NAME_MAX) return -ENAMETOOLONG;
    strcpy(arguments.name, name);
    return folder_ioctl(parent, BTRFS_IOC_SUBVOL_CREATE_V2, &arguments);
}

int zg_subvolume_snapshot(const char *source, const char *parent, const char *name) {
    struct btrfs_ioctl_vol_args_v2 arguments;
    memset(&arguments, 0, sizeof arguments);
    if (strlen(name) > BTRFS_SUBVOL_NAME_MAX) return -ENAMETOOLONG;
    strcpy(arguments.name, name);
    arguments.flags = BTRFS_SUBVOL_RDONLY;
    int fd = open_folder(source);
    if (fd < 0) return -errno;
    arguments.fd = fd;
    int result = folder_ioctl(parent, BTRFS_IOC_SNAP_CREATE_V2, &arguments);
    close(fd);
    return result;
}

int zg_subvolume_delete(const char *parent, const char *name) {
    struct btrfs_ioctl_vol_args arguments;
    memset(&arguments, 0, sizeof arguments);
    if (strlen(name) > BTRFS_PATH_NAME_MAX) return -ENAMETOOLONG;
    strcpy(arguments.name, name);
    return folder_ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &arguments);
}

int64_t zg_subvolume_id(const char *path) {
    struct stat status;
    struct btrfs_ioctl_get_subvol_info_args info;
    memset(&info, 0, sizeof info);
    if (lstat(path, &status) < 0) return -errno;
    if (!S_ISDIR(status.st_mode) || status.st_ino != BTRFS_FIRST_FREE_OBJECTID) return -ENODATA;
    int result = folder_ioctl(path, BTRFS_IOC_GET_SUBVOL_INFO, &info);
    return result < 0 ? result : (int64_t)info.treeid;
}

int zg_subvolume_delete_id(const char *pool, uint64_t id) {
    struct btrfs_ioctl_vol_args_v2 arguments;
    memset(&arguments, 0, sizeof arguments);
    arguments.flags = BTRFS_SUBVOL_SPEC_BY_ID;
    arguments.subvolid = id;
    return folder_ioctl(pool, BTRFS_IOC_SNAP_DESTROY_V2, &arguments);
}

int zg_subvolume_children(const char *pool, uint64_t id, uint64_t *children, int max) {
    union {
        struct btrfs_ioctl_search_args arguments;
        uint64_t align;
    } search;
    struct btrfs_ioctl_search_key *key = &search.arguments.key;
    memset(&search, 0, sizeof search);
    key->tree_id = BTRFS_ROOT_TREE_OBJECTID;
    key->min_objectid = key->max_objectid = id;
    key->min_type = key->max_type = BTRFS_ROOT_REF_KEY;
    key->max_offset = key->max_transid = UINT64_MAX;
    key->nr_items = (uint32_t)max;
    int result = folder_ioctl(pool, BTRFS_IOC_TREE_SEARCH, &search.arguments);
    if (result < 0) return result;
    const char *at = search.arguments.buf;
    for (uint32_t i = 0; i < key->nr_items; i++) {
        struct btrfs_ioctl_search_header header;
        memcpy(&header, at, sizeof header);
        children[i] = header.offset;
        at += sizeof header + header.len;
    }
    return (int)key->nr_items;
}

// ---- where a pool lies in its file

static int extent(zg_extent_t *to, uint64_t logical, const struct btrfs_chunk *chunk) {
    uint16_t stripes = le16toh(chunk->num_stripes);
    if (stripes < 1 || stripes > 2) return -EOPNOTSUPP;
    const struct btrfs_stripe *stripe = &chunk->stripe;
    *to = (zg_extent_t){.logical = logical, .length = le64toh(chunk->length), .count = stripes,
        .is_data = (le64toh(chunk->type) & BTRFS_BLOCK_GROUP_DATA) != 0};
    for (uint16_t i = 0; i < stripes; i++) to->copies[i] = le64toh(stripe[i].offset);
    return 0;
}

static int64_t extents(int fd, zg_extent_t **list) {
    union {
        struct btrfs_ioctl_search_args arguments;
        uint64_t align;
    } search;
    struct btrfs_ioctl_search_key *key = &search.arguments.key;
    int64_t count = 0;
    memset(&search, 0, sizeof search);
    key->tree_id = BTRFS_CHUNK_TREE_OBJECTID;
    key->min_objectid = key->max_objectid = BTRFS_FIRST_CHUNK_TREE_OBJECTID;
    key->min_type = key->max_type = BTRFS_CHUNK_ITEM_KEY;
    key->max_offset = key->max_transid = UINT64_MAX;
    for (;;) {
        key->nr_items = 4096;
        if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, &search.arguments) < 0) return -errno;
        if (key->nr_items == 0) return count;
        zg_extent_t *larger = realloc(*list, (size_t)(count + key->nr_items) * sizeof *larger);
        if (!larger) return -ENOMEM;
        *list = larger;
        const char *at = search.arguments.buf;
        struct btrfs_ioctl_search_header header;
        for (uint32_t i = 0; i < key->nr_items; i++) {
            memcpy(&header, at, sizeof header);
            at += sizeof header;
            int result = extent(&larger[count], header.offset, (const struct btrfs_chunk *)at);
            if (result < 0) return result;
            count++;
            at += header.len;
        }
        key->min_offset = header.offset + 1;
    }
}

int64_t zg_btrfs_extents(const char *pool, zg_extent_t **out) {
    zg_extent_t *list = NULL;
    int fd = open_folder(pool);
    if (fd < 0) return -errno;
    int64_t count = extents(fd, &list);
    close(fd);
    if (count < 0) free(list);
    else *out = list;
    return count;
}

int zg_btrfs_trim(const char *pool, uint64_t logical, uint64_t length) {
    struct fstrim_range range = {.start = logical, .len = length};
    return folder_ioctl(pool, FITRIM, &range);
}

int zg_reserve(const char *path, int64_t offset, int64_t length) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -errno;
    int result;
    do result = check(fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length)); while (result == -EINTR);
    close(fd);
    return result;
}

int zg_btrfs_resize_max(const char *pool) {
    struct btrfs_ioctl_vol_args arguments;
    memset(&arguments, 0, sizeof arguments);
    strcpy(arguments.name, "max");
    return folder_ioctl(pool, BTRFS_IOC_RESIZE, &arguments);
}

// ---- quotas

int zg_quota_enable(const char *pool) {
    struct btrfs_ioctl_quota_ctl_args arguments;
    memset(&arguments, 0, sizeof arguments);
    arguments.cmd = BTRFS_QUOTA_CTL_ENABLE;
    return folder_ioctl(pool, BTRFS_IOC_QUOTA_CTL, &arguments);
}

int zg_quota_rescan(const char *pool) {
    struct btrfs_ioctl_quota_rescan_args arguments;
    memset(&arguments, 0, sizeof arguments);
    int result = folder_ioctl(pool, BTRFS_IOC_QUOTA_RESCAN, &arguments);
    if (result < 0 && result != -EINPROGRESS) return result;
    return folder_ioctl(pool, BTRFS_IOC_QUOTA_RESCAN_WAIT, NULL);
}

int zg_quota_limit(const char *pool, uint64_t id, uint64_t bytes) {
    struct btrfs_ioctl_qgroup_limit_args arguments;
    memset(&arguments, 0, sizeof arguments);
    arguments.qgroupid = id;
    arguments.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
    arguments.lim.max_rfer = bytes == 0 ? UINT64_MAX : bytes;
    return folder_ioctl(pool, BTRFS_IOC_QGROUP_LIMIT, &arguments);
}

int zg_quota_forget(const char *pool, uint64_t id) {
    struct btrfs_ioctl_qgroup_create_args arguments;
    memset(&arguments, 0, sizeof arguments);
    arguments.qgroupid = id;
    return folder_ioctl(pool, BTRFS_IOC_QGROUP_CREATE, &arguments);
}

typedef struct {
    zg_quota_t *list;
    size_t count, room;
    uint32_t flags;
} accounts_t;

static zg_quota_t *account(accounts_t *accounts, uint64_t id) {
    for (size_t i = accounts->count; i > 0; i--)
        if (accounts->list[i - 1].id == id) return &accounts->list[i - 1];
    if (accounts->count == accounts->room) {
        size_t room = accounts->room ? accounts->room * 2 : 64;
        zg_quota_t *list = realloc(accounts->list, room * sizeof *list);
        if (!list) return NULL;
        accounts->list = list;
        accounts->room = room;
    }
    zg_quota_t *fresh = &accounts->list[accounts->count++];
    memset(fresh, 0, sizeof *fresh);
    fresh->id = id;
    return fresh;
}

// One item of the quota tree.
static int take(accounts_t *accounts, uint32_t type, uint64_t id, const void *item) {
    if (type == BTRFS_QGROUP_STATUS_KEY) {
        const struct btrfs_qgroup_status_item *status = item;
        if (le64toh(status->flags) & BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT) accounts->flags |= 1;
        return 0;
    }
    // Level 0 only: the accounts of subvolumes. The first 256 ids are the file system's own.
    if (id < BTRFS_FIRST_FREE_OBJECTID || id >> 48) return 0;
    if (type == BTRFS_QGROUP_INFO_KEY) {
        const struct btrfs_qgroup_info_item *info = item;
        zg_quota_t *found = account(accounts, id);
        if (!found) return -ENOMEM;
        found->referenced = le64toh(info->rfer);
        found->exclusive = le64toh(info->excl);
    } else if (type == BTRFS_QGROUP_LIMIT_KEY) {
        const struct btrfs_qgroup_limit_item *limit = item;
        zg_quota_t *found = account(accounts, id);
        if (!found) return -ENOMEM;
        uint64_t most = le64toh(limit->max_rfer);
        if (le64toh(limit->flags) & BTRFS_QGROUP_LIMIT_MAX_RFER && most != UINT64_MAX) found->limit = most;
    }
    return 0;
}

static int search(int fd, accounts_t *accounts) {
    union {
        struct btrfs_ioctl_search_args arguments;
        uint64_t align;
    } search;
    struct btrfs_ioctl_search_key *key = &search.arguments.key;
    memset(&search, 0, sizeof search);
    key->tree_id = BTRFS_QUOTA_TREE_OBJECTID;
    key->max_objectid = key->max_offset = key->max_transid = UINT64_MAX;
    key->max_type = UINT32_MAX;
    for (;;) {
        key->nr_items = 4096;
        if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, &search.arguments) < 0) return -errno;
        if (key->nr_items == 0) return 0;
        const char *at = search.arguments.buf;
        struct btrfs_ioctl_search_header header;
        for (uint32_t i = 0; i < key->nr_items; i++) {
            memcpy(&header, at, sizeof header);
            at += sizeof header;
            int result = take(accounts, header.type, header.offset, at);
            if (result < 0) return result;
            at += header.len;
        }
        // Go on after the last item, in the order of the tree: object, type, offset.
        key->min_objectid = header.objectid;
        key->min_type = header.type;
        key->min_offset = header.offset + 1;
        if (key->min_offset == 0 && ++key->min_type > UINT8_MAX) return 0;
    }
}

int64_t zg_quota_list(const char *pool, zg_quota_t **out, uint32_t *flags) {
    accounts_t accounts = {0};
    int fd = open_folder(pool);
    if (fd < 0) return -errno;
    int result = search(fd, &accounts);
    close(fd);
    if (result < 0) {
        free(accounts.list);
        return result;
    }
    *out = accounts.list;
    *flags = accounts.flags;
    return (int64_t)accounts.count;
}

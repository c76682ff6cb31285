// Storage pools: loop devices, mounts and what btrfs offers for volumes. Every function returns -errno on failure.
#ifndef ZG_VOLUMES_H
#define ZG_VOLUMES_H

#include <stddef.h>
#include <stdint.h>

enum { ZG_DEVICE_PATH_MAX = 32 };

/// Attaches a file to a free loop device that detaches itself when its last user goes. Returns the open device, whose
/// path goes to `device`; keep it open until it is mounted.
int zg_loop_attach(const char *file, char device[ZG_DEVICE_PATH_MAX]);
/// Tells a loop device that its file has another size.
int zg_loop_resize(const char *device);
/// Sets a file's size without writing to it.
int zg_truncate(const char *path, int64_t size);
/// Mounts a btrfs device without set-uid programs and device files.
int zg_mount_btrfs(const char *device, const char *target, const char *options);
/// umount2 without following a link.
int zg_unmount(const char *target);
/// 1 if `path` is the root of a mounted btrfs, 0 if not.
int zg_is_btrfs_mount(const char *path);
/// 1 if nothing can be written to the file system of `path`.
int zg_is_read_only(const char *path);
/// syncfs of the file system of `path`.
int zg_sync_filesystem(const char *path);

/// Makes an empty subvolume `name` in the folder `parent`.
int zg_subvolume_create(const char *parent, const char *name);
/// Makes a read-only snapshot of the subvolume `source`.
int zg_subvolume_snapshot(const char *source, const char *parent, const char *name);
/// Removes a subvolume, also a read-only one; -ENOTEMPTY where it holds other subvolumes.
int zg_subvolume_delete(const char *parent, const char *name);
/// Removes a subvolume by its id, whatever its name is.
int zg_subvolume_delete_id(const char *pool, uint64_t id);
/// Ids of subvolumes that lie directly in subvolume `id`: some of them, at most `max`; the count is returned.
int zg_subvolume_children(const char *pool, uint64_t id, uint64_t *children, int max);
/// The id of the subvolume whose root is `path`, or -ENODATA where it is not the root of one.
int64_t zg_subvolume_id(const char *path);
/// A range of the pool's addresses and where its copies lie on the device.
typedef struct {
    uint64_t logical, length, copies[2];
    uint32_t count, is_data;
} zg_extent_t;

/// All ranges that btrfs took from its device, malloc'ed in *out; the count is returned.
int64_t zg_btrfs_extents(const char *pool, zg_extent_t **out);
/// Tells the device which blocks of a range of the pool's addresses hold nothing.
int zg_btrfs_trim(const char *pool, uint64_t logical, uint64_t length);
/// Gives a range of a file its place on the disk for good, without changing what it holds.
int zg_reserve(const char *path, int64_t offset, int64_t length);
/// Uses all of the device after it grew.
int zg_btrfs_resize_max(const char *pool);

/// Starts accounting by subvolume; fine where it is on already.
int zg_quota_enable(const char *pool);
/// Counts again what every subvolume uses and waits for it.
int zg_quota_rescan(const char *pool);
/// Limits what subvolume `id` may refer to; 0 lifts the limit.
int zg_quota_limit(const char *pool, uint64_t id, uint64_t bytes);
/// Removes the account of a subvolume that is gone; -EBUSY until its blocks are gone too.
int zg_quota_forget(const char *pool, uint64_t id);

/// The account of one subvolume.
typedef struct {
    uint64_t id, referenced, exclusive, limit;
} zg_quota_t;

/// All accounts of subvolumes, malloc'ed in *out; the count is returned. Accurate up to the last commit.
/// Bit 0 of *flags is set where the numbers need a rescan.
int64_t zg_quota_list(const char *pool, zg_quota_t **out, uint32_t *flags);

#endif

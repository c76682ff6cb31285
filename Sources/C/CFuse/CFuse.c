#define _GNU_SOURCE
#define FUSE_USE_VERSION 35

#include "CFuse.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

// The tree never changes, so the kernel may remember what it was told for as long as it likes.
static const double forever_seconds = 365.0 * 86400.0;
// The largest read that the kernel asks for at once.
enum { largest_read = 1 << 20 };
// From linux/fuse.h of 6.9 and later; Debian 12's header is older.
enum { notify_resend = 7 };

struct zg_fuse_session {
    struct fuse_session *fuse;
    zg_fuse_operations operations;
    void *context;
    int descriptor;
    bool adopting;
};

struct zg_fuse_listing {
    fuse_req_t request;
    char *bytes;
    size_t capacity;
    size_t used;
    bool plus;
};

static zg_fuse_session *session_of(fuse_req_t request) { return fuse_req_userdata(request); }

static void fill(struct stat *status, const zg_fuse_attributes *from) {
    memset(status, 0, sizeof *status);
    status->st_ino = from->inode;
    status->st_mode = from->mode;
    status->st_nlink = from->links;
    status->st_uid = from->uid;
    status->st_gid = from->gid;
    status->st_size = (off_t)from->size;
    status->st_blksize = 65536;
    status->st_blocks = (blkcnt_t)(from->size / 512 + (from->size % 512 != 0));
    status->st_rdev = makedev(from->major, from->minor);
    status->st_mtim.tv_sec = from->mtime_seconds;
    status->st_mtim.tv_nsec = from->mtime_nanoseconds;
    status->st_atim = status->st_mtim;
    status->st_ctim = status->st_mtim;
}

static void fill_entry(struct fuse_entry_param *entry, const zg_fuse_attributes *from) {
    memset(entry, 0, sizeof *entry);
    entry->ino = from->inode;
    entry->generation = 0;
    entry->attr_timeout = forever_seconds;
    entry->entry_timeout = forever_seconds;
    fill(&entry->attr, from);
}

static void on_init(void *userdata, struct fuse_conn_info *connection) {
    (void)userdata;
    unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS
        | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPORT_SUPPORT;
    connection->want = connection->capable & wanted;
    connection->max_read = largest_read;
    connection->max_write = largest_read;
    connection->max_background = 64;
    connection->congestion_threshold = 48;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    zg_fuse_session *session = session_of(request);
    zg_fuse_attributes found = {0};
    int result = session->operations.lookup(session->context, parent, name, &found);
    struct fuse_entry_param entry;
    if (result == -ENOENT) {
        memset(&entry, 0, sizeof entry);
        entry.entry_timeout = forever_seconds;
        fuse_reply_entry(request, &entry);
    } else if (result < 0) {
        fuse_reply_err(request, -result);
    } else {
        fill_entry(&entry, &found);
        fuse_reply_entry(request, &entry);
    }
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
    (void)info;
    zg_fuse_session *session = session_of(request);
    zg_fuse_attributes found = {0};
    int result = session->operations.attributes(session->context, inode, &found);
    if (result < 0) {
        fuse_reply_err(request, -result);
        return;
    }
    struct stat status;
    fill(&status, &found);
    fuse_reply_attr(request, &status, forever_seconds);
}

static void on_readlink(fuse_req_t request, fuse_ino_t inode) {
    zg_fuse_session *session = session_of(request);
    char target[4097];
    int result = session->operations.readlink(session->context, inode, target, sizeof target - 1);
    if (result < 0) {
        fuse_reply_err(request, -result);
        return;
    }
    target[result] = 0;
    fuse_reply_readlink(request, target);
}

static void list(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, bool plus) {
    zg_fuse_session *session = session_of(request);
    zg_fuse_listing listing = {.request = request, .bytes = malloc(size), .capacity = size, .plus = plus};
    if (!listing.bytes) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    int result = session->operations.list(session->context, inode, (uint64_t)offset, &listing);
    if (result < 0) fuse_reply_err(request, -result);
    else fuse_reply_buf(request, listing.bytes, listing.used);
    free(listing.bytes);
}

static void on_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    list(request, inode, size, offset, false);
}

static void on_readdirplus(
    fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    list(request, inode, size, offset, true);
}

int zg_fuse_listing_add(
    zg_fuse_listing *listing, const char *name, const zg_fuse_attributes *attributes, uint64_t next) {
    size_t room = listing->capacity - listing->used, need;
    char *place = listing->bytes + listing->used;
    if (listing->plus) {
        struct fuse_entry_param entry;
        fill_entry(&entry, attributes);
        // "." and ".." must not count as looked up; libfuse leaves that to an inode of zero in the entry.
        if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0))) entry.ino = 0;
        need = fuse_add_direntry_plus(listing->request, place, room, name, &entry, (off_t)next);
    } else {
        struct stat status;
        fill(&status, attributes);
        need = fuse_add_direntry(listing->request, place, room, name, &status, (off_t)next);
    }
    if (need > room) return 1;
    listing->used += need;
    return 0;
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
    (void)inode;
    // The kernel stops asking and keeps its caches: nothing here is per open file.
    if ((info->flags & O_ACCMODE) != O_RDONLY) fuse_reply_err(request, EROFS);
    else fuse_reply_err(request, ENOSYS);
}

static void on_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
    (void)inode;
    (void)info;
    fuse_reply_err(request, ENOSYS);
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    zg_fuse_session *session = session_of(request);
    int result = session->operations.read(
        session->context, inode, (uint64_t)offset, size, (zg_fuse_request *)request);
    if (result < 0) fuse_reply_err(request, -result);
}

void zg_fuse_reply_read(zg_fuse_request *request, const zg_fuse_slice *slices, size_t count) {
    // A read of 1 MiB touches at most 18 chunks of 64 KiB; small last chunks of a file add one.
    struct iovec vector[64];
    if (count > 64) {
        fuse_reply_err((fuse_req_t)request, EIO);
        return;
    }
    for (size_t index = 0; index < count; index++) {
        vector[index].iov_base = (void *)(uintptr_t)slices[index].bytes;
        vector[index].iov_len = slices[index].count;
    }
    fuse_reply_iov((fuse_req_t)request, vector, (int)count);
}

static void reply_sized(fuse_req_t request, int64_t result, const char *bytes, size_t size) {
    if (result < 0) fuse_reply_err(request, (int)-result);
    else if (size == 0) fuse_reply_xattr(request, (size_t)result);
    else if ((size_t)result > size) fuse_reply_err(request, ERANGE);
    else fuse_reply_buf(request, bytes, (size_t)result);
}

static void on_getxattr(fuse_req_t request, fuse_ino_t inode, const char *name, size_t size) {
    zg_fuse_session *session = session_of(request);
    char *value = malloc(size ? size : 1);
    if (!value) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    reply_sized(request, session->operations.get_xattr(session->context, inode, name, value, size), value, size);
    free(value);
}

static void on_listxattr(fuse_req_t request, fuse_ino_t inode, size_t size) {
    zg_fuse_session *session = session_of(request);
    char *names = malloc(size ? size : 1);
    if (!names) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    reply_sized(request, session->operations.list_xattr(session->context, inode, names, size), names, size);
    free(names);
}

static void on_statfs(fuse_req_t request, fuse_ino_t inode) {
    (void)inode;
    zg_fuse_session *session = session_of(request);
    zg_fuse_totals totals = {0};
    session->operations.totals(session->context, &totals);
    struct statvfs status = {
        .f_bsize = 65536, .f_frsize = 4096, .f_blocks = (totals.bytes + 4095) / 4096, .f_files = totals.inodes,
        .f_namemax = 255, .f_flag = ST_RDONLY,
    };
    fuse_reply_statfs(request, &status);
}

// Nodes are found from their numbers alone, so there is nothing to forget.
static void on_forget(fuse_req_t request, fuse_ino_t inode, uint64_t count) {
    (void)inode;
    (void)count;
    fuse_reply_none(request);
}

static void on_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets) {
    (void)count;
    (void)forgets;
    fuse_reply_none(request);
}

static const struct fuse_lowlevel_ops operations_table = {
    .init = on_init, .lookup = on_lookup, .forget = on_forget, .forget_multi = on_forget_multi, .getattr = on_getattr,
    .readlink = on_readlink, .open = on_open, .read = on_read, .opendir = on_opendir, .readdir = on_readdir,
    .readdirplus = on_readdirplus, .statfs = on_statfs, .getxattr = on_getxattr, .listxattr = on_listxattr,
};

// What lies in an image is run inside a container, on an overlay with flags of its own; on the host, nobody may gain
// rights from it.
int zg_fuse_mount(int descriptor, const char *mountpoint, const char *source) {
    char options[256];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other,default_permissions,max_read=%d",
        descriptor, (unsigned)getuid(), (unsigned)getgid(), (int)largest_read);
    unsigned long flags = MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOATIME;
    return mount(source, mountpoint, "fuse.zero-fs", flags, options) < 0 ? -errno : 0;
}

int zg_fuse_unmount(const char *mountpoint) { return umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0; }

void zg_fuse_keep_memory(void) {
    mallopt(M_MMAP_THRESHOLD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    mallopt(M_ARENA_MAX, 4);
}

int zg_fuse_open_device(void) {
    int descriptor = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int zg_fuse_is_connected(int descriptor) {
    struct pollfd wanted = {.fd = descriptor, .events = POLLIN | POLLOUT};
    if (poll(&wanted, 1, 0) < 0) return 0;
    return (wanted.revents & (POLLERR | POLLNVAL | POLLHUP)) == 0;
}

static ssize_t device_writev(int descriptor, struct iovec *vector, int count, void *userdata) {
    zg_fuse_session *session = userdata;
    if (session->adopting) {
        // The answer to a greeting that this process only remembers: the kernel must not see it.
        ssize_t total = 0;
        for (int index = 0; index < count; index++) total += (ssize_t)vector[index].iov_len;
        return total;
    }
    return writev(descriptor, vector, count);
}

static ssize_t device_read(int descriptor, void *bytes, size_t count, void *userdata) {
    (void)userdata;
    return read(descriptor, bytes, count);
}

zg_fuse_session *zg_fuse_session_open(
    int descriptor, const zg_fuse_operations *operations, void *context, int verbose, int *error) {
    zg_fuse_session *session = calloc(1, sizeof *session);
    // libfuse insists that what on_init says of reads is said here too.
    char *words[] = {"zero-fs", "-omax_read=1048576", "-d", NULL};
    struct fuse_args arguments = {.argc = verbose ? 3 : 2, .argv = words, .allocated = 0};
    if (!session) {
        *error = -ENOMEM;
        return NULL;
    }
    session->operations = *operations;
    session->context = context;
    session->fuse = fuse_session_new(&arguments, &operations_table, sizeof operations_table, session);
    // libfuse closes what it is given when the session ends; the caller keeps its own.
    session->descriptor = session->fuse ? fcntl(descriptor, F_DUPFD_CLOEXEC, 3) : -1;
    struct fuse_custom_io io = {.writev = device_writev, .read = device_read};
    *error = session->descriptor < 0 ? -EIO : fuse_session_custom_io(session->fuse, &io, session->descriptor);
    fuse_opt_free_args(&arguments);
    if (*error < 0) {
        if (session->fuse) fuse_session_destroy(session->fuse);
        free(session);
        return NULL;
    }
    return session;
}

int zg_fuse_session_adopt(zg_fuse_session *session, const void *message, size_t count) {
    struct {
        struct fuse_in_header header;
        struct fuse_init_in init;
    } invented = {
        .header = {.len = sizeof invented, .opcode = FUSE_INIT, .unique = 2},
        .init = {
            .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = 1 << 17,
            .flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS
                | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPORT_SUPPORT,
        },
    };
    if (count == 0) {
        message = &invented;
        count = sizeof invented;
    }
    if (count < sizeof(struct fuse_in_header) + 16 || count > 4096) return -EINVAL;
    const struct fuse_in_header *header = message;
    if (header->opcode != FUSE_INIT || header->len != count) return -EINVAL;
    char *copy = malloc(count);
    if (!copy) return -ENOMEM;
    memcpy(copy, message, count);
    struct fuse_buf buffer = {.size = count, .mem = copy, .fd = -1};
    session->adopting = true;
    fuse_session_process_buf(session->fuse, &buffer);
    session->adopting = false;
    free(copy);
    return fuse_session_exited(session->fuse) ? -EPROTO : 0;
}

int zg_fuse_session_resend(zg_fuse_session *session) {
    struct fuse_out_header header = {.len = sizeof header, .error = notify_resend, .unique = 0};
    return write(session->descriptor, &header, sizeof header) < 0 ? -errno : 0;
}

int zg_fuse_session_step(zg_fuse_session *session, void **scratch) {
    struct fuse_buf buffer = {.mem = *scratch, .fd = -1};
    int count = fuse_session_receive_buf(session->fuse, &buffer);
    *scratch = buffer.mem;
    if (count == 0) return -ENODEV;
    if (count < 0) return count;
    const struct fuse_in_header *header = buffer.mem;
    bool greeting = count >= (int)sizeof *header && header->opcode == FUSE_INIT;
    char message[4096];
    size_t length = greeting && count <= (int)sizeof message ? (size_t)count : 0;
    if (length) memcpy(message, buffer.mem, length);
    fuse_session_process_buf(session->fuse, &buffer);
    if (length) session->operations.initialised(session->context, message, length);
    return fuse_session_exited(session->fuse) ? -ENODEV : 0;
}

void zg_fuse_scratch_free(void **scratch) {
    free(*scratch);
    *scratch = NULL;
}

void zg_fuse_session_close(zg_fuse_session *session) {
    fuse_session_destroy(session->fuse);
    free(session);
}

// What the shim of a container needs from the kernel: paths without links, overlays, children, probes.
// For a process with one thread only. Every function returns -errno on failure.
#ifndef ZG_CONTAINER_H
#define ZG_CONTAINER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// How `zg_container_open` reads a path: without any symbolic link and never above the folder, or as if the folder
/// were the root (links are followed inside it).
enum { ZG_PATH_PLAIN = 0, ZG_PATH_ROOTED = 1 };

/// What `zg_container_open` opens.
enum { ZG_OPEN_READ = 0, ZG_OPEN_PATH = 1, ZG_OPEN_FOLDER = 2 };

/// openat2: `folder` -1 means the file system's root; `path` is relative to it.
int zg_container_open(int folder, const char *path, int kind, int how);
/// statx: 1 if the descriptor is the root of a mount, 0 if not.
int zg_container_is_mount(int fd);
/// The device number of the mount at an absolute path without links, never waiting for its server; 0 when nothing
/// is mounted there.
int64_t zg_container_mount_device(const char *path);
/// Mounts an overlay of three folders at a fourth, all given as descriptors (fsopen, fsmount, move_mount).
int zg_container_overlay(int lower, int upper, int work, int target);
/// umount2 with MNT_DETACH, not following a link; 0 too when nothing is mounted there.
int zg_container_detach(const char *path);
/// The same for the mount whose root is open (O_PATH).
int zg_container_detach_open(int fd);
/// A FIFO at `path`, made if it is missing, opened for reading without blocking.
int zg_container_fifo_reader(const char *path);
/// The same FIFO opened for reading and writing, so that its writers never see it broken.
int zg_container_fifo_keeper(const char *path);
/// A listening Unix socket `name` in `folder`, mode 0666, non-blocking; what stood there is removed.
int zg_container_listen(int folder, const char *name);

/// A signalfd for CHLD, TERM, INT, HUP; they are blocked from now on, and SIGPIPE is ignored.
int zg_container_signals(void);
/// The next signal of that descriptor, 0 when there is none.
int zg_container_signal_next(int fd);
/// Orphans of our children become our children (PR_SET_CHILD_SUBREAPER).
int zg_container_subreaper(void);
/// pidfd_send_signal.
int zg_container_signal(int pidfd, int signal);
/// Starts a program: its descriptors 0…count-1 are `fds` (-1: /dev/null), everything else is closed.
/// Signals are at their defaults. Returns the pid; the error of exec comes back here too.
int zg_container_start(const char *path, char *const argv[], char *const envp[], const int *fds, size_t count);
/// One ended child: its pid and what `status` says (0–255 exit status, 128+n signal n); 0 when there is none.
int zg_container_reap(int *status);
/// Waits for one child until it ended or the time is over (-ETIMEDOUT).
int zg_container_wait(int pid, int timeout_ms, int *status);
/// The status of a process that ended and was not our child, where the kernel keeps it; -ENODATA elsewhere.
int zg_container_pidfd_status(int pidfd, int *status);
/// The soft and hard limit of open files.
int zg_container_file_limit(uint64_t *soft, uint64_t *hard);

/// Results of a probe, as the status of its process.
enum { ZG_PROBE_READY = 0, ZG_PROBE_REFUSED = 1, ZG_PROBE_STATUS = 2, ZG_PROBE_NETWORK = 3, ZG_PROBE_PROTOCOL = 4 };

/// Starts a child that enters a network namespace and connects to a port there; with a path it also asks for it
/// by HTTP and wants a status from 200 to 399. The child ends itself after the timeout. Returns its pid.
int zg_container_probe(int netns, uint16_t port, const char *http_path, int timeout_ms);

/// Receives a terminal that runc sends over a console socket (one connection, one descriptor).
int zg_container_console(int listener);
/// Removes everything in a folder and the folder itself, without following links or crossing mounts.
int zg_container_remove_tree(int folder, const char *name);

#endif

// Access lists: a folder for exactly two accounts. Returns -errno on failure.
#ifndef ZG_ACCESS_H
#define ZG_ACCESS_H

#include <stdint.h>

/// Makes a folder (or takes one of ours) that its owner and `uid` may use and nobody else (POSIX access list);
/// -EOPNOTSUPP where the file system has no such lists.
int zg_share_folder(const char *path, uint32_t uid);

#endif

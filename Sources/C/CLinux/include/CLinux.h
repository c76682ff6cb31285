// System calls that the Glibc module does not offer without _GNU_SOURCE. Every function returns -errno on failure.
#ifndef ZG_CLINUX_H
#define ZG_CLINUX_H

#include "access.h"
#include "container.h"
#include "database.h"
#include "files.h"
#include "operations.h"
#include "process.h"
#include "sockets.h"
#include "supervise.h"
#include "tree.h"
#include "volumes.h"

#endif

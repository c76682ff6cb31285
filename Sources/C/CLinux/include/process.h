// Processes: start a program and wait for it.
#ifndef ZG_PROCESS_H
#define ZG_PROCESS_H

#include <stddef.h>
#include <stdint.h>

// Starts `path` with the three descriptors as stdin, stdout, stderr (every other one closed) in a session of its own,
// all signals unblocked and at their defaults. A null `envp` inherits the environment. Uses vfork semantics: safe in a threaded process. Returns the pid.
int zg_spawn_simple(const char *path, char *const argv[], char *const envp[], int in, int out, int err);
int zg_pidfd_open(int pid);
// Waits for a child; *status gets 0...255 for an exit and 256 + signal for a death by signal.
int zg_wait(int pid, int block, int *status);
int zg_pipe(int fds[2]);
// Waits until a descriptor is readable; 0 after `milliseconds` (-1: for ever).
int zg_poll_in(int fd, int milliseconds);
// poll(2) over `count` descriptors for input; ready[i] is set to 1 where one can be read or was hung up.
int zg_poll_many(const int *fds, int count, int milliseconds, uint8_t *ready);
int zg_kill(int pid, int signal);
int zg_set_no_dump(void);

#endif

// zero-init: the start helper inside a container. It takes secrets from a descriptor, gives them to the program as
// environment or files, and becomes the program. Nothing of a secret is in arguments or on a disk.
//
//   zero-init [--env SECRET=VARIABLE]… [--file SECRET]… -- program [arguments]
//
// Descriptor 3 holds a memfd in the form of Documentation/formats/secret-descriptor.md: u32 count, then for each
// u32 length, name, u32 length, value; little-endian. Files appear as /run/secrets/<name>, mode 0400.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRETS_FD = 3, SIZE_MAX_BYTES = 1 << 20, COUNT_MAX = 256, NAME_MAX_BYTES = 64 };
static const char FOLDER[] = "/run/secrets/";

typedef struct {
    const unsigned char *name, *value;
    uint32_t name_length, value_length;
} secret_t;

static void fail(const char *what, const char *subject) {
    fprintf(stderr, "zero-init: %s%s%s\n", what, *subject ? ": " : "", subject);
    exit(125);
}

static const unsigned char *take(const unsigned char **at, const unsigned char *end, uint32_t length) {
    if ((size_t)(end - *at) < length) fail("the secrets are cut off", "");
    const unsigned char *start = *at;
    *at += length;
    return start;
}

static uint32_t number(const unsigned char **at, const unsigned char *end) {
    const unsigned char *b = take(at, end, 4);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static const secret_t *find(const secret_t *secrets, uint32_t count, const char *name, size_t length) {
    for (uint32_t i = 0; i < count; i++) {
        if (secrets[i].name_length == length && memcmp(secrets[i].name, name, length) == 0) return &secrets[i];
    }
    return NULL;
}

static void as_variable(const secret_t *secret, const char *variable) {
    if (memchr(secret->value, 0, secret->value_length)) fail("a secret with a zero byte cannot be a variable", variable);
    char *value = malloc((size_t)secret->value_length + 1);
    if (!value) fail("out of memory", "");
    memcpy(value, secret->value, secret->value_length);
    value[secret->value_length] = 0;
    if (setenv(variable, value, 1) < 0) fail("cannot set", variable);
    explicit_bzero(value, secret->value_length);
    free(value);
}

static void as_file(const secret_t *secret, const char *name) {
    char path[sizeof(FOLDER) + NAME_MAX_BYTES];
    if (strchr(name, '/') || *name == '.' || strlen(name) > NAME_MAX_BYTES) fail("not a name of a file", name);
    snprintf(path, sizeof(path), "%s%s", FOLDER, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (fd < 0) fail(strerror(errno), path);
    size_t done = 0;
    while (done < secret->value_length) {
        ssize_t wrote = write(fd, secret->value + done, secret->value_length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) fail(strerror(errno), path);
        done += (size_t)wrote;
    }
    // The umask does not apply to fchmod.
    if (fchmod(fd, 0400) < 0 || close(fd) < 0) fail(strerror(errno), path);
}

// Hands out what the arguments name; returns the index after `--`.
static int hand_out(const secret_t *secrets, uint32_t count, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) return i + 1;
        if (i + 1 >= argc) fail("no value for", argv[i]);
        const char *option = argv[i++], *text = argv[i];
        if (strcmp(option, "--env") == 0) {
            const char *equals = strchr(text, '=');
            if (!equals) fail("SECRET=VARIABLE expected", text);
            const secret_t *secret = find(secrets, count, text, (size_t)(equals - text));
            if (!secret) fail("no such secret", text);
            as_variable(secret, equals + 1);
        } else if (strcmp(option, "--file") == 0) {
            const secret_t *secret = find(secrets, count, text, strlen(text));
            if (!secret) fail("no such secret", text);
            as_file(secret, text);
        } else {
            fail("unknown option", option);
        }
    }
    return argc;
}

static int open_secrets(int argc, char **argv) {
    struct stat found;
    if (fstat(SECRETS_FD, &found) < 0) fail("descriptor 3", strerror(errno));
    if (found.st_size < 4 || found.st_size > SIZE_MAX_BYTES) fail("the secrets have a wrong size", "");
    size_t size = (size_t)found.st_size;
    unsigned char *bytes = malloc(size);
    if (!bytes) fail("out of memory", "");
    for (size_t have = 0; have < size;) {
        ssize_t got = pread(SECRETS_FD, bytes + have, size - have, (off_t)have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) fail("the secrets cannot be read", "");
        have += (size_t)got;
    }
    close(SECRETS_FD);
    static secret_t secrets[COUNT_MAX];
    const unsigned char *at = bytes, *end = bytes + size;
    uint32_t count = number(&at, end);
    if (count > COUNT_MAX) fail("too many secrets", "");
    for (uint32_t i = 0; i < count; i++) {
        secrets[i].name_length = number(&at, end);
        secrets[i].name = take(&at, end, secrets[i].name_length);
        secrets[i].value_length = number(&at, end);
        secrets[i].value = take(&at, end, secrets[i].value_length);
    }
    int next = hand_out(secrets, count, argc, argv);
    explicit_bzero(bytes, size);
    free(bytes);
    return next;
}

int main(int argc, char **argv) {
    int next = open_secrets(argc, argv);
    if (next >= argc) fail("no program after --", "");
    execvp(argv[next], argv + next);
    int reason = errno;
    fprintf(stderr, "zero-init: %s: %s\n", argv[next], strerror(reason));
    return reason == ENOENT ? 127 : 126;
}

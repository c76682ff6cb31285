// A load for servers that speak RESP: SET or GET of random keys over many connections, as fast as they go or at a fixed rate.
// Also what keeps a server busy: MGET of many keys, SCAN of as many as the server likes.
//
// At a fixed rate a request's latency counts from when it was due, not from when it could be sent, so that a pause of the
// server is seen by everything that should have happened in it.
//
//   load (-s SOCKET | -p PORT) [-t set|get|mixed|add|mget|scan] [-c CONNECTIONS] [-P PIPELINE] [-r KEYS] [-d BYTES]
//        [-R REQUESTS/S] [-T SECONDS | -n REQUESTS] [-N NAMESPACE] [-o FIRST] [-x] [-k KEYS] [-w]
//
// Without -R every connection keeps PIPELINE requests in flight. With -n and no random keys (-r 0) keys count up from FIRST,
// with -x each is another one that stands anywhere in their order. With -t add the server gives the keys. -k: keys of one
// MGET. -w: sleeps until a request is due, instead of looking at the clock all the time.
// Prints one line of JSON; times are microseconds.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FINE = 20000, COARSE = 20000, COARSE_STEP = 100 };  // to 20 ms by the microsecond, then to 2 s by 100

struct connection {
    int fd, armed;
    char *out, *in;
    size_t out_start, out_end, out_room, in_start, in_end, in_room;
    long left;  // elements of a reply that are still to come
    uint64_t *due;  // a ring: when each request in flight was due
    unsigned first, count, room;
};

static const char *path, *kind = "set", *name_space;
static int scattered, port, connections = 50, pipeline = 1, bytes = 100, many = 1000, sleeps;
static uint64_t keys = 1000000, requests, first_key, rate;
static double seconds = 5;
static uint64_t histogram[FINE + COARSE + 1], answered, missing, errors, issued, longest;
static char *value, first_error[200];
static char *fixed;  // a request that is always the same
static size_t fixed_bytes;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *more(void *old, size_t size) {
    void *found = realloc(old, size);
    if (!found) die("memory");
    return found;
}

static int dial(void) {
    int fd;
    if (path) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof to.sun_path) die("socket's path");
        strcpy(to.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die(path);
    } else {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (name_space) {
        char text[400];
        int length = snprintf(text, sizeof text, "*2\r\n$6\r\nSELECT\r\n$%zu\r\n%s\r\n", strlen(name_space), name_space);
        if (write(fd, text, (size_t)length) != length || read(fd, text, sizeof text) < 1 || text[0] != '+') die("SELECT");
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void room(char **buffer, size_t *start, size_t *end, size_t *size, size_t wanted) {
    if (*start == *end) *start = *end = 0;
    if (*end + wanted <= *size) return;
    memmove(*buffer, *buffer + *start, *end - *start);
    *end -= *start;
    *start = 0;
    if (*end + wanted > *size) *buffer = more(*buffer, *size = (*end + wanted) * 2);
}

static void ask(struct connection *c, uint64_t due) {
    uint64_t key = keys ? next_random() % keys : first_key + issued;
    // A factor without 2 and 5 makes of 12 digits 12 others.
    if (scattered) key = (uint64_t)((unsigned __int128)key * 618033988751u % 1000000000000u);
    int add = kind[0] == 'a', set = !fixed && (add || kind[0] == 's' || (kind[0] == 'm' && (next_random() & 1)));
    room(&c->out, &c->out_start, &c->out_end, &c->out_room, (fixed ? fixed_bytes : (size_t)bytes) + 100);
    char *at = c->out + c->out_end;
    int head = 0;
    if (fixed) memcpy(at, fixed, fixed_bytes), c->out_end += fixed_bytes;
    else head = add ? sprintf(at, "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$%d\r\n", bytes) : set ? sprintf(at, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012llu\r\n$%d\r\n", (unsigned long long)key, bytes)
                   : sprintf(at, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012llu\r\n", (unsigned long long)key);
    c->out_end += (size_t)head;
    if (set) {
        memcpy(c->out + c->out_end, value, (size_t)bytes + 2);
        memcpy(c->out + c->out_end, &key, bytes < 8 ? (size_t)bytes : 8);
        c->out_end += (size_t)bytes + 2;
    }
    if (c->count == c->room) {
        unsigned size = c->room ? c->room * 2 : 16;
        uint64_t *ring = more(NULL, size * sizeof *ring);
        for (unsigned i = 0; i < c->count; i++) ring[i] = c->due[(c->first + i) % c->room];
        free(c->due);
        c->due = ring, c->first = 0, c->room = size;
    }
    c->due[(c->first + c->count++) % c->room] = due;
    issued++;
}

static void note(uint64_t due) {
    uint64_t took = (now_ns() - due) / 1000;
    if (took > longest) longest = took;
    histogram[took < FINE ? took : took < FINE + COARSE * COARSE_STEP ? FINE + (took - FINE) / COARSE_STEP : FINE + COARSE]++;
    answered++;
}

// MGET of keys that are drawn once, or SCAN from the start.
static void prepare(void) {
    if (!strcmp(kind, "scan")) fixed = "*4\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nCOUNT\r\n$7\r\n1000000\r\n";
    if (!strcmp(kind, "mget")) {
        fixed = more(NULL, (size_t)many * 30 + 40);
        size_t at = (size_t)sprintf(fixed, "*%d\r\n$4\r\nMGET\r\n", many + 1);
        for (int i = 0; i < many; i++)
            at += (size_t)sprintf(fixed + at, "$16\r\nkey:%012llu\r\n", (unsigned long long)(next_random() % (keys ? keys : 1)));
    }
    if (fixed) fixed_bytes = strlen(fixed);
}

// Takes whole replies out of what came; returns how many.
static int take(struct connection *c) {
    int found = 0;
    while (c->in_start < c->in_end) {
        char *at = c->in + c->in_start;
        size_t have = c->in_end - c->in_start;
        char *end = memchr(at, '\n', have);
        if (!end) break;
        size_t size = (size_t)(end - at) + 1;
        if (*at == '$') {
            long length = strtol(at + 1, NULL, 10);
            if (length >= 0) size += (size_t)length + 2;
            if (have < size) break;
            if (length < 0) missing++;
        } else if (*at == '*') {
            long elements = strtol(at + 1, NULL, 10);
            if (elements > 0) c->left += elements + (c->left == 0);
        } else if (*at == '_') {
            missing++;
        } else if (*at == '-') {
            if (!errors++) snprintf(first_error, sizeof first_error, "%.*s", (int)(end - at - 1), at);
        }
        c->in_start += size;
        if (c->left && --c->left) continue;
        note(c->due[c->first]);
        c->first = (c->first + 1) % c->room;
        c->count--;
        found++;
    }
    return found;
}

static void flush(struct connection *c, int epoll) {
    while (c->out_start < c->out_end) {
        ssize_t sent = write(c->fd, c->out + c->out_start, c->out_end - c->out_start);
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) die("write");
        c->out_start += (size_t)sent;
    }
    int wanted = c->out_start < c->out_end;
    if (wanted != c->armed) {
        struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->armed = wanted;
    }
}

static uint64_t quantile(double part) {
    uint64_t left = (uint64_t)((double)answered * part);
    for (unsigned i = 0; i <= FINE + COARSE; i++) {
        if (histogram[i] > left) return i < FINE ? i : FINE + (uint64_t)(i - FINE) * COARSE_STEP;
        left -= histogram[i];
    }
    return longest;
}

int main(int count, char **words) {
    for (int option; (option = getopt(count, words, "s:p:t:c:P:r:d:R:T:n:N:o:xk:w")) != -1;) switch (option) {
        case 's': path = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 't': kind = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 'P': pipeline = atoi(optarg); break;
        case 'r': keys = strtoull(optarg, NULL, 10); break;
        case 'd': bytes = atoi(optarg); break;
        case 'R': rate = strtoull(optarg, NULL, 10); break;
        case 'T': seconds = atof(optarg); break;
        case 'n': requests = strtoull(optarg, NULL, 10); break;
        case 'N': name_space = optarg; break;
        case 'x': scattered = 1; break;
        case 'o': first_key = strtoull(optarg, NULL, 10); break;
        case 'k': many = atoi(optarg); break;
        case 'w': sleeps = 1; break;
        default: return 2;
    }
    if ((!path && !port) || connections < 1 || pipeline < 1 || bytes < 1) return fprintf(stderr, "load: see its source\n"), 2;
    random_state ^= now_ns();
    value = more(NULL, (size_t)bytes + 2);
    for (int i = 0; i < bytes; i++) value[i] = (char)('a' + next_random() % 26);
    memcpy(value + bytes, "\r\n", 2);
    prepare();
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (!all) die("memory");
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->fd = dial();
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll");
    }
    uint64_t begun = now_ns(), end = requests ? UINT64_MAX : begun + (uint64_t)(seconds * 1e9), last = begun;
    uint64_t limit = requests ? requests : UINT64_MAX;
    if (!rate)
        for (int i = 0; i < connections; i++) {
            for (int k = 0; k < pipeline && issued < limit; k++) ask(&all[i], begun);
            flush(&all[i], epoll);
        }
    struct epoll_event events[256];
    for (uint64_t time = begun, turn = 0; (time < end && answered < limit) || answered < issued; time = now_ns()) {
        if (time > begun + (uint64_t)(seconds * 1e9) + 60000000000u && !requests) break;
        struct timespec wait = {.tv_sec = 1};
        if (rate && time < end && issued < limit) {
            uint64_t due;
            while (issued < limit && (due = begun + issued * 1000000000u / rate) <= time && due < end) {
                struct connection *c = &all[turn++ % (uint64_t)connections];
                ask(c, due);
                if (pipeline == 1 || c->count % (unsigned)pipeline == 0) flush(c, epoll);
            }
            for (int i = 0; pipeline > 1 && i < connections; i++) flush(&all[i], epoll);
            due = begun + issued * 1000000000u / rate;
            // One look at the clock: between two of them the moment can pass, and the difference would be for ever.
            uint64_t now = now_ns(), until = sleeps && due > now ? due - now : 0;
            wait = (struct timespec){.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
        }
        int ready = epoll_pwait2(epoll, events, 256, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & ~(uint32_t)EPOLLOUT) {
                for (;;) {
                    room(&c->in, &c->in_start, &c->in_end, &c->in_room, 65536);
                    size_t space = c->in_room - c->in_end;
                    ssize_t got = read(c->fd, c->in + c->in_end, space);
                    if (got < 0 && errno == EAGAIN) break;
                    if (got <= 0) die("the server closed a connection");
                    c->in_end += (size_t)got;
                    if ((size_t)got < space) break;
                }
                take(c);
                uint64_t at = now_ns();
                if (answered) last = at;
                if (!rate && at < end)
                    while (c->count < (unsigned)pipeline && issued < limit) ask(c, at);
            }
            flush(c, epoll);
        }
    }
    double took = (double)(last - begun) / 1e9;
    printf("{\"requests\":%llu,\"seconds\":%.3f,\"rps\":%.0f,\"p50\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu,"
           "\"missing\":%llu,\"errors\":%llu,\"error\":\"%s\"}\n",
           (unsigned long long)answered, took, (double)answered / took, (unsigned long long)quantile(0.5),
           (unsigned long long)quantile(0.99), (unsigned long long)quantile(0.999), (unsigned long long)longest,
           (unsigned long long)missing, (unsigned long long)errors, first_error);
    return errors ? 1 : 0;
}

#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct zg_http_server {
    struct MHD_Daemon *daemon;
    zg_http_options_t options;
};

struct zg_http_request {
    struct zg_http_server *server;
    struct MHD_Connection *connection;
    char *target;
    const char *method;
    uint8_t *body;
    size_t length, capacity;
    int too_large;
    int started;
    int replied;
    struct stream *upgrade;  // not handed over yet
};

struct stream {
    struct zg_http_request *request;
    void *context;
    ssize_t (*read)(void *context, void *out, size_t size);
    void (*upgraded)(void *context, int fd, const void *early, size_t length, void *handle);
    void (*done)(void *context);
};

static void free_stream(void *context) {
    struct stream *stream = context;
    stream->done(stream->context);
    free(stream);
}

// A body above the limit is still read up to this many times the limit, so that the client gets to see the 413.
enum { OVERFLOW_FACTOR = 4 };

static void *on_target(void *context, const char *uri, struct MHD_Connection *connection) {
    struct zg_http_request *request = calloc(1, sizeof(*request));
    if (request == NULL) return NULL;
    request->server = context;
    request->connection = connection;
    request->target = strdup(uri);
    return request;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    (void)context, (void)connection, (void)code;
    struct zg_http_request *request = *state;
    if (request == NULL) return;
    // The client went before the switch of protocols.
    if (request->upgrade != NULL) free_stream(request->upgrade);
    free(request->target);
    free(request->body);
    free(request);
    *state = NULL;
}

static void set_timeout(struct zg_http_request *request, unsigned seconds) {
    MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

static enum MHD_Result append(struct zg_http_request *request, const char *bytes, size_t *size) {
    uint64_t max = request->server->options.body_max;
    size_t total = request->length + *size;
    if (request->too_large || total > max) {
        request->too_large = 1;
        request->length = total;
        *size = 0;
        return total > max * OVERFLOW_FACTOR ? MHD_NO : MHD_YES;
    }
    if (total > request->capacity) {
        size_t capacity = request->capacity < 4096 ? 4096 : request->capacity * 2;
        while (capacity < total) capacity *= 2;
        uint8_t *grown = realloc(request->body, capacity);
        if (grown == NULL) return MHD_NO;
        request->body = grown;
        request->capacity = capacity;
    }
    memcpy(request->body + request->length, bytes, *size);
    request->length = total;
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result refuse_body(struct zg_http_request *request) {
    static const char text[] = "the request body is too large\n";
    static const char *const headers[] = {"Content-Type", "text/plain; charset=utf-8", "Connection", "close"};
    return zg_http_reply(request, MHD_HTTP_CONTENT_TOO_LARGE, headers, 2, text, sizeof(text) - 1) == 0 ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **state) {
    (void)context, (void)url, (void)version;
    struct zg_http_request *request = *state;
    if (request == NULL || request->target == NULL) return MHD_NO;
    request->connection = connection;
    request->method = method;
    if (!request->started) {
        request->started = 1;
        const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
        if (length != NULL && strtoull(length, NULL, 10) > request->server->options.body_max)
            return refuse_body(request);
        return MHD_YES;
    }
    if (*upload_size > 0) return append(request, upload, upload_size);
    if (request->replied) return MHD_YES;
    if (request->too_large) return refuse_body(request);
    // A handler may wait for long; the idle time counts again from its reply on.
    set_timeout(request, 0);
    request->server->options.handle(request->server->options.context, request);
    set_timeout(request, request->server->options.idle_seconds);
    return request->replied ? MHD_YES : MHD_NO;
}

int zg_http_start(const zg_http_options_t *options, zg_http_server_t **out) {
    struct zg_http_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        close(options->listener);
        return -ENOMEM;
    }
    server->options = *options;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)options->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)options->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    flags |= options->certificate != NULL ? MHD_USE_TLS : MHD_ALLOW_UPGRADE;
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, server, MHD_OPTION_LISTEN_SOCKET, options->listener,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)options->connections_of_address_max, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(64 << 10), MHD_OPTION_THREAD_STACK_SIZE, (size_t)(512 << 10),
        MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_ARRAY, options->certificate != NULL ? tls : plain, MHD_OPTION_END);
    if (server->daemon == NULL) {
        close(options->listener);
        free(server);
        return options->certificate != NULL ? -EPROTO : -EIO;
    }
    *out = server;
    return 0;
}

void zg_http_stop(zg_http_server_t *server) {
    MHD_stop_daemon(server->daemon);
    free(server);
}

void zg_http_abandon(zg_http_server_t *server) {
    int listener = MHD_quiesce_daemon(server->daemon);
    if (listener >= 0) close(listener);
}

const char *zg_http_method(const zg_http_request_t *request) { return request->method; }

const char *zg_http_target(const zg_http_request_t *request) { return request->target; }

const uint8_t *zg_http_body(const zg_http_request_t *request, size_t *length) {
    *length = request->length;
    return request->body;
}

size_t zg_http_remote(zg_http_request_t *request, char *out, size_t size) {
    return zg_connection_remote(request->connection, out, size);
}

void zg_http_headers(zg_http_request_t *request, void *context, zg_http_visit_t visit) {
    zg_connection_headers(request->connection, context, visit);
}

static int gone(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL) return 1;
    char byte;
    ssize_t got = recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

int zg_http_client_gone(zg_http_request_t *request) { return gone(request->connection); }

static int finish(struct zg_http_request *request, uint32_t status, const char *const *headers, size_t pairs,
                  struct MHD_Response *response) {
    int result = 0;
    for (size_t i = 0; i < pairs && result == 0; i++) {
        if (MHD_add_response_header(response, headers[2 * i], headers[2 * i + 1]) == MHD_NO) result = -EINVAL;
    }
    if (result == 0 && MHD_queue_response(request->connection, status, response) == MHD_NO) result = -EIO;
    if (result == 0) request->replied = 1;
    MHD_destroy_response(response);
    return result;
}

int zg_http_reply(zg_http_request_t *request, uint32_t status, const char *const *headers, size_t pairs,
                  const void *bytes, size_t length) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)bytes, MHD_RESPMEM_MUST_COPY);
    return response == NULL ? -ENOMEM : finish(request, status, headers, pairs, response);
}

static struct stream *new_stream(struct zg_http_request *request, void *context, void (*done)(void *context)) {
    struct stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        done(context);
        return NULL;
    }
    stream->request = request;
    stream->context = context;
    stream->done = done;
    return stream;
}

static ssize_t read_stream(void *context, uint64_t position, char *out, size_t size) {
    (void)position;
    struct stream *stream = context;
    set_timeout(stream->request, 0);
    ssize_t count = stream->read(stream->context, out, size);
    set_timeout(stream->request, stream->request->server->options.idle_seconds);
    if (count > 0) return count;
    return count == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

int zg_http_reply_stream(zg_http_request_t *request, uint32_t status, const char *const *headers, size_t pairs,
                         void *context, ssize_t (*read)(void *context, void *out, size_t size),
                         void (*done)(void *context)) {
    struct stream *stream = new_stream(request, context, done);
    if (stream == NULL) return -ENOMEM;
    stream->read = read;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 << 10, read_stream, stream, free_stream);
    if (response == NULL) {
        free_stream(stream);
        return -ENOMEM;
    }
    return finish(request, status, headers, pairs, response);
}

static void on_upgrade(void *context, struct MHD_Connection *connection, void *state, const char *early, size_t length,
                       MHD_socket socket, struct MHD_UpgradeResponseHandle *handle) {
    (void)connection, (void)state;
    struct stream *stream = context;
    stream->request->upgrade = NULL;
    int flags = fcntl(socket, F_GETFL);
    fcntl(socket, F_SETFL, flags & ~O_NONBLOCK);
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    stream->upgraded(stream->context, fcntl(socket, F_DUPFD_CLOEXEC, 3), early, length, handle);
    free_stream(stream);
}

int zg_http_reply_upgrade(zg_http_request_t *request, const char *const *headers, size_t pairs, void *context,
                          void (*upgraded)(void *context, int fd, const void *early, size_t length, void *handle),
                          void (*done)(void *context)) {
    struct stream *stream = new_stream(request, context, done);
    if (stream == NULL) return -ENOMEM;
    stream->upgraded = upgraded;
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, stream);
    int result = response == NULL ? -ENOTSUP : finish(request, MHD_HTTP_SWITCHING_PROTOCOLS, headers, pairs, response);
    if (result < 0) free_stream(stream);
    else request->upgrade = stream;
    return result;
}

void zg_http_upgrade_end(void *handle) { MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE); }

struct zg_gate {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int is_open;
};

zg_gate_t *zg_gate_new(void) {
    struct zg_gate *gate = calloc(1, sizeof(*gate));
    if (gate == NULL) abort();
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&gate->condition, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&gate->mutex, NULL);
    return gate;
}

void zg_gate_free(zg_gate_t *gate) {
    pthread_cond_destroy(&gate->condition);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

void zg_gate_open(zg_gate_t *gate) {
    pthread_mutex_lock(&gate->mutex);
    gate->is_open = 1;
    pthread_cond_signal(&gate->condition);
    pthread_mutex_unlock(&gate->mutex);
}

int zg_gate_pass(zg_gate_t *gate, uint32_t milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec += 1;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&gate->mutex);
    int code = 0;
    while (!gate->is_open && code == 0) code = pthread_cond_timedwait(&gate->condition, &gate->mutex, &until);
    int passed = gate->is_open;
    gate->is_open = 0;
    pthread_mutex_unlock(&gate->mutex);
    return passed;
}

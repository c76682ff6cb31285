// The streaming face: head, pieces of the body and the end come to blocking handlers on the connection's thread.
#define _GNU_SOURCE
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"

// A connection, from its accept to its close; the watch closes those that take too long to send a head.
struct link {
    struct link *next, *previous;
    int fd;
    time_t waits_since;  // for a head; 0: it has one
};

struct zg_stream_server {
    struct MHD_Daemon *daemon;
    zg_stream_options_t options;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t watch;
    struct link links;  // a ring; this is its head
    int stops;
};

struct zg_stream {
    struct zg_stream_server *server;
    struct MHD_Connection *connection;
    char *target;
    const char *method;
    void *handler;
    int began, replied, is_bodyless;
};

static time_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1;
}

static struct link *link_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void waits(struct zg_stream *stream, int for_head) {
    struct link *link = link_of(stream->connection);
    if (link == NULL) return;
    pthread_mutex_lock(&stream->server->mutex);
    link->waits_since = for_head ? now() : 0;
    pthread_mutex_unlock(&stream->server->mutex);
}

static void *watch(void *context) {
    struct zg_stream_server *server = context;
    pthread_mutex_lock(&server->mutex);
    while (!server->stops) {
        time_t limit = now() - (time_t)server->options.header_seconds;
        for (struct link *link = server->links.next; link != &server->links; link = link->next)
            if (link->waits_since != 0 && link->waits_since < limit) shutdown(link->fd, SHUT_RDWR);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&server->wake, &server->mutex, &until);
    }
    pthread_mutex_unlock(&server->mutex);
    return NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code) {
    struct zg_stream_server *server = context;
    pthread_mutex_lock(&server->mutex);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct link *link = info == NULL ? NULL : calloc(1, sizeof(*link));
        if (link != NULL) {
            link->fd = info->connect_fd;
            link->waits_since = now();
            link->next = server->links.next;
            link->previous = &server->links;
            link->next->previous = link;
            server->links.next = link;
            *state = link;
        }
    } else if (*state != NULL) {
        struct link *link = *state;
        link->next->previous = link->previous;
        link->previous->next = link->next;
        free(link);
        *state = NULL;
    }
    pthread_mutex_unlock(&server->mutex);
}

static void *on_target(void *context, const char *uri, struct MHD_Connection *connection) {
    struct zg_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) return NULL;
    stream->server = context;
    stream->connection = connection;
    stream->target = strdup(uri);
    return stream;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    (void)context;
    struct zg_stream *stream = *state;
    if (stream == NULL) return;
    stream->connection = connection;
    if (stream->handler != NULL)
        stream->server->options.done(stream->handler, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    waits(stream, 1);
    free(stream->target);
    free(stream);
    *state = NULL;
}

static int announces_body(struct MHD_Connection *connection) {
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    if (length != NULL && strcmp(length, "0") != 0) return 1;
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding") != NULL;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **state) {
    (void)context, (void)url, (void)version;
    struct zg_stream *stream = *state;
    if (stream == NULL || stream->target == NULL) return MHD_NO;
    const zg_stream_options_t *options = &stream->server->options;
    stream->connection = connection;
    stream->method = method;
    if (!stream->began) {
        stream->began = 1;
        waits(stream, 0);
        // A reply that is queued now, before the end of the request, closes the connection: right only where a body would follow.
        stream->is_bodyless = !announces_body(connection);
        if (stream->is_bodyless) return MHD_YES;
        stream->handler = options->begin(options->context, stream);
        return stream->handler != NULL || stream->replied ? MHD_YES : MHD_NO;
    }
    if (*upload_size > 0) {
        int goes_on = stream->handler == NULL || options->piece(stream->handler, upload, *upload_size);
        *upload_size = 0;
        return goes_on ? MHD_YES : MHD_NO;
    }
    if (stream->is_bodyless && stream->handler == NULL && !stream->replied)
        stream->handler = options->begin(options->context, stream);
    if (stream->replied) return MHD_YES;
    if (stream->handler == NULL) return MHD_NO;
    options->end(stream->handler, stream);
    return stream->replied ? MHD_YES : MHD_NO;
}

int zg_stream_start(const zg_stream_options_t *options, zg_stream_server_t **out) {
    struct zg_stream_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        close(options->listener);
        return -ENOMEM;
    }
    server->options = *options;
    server->links.next = server->links.previous = &server->links;
    pthread_mutex_init(&server->mutex, NULL);
    pthread_cond_init(&server->wake, NULL);
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC;
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, server, MHD_OPTION_LISTEN_SOCKET, options->listener,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)options->connections_of_address_max, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(512 << 10), MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        (size_t)(128 << 10), MHD_OPTION_THREAD_STACK_SIZE, (size_t)(1 << 20), MHD_OPTION_URI_LOG_CALLBACK, on_target,
        server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
        MHD_OPTION_END);
    if (server->daemon == NULL) {
        close(options->listener);
        free(server);
        return -EIO;
    }
    if (pthread_create(&server->watch, NULL, watch, server) != 0) {
        MHD_stop_daemon(server->daemon);
        free(server);
        return -EAGAIN;
    }
    *out = server;
    return 0;
}

void zg_stream_stop(zg_stream_server_t *server) {
    MHD_stop_daemon(server->daemon);
    pthread_mutex_lock(&server->mutex);
    server->stops = 1;
    pthread_cond_signal(&server->wake);
    pthread_mutex_unlock(&server->mutex);
    pthread_join(server->watch, NULL);
    free(server);
}

const char *zg_stream_method(const zg_stream_t *stream) { return stream->method; }

const char *zg_stream_target(const zg_stream_t *stream) { return stream->target; }

size_t zg_stream_remote(zg_stream_t *stream, char *out, size_t size) {
    return zg_connection_remote(stream->connection, out, size);
}

void zg_stream_headers(zg_stream_t *stream, void *context, zg_http_visit_t visit) {
    zg_connection_headers(stream->connection, context, visit);
}

static int finish(zg_stream_t *stream, uint32_t status, const char *const *headers, size_t pairs,
                  struct MHD_Response *response) {
    int result = 0;
    for (size_t i = 0; i < pairs && result == 0; i++) {
        // The library refuses empty values; white space around a value means nothing.
        const char *value = headers[2 * i + 1][0] == 0 ? " " : headers[2 * i + 1];
        if (MHD_add_response_header(response, headers[2 * i], value) == MHD_NO) result = -EINVAL;
    }
    if (result == 0 && MHD_queue_response(stream->connection, status, response) == MHD_NO) result = -EIO;
    if (result == 0) stream->replied = 1;
    MHD_destroy_response(response);
    return result;
}

int zg_stream_reply(zg_stream_t *stream, uint32_t status, const char *const *headers, size_t pairs, const void *bytes,
                    size_t length) {
    struct MHD_Response *response = MHD_create_response_from_buffer(length, (void *)bytes, MHD_RESPMEM_MUST_COPY);
    return response == NULL ? -ENOMEM : finish(stream, status, headers, pairs, response);
}

struct source {
    struct zg_stream *stream;
    void *context;
    ssize_t (*read)(void *context, uint64_t position, void *out, size_t size);
    void (*done)(void *context);
};

static ssize_t read_source(void *context, uint64_t position, char *out, size_t size) {
    struct source *source = context;
    ssize_t count = source->read(source->context, position, out, size);
    if (count > 0) return count;
    return count == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_source(void *context) {
    struct source *source = context;
    source->done(source->context);
    free(source);
}

int zg_stream_reply_pull(zg_stream_t *stream, uint32_t status, const char *const *headers, size_t pairs,
                         uint64_t length, void *context,
                         ssize_t (*read)(void *context, uint64_t position, void *out, size_t size),
                         void (*done)(void *context)) {
    struct source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        done(context);
        return -ENOMEM;
    }
    *source = (struct source){stream, context, read, done};
    // Small bodies need no large buffer.
    size_t block = length < (256 << 10) ? (size_t)length + 1 : (size_t)(512 << 10);
    struct MHD_Response *response =
        MHD_create_response_from_callback(length, block, read_source, source, free_source);
    if (response == NULL) {
        free_source(source);
        return -ENOMEM;
    }
    return finish(stream, status, headers, pairs, response);
}

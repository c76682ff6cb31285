// libmicrohttpd and libcurl behind plain prototypes: every variadic call and every enum of theirs stays in the .c files.
#ifndef ZG_CHTTP_H
#define ZG_CHTTP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Server: one thread a connection, so that a handler may simply wait.

typedef struct zg_http_server zg_http_server_t;
typedef struct zg_http_request zg_http_request_t;

typedef struct {
    int listener;              // a listening socket; the server closes it, also when it cannot start
    const char *certificate;   // PEM, NULL for plain HTTP
    const char *key;           // PEM
    uint32_t connections_max;
    uint32_t connections_of_address_max;
    uint32_t idle_seconds;
    uint64_t body_max;
    void *context;
    // Called on the connection's thread once the whole body is there; must reply before it returns.
    void (*handle)(void *context, zg_http_request_t *request);
} zg_http_options_t;

// Starts to serve; 0 or -errno (-EPROTO: the certificate or key is not accepted).
int zg_http_start(const zg_http_options_t *options, zg_http_server_t **server);
// Stops; waits for running handlers. No upgraded connection may be left: each had its `zg_http_upgrade_end`.
void zg_http_stop(zg_http_server_t *server);
// Only stops to listen; what runs goes on, and the server's memory is never freed.
void zg_http_abandon(zg_http_server_t *server);

const char *zg_http_method(const zg_http_request_t *request);
// The request target as sent: path and query, not decoded.
const char *zg_http_target(const zg_http_request_t *request);
const uint8_t *zg_http_body(const zg_http_request_t *request, size_t *length);
// The address of the client as text; the result is its length.
size_t zg_http_remote(zg_http_request_t *request, char *out, size_t size);
typedef void (*zg_http_visit_t)(void *context, const char *name, const char *value, size_t value_length);
void zg_http_headers(zg_http_request_t *request, void *context, zg_http_visit_t visit);
// 1 when the client closed its connection.
int zg_http_client_gone(zg_http_request_t *request);

// Replies; `headers` is name, value, name, value... Each returns 0 or -errno; exactly one is called a request.
int zg_http_reply(zg_http_request_t *request, uint32_t status, const char *const *headers, size_t pairs,
                  const void *bytes, size_t length);
// `read` fills the buffer: bytes put there, 0 for the end, -1 to break the connection. `done` is called last of all.
int zg_http_reply_stream(zg_http_request_t *request, uint32_t status, const char *const *headers, size_t pairs,
                         void *context, ssize_t (*read)(void *context, void *out, size_t size),
                         void (*done)(void *context));
// Switches protocols: `upgraded` gets a socket that belongs to it (blocking), bytes that came early and a handle for
// `zg_http_upgrade_end`, which must be called once when it is finished. `done` as above.
int zg_http_reply_upgrade(zg_http_request_t *request, const char *const *headers, size_t pairs, void *context,
                          void (*upgraded)(void *context, int fd, const void *early, size_t length, void *handle),
                          void (*done)(void *context));
void zg_http_upgrade_end(void *handle);

// Streaming server: the same connections, but bodies go through in pieces. Everything runs on the connection's thread.

typedef struct zg_stream_server zg_stream_server_t;
typedef struct zg_stream zg_stream_t;

typedef struct {
    int listener;  // a listening socket; the server closes it, also when it cannot start
    uint32_t connections_max;
    uint32_t connections_of_address_max;
    uint32_t idle_seconds;    // nothing moves
    uint32_t header_seconds;  // until a whole head is there, also between requests
    void *context;
    // The head is there, nothing of the body is read. Returns a handler, or NULL after a reply (which then refuses the body).
    void *(*begin)(void *context, zg_stream_t *stream);
    // A piece of the body; 0 breaks the connection.
    int (*piece)(void *handler, const void *bytes, size_t length);
    // The body is complete; must reply.
    void (*end)(void *handler, zg_stream_t *stream);
    // Called last of all, once for each handler; whether the response was sent whole.
    void (*done)(void *handler, int is_complete);
} zg_stream_options_t;

int zg_stream_start(const zg_stream_options_t *options, zg_stream_server_t **server);
// Stops; waits for running handlers.
void zg_stream_stop(zg_stream_server_t *server);
const char *zg_stream_method(const zg_stream_t *stream);
// The request target as sent: path and query, not decoded.
const char *zg_stream_target(const zg_stream_t *stream);
size_t zg_stream_remote(zg_stream_t *stream, char *out, size_t size);
void zg_stream_headers(zg_stream_t *stream, void *context, zg_http_visit_t visit);
int zg_stream_reply(zg_stream_t *stream, uint32_t status, const char *const *headers, size_t pairs, const void *bytes,
                    size_t length);
// A body of known length (only said, not sent, for HEAD). `read` fills the buffer: bytes put there, -1 to break the
// connection. `done` is called last of all.
int zg_stream_reply_pull(zg_stream_t *stream, uint32_t status, const char *const *headers, size_t pairs,
                         uint64_t length, void *context,
                         ssize_t (*read)(void *context, uint64_t position, void *out, size_t size),
                         void (*done)(void *context));

// A gate: one thread waits until another opens it.
typedef struct zg_gate zg_gate_t;
zg_gate_t *zg_gate_new(void);
void zg_gate_free(zg_gate_t *gate);
// Opens the gate for one passage; opening an open gate does nothing more.
void zg_gate_open(zg_gate_t *gate);
// Waits for the gate and closes it behind; 0 after `milliseconds`, else 1.
int zg_gate_pass(zg_gate_t *gate, uint32_t milliseconds);

// Client: one easy handle, used by one thread at a time; keeps its connection between requests.

typedef struct zg_curl zg_curl_t;

typedef struct {
    const char *method;
    const char *url;
    const char *const *headers;   // "Name: value" lines
    size_t header_count;
    const void *body;             // NULL: none
    size_t body_length;
    const char *pin;              // "sha256//..." ; the certificate's chain and names are then not checked. NULL: they are
    const char *unix_socket;      // connect there instead, NULL: by the URL
    uint64_t timeout_ms;          // for all of it; 0: none
    uint64_t connect_timeout_ms;
    uint64_t silence_seconds;     // gives up when nothing arrives for so long; 0: never
    void *context;
    void (*on_header)(void *context, const char *line, size_t length);
    int (*on_body)(void *context, const void *bytes, size_t length);  // nonzero breaks off
    int (*is_cancelled)(void *context);
} zg_curl_request_t;

zg_curl_t *zg_curl_new(void);
void zg_curl_free(zg_curl_t *curl);
// Performs a request; returns the CURLcode (0 is success), the HTTP status in *status.
int zg_curl_perform(zg_curl_t *curl, const zg_curl_request_t *request, long *status);
// What went wrong in the last perform, for people.
const char *zg_curl_problem(const zg_curl_t *curl);
// What a CURLcode of zg_curl_perform means to us.
enum { ZG_CURL_OK = 0, ZG_CURL_CONNECT = 1, ZG_CURL_LATE = 2, ZG_CURL_PIN = 3, ZG_CURL_TLS = 4, ZG_CURL_BROKEN_OFF = 5,
       ZG_CURL_URL = 6, ZG_CURL_OTHER = 7 };
int zg_curl_meaning(int code);

#endif

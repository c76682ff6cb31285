// OpenSSL's TLS for servers, and between them, behind plain prototypes: non-blocking, one object a connection.
#ifndef ZG_CTLS_H
#define ZG_CTLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Certificate, key and what clients must show.
typedef struct zg_tls_context zg_tls_context_t;
/// One connection.
typedef struct zg_tls zg_tls_t;

/// Reads PEM files; `client_ca` NULL: clients show no certificate. NULL and a sentence in `problem` on failure.
zg_tls_context_t *zg_tls_context_new(const char *certificate, const char *key, const char *client_ca, char *problem,
                                     size_t problem_size);
/// The same for who connects: `authority` checks the server's certificate; certificate and key, or both NULL, are its own.
zg_tls_context_t *zg_tls_client_context_new(const char *authority, const char *certificate, const char *key,
                                            char *problem, size_t problem_size);
/// Connections that were made from it go on.
void zg_tls_context_free(zg_tls_context_t *context);

/// A server's side of TLS over a non-blocking socket, which stays the caller's; NULL if memory is short.
zg_tls_t *zg_tls_accept(zg_tls_context_t *context, int fd);
/// A client's side; the server's certificate must be of this name, or of this address.
zg_tls_t *zg_tls_connect(zg_tls_context_t *context, int fd, const char *name);
/// From now on the connection is the one of another descriptor of the same socket; 0, or -1.
int zg_tls_move(zg_tls_t *tls, int fd);
/// Says goodbye if that is possible at once, and frees; NULL is none.
void zg_tls_free(zg_tls_t *tls);

/// Decrypted bytes (at most one record, so ask for 16384); 0 at the orderly end, -EAGAIN, or -EPROTO. Shakes hands first.
ssize_t zg_tls_receive(zg_tls_t *tls, void *bytes, size_t length);
/// Bytes that went, or -EAGAIN (send again from the same place), or -EPROTO.
ssize_t zg_tls_send(zg_tls_t *tls, const void *bytes, size_t length);
/// The common name of the client's verified certificate; its length, 0 if there is none.
size_t zg_tls_subject(const zg_tls_t *tls, char *out, size_t size);
/// Why the peer's certificate is not believed, for people; empty if it is.
void zg_tls_distrust(const zg_tls_t *tls, char *out, size_t size);
/// What went wrong last on this thread, for people; forgets it.
void zg_tls_problem(char *out, size_t size);

#endif

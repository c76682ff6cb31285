#include "include/CTLS.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

struct zg_tls_context {
    SSL_CTX *context;
};

// A zg_tls_t is OpenSSL's own object.
static SSL *ssl(const zg_tls_t *tls) { return (SSL *)tls; }

void zg_tls_problem(char *out, size_t size) {
    unsigned long code = ERR_peek_last_error();
    if (size == 0) return;
    out[0] = 0;
    if (code != 0) {
        const char *reason = ERR_reason_error_string(code);
        snprintf(out, size, "%s", reason != NULL ? reason : "unknown");
    }
    ERR_clear_error();
}

static int load(SSL_CTX *context, const char *certificate, const char *key, const char *client_ca) {
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) return 0;
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) return 0;
    if (SSL_CTX_check_private_key(context) != 1) return 0;
    if (client_ca == NULL) return 1;
    if (SSL_CTX_load_verify_file(context, client_ca) != 1) return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(client_ca);
    if (names == NULL) return 0;
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 1;
}

zg_tls_context_t *zg_tls_context_new(const char *certificate, const char *key, const char *client_ca, char *problem,
                                     size_t problem_size) {
    ERR_clear_error();
    zg_tls_context_t *result = OPENSSL_zalloc(sizeof(*result));
    if (result == NULL) return NULL;
    result->context = SSL_CTX_new(TLS_server_method());
    if (result->context == NULL || SSL_CTX_set_min_proto_version(result->context, TLS1_2_VERSION) != 1 ||
        !load(result->context, certificate, key, client_ca)) {
        zg_tls_problem(problem, problem_size);
        zg_tls_context_free(result);
        return NULL;
    }
    // Replies lie in a buffer that grows; idle connections keep no buffers of OpenSSL's.
    SSL_CTX_set_mode(result->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                          SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(result->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                             SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    static const unsigned char id[] = "zero-db";
    SSL_CTX_set_session_id_context(result->context, id, sizeof(id) - 1);
    return result;
}

static int trust(SSL_CTX *context, const char *authority, const char *certificate, const char *key) {
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) return 0;
    if (SSL_CTX_load_verify_file(context, authority) != 1) return 0;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (certificate == NULL) return 1;
    return SSL_CTX_use_certificate_chain_file(context, certificate) == 1 &&
           SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 && SSL_CTX_check_private_key(context) == 1;
}

zg_tls_context_t *zg_tls_client_context_new(const char *authority, const char *certificate, const char *key,
                                            char *problem, size_t problem_size) {
    ERR_clear_error();
    zg_tls_context_t *result = OPENSSL_zalloc(sizeof(*result));
    if (result == NULL) return NULL;
    result->context = SSL_CTX_new(TLS_client_method());
    if (result->context == NULL || !trust(result->context, authority, certificate, key)) {
        zg_tls_problem(problem, problem_size);
        zg_tls_context_free(result);
        return NULL;
    }
    SSL_CTX_set_mode(result->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(result->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    return result;
}

void zg_tls_context_free(zg_tls_context_t *context) {
    if (context == NULL) return;
    SSL_CTX_free(context->context);
    OPENSSL_free(context);
}

zg_tls_t *zg_tls_accept(zg_tls_context_t *context, int fd) {
    SSL *made = SSL_new(context->context);
    if (made == NULL) return NULL;
    if (SSL_set_fd(made, fd) != 1) {
        SSL_free(made);
        return NULL;
    }
    SSL_set_accept_state(made);
    return (zg_tls_t *)made;
}

static int expect(SSL *made, const char *name) {
    unsigned char address[16];
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(made), name);
    SSL_set_hostflags(made, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(made, name) == 1 && SSL_set_tlsext_host_name(made, name) == 1;
}

zg_tls_t *zg_tls_connect(zg_tls_context_t *context, int fd, const char *name) {
    SSL *made = SSL_new(context->context);
    if (made == NULL) return NULL;
    if (SSL_set_fd(made, fd) != 1 || expect(made, name) != 1) {
        SSL_free(made);
        return NULL;
    }
    SSL_set_connect_state(made);
    return (zg_tls_t *)made;
}

int zg_tls_move(zg_tls_t *tls, int fd) { return SSL_set_fd(ssl(tls), fd) == 1 ? 0 : -1; }

void zg_tls_distrust(const zg_tls_t *tls, char *out, size_t size) {
    if (size == 0) return;
    out[0] = 0;
    long code = SSL_get_verify_result(ssl(tls));
    if (code != X509_V_OK) snprintf(out, size, "%s", X509_verify_cert_error_string(code));
}

void zg_tls_free(zg_tls_t *tls) {
    if (tls == NULL) return;
    ERR_clear_error();
    if (SSL_is_init_finished(ssl(tls))) SSL_shutdown(ssl(tls));
    SSL_free(ssl(tls));
    ERR_clear_error();
}

static ssize_t failure(zg_tls_t *tls, int code) {
    switch (SSL_get_error(ssl(tls), code)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: return -EPROTO;
    }
}

ssize_t zg_tls_receive(zg_tls_t *tls, void *bytes, size_t length) {
    ERR_clear_error();
    int got = SSL_read(ssl(tls), bytes, length > INT_MAX ? INT_MAX : (int)length);
    return got > 0 ? got : failure(tls, got);
}

ssize_t zg_tls_send(zg_tls_t *tls, const void *bytes, size_t length) {
    ERR_clear_error();
    int sent = SSL_write(ssl(tls), bytes, length > INT_MAX ? INT_MAX : (int)length);
    if (sent > 0) return sent;
    ssize_t code = failure(tls, sent);
    return code == 0 ? -EPROTO : code;
}

size_t zg_tls_subject(const zg_tls_t *tls, char *out, size_t size) {
    if (size == 0 || SSL_get_verify_result(ssl(tls)) != X509_V_OK) return 0;
    X509 *certificate = SSL_get0_peer_certificate(ssl(tls));
    if (certificate == NULL) return 0;
    X509_NAME *name = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    // Of several common names none is the name.
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0) return 0;
    ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    unsigned char *text = NULL;
    int length = ASN1_STRING_to_UTF8(&text, value);
    if (length < 0) return 0;
    size_t result = 0;
    if ((size_t)length < size && memchr(text, 0, (size_t)length) == NULL) {
        memcpy(out, text, (size_t)length);
        result = (size_t)length;
    }
    OPENSSL_free(text);
    return result;
}

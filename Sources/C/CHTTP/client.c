#include "include/CHTTP.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct zg_curl {
    CURL *easy;
    char problem[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void initialise(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

zg_curl_t *zg_curl_new(void) {
    pthread_once(&once, initialise);
    struct zg_curl *curl = calloc(1, sizeof(*curl));
    if (curl == NULL) return NULL;
    curl->easy = curl_easy_init();
    if (curl->easy == NULL) {
        free(curl);
        return NULL;
    }
    return curl;
}

void zg_curl_free(zg_curl_t *curl) {
    curl_easy_cleanup(curl->easy);
    free(curl);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context) {
    const zg_curl_request_t *request = context;
    request->on_header(request->context, bytes, size * count);
    return size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context) {
    const zg_curl_request_t *request = context;
    return request->on_body(request->context, bytes, size * count) == 0 ? size * count : 0;
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t upload_total, curl_off_t upload) {
    (void)total, (void)now, (void)upload_total, (void)upload;
    const zg_curl_request_t *request = context;
    return request->is_cancelled(request->context);
}

static void set_transfer(CURL *easy, const zg_curl_request_t *request) {
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    if (request->silence_seconds > 0) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)request->silence_seconds);
    }
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, request);
    if (request->unix_socket != NULL) curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request->unix_socket);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (request->pin != NULL) {
        curl_easy_setopt(easy, CURLOPT_PINNEDPUBLICKEY, request->pin);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_method(CURL *easy, const zg_curl_request_t *request) {
    if (request->body != NULL) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
    }
    if (strcmp(request->method, "HEAD") == 0) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(request->method, request->body != NULL ? "POST" : "GET") != 0)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

int zg_curl_perform(zg_curl_t *curl, const zg_curl_request_t *request, long *status) {
    CURL *easy = curl->easy;
    // Options are forgotten, the connection stays.
    curl_easy_reset(easy);
    curl->problem[0] = 0;
    *status = 0;
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl->problem);
    set_transfer(easy, request);
    set_method(easy, request);
    struct curl_slist *headers = NULL;
    for (size_t i = 0; i < request->header_count; i++) {
        struct curl_slist *longer = curl_slist_append(headers, request->headers[i]);
        if (longer == NULL) {
            curl_slist_free_all(headers);
            return CURLE_OUT_OF_MEMORY;
        }
        headers = longer;
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, request->url);
    if (code == CURLE_OK) code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
    if (code != CURLE_OK && curl->problem[0] == 0)
        strncpy(curl->problem, curl_easy_strerror(code), sizeof(curl->problem) - 1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return code;
}

const char *zg_curl_problem(const zg_curl_t *curl) { return curl->problem; }

int zg_curl_meaning(int code) {
    switch (code) {
    case CURLE_OK: return ZG_CURL_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT: return ZG_CURL_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: return ZG_CURL_LATE;
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH: return ZG_CURL_PIN;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER: return ZG_CURL_TLS;
    case CURLE_WRITE_ERROR:
    case CURLE_ABORTED_BY_CALLBACK: return ZG_CURL_BROKEN_OFF;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT: return ZG_CURL_URL;
    default: return ZG_CURL_OTHER;
    }
}

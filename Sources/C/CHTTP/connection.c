#define _GNU_SOURCE
#include "connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

size_t zg_connection_remote(struct MHD_Connection *connection, char *out, size_t size) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL || info->client_addr == NULL || size == 0) return 0;
    const struct sockaddr *address = info->client_addr;
    const void *raw = address->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                                                     : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    return inet_ntop(address->sa_family, raw, out, (socklen_t)size) == NULL ? 0 : strlen(out);
}

struct visitor {
    void *context;
    zg_http_visit_t visit;
};

static enum MHD_Result visit_one(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                 const char *value, size_t value_length) {
    (void)kind, (void)name_length;
    struct visitor *visitor = context;
    visitor->visit(visitor->context, name, value == NULL ? "" : value, value == NULL ? 0 : value_length);
    return MHD_YES;
}

void zg_connection_headers(struct MHD_Connection *connection, void *context, zg_http_visit_t visit) {
    struct visitor visitor = {context, visit};
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, visit_one, &visitor);
}

// What both servers ask of a connection of the library.
#ifndef ZG_CONNECTION_H
#define ZG_CONNECTION_H

#include <microhttpd.h>

#include "include/CHTTP.h"

// The client's address as text; its length, 0 where there is none.
size_t zg_connection_remote(struct MHD_Connection *connection, char *out, size_t size);
// Every header, in the order in which they came.
void zg_connection_headers(struct MHD_Connection *connection, void *context, zg_http_visit_t visit);

#endif

/*
 * http_parts.h - what http.c, http_peer.c and http_request.c share; for them alone.
 */
#ifndef SPENDD_GATEWAY_HTTP_PARTS_H
#define SPENDD_GATEWAY_HTTP_PARTS_H

#include "workers/gateway/gateway.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct http {
    struct gateway *gateway;
    enum http_face face;
    bool tls, quiet; /* quiet: it takes no new connections */
    bool again;      /* somebody wants the daemon to run once more */
    struct MHD_Daemon *daemon;
    struct watch *watch; /* of the daemon's epoll descriptor */
    struct timer *soon;  /* when the daemon wants to run by itself */
    struct timer *sweep;
    struct peer *peers;
    unsigned peer_count, requests; /* requests: under way */
};

/* A connection. */
struct peer {
    struct http *http;
    struct MHD_Connection *connection;
    int fd;
    struct in6_addr address; /* IPv4 in IPv6's clothes */
    struct timer *deadline;  /* of its request, or of its silence */
    struct request *request; /* NULL: it has none */
    struct peer *next, *before;
};

struct request {
    struct peer *peer;
    const struct route *route; /* NULL: until its headers are read */
    struct body body;
    unsigned verdict; /* status that it will be refused with; 0: none */
    char why[160];
    bool begun, whole, suspended, answered, counted, late;
    int64_t dropped; /* bytes of a body that nobody wants */
    unsigned status;
    struct MHD_Response *response;
    void (*gone)(void *arg);
    void *gone_arg;
};

/* http.c: let the daemon run in this turn. */
void http_wake(struct http *http);

/* http_peer.c: libmicrohttpd's calls about connections. */
enum MHD_Result peer_admit(void *http, const struct sockaddr *address, socklen_t size);
void peer_notify(void *http, struct MHD_Connection *connection, void **context,
                 enum MHD_ConnectionNotificationCode what);
struct peer *peer_of(struct MHD_Connection *connection);
void peer_hang_up(struct peer *peer);
void peers_sweep(struct http *http); /* hangs up on those who have left */

/* http_request.c: about requests. */
void *request_line(void *http, const char *uri, struct MHD_Connection *connection);
enum MHD_Result request_part(void *http, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, const char *data, size_t *size, void **context);
void request_over(void *http, struct MHD_Connection *connection, void **context,
                  enum MHD_RequestTerminationCode why);
void request_late(struct request *request); /* its deadline has passed */

#endif

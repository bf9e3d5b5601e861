/*
 * http_peer.c - connections: how many one address may have, and when one is hung up on.
 *
 * Owns a deadline for each connection: of the request that is under way, from its first line to the last
 * byte of its answer, and else of its silence.  A sender that drips a byte now and then is no busier than
 * one that is silent.  Hanging up is shutdown(2): libmicrohttpd, which owns the descriptor, finds it over.
 * If we die on any line, the kernel closes all of them.
 */
#include "workers/gateway/http_parts.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void read_address(const struct sockaddr *from, struct in6_addr *to)
{
    memset(to, 0, sizeof *to);
    if (from->sa_family == AF_INET6) {
        *to = ((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
    } else if (from->sa_family == AF_INET) {
        to->s6_addr[10] = to->s6_addr[11] = 0xff;
        memcpy(&to->s6_addr[12], &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    }
}

enum MHD_Result peer_admit(void *arg, const struct sockaddr *address, socklen_t size)
{
    struct http *http = arg;
    const struct settings *s = http->gateway->settings;
    struct in6_addr wanted;
    int64_t others = 0;

    (void)size;
    if (http->face != FACE_INGEST)
        return MHD_YES;
    read_address(address, &wanted);
    for (const struct peer *peer = http->peers; peer != NULL; peer = peer->next)
        others += memcmp(&peer->address, &wanted, sizeof wanted) == 0;
    if (others < s->http_max_address_connections)
        return MHD_YES;
    stats_add(harness_stats(http->gateway->harness), METRIC_http_connections_refused_total, 1);
    return MHD_NO;
}

void peer_hang_up(struct peer *peer)
{
    shutdown(peer->fd, SHUT_RDWR);
    http_wake(peer->http);
}

static void on_deadline(void *arg)
{
    struct peer *peer = arg;

    if (peer->request != NULL)
        request_late(peer->request);
    else
        peer_hang_up(peer);
}

static void open_peer(struct http *http, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *from = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL)
        bug("no memory for a connection");
    peer->http = http;
    peer->connection = connection;
    peer->fd = fd->connect_fd;
    read_address(from->client_addr, &peer->address);
    peer->deadline = harness_timer(http->gateway->harness, on_deadline, peer);
    timer_in_ms(peer->deadline, http->gateway->settings->http_request_ms);
    peer->next = http->peers;
    if (peer->next != NULL)
        peer->next->before = peer;
    http->peers = peer;
    http->peer_count++;
    *context = peer;
}

static void close_peer(struct http *http, struct peer *peer)
{
    if (peer->next != NULL)
        peer->next->before = peer->before;
    if (peer->before != NULL)
        peer->before->next = peer->next;
    else
        http->peers = peer->next;
    http->peer_count--;
    harness_untimer(&peer->deadline);
    free(peer);
    http_wake(http); /* libmicrohttpd looks for room before it takes events: see run() */
}

void peer_notify(void *arg, struct MHD_Connection *connection, void **context,
                 enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        open_peer(arg, connection, context);
    else if (*context != NULL)
        close_peer(arg, *context);
}

/* The epoll of libmicrohttpd (0.9.75) is edge-triggered and takes a short read for the last one: a sender that left
 * right behind half a request is not seen to have left, and would hold its memory until the deadline. */
void peers_sweep(struct http *http)
{
    char byte;

    for (struct peer *peer = http->peers; peer != NULL; peer = peer->next)
        if ((peer->request == NULL || !peer->request->whole) &&
            recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            peer_hang_up(peer);
}

struct peer *peer_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/*
 * redis_link.h - the transport under the protocol: a non-blocking stream over TCP or a Unix socket,
 * with TLS or without.  Nobody else in this room reads or writes the socket.
 */
#ifndef SPENDD_REDIS_LINK_H
#define SPENDD_REDIS_LINK_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/redis/redis.h"
#include "common/redis/redis_lookup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct tls;

struct redis_link {
    int fd;          /* -1: none */
    struct tls *tls; /* NULL: none */
    enum redis_refusal refused; /* why the last of these functions failed */
};

/* Begins to connect; link_connected says when it is done. */
int link_open(struct redis_link *link, const struct address *to, int64_t user_timeout_ms,
              struct err *err) MUST_CHECK;
int link_address_local(const char *path, struct address *to, struct err *err) MUST_CHECK;
int link_connected(struct redis_link *link, struct err *err) MUST_CHECK; /* when first writable */
void link_close(struct redis_link *link);

/* TLS from here on, once connected; then link_handshake until it has said 1 (done) or -1. */
int link_secure(struct redis_link *link, const struct redis_tls *options, const char *host,
                struct err *err) MUST_CHECK;
int link_handshake(struct redis_link *link, struct err *err) MUST_CHECK; /* 0: not yet */

/* The events to wait for, given whether there is something to write.  At each of them try both. */
short link_events(const struct redis_link *link, bool to_write);
bool link_pending(const struct redis_link *link); /* bytes that no event will tell of */

/* Bytes moved; 0: not now; -1: the connection is over. */
int64_t link_read(struct redis_link *link, void *to, size_t size, struct err *err) MUST_CHECK;
int64_t link_write(struct redis_link *link, const struct iovec *from, int count,
                   struct err *err) MUST_CHECK;

#endif

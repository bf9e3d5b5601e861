/*
 * redis_link.h - the transport under the protocol: a non-blocking stream, TCP or Unix.
 * What TLS will stand behind: nobody else in this room reads or writes the socket.
 */
#ifndef SPENDD_REDIS_LINK_H
#define SPENDD_REDIS_LINK_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/redis/redis_lookup.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct redis_link {
    int fd; /* -1: none */
};

/* Begins to connect; link_connected says when it is done. */
int link_open(struct redis_link *link, const struct address *to, int64_t user_timeout_ms,
              struct err *err) MUST_CHECK;
int link_address_local(const char *path, struct address *to, struct err *err) MUST_CHECK;
int link_connected(struct redis_link *link, struct err *err) MUST_CHECK; /* when first writable */
void link_close(struct redis_link *link);

/* Bytes moved; 0: not now; -1: the connection is over. */
int64_t link_read(struct redis_link *link, void *to, size_t size, struct err *err) MUST_CHECK;
int64_t link_write(struct redis_link *link, const struct iovec *from, int count,
                   struct err *err) MUST_CHECK;

#endif

/*
 * redis_lookup.h - a host name to addresses, off the loop.
 */
#ifndef SPENDD_REDIS_LOOKUP_H
#define SPENDD_REDIS_LOOKUP_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define LOOKUP_ADDRESSES_MAX 16

struct address {
    struct sockaddr_storage at;
    socklen_t length;
};

struct addresses {
    struct address address[LOOKUP_ADDRESSES_MAX];
    size_t count;
};

struct lookup;

/* An address in numbers needs no look-up: fills `found`.  -1: it is a name. */
int lookup_numeric(const char *host, const char *port, struct addresses *found) MUST_CHECK;

/* Begins a look-up in a helper thread; at most one at a time per owner is wise. */
struct lookup *lookup_start(const char *host, const char *port, struct err *err);
bool lookup_of(const struct lookup *lookup, const char *host, const char *port); /* of this name? */
int lookup_fd(const struct lookup *lookup); /* readable when it is done */

/* The result, once lookup_fd is readable. */
int lookup_take(const struct lookup *lookup, struct addresses *found, struct err *err) MUST_CHECK;

/* Lets go of it; a look-up that still runs finishes by itself. */
void lookup_free(struct lookup **lookup);

#endif

/*
 * body.h - the body of a request, collected and unpacked within bounds.
 */
#ifndef SPENDD_GATEWAY_BODY_H
#define SPENDD_GATEWAY_BODY_H

#include "common/base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What all bodies together hold in memory. */
struct body_purse {
    int64_t held, most;
};

struct body_limits {
    int64_t sent, inflated; /* bytes, as they come and unpacked */
};

enum body_outcome { BODY_OK, BODY_TOO_LARGE, BODY_NO_ROOM, BODY_BROKEN };

struct body {
    char *data; /* NULL: nothing yet */
    size_t used, size;
    int64_t sent;    /* bytes that came */
    int64_t charged; /* to the purse */
    struct inflation *inflation; /* NULL: it is not gzip */
};

/* `purse` outlives the body.  gzip: it is to be unpacked. */
enum body_outcome body_begin(struct body *body, struct body_purse *purse, bool gzip) MUST_CHECK;
enum body_outcome body_add(struct body *body, struct body_purse *purse, const struct body_limits *limits,
                           const char *bytes, size_t size) MUST_CHECK;
/* That was all of it.  BODY_BROKEN: gzip that does not end. */
enum body_outcome body_finish(struct body *body, struct body_purse *purse) MUST_CHECK;
void body_free(struct body *body, struct body_purse *purse);

#endif

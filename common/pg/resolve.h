/*
 * resolve.h - names to addresses in a helper thread, because getaddrinfo blocks and knows no deadline.
 * Inside common/pg only.
 */
#ifndef SPENDD_PG_RESOLVE_H
#define SPENDD_PG_RESOLVE_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define RESOLVE_TEXT 2048

struct resolve;

/* Lists as libpq takes them, comma-separated and of equal length; an entry without address is empty. */
struct resolve_answer {
    char host[RESOLVE_TEXT], hostaddr[RESOLVE_TEXT], port[RESOLVE_TEXT];
};

/* Starts the thread.  NULL with err: no thread to be had. */
struct resolve *resolve_start(const char *hosts, const char *ports, struct err *err);

/* Readable when it is done. */
int resolve_fd(const struct resolve *resolve);

/* Is this the look-up of these very names? */
bool resolve_of(const struct resolve *resolve, const char *hosts, const char *ports);

/* After it is done: 0, or -1 when no name at all was found. */
int resolve_result(const struct resolve *resolve, struct resolve_answer *answer,
                   struct err *err) MUST_CHECK;

/* Lets go; a thread that still runs ends by itself and frees what is left. */
void resolve_drop(struct resolve **resolve);

#endif

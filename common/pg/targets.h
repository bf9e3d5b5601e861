/*
 * targets.h - where one connect may try, in order: hosts, their addresses, their ports.
 * Inside common/pg only.  Pure.
 */
#ifndef SPENDD_PG_TARGETS_H
#define SPENDD_PG_TARGETS_H

#include <stdbool.h>
#include <stddef.h>

#define TARGETS_MAX 16
#define TARGET_HOST_BYTES 256

struct pg_target {
    char host[TARGET_HOST_BYTES]; /* name, or directory of a Unix socket; "": libpq's default socket */
    char address[64];             /* "": a socket, or a name that is not resolved yet */
    char port[8];                 /* "": libpq's default */
};

struct pg_targets {
    size_t count;
    struct pg_target target[TARGETS_MAX];
};

/* The comma lists of a URL (NULL or "": not given), side by side: as many as the longer of hosts and
 * addresses has; the last port stands for those that follow.  Numeric hosts are their own address.
 * What is more than fits, or too long to be a host, is left out.  -1: nothing is left. */
int pg_targets_split(struct pg_targets *targets, const char *hosts, const char *addresses,
                     const char *ports);

/* false: the table is full. */
bool pg_targets_add(struct pg_targets *targets, const char *host, const char *address,
                    const char *port);

/* Must this one's name be looked up? */
bool pg_target_is_name(const struct pg_target *target);
bool pg_targets_have_names(const struct pg_targets *targets);

bool pg_targets_equal(const struct pg_targets *one, const struct pg_targets *other);

#endif

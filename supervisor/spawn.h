/*
 * spawn.h - the only fork and exec in the tree.
 */
#ifndef SPENDD_SUPERVISOR_SPAWN_H
#define SPENDD_SUPERVISOR_SPAWN_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdint.h>
#include <sys/types.h>

/* Descriptor of libexec/spendd/NAME, found relative to our own executable.  -1: failed. */
int spawn_open(const char *name, struct err *err) MUST_CHECK;

struct spawn_order {
    int image;           /* from spawn_open */
    const char *title;   /* argv[0] */
    const int *fds;      /* become 3, 4, 5... in this order */
    unsigned fd_count;
    int64_t data_bytes;  /* RLIMIT_DATA */
    int64_t files;       /* RLIMIT_NOFILE, as far as we may; 0: as it is */
};

/* The pid, or -1.  The child starts with an empty environment and these descriptors only. */
pid_t spawn(const struct spawn_order *order, struct err *err) MUST_CHECK;

#endif

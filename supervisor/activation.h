/*
 * activation.h - sockets that systemd opened for us: LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES.
 */
#ifndef SPENDD_SUPERVISOR_ACTIVATION_H
#define SPENDD_SUPERVISOR_ACTIVATION_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/config/endpoint.h"

#define ACTIVATION_MAX 16

struct activation {
    unsigned count;
    int fd[ACTIVATION_MAX]; /* -1: taken */
    char name[ACTIVATION_MAX][64];
};

/* Reads the environment, once, and forgets it.  Without systemd: count 0.  -1: what was handed over is not
 * listening sockets. */
int activation_read(struct activation *activation, struct err *err) MUST_CHECK;

/* The descriptor whose FileDescriptorName= is `name`, or that is bound to `endpoint`; -1: none. */
int activation_take(struct activation *activation, const char *name, const struct endpoint *endpoint);

/* What nobody took is closed and reported. */
void activation_end(struct activation *activation);

/* What a socket is bound to.  -1: neither a Unix path nor tcp. */
int activation_address(int fd, struct endpoint *endpoint) MUST_CHECK;

#endif

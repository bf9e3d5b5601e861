/*
 * notify.h - the socket on which systemd (or whoever plays it) hears of us: sd_notify's protocol without
 * its library.  What is said, and when, is unit.h's.
 */
#ifndef SPENDD_SUPERVISOR_NOTIFY_H
#define SPENDD_SUPERVISOR_NOTIFY_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
    int fd; /* -1: nobody asked to be told */
    struct sockaddr_un address;
    socklen_t length;
    int64_t watchdog_ms; /* 0: none asked for */
};

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment.  -1: somebody wants to be
 * told and cannot be; `notify` tells nobody then. */
int notify_open(struct notify *notify, struct err *err) MUST_CHECK;

/* One datagram of lines.  false: not taken now, say it again.  Never blocks; true where nobody listens. */
bool notify_send(const struct notify *notify, const char *lines);

#endif

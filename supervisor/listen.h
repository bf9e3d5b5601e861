/*
 * listen.h - the listening sockets that outlive the workers that accept on them.
 *
 * A worker of a row that listens inherits its descriptors behind FD_INHERITED, in the order of the table in
 * listen.c: whoever connects while it is being replaced waits in the backlog, and several instances of a
 * row share one address.  systemd may have opened them before us (activation.h).
 */
#ifndef SPENDD_SUPERVISOR_LISTEN_H
#define SPENDD_SUPERVISOR_LISTEN_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/config/endpoint.h"
#include "common/config/settings.h"

#define LISTENERS_MAX 4
/* Descriptors of a worker that listens, besides its connections: its own, and those that are accepted
 * before it notices that it has too many. */
#define LISTEN_FILES_BESIDES 1280

struct listeners {
    int fd[LISTENERS_MAX]; /* -1: switched off */
    char path[LISTENERS_MAX][SOCKET_PATH_MAX + 1]; /* a file that we made; "": none */
};

/* Opens all of them, or takes them from systemd.  Waits up to two seconds for an address that a worker of a
 * former life is just letting go.  -1: failed for now, -2: the configuration or systemd's is wrong. */
int listen_open(struct listeners *listeners, const struct settings *settings, struct err *err) MUST_CHECK;

/* Puts what a worker of this row of the roster inherits at `fds`; returns how many. */
unsigned listen_give(const struct listeners *listeners, unsigned row, int fds[LISTENERS_MAX]);

/* Descriptors that a worker of this row needs; 0: no more than any process. */
int64_t listen_files(const struct settings *settings, unsigned row);

/* Nobody accepts any more: who waits is sent away (systemd's sockets stay open in systemd). */
void listen_close(struct listeners *listeners);

#endif

/*
 * bus_socket.h - the inside of a socket and of the bus; only common/bus includes this.
 */
#ifndef SPENDD_BUS_SOCKET_H
#define SPENDD_BUS_SOCKET_H

#include "common/bus/bus.h"
#include "common/harness/harness.h"

#include <sys/socket.h>

#define BUS_LISTENING_MAX 8 /* addresses: ipc or tcp, of either family */
#define BUS_SOCKETS_MAX 40 /* lanes, ingest, admin: the roster allows 16 lanes */

struct bus_socket {
    struct bus *bus;
    void *zmq;
    struct watch *watch;     /* of ZMQ_FD: only wakes the loop, the look does the work */
    bus_message_fn *message; /* NULL: this socket is never read */
    void *arg;
    int listener;       /* inherited; 0: none */
    bool guarded; /* CURVE: each message carries its client's key */
    bool paused;
    bool dead; /* dropped during a look; closed when it is over */
};

struct bus {
    struct harness *harness;
    void *context;
    char directory[96];    /* of the channels' sockets */
    unsigned files_most; /* descriptors of this process; 0: no bound (bus_crowd.c) */
    struct sockaddr_storage listening[BUS_LISTENING_MAX]; /* where strangers come in (bus_crowd.c) */
    unsigned listenings;
    struct guard *guard; /* NULL: no CURVE */
    struct timer *awake;   /* keeps the loop from sleeping over an edge that a send consumed */
    struct bus_socket *socket[BUS_SOCKETS_MAX];
    size_t sockets;
    bool looking; /* inside the look: sockets must not vanish */
    bool asleep;  /* the last look found nothing: an edge consumed from here on would be missed */
};

/* bus_guard.c: CURVE for one socket; is what this client sends still wanted? */
int bus_guard_socket(struct bus *bus, void *zmq, struct err *err) MUST_CHECK;
bool bus_guard_passes(struct bus *bus, const char *key);
void bus_guard_free(struct bus *bus);

/* Makes, configures and registers a socket; not yet bound or connected. */
struct bus_socket *bus_socket_new(struct bus *bus, enum bus_kind kind,
                                  const struct bus_limits *limits, struct err *err);
int bus_socket_bind(struct bus_socket *socket, const char *endpoint, int mode,
                    struct err *err) MUST_CHECK;
int bus_socket_connect(struct bus_socket *socket, const char *endpoint, struct err *err) MUST_CHECK;
void bus_socket_free(struct bus_socket *socket); /* out of the bus as well */

/* Reads up to a budget; true if anything was read. */
bool bus_socket_serve(struct bus_socket *socket);

#endif

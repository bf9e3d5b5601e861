/*
 * bus.h - the door to ZeroMQ: the pipelines of channels.def, and sockets for ingest and admin.
 *
 * Everything is DONTWAIT and driven by the worker's loop (ZMQ_FD is edge-triggered; the door looks
 * again before each sleep, with a budget per turn so that no socket starves the others).
 * A pipeline may lose what is in flight when a process dies; nothing here is ever the only holder.
 */
#ifndef SPENDD_BUS_BUS_H
#define SPENDD_BUS_BUS_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct harness;
struct bus;
struct bus_socket;

#define BUS_FRAMES_MAX 24

struct bus_frame {
    const void *data;
    size_t bytes;
};

enum bus_kind { BUS_ROUTER, BUS_PULL, BUS_PUSH, BUS_DEALER };

enum bus_channel {
#define CHANNEL(name, writer, reader, endpoint, messages) BUS_##name,
#define ASKED CHANNEL
#include "common/bus/channels.def"
#undef ASKED
#undef CHANNEL
    BUS_CHANNELS
};

/* A whole message, borrowed for the call.  More than BUS_FRAMES_MAX frames: `count` is one more
 * than that and the rest was dropped. */
typedef void bus_message_fn(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                            size_t count);

struct bus_limits {
    int64_t max_message_bytes; /* ZMQ_MAXMSGSIZE; 0: none */
    int high_water;            /* messages; 0: ZeroMQ's default */
    int send_high_water;       /* the same for what we send alone; 0: high_water */
    int socket_mode;           /* ipc file mode, 0: as made */
    int listener;              /* inherited, already listening; its file stays.  0: bind ourselves */
};

/* One context per process.  `runtime_dir` is where the channels' endpoints live.  bus_close
 * belongs in the worker's close (or a failed open): the harness must not turn its loop any more.
 *  It waits at most linger_ms for what is queued. */
struct bus *bus_open(struct harness *harness, const char *runtime_dir, struct err *err);
void bus_close(struct bus **bus, int64_t linger_ms);

/* The reading end of a channel binds ("%u" = index); the writing end connects. */
struct bus_socket *bus_read(struct bus *bus, enum bus_channel channel, unsigned index,
                            bus_message_fn *message, void *arg, struct err *err);
struct bus_socket *bus_write(struct bus *bus, enum bus_channel channel, unsigned index,
                             struct err *err);

/* The two ends of an ASKED channel: who answers binds (frames begin with the asker's identity, and so do the
 * answer's), who asks connects, to each answerer by its index. */
struct bus_socket *bus_answer(struct bus *bus, enum bus_channel channel, unsigned index,
                              bus_message_fn *message, void *arg, struct err *err);
struct bus_socket *bus_ask(struct bus *bus, enum bus_channel channel, unsigned index,
                           bus_message_fn *message, void *arg, struct err *err);

/* A socket of our own bound to `endpoint` (ingest, admin).  ROUTER: handover, mandatory,
 * heartbeats. */
struct bus_socket *bus_bind(struct bus *bus, enum bus_kind kind, const char *endpoint,
                            const struct bus_limits *limits, bus_message_fn *message, void *arg,
                            struct err *err);
void bus_drop(struct bus_socket **socket);

/* Stops and resumes reading (back-pressure: the peer's queue fills, nothing is lost). */
void bus_pause(struct bus_socket *socket, bool paused);

/* Sends one message, or returns -1 without sending any of it: nobody there, or its queue is
 * full. */
int bus_send(struct bus_socket *socket, const struct bus_frame *frames, size_t count) MUST_CHECK;

/* Room in the socket for at least one more message? */
bool bus_writable(struct bus_socket *socket);

#endif

/*
 * bus_socket.c - one ZeroMQ socket: its options, its address, and the reading of whole messages.
 *
 * The hot path is bus_socket_serve: frames are received in place (zmq_msg_t, no copies), shown
 * to the owner as borrowed bytes, and released when its function returns.  A message has at most
 * BUS_FRAMES_MAX frames; more are read and dropped one by one, so a hostile peer costs time, not
 * memory of ours (what libzmq itself holds is bounded by RLIMIT_DATA).
 *
 * Called by bus.c only.  If we die on any line: see bus.c.
 */
#include "common/bus/bus_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

/* One look at one socket ends after this many messages or bytes: some milliseconds of work. */
#define SERVE_MESSAGES 512
#define SERVE_BYTES (4 * 1024 * 1024)

#define HANDSHAKE_MS 5000 /* who has not introduced himself by then is cut off */
#define HEARTBEAT_MS 5000
#define HEARTBEAT_TIMEOUT_MS 15000
#define LINGER_MS 1000 /* until bus_close gives another; a bound is all that matters */

struct option {
    int name;
    int value;
};

static int set_options(void *zmq, const struct option *option, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(zmq, option[i].name, &option[i].value, sizeof(int)) != 0)
            return err_errno(err, "ZeroMQ refuses option %d", option[i].name);
    return 0;
}

static int configure(void *zmq, enum bus_kind kind, const struct bus_limits *limits,
                     struct err *err)
{
    static const struct option every[] = {
        {ZMQ_LINGER, LINGER_MS},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
        {ZMQ_RECONNECT_IVL, 20},
        {ZMQ_RECONNECT_IVL_MAX, 500},
    };
    /* A peer that comes back under its old identity takes it over; an ack to nobody is an error. */
    static const struct option router[] = {
        {ZMQ_ROUTER_HANDOVER, 1},
        {ZMQ_ROUTER_MANDATORY, 1},
        {ZMQ_BACKLOG, 1024},
    };
    /* Queue only to a completed connection: measured, PUSH to nobody swallows 1,000 messages. */
    static const struct option push[] = {{ZMQ_IMMEDIATE, 1}};
    const struct option water[] = {{ZMQ_SNDHWM, limits->high_water},
                                   {ZMQ_RCVHWM, limits->high_water}};
    const struct option sending = {ZMQ_SNDHWM, limits->send_high_water};
    int64_t most = limits->max_message_bytes;

    if (set_options(zmq, every, COUNT_OF(every), err) != 0)
        return -1;
    if (kind == BUS_ROUTER && set_options(zmq, router, COUNT_OF(router), err) != 0)
        return -1;
    if ((kind == BUS_PUSH || kind == BUS_DEALER) && set_options(zmq, push, COUNT_OF(push), err) != 0)
        return -1;
    if (limits->high_water > 0 && set_options(zmq, water, COUNT_OF(water), err) != 0)
        return -1;
    if (limits->send_high_water > 0 && set_options(zmq, &sending, 1, err) != 0)
        return -1;
    if (most > 0 && zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &most, sizeof most) != 0)
        return err_errno(err, "ZeroMQ refuses a largest message of %lld bytes", (long long)most);
    return 0;
}

static void wake(void *arg, short revents)
{
    (void)arg; /* the look before the next sleep does the work: see bus.c */
    (void)revents;
}

struct bus_socket *bus_socket_new(struct bus *bus, enum bus_kind kind,
                                  const struct bus_limits *limits, struct err *err)
{
    static const int type[] = {
        [BUS_ROUTER] = ZMQ_ROUTER, [BUS_PULL] = ZMQ_PULL, [BUS_PUSH] = ZMQ_PUSH, [BUS_DEALER] = ZMQ_DEALER};
    struct bus_socket *socket = calloc(1, sizeof *socket);
    size_t size = sizeof(int);
    int fd = -1;

    if (socket == NULL || bus->sockets == BUS_SOCKETS_MAX) {
        err_set(err, "no room for another socket");
        free(socket);
        return NULL;
    }
    socket->bus = bus;
    socket->zmq = zmq_socket(bus->context, type[kind]);
    if (socket->zmq == NULL) {
        err_errno(err, "cannot make a ZeroMQ socket");
        free(socket);
        return NULL;
    }
    bus->socket[bus->sockets++] = socket;
    if (configure(socket->zmq, kind, limits, err) != 0)
        goto failed;
    if (zmq_getsockopt(socket->zmq, ZMQ_FD, &fd, &size) != 0) {
        err_errno(err, "a ZeroMQ socket has no descriptor");
        goto failed;
    }
    socket->watch = harness_watch(bus->harness, fd, POLLIN, wake, socket);
    return socket;
failed:
    bus_drop(&socket);
    return NULL;
}

/* libzmq unlinks whatever lies at the path.  A socket is a leftover of a former life (the lock on
 * runtime_dir makes us its only owner); anything else is somebody's file and a mistake. */
static int check_path(const char *endpoint, struct err *err)
{
    const char *path = endpoint + strlen("ipc://");
    struct stat st;

    if (strncmp(endpoint, "ipc://", strlen("ipc://")) != 0)
        return 0;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return err_set(err, "%s exists and is not a socket", path);
    return 0;
}

/* libzmq closes the descriptor that it is given when it stops listening: it gets one of its own. */
static int lend_listener(struct bus_socket *socket, struct err *err)
{
    int own = fcntl(socket->listener, F_DUPFD_CLOEXEC, 0);

    if (own < 0)
        return err_errno(err, "a listening socket of ours");
    if (zmq_setsockopt(socket->zmq, ZMQ_USE_FD, &own, sizeof own) == 0)
        return 0;
    err_errno(err, "ZeroMQ refuses a listening socket");
    close(own);
    return -1;
}

/* tcp:// is guarded where there is a guard.  An address in brackets needs IPv6. */
static int secure(struct bus_socket *socket, const char *endpoint, struct err *err)
{
    bool tcp = strncmp(endpoint, "tcp://", strlen("tcp://")) == 0;
    int yes = 1;

    socket->guarded = tcp && socket->bus->guard != NULL;
    if (socket->guarded && bus_guard_socket(socket->bus, socket->zmq, err) != 0)
        return -1;
    if (tcp && strchr(endpoint, '[') != NULL && zmq_setsockopt(socket->zmq, ZMQ_IPV6, &yes, sizeof yes) != 0)
        return err_errno(err, "ZeroMQ refuses IPv6");
    return 0;
}

int bus_socket_bind(struct bus_socket *socket, const char *endpoint, int mode, struct err *err)
{
    mode_t before = 0;
    int result, saved;

    if (secure(socket, endpoint, err) != 0)
        return -1;
    if (socket->listener > 0 ? lend_listener(socket, err) != 0 : check_path(endpoint, err) != 0)
        return -1;
    /* By umask and not by chmod: there is no moment with another mode.  zmq_bind makes the file in
     * this thread. */
    if (mode != 0)
        before = umask((mode_t)(~mode & 0777));
    result = zmq_bind(socket->zmq, endpoint);
    saved = errno;
    if (mode != 0)
        umask(before);
    errno = saved;
    return result == 0 ? 0 : err_errno(err, "cannot bind %s", endpoint);
}

int bus_socket_connect(struct bus_socket *socket, const char *endpoint, struct err *err)
{
    if (zmq_connect(socket->zmq, endpoint) != 0)
        return err_errno(err, "cannot connect to %s", endpoint);
    return 0;
}

void bus_socket_free(struct bus_socket *socket)
{
    struct bus *bus = socket->bus;

    for (size_t i = 0; i < bus->sockets; i++)
        if (bus->socket[i] == socket)
            bus->socket[i] = bus->socket[--bus->sockets];
    harness_unwatch(&socket->watch);
    zmq_close(socket->zmq);
    free(socket);
}

/* Reads and drops what is left of a message. */
static void drop_rest(void *zmq)
{
    zmq_msg_t part;
    bool more = true;

    while (more) {
        zmq_msg_init(&part);
        more = zmq_msg_recv(&part, zmq, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&part);
        zmq_msg_close(&part);
    }
}

/* Receives one whole message and shows it.  Returns its bytes, or -1: there is none. */
static int64_t receive(struct bus_socket *socket)
{
    zmq_msg_t part[BUS_FRAMES_MAX];
    struct bus_frame frame[BUS_FRAMES_MAX];
    size_t count = 0, shown;
    int64_t bytes = 0;
    bool more = true;

    while (more && count < BUS_FRAMES_MAX) {
        zmq_msg_init(&part[count]);
        /* The frames of a message arrive together: only the first can be missing. */
        if (zmq_msg_recv(&part[count], socket->zmq, ZMQ_DONTWAIT) < 0)
            break;
        frame[count].data = zmq_msg_data(&part[count]);
        frame[count].bytes = zmq_msg_size(&part[count]);
        bytes += (int64_t)frame[count].bytes;
        more = zmq_msg_more(&part[count]);
        count++;
    }
    if (count == 0)
        return -1;
    shown = count;
    if (more && count == BUS_FRAMES_MAX) {
        drop_rest(socket->zmq);
        shown = BUS_FRAMES_MAX + 1;
    }
    if (!socket->guarded || bus_guard_passes(socket->bus, zmq_msg_gets(&part[count - 1], "User-Id")))
        socket->message(socket->arg, socket, frame, shown);
    for (size_t i = 0; i < count; i++)
        zmq_msg_close(&part[i]);
    return bytes;
}

bool bus_socket_serve(struct bus_socket *socket)
{
    int64_t bytes = 0;
    int events, messages;
    size_t size = sizeof events;

    for (messages = 0; messages < SERVE_MESSAGES && bytes < SERVE_BYTES; messages++) {
        int64_t got;

        if (socket->message == NULL || socket->paused || socket->dead)
            break;
        got = receive(socket);
        if (got < 0)
            return messages > 0;
        bytes += got;
    }
    /* Nobody reads: libzmq's own business (connections coming and going) must be done all the same,
     * or its descriptor stays readable. */
    if (messages == 0)
        zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size);
    return messages > 0;
}

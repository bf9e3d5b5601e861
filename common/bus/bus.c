/*
 * bus.c - the door to ZeroMQ: one context per process, its sockets, and when they are looked at.
 *
 * Plain libzmq, not czmq: fewer surprises inside somebody else's process.  czmq installs signal
 * handlers and an atexit function, keeps a global context, and asserts on what peers do; here the
 * harness owns signals and exit.
 *
 * Owns the context, the sockets and their watched descriptors.  Not bound to a thread of its
 * own: all calls come from the loop; libzmq's I/O thread blocks every signal.
 *
 * ZMQ_FD is edge-triggered, and any call on a socket, a send too, may consume the edge.  Therefore:
 *   - a wake-up reads nothing; all reading is done in the look before the loop sleeps, and the look
 *     lets the loop sleep only after a pass over all sockets that found nothing at all;
 *   - a send after such a pass arms a timer that is due at once: one more turn, one more look.
 * The budget per socket and look bounds a turn, so that fd 3, timers and other sockets are served.
 *
 * If we die on any line: what is queued in our sockets is lost, in and out.  That is allowed: the
 * spool holds every record, and who is not answered sends again.
 */
#include "common/bus/bus.h"

#include "common/bus/bus_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

struct channel {
    const char *endpoint;
    int messages;
};

static const struct channel channels[BUS_CHANNELS] = {
#define CHANNEL(name, writer, reader, endpoint, messages) [BUS_##name] = {endpoint, messages},
#define ASKED CHANNEL
#include "common/bus/channels.def"
#undef ASKED
#undef CHANNEL
};

static void sweep(struct bus *bus)
{
    for (size_t i = bus->sockets; i-- > 0;)
        if (bus->socket[i]->dead)
            bus_socket_free(bus->socket[i]);
}

/* The look before each sleep.  True: something was read, look again before sleeping. */
static bool look(void *arg)
{
    struct bus *bus = arg;
    bool busy = false;

    bus->looking = true;
    for (size_t i = 0; i < bus->sockets; i++)
        busy |= bus_socket_serve(bus->socket[i]);
    bus->looking = false;
    sweep(bus);
    bus->asleep = !busy;
    return busy;
}

static void stay_awake(struct bus *bus)
{
    if (!bus->asleep)
        return;
    bus->asleep = false;
    timer_in_ms(bus->awake, 0);
}

static void awake(void *arg)
{
    (void)arg; /* that there was one more turn is all */
}

struct bus *bus_open(struct harness *harness, const char *runtime_dir, struct err *err)
{
    struct bus *bus = calloc(1, sizeof *bus);
    size_t length;

    if (bus == NULL) {
        err_set(err, "no memory for the bus");
        return NULL;
    }
    length = (size_t)snprintf(bus->directory, sizeof bus->directory, "%s/private", runtime_dir);
    if (length >= sizeof bus->directory) {
        err_set(err, "runtime_dir is too long: %s", runtime_dir);
        goto failed;
    }
    if (mkdir(bus->directory, 0700) != 0 && errno != EEXIST) {
        err_errno(err, "cannot make %s", bus->directory);
        goto failed;
    }
    bus->harness = harness;
    bus->context = zmq_ctx_new();
    if (bus->context == NULL) {
        err_errno(err, "cannot make a ZeroMQ context");
        goto failed;
    }
    zmq_ctx_set(bus->context, ZMQ_MAX_SOCKETS, BUS_SOCKETS_MAX);
    bus->awake = harness_timer(harness, awake, bus);
    harness_before_sleep(harness, look, bus);
    return bus;
failed:
    free(bus);
    return NULL;
}

void bus_close(struct bus **bus, int64_t linger_ms)
{
    struct bus *b = *bus;
    int linger = linger_ms < 0 ? 0 : linger_ms > 3600000 ? 3600000 : (int)linger_ms;

    if (b == NULL)
        return;
    *bus = NULL;
    while (b->sockets > 0) {
        zmq_setsockopt(b->socket[0]->zmq, ZMQ_LINGER, &linger, sizeof linger);
        bus_socket_free(b->socket[0]);
    }
    bus_guard_free(b);
    harness_untimer(&b->awake);
    /* Waits for the lingering sockets; EINTR is a signal that the harness has noted already. */
    while (zmq_ctx_term(b->context) != 0 && errno == EINTR)
        ;
    free(b);
}

static int channel_endpoint(const struct bus *bus, enum bus_channel channel, unsigned index,
                            char endpoint[128], struct err *err)
{
    char name[32] = "";
    const char *format = channels[channel].endpoint, *mark = strstr(format, "%u");
    int length;

    if (mark == NULL)
        snprintf(name, sizeof name, "%s", format);
    else
        snprintf(name, sizeof name, "%.*s%u%s", (int)(mark - format), format, index, mark + 2);
    length = snprintf(endpoint, 128, "ipc://%s/%s", bus->directory, name);
    if (length >= 128)
        return err_set(err, "the endpoint of %s is too long", name);
    return 0;
}

struct bus_socket *bus_read(struct bus *bus, enum bus_channel channel, unsigned index,
                            bus_message_fn *message, void *arg, struct err *err)
{
    const struct bus_limits limits = {.high_water = channels[channel].messages, .socket_mode = 0600};
    char endpoint[128];

    if (channel_endpoint(bus, channel, index, endpoint, err) != 0)
        return NULL;
    return bus_bind(bus, BUS_PULL, endpoint, &limits, message, arg, err);
}

struct bus_socket *bus_answer(struct bus *bus, enum bus_channel channel, unsigned index,
                              bus_message_fn *message, void *arg, struct err *err)
{
    const struct bus_limits limits = {.high_water = channels[channel].messages, .socket_mode = 0600};
    char endpoint[128];

    if (channel_endpoint(bus, channel, index, endpoint, err) != 0)
        return NULL;
    return bus_bind(bus, BUS_ROUTER, endpoint, &limits, message, arg, err);
}

/* The connecting end of a channel; `message` is NULL where nothing comes back. */
static struct bus_socket *reach(struct bus *bus, enum bus_channel channel, unsigned index,
                                bus_message_fn *message, void *arg, struct err *err)
{
    const struct bus_limits limits = {.high_water = channels[channel].messages};
    struct bus_socket *socket;
    char endpoint[128];

    if (channel_endpoint(bus, channel, index, endpoint, err) != 0)
        return NULL;
    socket = bus_socket_new(bus, message != NULL ? BUS_DEALER : BUS_PUSH, &limits, err);
    if (socket == NULL)
        return NULL;
    socket->message = message;
    socket->arg = arg;
    if (bus_socket_connect(socket, endpoint, err) != 0)
        bus_drop(&socket);
    return socket;
}

struct bus_socket *bus_ask(struct bus *bus, enum bus_channel channel, unsigned index,
                           bus_message_fn *message, void *arg, struct err *err)
{
    return reach(bus, channel, index, message, arg, err);
}

struct bus_socket *bus_write(struct bus *bus, enum bus_channel channel, unsigned index,
                             struct err *err)
{
    return reach(bus, channel, index, NULL, NULL, err);
}

struct bus_socket *bus_bind(struct bus *bus, enum bus_kind kind, const char *endpoint,
                            const struct bus_limits *limits, bus_message_fn *message, void *arg,
                            struct err *err)
{
    struct bus_socket *socket = bus_socket_new(bus, kind, limits, err);

    if (socket == NULL)
        return NULL;
    socket->message = message;
    socket->arg = arg;
    socket->listener = limits->listener;
    if (bus_socket_bind(socket, endpoint, limits->socket_mode, err) != 0)
        bus_drop(&socket);
    stay_awake(bus);
    return socket;
}

void bus_drop(struct bus_socket **socket)
{
    struct bus_socket *s = *socket;

    if (s == NULL)
        return;
    *socket = NULL;
    s->dead = true;
    if (!s->bus->looking)
        bus_socket_free(s);
}

void bus_pause(struct bus_socket *socket, bool paused)
{
    socket->paused = paused;
    if (!paused)
        stay_awake(socket->bus);
}

/* The first frame decides.  To save time libzmq looks only now and then at what its I/O thread
 * reports, so a queue that it believes full may have room already: a refusal counts after
 * ZMQ_EVENTS made it look. */
static int send_first(void *zmq, const struct bus_frame *frame, int flags)
{
    int events;
    size_t size = sizeof events;

    if (zmq_send(zmq, frame->data, frame->bytes, flags) >= 0)
        return 0;
    if (errno != EAGAIN || zmq_getsockopt(zmq, ZMQ_EVENTS, &events, &size) != 0)
        return -1;
    return zmq_send(zmq, frame->data, frame->bytes, flags) >= 0 ? 0 : -1;
}

int bus_send(struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    int result = 0;

    stay_awake(socket->bus);
    for (size_t i = 0; i < count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);

        if (i == 0 ? send_first(socket->zmq, &frames[0], flags) == 0
                   : zmq_send(socket->zmq, frames[i].data, frames[i].bytes, flags) >= 0)
            continue;
        result = -1;
        /* Refused at the first frame: nothing was sent.  Later than that the peer vanished
         * within the message: libzmq takes the whole of it back, and swallows the frames that
         * are still to come, which it must therefore be given. */
        if (i == 0)
            break;
    }
    return result;
}

bool bus_writable(struct bus_socket *socket)
{
    int events = 0;
    size_t size = sizeof events;

    stay_awake(socket->bus);
    if (zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size) != 0)
        return false;
    return (events & ZMQ_POLLOUT) != 0;
}

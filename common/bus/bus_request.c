/*
 * bus_request.c - one question over ZeroMQ, answered while the caller waits.  See bus_request.h.
 *
 * Owns a context and one DEALER socket for the length of the call; linger 0, so nothing survives
 * it. If we die while waiting, the answer goes to nobody: the other side drops it.
 */
#include "common/bus/bus_request.h"

#include "common/base/clock.h"
#include "common/curve/certificate.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#define ANSWER_BYTES_MAX ((int64_t)64 * 1024 * 1024)

/* CURVE in both directions: we prove ourselves, and know whom we talk to. */
static int secure(void *socket, const struct bus_peer *peer, struct err *err)
{
    struct certificate ours, theirs;
    int yes = 1, result = -1;

    if (strncmp(peer->endpoint, "tcp://", strlen("tcp://")) != 0)
        return 0;
    if (peer->keys == NULL || peer->server_key == NULL)
        return err_set(err, "%s: tcp needs CURVE: give your key pair and the server's public key", peer->endpoint);
    if (certificate_read_secret(peer->keys, &ours, err) < 0)
        return -1;
    if (certificate_read(peer->server_key, &theirs, err) == 0)
        result = zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, theirs.public_key, CURVE_KEY_TEXT) != 0 ||
                         zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, ours.public_key, CURVE_KEY_TEXT) != 0 ||
                         zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, ours.secret_key, CURVE_KEY_TEXT) != 0 ||
                         zmq_setsockopt(socket, ZMQ_IPV6, &yes, sizeof yes) != 0
                     ? err_errno(err, "ZeroMQ refuses these keys")
                     : 0;
    explicit_bzero(&ours, sizeof ours);
    return result;
}

static int prepare(void *socket, const struct bus_peer *peer, int64_t timeout_ms, struct err *err)
{
    int none = 0, timeout = (int)timeout_ms;
    int64_t most = ANSWER_BYTES_MAX;

    if (zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(socket, ZMQ_SNDTIMEO, &timeout, sizeof timeout) != 0 ||
        zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most) != 0)
        return err_errno(err, "setting up a socket");
    if (secure(socket, peer, err) != 0)
        return -1;
    if (zmq_connect(socket, peer->endpoint) != 0)
        return err_set(err, "%s: %s", peer->endpoint, zmq_strerror(zmq_errno()));
    return 0;
}

static int send_all(void *socket, const struct bus_frame *frames, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_send(socket, frames[i].data, frames[i].bytes, i + 1 < count ? ZMQ_SNDMORE : 0) < 0)
            return err_set(err, "sending: %s", zmq_strerror(zmq_errno()));
    return 0;
}

/* Waits until there is a message, whatever signals come. */
static int wait_readable(void *socket, mono_t deadline)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};

    for (;;) {
        int64_t left = mono_ms_between(mono_now(), deadline);
        int ready = zmq_poll(&item, 1, (long)(left > 0 ? left : 0));

        if (ready > 0)
            return 0;
        if (ready == 0 || (zmq_errno() == EINTR && left <= 0))
            return -1;
        if (zmq_errno() != EINTR)
            return -1;
    }
}

/* One message, handed to `answer`.  Frames beyond BUS_FRAMES_MAX are dropped. */
static int receive(void *socket, bus_answer_fn *answer, void *arg, bool *more, struct err *err)
{
    zmq_msg_t parts[BUS_FRAMES_MAX];
    struct bus_frame frames[BUS_FRAMES_MAX];
    size_t count = 0;
    bool last = false;

    while (!last) {
        zmq_msg_t part;

        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) < 0)
            break;
        last = !zmq_msg_more(&part);
        if (count == BUS_FRAMES_MAX) {
            zmq_msg_close(&part);
            continue;
        }
        zmq_msg_init(&parts[count]);
        zmq_msg_move(&parts[count], &part);
        frames[count].data = zmq_msg_data(&parts[count]);
        frames[count].bytes = zmq_msg_size(&parts[count]);
        count++;
    }
    if (last)
        *more = answer(arg, frames, count);
    for (size_t i = 0; i < count; i++)
        zmq_msg_close(&parts[i]);
    return last ? 0 : err_set(err, "receiving: %s", zmq_strerror(zmq_errno()));
}

static int hear(void *socket, const struct bus_peer *peer, int64_t timeout_ms, bus_answer_fn *answer,
                void *arg, struct err *err)
{
    bool more = true;

    while (more) {
        if (wait_readable(socket, mono_after_ms(mono_now(), timeout_ms)) != 0)
            return err_set(err, "%s: no answer within %lld ms%s", peer->endpoint, (long long)timeout_ms,
                           peer->keys != NULL ? " (nobody there, or these keys are not allowed)" : "");
        if (receive(socket, answer, arg, &more, err) != 0)
            return -1;
    }
    return 0;
}

int bus_request(const struct bus_peer *peer, const struct bus_frame *frames, size_t count,
                int64_t timeout_ms, bus_answer_fn *answer, void *arg, struct err *err)
{
    void *context = zmq_ctx_new(), *socket = context ? zmq_socket(context, ZMQ_DEALER) : NULL;
    int result = -1;

    if (socket == NULL) {
        err_errno(err, "opening a socket");
        goto out;
    }
    if (prepare(socket, peer, timeout_ms, err) == 0 &&
        send_all(socket, frames, count, err) == 0)
        result = hear(socket, peer, timeout_ms, answer, arg, err);
out:
    if (socket != NULL)
        zmq_close(socket);
    if (context != NULL)
        zmq_ctx_term(context);
    return result;
}

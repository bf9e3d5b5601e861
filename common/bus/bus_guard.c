/*
 * bus_guard.c - CURVE: who may speak over tcp.  See bus_guard.h.
 *
 * libzmq does the handshake in its I/O thread and asks, before it lets anybody in, a ZAP handler: a socket
 * at inproc://zeromq.zap.01 in our own loop, one message for each connection.  Not czmq's zauth: that is a
 * thread with a second poll loop and a copy of the keys, for what is a search in a sorted array here.
 * The loop answers within a turn; an attacker who connects for ever costs a turn of it each time, no more.
 * Without a handler libzmq lets in everybody: it is bound before any address is, and lives as long as the
 * loop turns, so that nobody's message is read who was not asked about.
 *
 * Who is not allowed gets "300", for now, and is hung up on; his libzmq tries again.  After "400" it would
 * never, and a gateway whose key comes late, or went by mistake, would have to be restarted (measured, 4.3.4).
 *
 * A connection's key comes with each of its messages (ZAP's user id), so one that was let in is still
 * looked at when a key has been taken away since.
 *
 * If we die on any line: connections end with us, and each one is asked about again.
 */
#include "common/bus/bus_guard.h"

#include "common/bus/bus_socket.h"
#include "common/curve/clients.h"
#include "common/stats/stats.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define DOMAIN "spendd"
#define KEY_BYTES 32
#define TELL_MS 1000

enum news { NEWS_READ, NEWS_UNREADABLE, NEWS_REFUSED, NEWS_REVOKED, NEWS_KINDS };

struct guard {
    struct bus *bus;
    struct certificate certificate;
    char directory[256];
    struct clients clients;
    bool revoked; /* a key was taken away in this life: connections of it may be left */
    bus_guard_fn *tell;
    void *arg;
    mono_t told[NEWS_KINDS];
    unsigned untold[NEWS_KINDS];
};

static void PRINTF_LIKE(3, 4) tell(struct guard *guard, enum news kind, const char *format, ...)
{
    static const char *const word[] = {[NEWS_READ] = "clients_read",
                                       [NEWS_UNREADABLE] = "clients_unreadable",
                                       [NEWS_REFUSED] = "client_refused",
                                       [NEWS_REVOKED] = "client_revoked"};
    mono_t now = mono_now();
    char text[400];
    va_list ap;
    int used;

    if (kind != NEWS_READ && guard->told[kind].micros != 0 &&
        mono_ms_between(guard->told[kind], now) < TELL_MS) {
        guard->untold[kind]++;
        return;
    }
    va_start(ap, format);
    used = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (guard->untold[kind] > 0 && used > 0 && (size_t)used < sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, " suppressed=%u", guard->untold[kind]);
    guard->told[kind] = now;
    guard->untold[kind] = 0;
    guard->tell(guard->arg, kind != NEWS_READ, word[kind], text);
}

/* --- the directory -------------------------------------------------------------------------------- */

static void read_clients(struct guard *guard)
{
    size_t before = guard->clients.count;
    bool removed, first = guard->clients.changed_ns == 0;
    struct err err = {""};

    if (clients_read(&guard->clients, guard->directory, wall_now(), &removed, &err) < 0) {
        tell(guard, NEWS_UNREADABLE, "error=%s kept=%zu", err.text, before);
        return;
    }
    guard->revoked |= removed;
    if (guard->clients.unreadable > 0)
        tell(guard, NEWS_UNREADABLE, "error=%s files=%zu", err.text, guard->clients.unreadable);
    if (first || removed || guard->clients.count != before)
        tell(guard, NEWS_READ, "directory=%s clients=%zu", guard->directory, guard->clients.count);
}

void bus_guard_reload(struct bus *bus)
{
    if (bus->guard != NULL)
        read_clients(bus->guard);
}

/* --- one connection ------------------------------------------------------------------------------- */

static bool is(const struct bus_frame *frame, const char *text)
{
    return frame->bytes == strlen(text) && memcmp(frame->data, text, frame->bytes) == 0;
}

static bool allowed(struct guard *guard, const struct bus_frame *frames, size_t count,
                    char key[CURVE_KEY_TEXT])
{
    key[0] = '\0';
    if (count != 9 || !is(&frames[7], "CURVE") || frames[8].bytes != KEY_BYTES)
        return false;
    zmq_z85_encode(key, frames[8].data, KEY_BYTES);
    if (clients_stale(&guard->clients, guard->directory))
        read_clients(guard);
    return clients_find(&guard->clients, key) != NULL;
}

/* ZAP (rfc.zeromq.org/spec/27): sender, empty, version, request, domain, address, identity, mechanism,
 * credentials. */
static void on_request(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    struct guard *guard = arg;
    char key[CURVE_KEY_TEXT];
    bool in;

    if (count < 8 || count > BUS_FRAMES_MAX || !is(&frames[2], "1.0"))
        return;
    in = allowed(guard, frames, count, key);
    if (!in) {
        stats_add(harness_stats(guard->bus->harness), METRIC_clients_refused_total, 1);
        tell(guard, NEWS_REFUSED, "key=%s address=%.*s", key, (int)frames[5].bytes,
             (const char *)frames[5].data);
    }
    const struct bus_frame answer[] = {frames[0],
                                       {"", 0},
                                       {"1.0", 3},
                                       frames[3],
                                       {in ? "200" : "300", 3},
                                       {in ? "OK" : "NO", 2},
                                       {key, in ? strlen(key) : 0},
                                       {"", 0}};
    if (bus_send(socket, answer, COUNT_OF(answer)) != 0) {
        /* It has hung up meanwhile. */
    }
}

bool bus_guard_passes(struct bus *bus, const char *key)
{
    struct guard *guard = bus->guard;

    if (guard == NULL || !guard->revoked || (key != NULL && clients_find(&guard->clients, key) != NULL))
        return true;
    stats_add(harness_stats(bus->harness), METRIC_messages_revoked_total, 1);
    tell(guard, NEWS_REVOKED, "key=%.40s dropped=message", key != NULL ? key : "");
    return false;
}

/* --- making --------------------------------------------------------------------------------------- */

int bus_guard_socket(struct bus *bus, void *zmq, struct err *err)
{
    const struct certificate *certificate = &bus->guard->certificate;
    int yes = 1;

    if (zmq_setsockopt(zmq, ZMQ_CURVE_SERVER, &yes, sizeof yes) != 0 ||
        zmq_setsockopt(zmq, ZMQ_CURVE_SECRETKEY, certificate->secret_key, CURVE_KEY_TEXT) != 0 ||
        zmq_setsockopt(zmq, ZMQ_ZAP_DOMAIN, DOMAIN, strlen(DOMAIN)) != 0)
        return err_errno(err, "ZeroMQ refuses CURVE");
    return 0;
}

/* A public key that is another pair's would be found out by the clients, one by one. */
static int check_pair(const char *path, const struct certificate *certificate, struct err *err)
{
    char derived[CURVE_KEY_TEXT];

    if (zmq_curve_public(derived, certificate->secret_key) != 0)
        return err_set(err, "%s: the secret key is none", path);
    if (strcmp(derived, certificate->public_key) != 0)
        return err_set(err, "%s: the public key does not belong to the secret key", path);
    return 0;
}

int bus_guard(struct bus *bus, const struct bus_guard *options, struct err *err)
{
    static const struct bus_limits limits = {.high_water = 0};
    struct guard *guard = calloc(1, sizeof *guard);

    if (guard == NULL || bus->guard != NULL || zmq_has("curve") != 1) {
        free(guard);
        return err_set(err, "no memory, a second guard, or a libzmq without CURVE");
    }
    guard->bus = bus;
    guard->tell = options->tell;
    guard->arg = options->arg;
    snprintf(guard->directory, sizeof guard->directory, "%s", options->clients);
    bus->guard = guard; /* bus_close frees it, whatever happens here */
    if (certificate_read_secret(options->certificate, &guard->certificate, err) < 0 ||
        check_pair(options->certificate, &guard->certificate, err) < 0)
        return -1;
    read_clients(guard);
    return bus_bind(bus, BUS_ROUTER, "inproc://zeromq.zap.01", &limits, on_request, guard, err) != NULL ? 0 : -1;
}

void bus_guard_free(struct bus *bus)
{
    if (bus->guard == NULL)
        return;
    clients_free(&bus->guard->clients);
    explicit_bzero(&bus->guard->certificate, sizeof bus->guard->certificate);
    free(bus->guard);
    bus->guard = NULL;
}

int bus_guard_keys(struct certificate *certificate, struct err *err)
{
    if (zmq_curve_keypair(certificate->public_key, certificate->secret_key) != 0)
        return err_errno(err, "libzmq makes no CURVE keys");
    return 0;
}

/*
 * errand_wire.c - frames over a Unix stream socket, both ends.  See errand_wire.h.
 *
 * Never blocks.  Owns the descriptor, its watch and two buffers; who puts frames bounds what waits
 * (errand_full), who reads bounds what it takes.  If we die on any line the other end reads end of file
 * within a frame or between two, and knows that the answer was not final.
 */
#include "common/errand/errand_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES 65536

int wire_address(const struct harness *harness, const char *worker, unsigned index,
                 struct sockaddr_un *address, struct err *err)
{
    int length;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    length = snprintf(address->sun_path, sizeof address->sun_path, "%s/private/%s.%u.errand",
                      harness_settings(harness)->runtime_dir, worker, index);
    if (length < 0 || (size_t)length >= sizeof address->sun_path)
        return err_set(err, "runtime_dir is too long for %s's socket", worker);
    return 0;
}

/* Room for `more` bytes behind what is used; what was taken already makes room first. */
static void reserve(struct wire_bytes *bytes, size_t more)
{
    if (bytes->at > 0) {
        memmove(bytes->data, bytes->data + bytes->at, bytes->used - bytes->at);
        bytes->used -= bytes->at;
        bytes->at = 0;
    }
    if (bytes->size - bytes->used >= more)
        return;
    bytes->size = bytes->used + more;
    bytes->data = realloc(bytes->data, bytes->size);
    if (bytes->data == NULL)
        bug("out of memory for %zu bytes of an errand", bytes->size);
}

static void put_u32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

static uint32_t get_u32(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

void wire_put(struct wire *wire, uint32_t status, const void *data, size_t bytes)
{
    if (wire->gone || wire->fd < 0)
        return;
    reserve(&wire->out, WIRE_HEADER_BYTES + bytes);
    put_u32(wire->out.data + wire->out.used, (uint32_t)bytes);
    put_u32(wire->out.data + wire->out.used + 4, status);
    if (bytes > 0)
        memcpy(wire->out.data + wire->out.used + WIRE_HEADER_BYTES, data, bytes);
    wire->out.used += WIRE_HEADER_BYTES + bytes;
    wire_flush(wire);
}

void wire_flush(struct wire *wire)
{
    while (!wire->gone && wire_waiting(wire) > 0) {
        ssize_t sent = send(wire->fd, wire->out.data + wire->out.at, wire_waiting(wire),
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            wire->gone = true;
        if (sent < 0)
            return;
        wire->out.at += (size_t)sent;
    }
}

size_t wire_waiting(const struct wire *wire)
{
    return wire->gone ? 0 : wire->out.used - wire->out.at;
}

void wire_receive(struct wire *wire)
{
    ssize_t got;

    reserve(&wire->in, RECEIVE_BYTES);
    got = recv(wire->fd, wire->in.data + wire->in.used, RECEIVE_BYTES, MSG_DONTWAIT);
    if (got > 0)
        wire->in.used += (size_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        wire->gone = true;
}

int wire_next(struct wire *wire, size_t most, uint32_t *status, const unsigned char **data, size_t *bytes)
{
    const unsigned char *head = wire->in.data + wire->in.at;
    size_t have = wire->in.used - wire->in.at;

    if (have < WIRE_HEADER_BYTES)
        return 0;
    *bytes = get_u32(head);
    *status = get_u32(head + 4);
    if (*bytes > most)
        return -1;
    if (have < WIRE_HEADER_BYTES + *bytes)
        return 0;
    *data = head + WIRE_HEADER_BYTES;
    wire->in.at += WIRE_HEADER_BYTES + *bytes;
    return 1;
}

void wire_watch(struct wire *wire, bool read)
{
    short events = wire_waiting(wire) > 0 ? POLLOUT : 0;

    if (wire->gone) {
        harness_unwatch(&wire->watch); /* or poll would say POLLHUP at each turn, for as long as the errand takes */
        return;
    }
    watch_events(wire->watch, read ? events | POLLIN : events);
}

void wire_close(struct wire *wire)
{
    harness_unwatch(&wire->watch);
    if (wire->fd >= 0)
        close(wire->fd);
    free(wire->in.data);
    free(wire->out.data);
    *wire = (struct wire){.fd = -1, .gone = true};
}

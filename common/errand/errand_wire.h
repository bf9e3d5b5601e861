/*
 * errand_wire.h - what travels between control and a worker for an errand; only common/errand includes
 * this.  A frame: u32 bytes | u32 status | bytes (little-endian).  A question is one frame whose status is
 * the number of its words, each with its NUL; answers are frames with a status and JSON.
 */
#ifndef SPENDD_ERRAND_ERRAND_WIRE_H
#define SPENDD_ERRAND_ERRAND_WIRE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/harness/harness.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define WIRE_HEADER_BYTES 8
#define WIRE_QUESTION_BYTES 4096
#define WIRE_ANSWER_BYTES (48 * 1024 * 1024)

/* Bytes at one end of a connection: what came and is not read, what goes and is not sent. */
struct wire_bytes {
    unsigned char *data;
    size_t used, at, size;
};

struct wire {
    int fd; /* -1: closed */
    struct watch *watch;
    struct wire_bytes in, out;
    bool gone; /* the other end has left */
};

int wire_address(const struct harness *harness, const char *worker, unsigned index,
                 struct sockaddr_un *address, struct err *err) MUST_CHECK;

void wire_put(struct wire *wire, uint32_t status, const void *data, size_t bytes); /* sends what it can */
void wire_flush(struct wire *wire);
size_t wire_waiting(const struct wire *wire); /* bytes not sent yet */

/* Takes what the socket has, some of it; sets `gone`. */
void wire_receive(struct wire *wire);
/* The next whole frame, borrowed until the next call of these two.  1: here it is, 0: not yet, -1: no
 * frame (too long). */
int wire_next(struct wire *wire, size_t most, uint32_t *status, const unsigned char **data, size_t *bytes);

void wire_watch(struct wire *wire, bool read); /* for what it waits now */
void wire_close(struct wire *wire);

#endif

/*
 * request.h - a question on the admin socket: where the answer goes, and the words.
 * Pure: frames in, a value out that borrows nothing (an answer may come later).
 */
#ifndef SPENDD_CONTROL_REQUEST_H
#define SPENDD_CONTROL_REQUEST_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/bus/bus.h"

#include <stddef.h>
#include <stdint.h>

#define ROUTE_FRAMES_MAX 9 /* the peer's identity and up to 8 frames that it wants back */
#define ROUTE_FRAME_BYTES 255
#define REQUEST_WORDS_MAX 12
#define REQUEST_WORD_BYTES 255

/* The frames in front of "spendctl/1", echoed unchanged: REQ and DEALER both work. */
struct route {
    size_t count;
    struct {
        size_t bytes;
        unsigned char data[ROUTE_FRAME_BYTES];
    } frame[ROUTE_FRAMES_MAX];
};

struct request {
    struct route route;
    size_t count; /* at least 1: the command */
    char word[REQUEST_WORDS_MAX][REQUEST_WORD_BYTES + 1];
};

/* -1: outside the protocol; `err` says how, and the route is good enough to say so (count 0: not
 * even that).  Words hold no NUL. */
int request_read(struct request *request, const struct bus_frame *frames, size_t count,
                 struct err *err) MUST_CHECK;

#endif

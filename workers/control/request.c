/*
 * request.c - a question on the admin socket, read from its frames.  See request.h.
 * Pure.  What it reads comes from anybody who may open the socket: every length is checked.
 */
#include "workers/control/request.h"

#include "common/admin/admin_client.h"

#include <string.h>

static int add_route(struct route *route, const struct bus_frame *frame)
{
    if (route->count == ROUTE_FRAMES_MAX || frame->bytes > ROUTE_FRAME_BYTES)
        return -1;
    route->frame[route->count].bytes = frame->bytes;
    if (frame->bytes > 0)
        memcpy(route->frame[route->count].data, frame->data, frame->bytes);
    route->count++;
    return 0;
}

static bool is_protocol(const struct bus_frame *frame)
{
    return frame->bytes == strlen(ADMIN_PROTOCOL) &&
           memcmp(frame->data, ADMIN_PROTOCOL, frame->bytes) == 0;
}

/* For an answer to something that is not understood: the peer, and REQ's empty frame if it is
 * there. */
static int lost(struct route *route, const struct bus_frame *frames, size_t count, struct err *err,
                const char *why)
{
    route->count = 0;
    if (count > 0 && add_route(route, &frames[0]) == 0 && count > 1 && frames[1].bytes == 0 &&
        add_route(route, &frames[1]) != 0)
        route->count = 1;
    return err_set(err, "%s", why);
}

static int read_words(struct request *request, const struct bus_frame *frames, size_t count,
                      struct err *err)
{
    if (count == 0)
        return err_set(err, "no command behind " ADMIN_PROTOCOL);
    if (count > REQUEST_WORDS_MAX)
        return err_set(err, "more than %d words", REQUEST_WORDS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (frames[i].bytes > REQUEST_WORD_BYTES)
            return err_set(err, "word %zu is longer than %d bytes", i, REQUEST_WORD_BYTES);
        if (frames[i].bytes > 0 && memchr(frames[i].data, '\0', frames[i].bytes) != NULL)
            return err_set(err, "word %zu holds a NUL", i);
        if (frames[i].bytes > 0)
            memcpy(request->word[i], frames[i].data, frames[i].bytes);
        request->word[i][frames[i].bytes] = '\0';
    }
    request->count = count;
    return 0;
}

int request_read(struct request *request, const struct bus_frame *frames, size_t count,
                 struct err *err)
{
    size_t at = 0;

    request->route.count = 0;
    request->count = 0;
    if (count > BUS_FRAMES_MAX)
        return lost(&request->route, frames, BUS_FRAMES_MAX, err, "too many frames");
    while (at < count && (at == 0 || !is_protocol(&frames[at]))) {
        if (add_route(&request->route, &frames[at]) != 0)
            return lost(&request->route, frames, count, err,
                        "more, or longer, frames than are echoed stand before " ADMIN_PROTOCOL);
        at++;
    }
    if (at == count)
        return lost(&request->route, frames, count, err, "no frame says " ADMIN_PROTOCOL);
    return read_words(request, frames + at + 1, count - at - 1, err);
}

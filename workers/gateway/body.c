/*
 * body.c - the body of a request, collected and unpacked within bounds.  See body.h.
 *
 * Owns the bytes.  They grow by doubling up to the limit, and every byte of room is charged to a purse
 * that all requests share: many large bodies at once are refused, not held.  gzip is unpacked as it comes,
 * so a bomb ends at the limit and never lies in memory; several members one after the other are one text.
 * Pure but for memory.  If we die on any line nothing outside has changed.
 */
#include "workers/gateway/body.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define FIRST_BYTES 4096
#define GZIP_ALONE (15 + 16)
#define INFLATION_BYTES 49152 /* what zlib takes for one stream, its window included */

struct inflation {
    z_stream stream;
    bool ended; /* a member is over: the text may end here */
};

static bool charge(struct body *body, struct body_purse *purse, int64_t bytes)
{
    if (purse->held + bytes > purse->most)
        return false;
    purse->held += bytes;
    body->charged += bytes;
    return true;
}

/* Room for `more` bytes and a NUL. */
static bool room(struct body *body, struct body_purse *purse, size_t more)
{
    size_t wanted = body->used + more + 1, size = body->size > 0 ? body->size : FIRST_BYTES;
    char *grown;

    if (wanted <= body->size)
        return true;
    while (size < wanted)
        size *= 2;
    if (!charge(body, purse, (int64_t)(size - body->size)))
        return false;
    grown = realloc(body->data, size);
    if (grown == NULL)
        return false; /* what was charged is given back with the body */
    body->data = grown;
    body->size = size;
    return true;
}

enum body_outcome body_begin(struct body *body, struct body_purse *purse, bool gzip)
{
    memset(body, 0, sizeof *body);
    if (!gzip)
        return BODY_OK;
    if (!charge(body, purse, INFLATION_BYTES))
        return BODY_NO_ROOM;
    body->inflation = calloc(1, sizeof *body->inflation);
    if (body->inflation != NULL && inflateInit2(&body->inflation->stream, GZIP_ALONE) == Z_OK)
        return BODY_OK;
    free(body->inflation);
    body->inflation = NULL;
    return BODY_NO_ROOM;
}

static enum body_outcome add_plain(struct body *body, struct body_purse *purse, const char *bytes, size_t size)
{
    if (!room(body, purse, size))
        return BODY_NO_ROOM;
    memcpy(body->data + body->used, bytes, size);
    body->used += size;
    return BODY_OK;
}

/* One step of zlib, into what is left of the room. */
static enum body_outcome inflate_some(struct body *body, struct body_purse *purse, int64_t most)
{
    z_stream *stream = &body->inflation->stream;
    size_t space;
    int result;

    if ((int64_t)body->used > most)
        return BODY_TOO_LARGE;
    if (!room(body, purse, 1))
        return BODY_NO_ROOM;
    space = body->size - body->used - 1;
    stream->next_out = (Bytef *)body->data + body->used;
    stream->avail_out = (uInt)space;
    if (body->inflation->ended && inflateReset(stream) != Z_OK)
        return BODY_BROKEN;
    body->inflation->ended = false;
    result = inflate(stream, Z_NO_FLUSH);
    body->used += space - stream->avail_out;
    body->inflation->ended = result == Z_STREAM_END;
    if (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR)
        return (int64_t)body->used > most ? BODY_TOO_LARGE : BODY_OK;
    return BODY_BROKEN;
}

static enum body_outcome add_gzip(struct body *body, struct body_purse *purse, const struct body_limits *limits,
                                  const char *bytes, size_t size)
{
    z_stream *stream = &body->inflation->stream;
    enum body_outcome outcome = BODY_OK;

    stream->next_in = (Bytef *)(uintptr_t)bytes;
    stream->avail_in = (uInt)size;
    do
        outcome = inflate_some(body, purse, limits->inflated);
    while (outcome == BODY_OK &&
           (stream->avail_in > 0 || (stream->avail_out == 0 && !body->inflation->ended)));
    return outcome;
}

enum body_outcome body_add(struct body *body, struct body_purse *purse, const struct body_limits *limits,
                           const char *bytes, size_t size)
{
    body->sent += (int64_t)size;
    if (body->sent > limits->sent)
        return BODY_TOO_LARGE;
    if (body->inflation != NULL)
        return add_gzip(body, purse, limits, bytes, size);
    return add_plain(body, purse, bytes, size);
}

enum body_outcome body_finish(struct body *body, struct body_purse *purse)
{
    if (body->inflation != NULL && !body->inflation->ended)
        return BODY_BROKEN;
    if (!room(body, purse, 0))
        return BODY_NO_ROOM;
    body->data[body->used] = '\0';
    return BODY_OK;
}

void body_free(struct body *body, struct body_purse *purse)
{
    if (body->inflation != NULL) {
        inflateEnd(&body->inflation->stream);
        free(body->inflation);
    }
    free(body->data);
    purse->held -= body->charged;
    memset(body, 0, sizeof *body);
}

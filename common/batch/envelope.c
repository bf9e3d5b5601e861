/*
 * envelope.c - the line that names a batch, in Redis and on its way there.  See batch.h.
 *
 * What Redis holds is untrusted input: the line has exactly one spelling (no leading zeros, lower
 * case, single spaces), so equal identities are equal bytes, which the removal script relies on.
 * Pure; borrows what it is given.
 */
#include "common/batch/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORD "spendd"
#define VERSION "1"

/* What is left of the line while its fields are taken from the front. */
struct cursor {
    const char *at;
    const char *end;
};

bool identity_equal(const struct identity *a, const struct identity *b)
{
    return a->seq == b->seq && a->shard == b->shard && strcmp(a->epoch, b->epoch) == 0;
}

size_t envelope_line(const struct envelope *envelope, char line[ENVELOPE_LINE_MAX])
{
    int used = snprintf(line, ENVELOPE_LINE_MAX,
                        WORD VERSION " %.36s %" PRIu32 " %" PRIu64 " %" PRIu32 " %08" PRIx32 "\n",
                        envelope->identity.epoch, envelope->identity.shard, envelope->identity.seq,
                        envelope->records, envelope->crc);

    return (size_t)used;
}

/* Digits up to the space behind them, in their one spelling. */
static bool take_decimal(struct cursor *c, uint64_t most, uint64_t *value)
{
    const char *start = c->at;
    unsigned __int128 sum = 0;

    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        sum = sum * 10 + (unsigned)(*c->at - '0');
        if (sum > most)
            return false;
    }
    if (c->at == start || c->at == c->end || *c->at != ' ' || (*start == '0' && c->at - start > 1))
        return false;
    c->at++;
    *value = (uint64_t)sum;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_crc(struct cursor *c, uint32_t *crc)
{
    *crc = 0;
    if (c->end - c->at != 8)
        return false;
    for (; c->at < c->end; c->at++) {
        if (hex_value(*c->at) < 0)
            return false;
        *crc = *crc << 4 | (uint32_t)hex_value(*c->at);
    }
    return true;
}

bool epoch_valid(const char *text, size_t length)
{
    if (length != EPOCH_TEXT - 1)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : hex_value(text[i]) < 0)
            return false;
    }
    return true;
}

static bool take_epoch(struct cursor *c, char epoch[EPOCH_TEXT])
{
    if (c->end - c->at < EPOCH_TEXT || !epoch_valid(c->at, EPOCH_TEXT - 1) ||
        c->at[EPOCH_TEXT - 1] != ' ')
        return false;
    memcpy(epoch, c->at, EPOCH_TEXT - 1);
    epoch[EPOCH_TEXT - 1] = '\0';
    c->at += EPOCH_TEXT;
    return true;
}

static bool read_line(struct cursor c, struct envelope *envelope)
{
    uint64_t shard, seq, records;

    if (!take_epoch(&c, envelope->identity.epoch) || !take_decimal(&c, UINT32_MAX, &shard) ||
        !take_decimal(&c, (uint64_t)INT64_MAX - 1, &seq) || !take_decimal(&c, UINT32_MAX, &records))
        return false;
    envelope->identity.shard = (uint32_t)shard;
    envelope->identity.seq = seq;
    envelope->records = (uint32_t)records;
    return seq > 0 && take_crc(&c, &envelope->crc);
}

static bool whole_records(const struct envelope *envelope)
{
    const unsigned char *payload;
    size_t offset = 0, payload_bytes;
    uint32_t count = 0;
    enum record_next next;

    while ((next = record_next(envelope->body, envelope->body_bytes, &offset, &payload,
                               &payload_bytes)) == RECORD_OK)
        count++;
    return next == RECORD_END && count == envelope->records;
}

enum envelope_read envelope_read(const unsigned char *data, size_t bytes, struct envelope *envelope,
                                 struct err *err)
{
    const char *text = (const char *)data;
    size_t word = strlen(WORD), head = strlen(WORD VERSION " ");
    const unsigned char *newline;

    err_set(err, "no spendd batch");
    if (bytes < head || memcmp(text, WORD, word) != 0)
        return ENVELOPE_CORRUPT;
    if (memcmp(text, WORD VERSION " ", head) != 0) {
        if (text[word] < '0' || text[word] > '9')
            return ENVELOPE_CORRUPT;
        err_set(err, "a version that this build does not know");
        return ENVELOPE_NEWER;
    }
    newline = memchr(data, '\n', bytes < ENVELOPE_LINE_MAX ? bytes : ENVELOPE_LINE_MAX);
    err_set(err, "its first line is malformed");
    if (newline == NULL || !read_line((struct cursor){text + head, (const char *)newline}, envelope))
        return ENVELOPE_CORRUPT;
    envelope->body = newline + 1;
    envelope->body_bytes = bytes - (size_t)(envelope->body - data);
    err_set(err, "its checksum differs");
    if (crc32c(0, envelope->body, envelope->body_bytes) != envelope->crc)
        return ENVELOPE_CORRUPT;
    err_set(err, "its records are not whole, or not as many as it says");
    if (!whole_records(envelope))
        return ENVELOPE_CORRUPT;
    err->text[0] = '\0';
    return ENVELOPE_OK;
}

/*
 * rows.c - what a flush copies up: log rows, arbiter keys, dead letters (sums: sums.c); made while
 * the socket takes it, so that memory holds one piece and not the whole.
 * Decides nothing but which events go in; dying here loses nothing.
 */
#include "workers/db_flusher/flush_parts.h"

#include "workers/db_flusher/copy.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES 65536

const char rows_log_columns[] = "day"
#define FIELD(name, kind, flags) ", " #name
#include "common/event/fields.def"
#undef FIELD
                                ", start_time_given, epoch, seq, n";

static bool goes_in(const struct flush *flush, size_t index)
{
    const struct load *load = flush->ask.load;
    const struct load_event *event = &load->event[index];

    return event->fate == FATE_COUNT && load_event_active(load, event) &&
           (!flush->ask.poison || poison_included(flush->ask.poison, index));
}

/* Which arbiter: the log for events with a day of their own while it is on, else `seen`. */
static bool puts_seen(const struct flush *flush, const struct load_event *event)
{
    return flush->settings->dedupe_database && (!event->timed || !layout_logs(flush->layout));
}

static int by_log_key(const void *a, const void *b, void *arg)
{
    const struct load *load = arg;
    const struct load_event *one = &load->event[*(const uint32_t *)a];
    const struct load_event *two = &load->event[*(const uint32_t *)b];
    uint32_t least = one->key.length < two->key.length ? one->key.length : two->key.length;
    int order;

    if (one->day != two->day)
        return one->day < two->day ? -1 : 1;
    order = memcmp(one->key.data, two->key.data, least);
    if (order == 0)
        order = (one->key.length > two->key.length) - (one->key.length < two->key.length);
    return order ? order : (one > two) - (one < two);
}

int rows_order(struct flush *flush)
{
    struct load *load = flush->ask.load;

    if (load->events > flush->order_room) {
        uint32_t *order = realloc(flush->order, load->events * sizeof *order);

        if (!order)
            return -1;
        flush->order = order;
        flush->order_room = load->events;
    }
    flush->ordered = 0;
    for (size_t i = 0; i < load->events; i++)
        if (goes_in(flush, i))
            flush->order[flush->ordered++] = (uint32_t)i;
    if (flush->ordered > 1)
        qsort_r(flush->order, flush->ordered, sizeof *flush->order, by_log_key, load);
    return 0;
}

/* What decoded once decodes again: it was checked when the load was made. */
void rows_decode(const struct load_event *from, struct event *event)
{
    struct err err;

    if (event_decode(event, from->body, from->bytes, &err))
        bug("an event that decoded does not decode again: %s", err.text);
}

#define ORIGIN_FIELDS 3

static void put_origin(struct flush *flush, uint32_t batch, uint32_t n)
{
    const struct load_batch *it = &flush->ask.load->batch[batch];

    if (load_batch_anonymous(it)) {
        for (int i = 0; i < ORIGIN_FIELDS; i++)
            copy_null(&flush->rows);
        return;
    }
    copy_epoch(&flush->rows, it->identity.epoch);
    copy_bigint(&flush->rows, (int64_t)it->identity.seq);
    copy_int(&flush->rows, (int32_t)n);
}

#define PUT_TEXT(text, event, name) copy_slice(text, (event)->name)
#define PUT_COUNT(text, event, name) copy_bigint(text, (event)->name)
#define PUT_MONEY(text, event, name) copy_money(text, (event)->name)
#define PUT_TIME(text, event, name)                                                                \
    ((event)->present >> EVENT_##name & 1 ? copy_time(text, (event)->name) : copy_null(text))
#define PUT_TAGS(text, event, name) copy_tags(text, &(event)->name)
#define PUT_JSON(text, event, name) copy_slice(text, (event)->name)

/* Absent means something for three of the columns: they are written as what they stand for. */
static void fill_in(struct event *event)
{
    event->event_id = event_key(event);
    if (!(event->present >> EVENT_start_time & 1))
        event->start_time = event->received;
    event->present |= UINT64_C(1) << EVENT_start_time;
    if (event->status.length == 0)
        event->status = (struct slice){"success", 7};
}

bool rows_log(struct flush *flush)
{
    struct text *text = &flush->rows;
    const struct load_event *from;
    struct event event;

    if (flush->at == flush->ordered)
        return false;
    from = &flush->ask.load->event[flush->order[flush->at]];
    rows_decode(from, &event);
    fill_in(&event);
    copy_row(text, 1 + EVENT_FIELDS + 1 + ORIGIN_FIELDS + 1);
    copy_day(text, from->day);
#define FIELD(name, kind, flags) PUT_##kind(text, &event, name);
#include "common/event/fields.def"
#undef FIELD
    copy_bool(text, from->timed);
    put_origin(flush, from->batch, from->n);
    copy_int(text, (int32_t)flush->order[flush->at++]);
    flush->sent_rows++;
    return true;
}

bool rows_logs(struct flush *flush)
{
    const struct load_event *from;
    struct event event;

    if (flush->at == flush->ordered)
        return false;
    from = &flush->ask.load->event[flush->order[flush->at++]];
    rows_decode(from, &event);
    fill_in(&event);
    flush->report.clamped += flush->layout->log.row(&flush->rows, &event, from->id);
    flush->sent_rows++;
    return true;
}

/* A letter that is refused again: it would find itself among the dead. */
static bool stays_dead(const struct load *load, const struct load_event *event)
{
    return event->fate == FATE_POISON && load->batch[event->batch].kind == BATCH_LETTER;
}

/* The arbiter's day: of the event, or the one of all that have none. */
static void put_day(struct text *text, const struct load_event *event)
{
    if (event && event->timed)
        copy_day(text, event->day);
    else
        copy_no_day(text);
}

/* Keys to be put into `seen`, and keys only to be looked up: known ones are proved again. */
bool rows_ids(struct flush *flush)
{
    const struct load *load = flush->ask.load;
    struct text *text = &flush->rows;
    const struct load_event *event;
    bool in, put;
    int64_t digest;

    if (flush->at == load->events)
        return false;
    event = &load->event[flush->at++];
    in = goes_in(flush, flush->at - 1);
    put = in && puts_seen(flush, event);
    if (stays_dead(load, event) || !load_event_active(load, event) ||
        event->fate == FATE_REPEAT || event->fate == FATE_CLASH ||
        (event->fate == FATE_COUNT && !put && !(in && flush->deep)))
        return true;
    memcpy(&digest, event->digest, sizeof digest);
    copy_row(text, 7 + ORIGIN_FIELDS);
    copy_int(text, (int32_t)flush->at - 1);
    copy_day(text, event->day);
    put_day(text, event);
    copy_uuid(text, event->id);
    copy_key(text, event->key);
    put_origin(flush, event->batch, event->n);
    copy_bigint(text, digest);
    copy_bool(text, put);
    flush->sent_rows++;
    flush->seen_rows += put;
    return true;
}

/* day, event_id, digest, class, reason, record, origin */
static void put_dead(struct flush *flush, const struct load_event *event,
                     const struct load_dead *dead)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    struct text *text = &flush->rows;

    copy_row(text, 6 + ORIGIN_FIELDS);
    put_day(text, event);
    copy_bytes(text, event ? event->key.data : dead->key, event ? event->key.length : strlen(dead->key));
    crypto_hash_sha256(hash, dead->record, dead->bytes);
    if (event)
        copy_bytes(text, event->digest, sizeof event->digest);
    else
        copy_bytes(text, hash, sizeof hash);
    copy_string(text, dead->class);
    copy_string(text, dead->reason);
    copy_bytes(text, dead->record, dead->bytes);
    put_origin(flush, dead->batch, dead->n);
    flush->sent_rows++;
}

static void dead_event(struct flush *flush, const struct load_event *event)
{
    static const struct {
        const char *class, *reason;
    } said[] = {
        [FATE_CONFLICT] = {"conflict", "this id was counted with other contents"},
        [FATE_CLASH] = {"conflict", "this id was counted with other contents"},
        [FATE_POISON] = {"poison", "refused by PostgreSQL for its data"},
        [FATE_OFF] = {"off", "litellm.events is off: nothing was written for it"},
    };
    struct load_dead dead = {.record = event->body, .bytes = event->bytes, .batch = event->batch,
                             .n = event->n};

    if (!load_event_active(flush->ask.load, event) ||
        flush->ask.load->batch[event->batch].kind == BATCH_LETTER)
        return; /* it is one, and stays where it is */
    if (!said[event->fate].class)
        return;
    dead.class = said[event->fate].class;
    snprintf(dead.reason, sizeof dead.reason, "%s", said[event->fate].reason);
    put_dead(flush, event, &dead);
}

bool rows_dead(struct flush *flush)
{
    const struct load *load = flush->ask.load;
    size_t at = flush->at++;
    const struct load_batch *batch;

    if (at >= load->deads + load->events)
        return false;
    if (at >= load->deads) {
        dead_event(flush, &load->event[at - load->deads]);
        return true;
    }
    batch = &load->batch[load->dead[at].batch];
    if (load_batch_anonymous(batch) || load_batch_active(batch))
        put_dead(flush, NULL, &load->dead[at]);
    return true;
}

/* The next piece of rows, in place of the one that is given away. */
static void fill(struct flush *flush)
{
    flush->given = 0;
    while (flush->rows.used < PIECE_BYTES && !flush->rows.failed && !flush->ended)
        flush->ended = !flush->row(flush);
    if (flush->ended && !flush->closed) {
        flush->closed = true;
        copy_end(&flush->rows);
    }
}

bool rows_begin(struct flush *flush)
{
    text_clear(&flush->rows);
    flush->at = 0;
    flush->sent_rows = 0;
    flush->ended = flush->closed = false;
    copy_begin(&flush->rows);
    fill(flush);
    return flush->sent_rows > 0 || flush->rows.failed;
}

size_t rows_give(void *arg, char *to, size_t room)
{
    struct flush *flush = arg;
    size_t left;

    if (flush->rows.failed)
        return 0; /* no memory: what is sent is not whole, and its COPY is not believed */
    if (flush->given == flush->rows.used) {
        text_clear(&flush->rows);
        fill(flush);
    }
    left = flush->rows.used - flush->given;
    if (left > room)
        left = room;
    if (left)
        memcpy(to, flush->rows.data + flush->given, left);
    flush->given += left;
    return left;
}

/*
 * load.c - what one flush took from the queue.  See load.h.
 *
 * What comes from Redis is not trusted: envelopes are checked by the batch room, records by the event
 * room.  A corrupt envelope moves no ledger (the spool has the good copy); a record that does not
 * decode inside an intact envelope is a dead letter, for the CRC says that it was written like that.
 * Memory is kept from flush to flush.  Dying here loses nothing: nothing was taken out of the queue.
 */
#include "workers/db_flusher/load.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void load_clear(struct load *load)
{
    for (size_t i = 0; i < load->epochs; i++)
        free(load->epoch[i].applied);
    load->bytes_used = load->batches = load->events = load->deads = load->epochs = 0;
    load->oldest = 0;
    load->repeats = false;
}

void load_free(struct load *load)
{
    load_clear(load);
    free(load->bytes);
    free(load->batch);
    free(load->event);
    free(load->dead);
    free(load->epoch);
    *load = (struct load){0};
}

int load_reserve(struct load *load, size_t bytes)
{
    unsigned char *room;

    if (bytes <= load->bytes_room)
        return 0;
    room = realloc(load->bytes, bytes);
    if (!room)
        return -1;
    load->bytes = room;
    load->bytes_room = bytes;
    return 0;
}

/* One more item in an array; NULL: out of memory. */
static void *more(void *array, size_t *used, size_t *room, size_t unit)
{
    void **data = array;

    if (*used == *room) {
        size_t count = *room ? 2 * *room : 64;
        void *grown = realloc(*data, count * unit);

        if (!grown)
            return NULL;
        *data = grown;
        *room = count;
    }
    return memset((char *)*data + (*used)++ * unit, 0, unit);
}

struct load_epoch *load_epoch(struct load *load, const char *epoch)
{
    for (size_t i = 0; i < load->epochs; i++)
        if (strcmp(load->epoch[i].epoch, epoch) == 0)
            return &load->epoch[i];
    return NULL;
}

int load_note_epoch(struct load *load, const char *epoch)
{
    struct load_epoch *it = load_epoch(load, epoch);

    if (it)
        return 0;
    it = more(&load->epoch, &load->epochs, &load->epoch_room, sizeof *it);
    if (!it)
        return -1;
    snprintf(it->epoch, sizeof it->epoch, "%s", epoch);
    it->published = -1;
    it->version = -1;
    return 0;
}

static void printable(char *to, size_t size, const char *from, size_t length)
{
    size_t i;

    for (i = 0; i < length && i + 1 < size; i++)
        to[i] = from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?';
    to[i] = '\0';
}

static int add_dead(struct load *load, const char *class, const char *reason, size_t length,
                    struct load_dead where)
{
    struct load_dead *dead = more(&load->dead, &load->deads, &load->dead_room, sizeof *dead);

    if (!dead)
        return -1;
    *dead = where;
    dead->class = class;
    printable(dead->reason, sizeof dead->reason, reason, length);
    return 0;
}

void load_digest(struct slice api_key, struct slice model, int64_t spend, unsigned char to[8])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state state;

    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, (const unsigned char *)&spend, sizeof spend);
    crypto_hash_sha256_update(&state, (const unsigned char *)api_key.data, api_key.length);
    crypto_hash_sha256_update(&state, (const unsigned char *)"", 1);
    crypto_hash_sha256_update(&state, (const unsigned char *)model.data, model.length);
    crypto_hash_sha256_final(&state, hash);
    memcpy(to, hash, 8);
}

static int add_event(struct load *load, const struct event *event, struct load_dead where)
{
    struct load_event *it = more(&load->event, &load->events, &load->event_room, sizeof *it);
    unsigned char hash[crypto_hash_sha256_BYTES];
    struct slice key = event_key(event);

    if (!it)
        return -1;
    it->body = where.record;
    it->bytes = (uint32_t)where.bytes;
    it->batch = where.batch;
    it->n = where.n;
    it->key = key;
    it->received = event->received;
    it->day = event_day(event);
    it->timed = event->present >> EVENT_start_time & 1;
    crypto_hash_sha256(hash, (const unsigned char *)key.data, key.length);
    memcpy(it->id, hash, sizeof it->id);
    load_digest(event->api_key, event->model, event->spend, it->digest);
    if (load->oldest == 0 || event->received < load->oldest)
        load->oldest = event->received;
    return 0;
}

static int add_record(struct load *load, struct load_dead where)
{
    const unsigned char *payload = where.record, *refused;
    const char *reason;
    size_t reason_bytes, bytes = where.bytes;
    struct event event;
    struct err err = {{0}};

    where.record = payload + 1;
    where.bytes = bytes ? bytes - 1 : 0;
    if (bytes > 1 && payload[0] == RECORD_EVENT) {
        if (event_decode(&event, where.record, where.bytes, &err) == 0)
            return add_event(load, &event, where);
        return add_dead(load, "invalid", err.text, strlen(err.text), where);
    }
    if (bytes > 1 && payload[0] == RECORD_DEAD &&
        record_dead(where.record, where.bytes, &reason, &reason_bytes, &refused, &where.bytes) == 0) {
        where.record = refused;
        return add_dead(load, "invalid", reason, reason_bytes, where);
    }
    return add_dead(load, "invalid", "unknown kind of record", 22, where);
}

static int add_records(struct load *load, const struct envelope *envelope, uint32_t batch)
{
    size_t offset = 0;
    struct load_dead where = {.batch = batch};

    while (record_next(envelope->body, envelope->body_bytes, &offset, &where.record, &where.bytes) ==
           RECORD_OK) {
        if (add_record(load, where))
            return -1;
        where.n++;
    }
    return 0;
}

static bool seen_before(const struct load *load, const struct identity *identity)
{
    for (size_t i = 0; i < load->batches; i++)
        if (load->batch[i].kind == BATCH_WHOLE &&
            identity_equal(&load->batch[i].identity, identity))
            return true;
    return false;
}

static enum load_added add_corrupt(struct load *load, const unsigned char *data, size_t bytes,
                                   const char *reason)
{
    struct load_batch *batch = more(&load->batch, &load->batches, &load->batch_room, sizeof *batch);
    struct load_dead where = {.record = data, .bytes = bytes};

    if (!batch)
        return LOAD_NO_MEMORY;
    batch->kind = BATCH_CORRUPT;
    batch->data = data;
    batch->bytes = bytes;
    load_sha1(data, bytes, batch->sha1);
    where.batch = (uint32_t)load->batches - 1;
    return add_dead(load, "corrupt", reason, strlen(reason), where) ? LOAD_NO_MEMORY : LOAD_ADDED;
}

enum load_added load_add(struct load *load, const void *data, size_t bytes)
{
    unsigned char *copy = load->bytes + load->bytes_used;
    struct envelope envelope;
    struct err err = {{0}};
    struct load_batch *batch;
    enum envelope_read read;
    bool again;

    if (bytes > load->bytes_room - load->bytes_used)
        return LOAD_NO_MEMORY;
    memcpy(copy, data, bytes);
    read = envelope_read(copy, bytes, &envelope, &err);
    if (read == ENVELOPE_NEWER)
        return LOAD_NEWER;
    load->bytes_used += bytes;
    if (read == ENVELOPE_OK && envelope.identity.seq >= INT64_MAX) {
        err_set(&err, "seq out of range"); /* int8range could not hold seq + 1 */
        read = ENVELOPE_CORRUPT;
    }
    if (read == ENVELOPE_CORRUPT)
        return add_corrupt(load, copy, bytes, err.text);
    again = seen_before(load, &envelope.identity);
    batch = more(&load->batch, &load->batches, &load->batch_room, sizeof *batch);
    if (!batch || load_note_epoch(load, envelope.identity.epoch))
        return LOAD_NO_MEMORY;
    batch->identity = envelope.identity;
    batch->data = copy;
    batch->bytes = bytes;
    batch->again = again;
    batch->first = load->events;
    if (!again && add_records(load, &envelope, (uint32_t)(load->batches - 1)))
        return LOAD_NO_MEMORY;
    load->batch[load->batches - 1].events = load->events - load->batch[load->batches - 1].first;
    return LOAD_ADDED;
}

int load_add_letter(struct load *load, int64_t letter, const struct identity *identity, uint32_t n,
                    const void *record, size_t bytes)
{
    unsigned char *copy = load->bytes + load->bytes_used;
    struct load_dead where = {.record = copy, .bytes = bytes, .batch = (uint32_t)load->batches, .n = n};
    struct load_batch *batch;
    struct event event;
    struct err err;

    if (bytes > load->bytes_room - load->bytes_used)
        return -1;
    memcpy(copy, record, bytes);
    if (event_decode(&event, copy, bytes, &err) != 0)
        return 1;
    batch = more(&load->batch, &load->batches, &load->batch_room, sizeof *batch);
    if (!batch)
        return -1;
    load->bytes_used += bytes;
    batch->kind = BATCH_LETTER;
    batch->identity = *identity;
    batch->letter = letter;
    batch->first = load->events;
    batch->events = 1;
    return add_event(load, &event, where);
}

int load_add_nameless(struct load *load)
{
    struct load_batch *batch = more(&load->batch, &load->batches, &load->batch_room, sizeof *batch);

    if (!batch)
        return -1;
    batch->kind = BATCH_NAMELESS;
    return 0;
}

struct load_dead *load_add_dead(struct load *load, const char *class, const char *reason)
{
    struct load_dead where = {.batch = (uint32_t)load->batches - 1};

    return add_dead(load, class, reason, strlen(reason), where) ? NULL : &load->dead[load->deads - 1];
}

bool load_batch_anonymous(const struct load_batch *batch)
{
    return batch->kind == BATCH_CORRUPT || batch->kind == BATCH_NAMELESS;
}

bool load_batch_active(const struct load_batch *batch)
{
    return !load_batch_anonymous(batch) && !batch->again && !batch->applied;
}

bool load_event_active(const struct load *load, const struct load_event *event)
{
    return load_batch_active(&load->batch[event->batch]);
}

/* Two copies within a flush: the same id, and the same day unless neither has a day of its own. */
static bool same(const struct load_event *a, const struct load_event *b)
{
    return memcmp(a->id, b->id, sizeof a->id) == 0 && a->timed == b->timed &&
           (!a->timed || a->day == b->day);
}

int load_plan(struct load *load)
{
    size_t slots = 1024, at;
    uint32_t *slot;

    while (slots < 2 * load->events)
        slots *= 2;
    slot = calloc(slots, sizeof *slot);
    if (!slot)
        return -1;
    for (size_t i = 0; i < load->events; i++) {
        struct load_event *event = &load->event[i];

        if (event->fate == FATE_REPEAT || event->fate == FATE_CLASH)
            event->fate = FATE_COUNT; /* its first copy may be in a batch that is out by now */
        if (!load_event_active(load, event))
            continue;
        memcpy(&at, event->id, sizeof at);
        for (at &= slots - 1; slot[at]; at = (at + 1) & (slots - 1)) {
            const struct load_event *first = &load->event[slot[at] - 1];

            if (!same(first, event))
                continue;
            if (event->fate == FATE_COUNT)
                event->fate = memcmp(first->digest, event->digest, 8) ? FATE_CLASH : FATE_REPEAT;
            break;
        }
        if (!slot[at])
            slot[at] = (uint32_t)i + 1;
    }
    free(slot);
    return 0;
}

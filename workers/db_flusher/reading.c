/*
 * reading.c - the flusher reads the queue into a load, piece by piece, and reads the next load ahead while
 * the transaction of this one keeps PostgreSQL busy.
 *
 *   this one:  pieces from the head on --> published versions --> attempt --> publish --> next turn
 *   ahead:                                          (rows are up) pieces behind those in flight -'
 *
 * What is in flight stands in the list until it is published, so the next load is read behind it, by
 * index.  Once this load is being published nothing more is asked for by such an index; the load ahead is
 * read to its end when its turn comes.  The index is only a hint: where the head moved meanwhile (another
 * flusher, a list begun anew) the load ahead repeats or leaves out elements.  Repeated ones are skipped by
 * the ledger; left out ones stand at the head, where publishing stops, and are read by the next turn.  Each
 * load is published under the generation that it was read under, and never before its own commit
 * (tests/model: AHEAD).
 *
 * One load ahead at the most, bounded as the one in flight by flush.batches and flush.bytes.  It is good for
 * the very next turn after a commit that was published; whatever else happens (a failure of either store,
 * the lock lost, a pause, another generation), it is dropped, and the queue is read from its head.
 * Nothing leaves the queue here but an envelope of a newer build, which goes aside.  If we die on any line:
 * the queue is as it was.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES 1048576 /* of one answer, or one envelope: keeps answers, and the loop's pauses, short */

static void ask(struct flusher *f);

/* --- ahead ---------------------------------------------------------------------------------------- */

void reading_drop_ahead(struct flusher *f)
{
    struct reading *reading = &f->reading;

    if (reading->ahead && reading->asked)
        reading->dropped = true; /* its answer is still to come */
    reading->ahead = reading->ready = false;
    load_clear(&f->ahead);
}

void reading_turn(struct flusher *f)
{
    if (!f->reading.good)
        reading_drop_ahead(f);
    f->reading.good = false;
}

void reading_ahead(void *arg)
{
    struct flusher *f = arg;
    struct reading *reading = &f->reading;

    if (reading->asked || reading->ready || f->auditing || f->gate_closed || f->leaving ||
        f->waiting <= (int64_t)f->load.batches || !lease_held(&f->lease, mono_now()))
        return;
    reading->ahead = true;
    reading->moved = false;
    load_clear(&f->ahead);
    snprintf(f->ahead.generation, sizeof f->ahead.generation, "%s", f->load.generation);
    ask(f);
}

static void ahead_is_read(struct flusher *f)
{
    struct reading *reading = &f->reading;

    reading->ahead = false;
    reading->ready = f->ahead.batches > 0;
    log_debug("read_ahead", "batches=%zu events=%zu", f->ahead.batches, f->ahead.events);
}

/* The load ahead becomes this one. */
static void take_ahead(struct flusher *f)
{
    struct load used = f->load;

    if (!f->reading.ready || (int64_t)f->ahead.batches > f->limit) {
        reading_drop_ahead(f);
        load_clear(&f->load);
        return;
    }
    f->load = f->ahead;
    f->ahead = used;
    reading_drop_ahead(f);
}

/* --- pieces --------------------------------------------------------------------------------------- */

static void on_set_aside(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    log_error("envelope_newer", "reason=\"written by a newer build: set aside, the lock is left to it\" "
              "answer=%s", redis_said(reply, "ok") ? "ok" : "none");
    (void)reason;
    hold_give_up(f);
    turn_end(f, f->settings->lock_ttl_ms + turn_jitter(f->settings->lock_ttl_ms));
}

/* Held and nothing to do: the lock is kept for a while, work tends to follow work. */
static void queue_is_empty(struct flusher *f)
{
    mono_t now = mono_now();

    if (f->draining) {
        hold_leave(f);
        return;
    }
    if (f->empty_since.micros == mono_never().micros)
        f->empty_since = now;
    if (mono_ms_between(f->empty_since, now) >= f->settings->lock_linger_ms)
        hold_give_up(f);
    turn_end_calmly(f);
}

enum piece { PIECE_MORE, PIECE_LAST, PIECE_NEWER, PIECE_NO_MEMORY, PIECE_OTHER_GENERATION };

/* `before`: elements of the queue that stand before this load.  PIECE_NEWER: right at the queue's head. */
static enum piece take_piece(struct flusher *f, struct load *load, size_t before,
                             const struct redis_reply *reply)
{
    size_t room = (size_t)f->settings->flush_bytes, bytes = 0;
    const char *generation = reply->item[1].text;

    if (load->batches + before == 0)
        snprintf(load->generation, sizeof load->generation, "%s", generation);
    if (strcmp(load->generation, generation) != 0)
        return PIECE_OTHER_GENERATION;
    f->waiting = redis_item_number(reply, 3);
    for (size_t i = 5; i < reply->items; i++)
        bytes += reply->item[i].length;
    if (load->batches == 0 && load_reserve(load, (bytes > room ? bytes : room) + 1))
        return PIECE_NO_MEMORY;
    for (size_t i = 5; i < reply->items; i++) {
        enum load_added added = load_add(load, reply->item[i].text, reply->item[i].length);

        if (added == LOAD_NO_MEMORY)
            return PIECE_NO_MEMORY;
        if (added == LOAD_NEWER) /* what stands before it first */
            return load->batches + before ? PIECE_LAST : PIECE_NEWER;
    }
    return reply->items > 5 && load->batches + before < (size_t)f->waiting &&
                   (int64_t)load->batches < f->limit && load->bytes_used < room
               ? PIECE_MORE
               : PIECE_LAST;
}

static void no_memory(struct flusher *f)
{
    outcome_less(f);
    log_error("out_of_memory", "envelopes=%zu", f->load.batches);
    turn_end_backing_off(f);
}

static void this_is_read(struct flusher *f)
{
    if (f->load.batches == 0) {
        queue_is_empty(f);
        return;
    }
    f->empty_since = mono_never();
    published_read(f);
}

static void on_piece(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    char sha1[41];

    f->reading.asked = false;
    if (!redis_said(reply, "ok") || reply->items < 5) {
        turn_redis_failed(f, "peek", reply, reason);
        return;
    }
    if (flusher_paused(f)) {
        turn_end(f, 0); /* Redis has just said so: the next turn stands back */
        return;
    }
    switch (take_piece(f, &f->load, 0, reply)) {
    case PIECE_MORE:
        ask(f);
        break;
    case PIECE_NEWER:
        load_sha1(reply->item[5].text, reply->item[5].length, sha1);
        queue_aside(&f->queue, &f->load, sha1, on_set_aside, f);
        break;
    case PIECE_NO_MEMORY:
        no_memory(f);
        break;
    case PIECE_OTHER_GENERATION: /* what was read is not there any more */
        turn_end(f, 0);
        break;
    case PIECE_LAST:
    default:
        this_is_read(f);
        break;
    }
}

/* No failure here ends a turn: what cannot be read ahead is read later. */
static void on_piece_ahead(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    bool wanted = f->reading.wanted, good = redis_said(reply, "ok") && reply->items >= 5;
    enum piece piece = PIECE_NO_MEMORY;

    (void)reason;
    f->reading.asked = f->reading.wanted = false;
    if (f->reading.dropped)
        f->reading.dropped = false;
    else if (good)
        piece = take_piece(f, &f->ahead, f->load.batches, reply);
    if (piece == PIECE_MORE && !wanted && !f->reading.moved)
        ask(f);
    else if (piece == PIECE_MORE || piece == PIECE_LAST)
        ahead_is_read(f);
    else
        reading_drop_ahead(f);
    if (wanted)
        reading_begin(f);
}

static void ask(struct flusher *f)
{
    bool ahead = f->reading.ahead;
    const struct load *load = ahead ? &f->ahead : &f->load;
    struct queue_part part = {
        .first = (int64_t)(load->batches + (ahead ? f->load.batches : 0)),
        .batches = f->limit - (int64_t)load->batches,
        .bytes = f->settings->flush_bytes - (int64_t)load->bytes_used,
        .piece = PIECE_BYTES,
    };

    f->reading.asked = true;
    queue_hold(&f->queue, reading_hold, f); /* answered before the queue is read */
    queue_peek(&f->queue, &part, ahead ? on_piece_ahead : on_piece, f);
}

/* How long the fleet is to hold its flushes. */
void reading_hold(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    int64_t left = queue_hold_left(&f->queue, reply);

    (void)reason;
    if (left >= 0) /* else as it was: it ends by itself */
        f->hold_ends = mono_after_ms(mono_now(), left);
}

void reading_begin(struct flusher *f)
{
    if (flusher_paused(f)) {
        turn_end(f, 0); /* Redis has just said so: the next turn stands back */
        return;
    }
    if (f->reading.asked) {
        f->reading.wanted = true; /* answered within redis.command_ms */
    } else if (mono_reached(mono_now(), f->audit_due) && !f->unlocked) {
        reading_drop_ahead(f);
        published_audit(f);
    } else {
        take_ahead(f);
        ask(f); /* or what came behind it meanwhile */
    }
}

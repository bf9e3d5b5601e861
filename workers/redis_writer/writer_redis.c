/*
 * writer_redis.c - what redis_writer says to Redis: look, push, renew.
 *
 * Rules (tests/model):
 *   - nothing is pushed before a look has answered on this connection: the generation is read
 *   first;
 *   - a generation that is not ours: Redis lost state.  Forget tickets and what is held, tell every
 *     lane what is applied, then say hello under the new one: the lanes send everything again;
 *   - a ticket of ours that Redis has not counted, or another server behind the same address: it
 *   may
 *     have gone back in time without noticing: renew the generation;
 *   - a push without an answer is pushed again: twice in the queue is harmless, the ledger knows
 *   it.
 * One push at a time; the batch stays in memory until Redis has said ok.
 */
#include "workers/redis_writer/writer.h"

#include "common/base/log.h"
#include "common/batch/ranges.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_EPOCHS 6 /* items of a look's reply before the epochs' */

/* Redis refused or did not answer: counted each time, logged now and then.  What was lost with its
 * connection is said once, by the connection. */
void redis_complain(struct writer *writer, const char *what, const struct redis_reply *reply,
                    const char *reason)
{
    const struct refusal *refusal = redis_refusal_of(writer->redis, reply);

    stats_add(writer->stats, METRIC_redis_errors_total, 1);
    if (reason == NULL)
        reason = reply->text != NULL ? reply->text : "a reply of another kind";
    refusal_tell(&writer->voice, "redis_refused", what, refusal, reason, mono_now());
}

/* --- look ----------------------------------------------------------------------------------- */

static int64_t repush_ms(const struct writer *writer)
{
    return writer->settings->redis_repush_s * 1000;
}

static void on_renew(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct writer *writer = arg;

    if (redis_said(reply, "ok")) {
        writer->must_renew = false;
        redis_look(writer);
    } else {
        redis_complain(writer, "renew", reply, reason); /* the next look comes back to it */
    }
}

static void renew(struct writer *writer, const char *why)
{
    char fresh[REDIS_FRESH];
    const char *argv[] = {writer->queue, writer->meta, writer->generation, fresh};

    redis_fresh(fresh);
    log_warn("redis_went_back", "generation=%s why=\"%s\"", writer->generation, why);
    writer->known = false; /* nothing more under the old one */
    redis_script(writer->redis, REDIS_renew, 4, argv, NULL, on_renew, writer);
}

static void begin_generation(struct writer *writer, const char *generation)
{
    if (writer->generation[0] != '\0') {
        stats_add(writer->stats, METRIC_redis_state_lost_total, 1);
        log_warn("redis_state_lost", "was=%s now=%s outstanding=%zu", writer->generation,
                 generation, writer->pending.count);
    }
#ifdef MUTANT_NO_REPUSH /* tests/mutants: a new generation is used, and nothing is sent again */
    if (writer->generation[0] != '\0') {
        snprintf(writer->generation, sizeof writer->generation, "%s", generation);
        return;
    }
#endif
    snprintf(writer->generation, sizeof writer->generation, "%s", generation);
    writer->known = false;      /* no push before the lanes know */
    writer->must_renew = false; /* somebody has */
    pending_forget(&writer->pending);
    if (!writer->pushing)
        held_drop_all(writer); /* the lanes send these again, too */
    epochs_untold(&writer->epochs);
}

/* The ranges of the epochs that were asked for in this look.  The table may have changed since:
 * each epoch knows itself where its answer stands. */
static void take_ranges(struct writer *writer, const struct redis_reply *reply)
{
    for (size_t i = 0; i < writer->epochs.count; i++) {
        struct epoch *epoch = &writer->epochs.epoch[i];
        const char *value, *space;

        if (epoch->asked != writer->looks || epoch->item >= reply->items)
            continue;
        value = reply->item[epoch->item].text;
        if (value == NULL)
            value = "";
        (void)epoch_says(epoch, value);
        space = strchr(value, ' ');
        if (space != NULL && ranges_have(space + 1, 0) >= 0)
            pending_applied(&writer->pending, epoch->name, space + 1);
        else if (value[0] != '\0')
            redis_complain(writer, "look", reply, "applied ranges that are none");
    }
}

static bool all_epochs_looked(struct writer *writer)
{
    for (size_t i = 0; i < writer->epochs.count; i++)
        if (writer->epochs.epoch[i].asked != writer->looks)
            return false;
    return true;
}

/* Everything that this look says has been taken: the lanes may know the generation. */
static void announce(struct writer *writer)
{
    bool news = false;

    lanes_tell_applied(writer);
    snprintf(writer->announced, sizeof writer->announced, "%s", writer->generation);
    for (unsigned i = 0; i < writer->lanes; i++) {
        news |= writer->lane[i].aggregator != 0 && !writer->lane[i].looked;
        writer->lane[i].looked |= writer->lane[i].aggregator != 0;
    }
    if (news || !writer->known)
        lanes_hello(writer);
    writer->known = true;
}

static void take_look(struct writer *writer, const struct redis_reply *reply)
{
    int64_t pushed = redis_item_number(reply, 2), popped = redis_item_number(reply, 3);
    const char *generation = reply->items > 5 ? reply->item[1].text : NULL;
    bool begins;

    if (generation == NULL || strlen(generation) >= sizeof writer->generation || pushed < 0) {
        redis_complain(writer, "look", reply, NULL);
        return;
    }
    writer->queue_bytes = redis_item_number(reply, 4);
    stats_set(writer->stats, METRIC_queue_bytes, writer->queue_bytes);
    stats_set(writer->stats, METRIC_queue_batches, redis_item_number(reply, 5));
    begins = strcmp(generation, writer->generation) != 0;
    if (begins)
        begin_generation(writer, generation);
    take_ranges(writer, reply);
    if (!all_epochs_looked(writer)) {
        redis_look(writer); /* more was announced meanwhile: it belongs before the hello */
        return;
    }
    if (!begins && (writer->must_renew || pending_went_back(&writer->pending, pushed))) {
        renew(writer, writer->must_renew ? "another server, or another history"
                                         : "fewer pushes than we made");
        return;
    }
    announce(writer);
    pending_sweep(&writer->pending, popped, mono_now(), repush_ms(writer), lanes_again, writer);
    writer->full = writer->first != NULL && writer->queue_bytes > 0 &&
                   writer->queue_bytes + (int64_t)writer->first->bytes >
                       writer->settings->redis_queue_bytes;
    if (writer->first == NULL)
        refusal_over(&writer->voice); /* else the next push says whether it is over */
    redis_push_next(writer);
}

static void on_look(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct writer *writer = arg;

    writer->looking = false;
    if (redis_said(reply, "ok"))
        take_look(writer, reply);
    else
        redis_complain(writer, "look", reply, reason);
}

void redis_look(struct writer *writer)
{
    const char **argv;
    char fresh[REDIS_FRESH];
    int argc = 4;

    if (writer->looking || !redis_up(writer->redis))
        return;
    argv = malloc((EPOCHS_MAX + 4) * sizeof *argv);
    if (argv == NULL)
        return; /* the next poll tries again */
    redis_fresh(fresh);
    argv[0] = writer->queue;
    argv[1] = writer->meta;
    argv[2] = writer->applied;
    argv[3] = fresh;
    writer->looks++;
    for (size_t i = 0; i < writer->epochs.count; i++) {
        struct epoch *epoch = &writer->epochs.epoch[i];

        epoch->item = REPLY_EPOCHS + i;
        epoch->asked = writer->looks;
        argv[argc++] = epoch->name;
    }
    writer->looking = true;
    redis_script(writer->redis, REDIS_look, argc, argv, NULL, on_look, writer);
    free(argv);
}

/* --- which server --------------------------------------------------------------------------- */

static void find_line(const char *text, const char *name, char *value, size_t size)
{
    const char *at = strstr(text, name);

    value[0] = '\0';
    if (at != NULL)
        snprintf(value, size, "%.*s", (int)strcspn(at + strlen(name), "\r\n"), at + strlen(name));
}

static void on_info(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct writer *writer = arg;
    char run[48], replid[48], both[sizeof writer->run];
    bool other;

    (void)reason;
    if (reply == NULL)
        return;
    if (reply->kind != REDIS_BYTES) {
        writer->run[0] = '\0'; /* refused: unknown; tickets and times must do */
        redis_look(writer);
        return;
    }
    find_line(reply->text, "run_id:", run, sizeof run);
    find_line(reply->text, "master_replid:", replid, sizeof replid);
    snprintf(both, sizeof both, "%s %s", run, replid);
    other = writer->run[0] != '\0' && strcmp(writer->run, both) != 0;
    snprintf(writer->run, sizeof writer->run, "%s", both);
    writer->must_renew |= other && writer->generation[0] != '\0';
    redis_look(writer);
}

void redis_begin(struct writer *writer)
{
    const char *argv[] = {"INFO"};

    writer->known = false;
    writer->full = false;
    redis_command(writer->redis, 1, argv, NULL, on_info, writer);
}

void redis_lost(struct writer *writer)
{
    writer->known = false;
}

/* --- push ----------------------------------------------------------------------------------- */

static void take_ticket(struct writer *writer, const struct redis_reply *reply)
{
    const struct held *held = writer->first;
    struct pending_batch pushed = {.lane = held->batch.lane,
                                   .ticket = redis_item_number(reply, 2),
                                   .popped = redis_item_number(reply, 4),
                                   .identity.shard = held->batch.shard,
                                   .identity.seq = held->batch.seq};

    writer->queue_bytes = redis_item_number(reply, 3);
    snprintf(pushed.identity.epoch, sizeof pushed.identity.epoch, "%s", held->batch.epoch);
    stats_add(writer->stats, METRIC_batches_pushed_total, 1);
    stats_add(writer->stats, METRIC_redis_pushed_bytes_total, (int64_t)held->bytes);
    stats_observe(writer->stats, HISTOGRAM_redis_push_seconds,
                  mono_us_between(writer->push_began, mono_now()));
    stats_set(writer->stats, METRIC_queue_bytes, writer->queue_bytes);
    /* Not remembered: not said to be pushed either, so the lane's credit stays used; it is sent
     * again under the next generation or writer. */
    if (pending_pushed(&writer->pending, &pushed, mono_now(), repush_ms(writer)) == 0)
        lanes_pushed(writer, &held->batch);
    held_drop_first(writer);
    writer->refusals = 0;
    refusal_over(&writer->voice);
}

/* The connection is good and the push was refused (full, read-only disk, ACL): the spool keeps. */
static void wait_after(struct writer *writer, const struct redis_reply *reply)
{
    const struct refusal *refusal = redis_refusal_of(writer->redis, reply);
    int64_t pause = redis_pause_ms(writer->redis, refusal, writer->refusals);

    writer->refusals += writer->refusals < 100;
    writer->push_after = mono_after_ms(mono_now(), pause);
    if (redis_refused(reply) == REDIS_REFUSED_oom)
        stats_add(writer->stats, METRIC_queue_full_total, 1);
}

static void on_push(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct writer *writer = arg;
    bool ours = reply != NULL && reply->items > 1 && reply->item[1].text != NULL &&
                strcmp(reply->item[1].text, writer->generation) == 0;

    writer->pushing = false;
    if (redis_said(reply, "ok") && ours) {
        take_ticket(writer, reply);
        redis_push_next(writer);
        return;
    }
    if (redis_said(reply, "full")) {
        writer->full = true; /* until a look says otherwise; the spool keeps */
        stats_add(writer->stats, METRIC_queue_full_total, 1);
        return;
    }
    /* Nothing is known: no push until a look has answered. */
    writer->known = false;
    if (reply == NULL || reply->kind == REDIS_ERROR)
        redis_complain(writer, "push", reply, reason);
    if (reply != NULL && reply->kind == REDIS_ERROR)
        wait_after(writer, reply);
    redis_look(writer);
}

void redis_push_next(struct writer *writer)
{
    const struct held *held = writer->first;
    char fresh[REDIS_FRESH], most[24];
    const char *argv[6] = {writer->queue, writer->meta, writer->generation, fresh, most};
    size_t length[6];

    if (held == NULL || fleet_push_paused(writer) || writer->pushing || writer->full || !writer->known ||
        !redis_up(writer->redis) || pending_full(&writer->pending) ||
        !mono_reached(mono_now(), writer->push_after))
        return;
    redis_fresh(fresh);
    snprintf(most, sizeof most, "%" PRId64, writer->settings->redis_queue_bytes);
    argv[5] = held->envelope;
    for (int i = 0; i < 5; i++)
        length[i] = strlen(argv[i]);
    length[5] = held->bytes;
    writer->pushing = true;
    writer->push_began = mono_now();
    redis_script(writer->redis, REDIS_push, 6, argv, length, on_push, writer);
}

/*
 * push_task.c - the second half of `spendd --spool push`.  See push_task.h.
 *
 *   look (which generation, and what of these epochs is applied) -> push one -> push the next -> ... -> leave
 *
 * The same script as the living writer's, so the same rules: nothing is pushed before a look, nothing under
 * a generation that is gone (then everything is pushed again), and a queue that is full is waited for.
 * What is pushed twice, by us or by a spendd that is started on the volume later, is counted once: the
 * ledger knows the identity.  Nothing is deleted: the volume may go when a look finds everything applied.
 * If we die on any line: run it again.
 *
 * Exit code: 0 everything is in the queue, or applied; 1 some segments are damaged; 75 Redis, or in use.
 */
#include "workers/redis_writer/push_task.h"

#include "common/base/log.h"
#include "common/batch/ranges.h"
#include "common/redis/redis.h"
#include "workers/redis_writer/volume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_DAMAGED 1
#define FULL_RETRY_MS 200
#define KEY_BYTES 96

struct push {
    struct harness *harness;
    struct redis *redis;
    struct timer *retry;
    struct volume volume;
    size_t at;  /* next segment */
    char *envelope; /* the one that is being pushed */
    size_t bytes;
    char queue[KEY_BYTES], meta[KEY_BYTES], applied[KEY_BYTES];
    char generation[40];
    size_t pushed, known, damaged;
    bool told_full, leaving;
};

static void push_next(struct push *push);
static void look(struct push *push);

static void leave(struct push *push, int code)
{
    push->leaving = true;
    harness_leave(push->harness, code);
}

static void failed(struct push *push, const struct redis_reply *reply, const char *reason)
{
    if (push->leaving)
        return;
    if (reply != NULL && reply->text != NULL)
        reason = reply->text;
    harness_status(push->harness, "%zu pushed, then Redis: %.100s", push->pushed,
                   reason != NULL ? reason : "refused");
    leave(push, EXIT_TEMPORARY);
}

static void finish(struct push *push)
{
    harness_status(push->harness, "%zu segments pushed, %zu were applied already, %zu damaged",
                   push->pushed, push->known + push->volume.applied, push->damaged);
    leave(push, push->damaged > 0 ? EXIT_DAMAGED : EXIT_ASKED);
}

/* --- push ----------------------------------------------------------------------------------------- */

static void next(struct push *push)
{
    free(push->envelope);
    push->envelope = NULL;
    push->at++;
    push_next(push);
}

static void on_push(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct push *push = arg;

    if (redis_said(reply, "ok")) {
        push->pushed++;
        next(push);
    } else if (redis_said(reply, "full")) {
        if (!push->told_full)
            log_warn("queue_full", "pushed=%zu of=%zu reason=\"waits for a flusher\"", push->pushed,
                     push->volume.count);
        push->told_full = true;
        timer_in_ms(push->retry, FULL_RETRY_MS);
    } else if (redis_said(reply, "generation")) {
        push->at = push->pushed = push->known = push->damaged = 0; /* Redis lost its state: all again */
        free(push->envelope);
        push->envelope = NULL;
        look(push);
    } else {
        failed(push, reply, reason);
    }
}

static void send(struct push *push)
{
    char new_generation[REDIS_FRESH], most[24];
    const char *words[] = {push->queue, push->meta, push->generation, new_generation, most, push->envelope};
    size_t lengths[6];

    redis_fresh(new_generation);
    snprintf(most, sizeof most, "%" PRId64, harness_settings(push->harness)->redis_queue_bytes);
    for (int i = 0; i < 5; i++)
        lengths[i] = strlen(words[i]);
    lengths[5] = push->bytes;
    redis_script(push->redis, REDIS_push, 6, words, lengths, on_push, push);
}

static void on_applied(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct push *push = arg;
    const struct volume_segment *segment = &push->volume.segment[push->at];
    const char *ranges = reply != NULL && reply->kind == REDIS_BYTES ? strchr(reply->text, ' ') : NULL;
    struct err err;

    if (reply == NULL || reply->kind == REDIS_ERROR) {
        failed(push, reply, reason);
        return;
    }
    if (ranges != NULL && ranges_have(ranges + 1, segment->identity.seq) == 1) {
        push->known++;
        next(push);
        return;
    }
    push->envelope = volume_envelope(&push->volume, segment, &push->bytes, &err);
    if (push->envelope == NULL) {
        push->damaged++;
        log_error("segment_left", "epoch=%s seq=%" PRIu64 " reason=\"%s\"", segment->identity.epoch,
                  segment->identity.seq, err.text);
        next(push);
        return;
    }
    send(push);
}

static void push_next(struct push *push)
{
    const char *words[] = {"HGET", push->applied, ""};

    if (push->at == push->volume.count) {
        finish(push);
        return;
    }
    words[2] = push->volume.segment[push->at].identity.epoch;
    redis_command(push->redis, 3, words, NULL, on_applied, push);
}

static void on_retry(void *arg)
{
    send(arg);
}

/* --- look ----------------------------------------------------------------------------------------- */

static void on_look(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct push *push = arg;

    if (!redis_said(reply, "ok") || reply->items < 2 || reply->item[1].text == NULL) {
        failed(push, reply, reason);
        return;
    }
    snprintf(push->generation, sizeof push->generation, "%s", reply->item[1].text);
    push_next(push);
}

static void look(struct push *push)
{
    char new_generation[REDIS_FRESH];
    const char *words[] = {push->queue, push->meta, push->applied, new_generation};

    redis_fresh(new_generation);
    redis_script(push->redis, REDIS_look, 4, words, NULL, on_look, push);
}

static void on_state(void *arg, bool up, const char *reason)
{
    struct push *push = arg;

    if (up)
        look(push);
    else
        failed(push, NULL, reason);
}

/* --- life ----------------------------------------------------------------------------------------- */

static void push_drain(void *self, mono_t deadline)
{
    (void)deadline; /* nobody waits for us any more: what is not pushed is on the volume */
    leave(self, EXIT_TEMPORARY);
}

static void push_close(void *self)
{
    struct push *push = self;

    push->leaving = true;
    redis_close(&push->redis);
    harness_untimer(&push->retry);
    volume_close(&push->volume);
    free(push->envelope);
    free(push);
}

static void *push_open(struct harness *harness, int *code, struct err *err)
{
    const struct settings *settings = harness_settings(harness);
    struct redis_options options = redis_options_from(settings, "spendd-spool-push");
    struct push *push = calloc(1, sizeof *push);

    *code = EXIT_TEMPORARY;
    if (push == NULL)
        bug("out of memory");
    push->harness = harness;
    push->retry = harness_timer(harness, on_retry, push);
    snprintf(push->queue, KEY_BYTES, "%squeue:0", settings->redis_prefix);
    snprintf(push->meta, KEY_BYTES, "%smeta:0", settings->redis_prefix);
    snprintf(push->applied, KEY_BYTES, "%sapplied:0", settings->redis_prefix);
    if (volume_open(&push->volume, settings->spool_dir, err) == 0)
        push->redis = redis_open(harness, &options, on_state, push, err);
    if (push->redis == NULL) {
        harness_status(harness, "%.150s", err->text);
        push_close(push);
        return NULL;
    }
    return push;
}

const struct worker push_task = {
    .name = "spool-push", .open = push_open, .drain = push_drain, .close = push_close};

/*
 * writer_fleet.c - this instance among the others: it tells Redis that it is there, and hears what the
 * whole fleet is to hold (spendctl pause --fleet).
 *
 * A beat each few seconds, with what an operator wants to know of an instance: version, and what waits in
 * its spool (from the aggregators' pages of counters).  Holds end by themselves, here too: when Redis does
 * not answer any more, what was heard last runs out.
 * If we die on any line: the beat is old, and the others see for how long.
 */
#include "workers/redis_writer/writer.h"

#include "common/base/log.h"
#include "common/harness/build.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOOK_MS 1000
#define BEATS_EVERY 5         /* looks */
#define FORGET_MS "86400000"  /* an instance that is silent for a day is gone */
#define HOLD_PUSH_ITEM 3      /* in the reply of the script `holds` */
#define HOLD_INGEST_ITEM 5

bool fleet_push_paused(const struct writer *writer)
{
    mono_t now = mono_now();

    return (writer->paused && !mono_reached(now, writer->pause_ends)) ||
           !mono_reached(now, writer->hold_ends);
}

void fleet_record(struct writer *writer, const struct msg *record)
{
    if (record->kind != MSG_pause || strcmp(record->pause.what, "push") != 0)
        return;
    writer->paused = record->pause.left_ms != 0;
    writer->pause_ends = record->pause.left_ms < 0 ? mono_never()
                                                   : mono_after_ms(mono_now(), record->pause.left_ms);
    redis_push_next(writer);
}

static void on_holds(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct writer *writer = arg;

    (void)reason;
    if (!redis_said(reply, "ok") || reply->items <= HOLD_INGEST_ITEM)
        return; /* as it was: it ends by itself */
    writer->hold_ends = mono_after_ms(mono_now(), redis_item_number(reply, HOLD_PUSH_ITEM));
    lanes_hold_ingest(writer, redis_item_number(reply, HOLD_INGEST_ITEM));
    redis_push_next(writer);
}

static void on_beat(void *arg, const struct redis_reply *reply, const char *reason)
{
    (void)arg;
    if (!redis_said(reply, "ok"))
        log_debug("beat_unanswered", "reason=\"%s\"", reason != NULL ? reason : "refused");
}

static void beat(struct writer *writer)
{
    const struct harness *harness = writer->harness;
    int64_t segments = 0, bytes = 0, oldest_ms = 0, lock = 0, age_s = -1;
    char text[200];
    const char *words[] = {writer->instances, writer->settings->instance, text, FORGET_MS};

    for (unsigned slot = 0; slot < harness_pages(harness); slot++) {
        const struct stats_page *page = harness_page(harness, slot);
        int64_t oldest = stats_get(page, METRIC_spool_oldest_unapplied_ms);

        segments += stats_get(page, METRIC_spool_unapplied_segments);
        bytes += stats_get(page, METRIC_spool_unapplied_bytes);
        lock += stats_get(page, METRIC_lock_held);
        if (oldest > 0 && (oldest_ms == 0 || oldest < oldest_ms))
            oldest_ms = oldest;
    }
    if (oldest_ms > 0)
        age_s = (wall_now().micros / 1000 - oldest_ms) / 1000;
    snprintf(text, sizeof text, "%s %s %" PRId64 " %" PRId64 " %" PRId64 " %d", build_version, build_id,
             segments, bytes, oldest_ms > 0 && age_s < 0 ? 0 : age_s, lock > 0);
    redis_script(writer->redis, REDIS_beat, 4, words, NULL, on_beat, writer);
}

void fleet_look(void *arg)
{
    struct writer *writer = arg;
    const char *words[] = {writer->hold};

    if (redis_up(writer->redis)) {
        redis_script(writer->redis, REDIS_holds, 1, words, NULL, on_holds, writer);
        if (writer->fleet_looks++ % BEATS_EVERY == 0)
            beat(writer);
    }
    redis_push_next(writer); /* a pause may be over */
    timer_in_ms(writer->fleet, LOOK_MS);
}

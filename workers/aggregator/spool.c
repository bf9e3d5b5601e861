/*
 * spool.c - the open segment: group commits into it, and its sealing.  See spool.h.
 *
 * Owns the open file and decides which job the syncer gets next: a seal that is due, before the next
 * group, before the window's image.  A group is one write and one fdatasync; while it runs the next
 * one collects.  After any failure the file takes no more records: it is cut at the last byte that is
 * known to be durable, sealed with what it has, and the next group begins another file.
 *
 * If we die on any line: what was committed lies in open-<n>.seg or under its sealed name, and
 * recovery finds it either way.  An identity is used for one seal only, tried again or not.
 */
#include "workers/aggregator/spool.h"

#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEAL_RETRY_MS 1000
#define IMAGE_RUN 65536 /* entries written at a time */

void spool_init(struct spool *spool, struct lane *lane, struct syncer *syncer,
                struct window *window)
{
    spool->lane = lane;
    spool->syncer = syncer;
    spool->window = window;
    spool->fd = -1;
    spool->image_run = malloc((size_t)IMAGE_RUN * WINDOW_ENTRY_BYTES);
    if (spool->image_run == NULL)
        bug("out of memory for the window's image");
}

void spool_cleanup(struct spool *spool)
{
    free(spool->image_run);
    if (spool->fd >= 0)
        close(spool->fd);
    if (spool->image_fd >= 0)
        close(spool->image_fd);
    spool->image_run = NULL;
    spool->fd = spool->image_fd = -1;
}

static bool seal_due(const struct spool *spool, mono_t now)
{
    const struct settings *s = spool->lane->settings;

    return spool->broken || spool->seal_now || spool->events >= (uint64_t)s->seal_events ||
           spool->good >= s->seal_bytes || mono_ms_between(spool->since, now) >= s->seal_ms;
}

static void give_seal(struct spool *spool)
{
    struct sync_job job = {.op = SYNC_SEAL,
                           .directory = spool->lane->directory,
                           .fd = spool->fd,
                           .cut = spool->broken,
                           .offset = spool->good};

    snprintf(job.name, sizeof job.name, "%s", spool->name);
    if (spool->events == 0) {
        job.op = SYNC_DISCARD;
    } else if (!spool->named) {
        lane_identity(spool->lane, &spool->sealing);
        spool->named = true;
    }
    if (spool->named)
        segment_name(&spool->sealing, false, job.to);
    syncer_give(spool->syncer, &job);
}

/* The next run of the window's image, if segments wait for it before they may go. */
static bool give_image(struct spool *spool)
{
    struct sync_job job = {.op = SYNC_WRITE, .fd = spool->image_fd, .data = spool->image_run};
    size_t offset;

    if (!spool->image_wanted || spool->image_fd < 0)
        return false;
    if (spool->image_began_ms == 0)
        spool->image_began_ms = wall_now().micros / 1000;
    if (!window_image_next(spool->window, spool->image_run, IMAGE_RUN, &offset, &job.bytes)) {
        /* All that was durable when it began is in it now. */
        spool->ids_safe_ms = spool->image_began_ms;
        spool->image_began_ms = 0;
        spool->image_wanted = false;
        return false;
    }
    job.offset = (int64_t)offset;
    syncer_give(spool->syncer, &job);
    return true;
}

bool spool_busy(struct spool *spool, mono_t now)
{
    if (!syncer_idle(spool->syncer))
        return true;
    if (spool->fd >= 0 && seal_due(spool, now)) {
        if (mono_reached(now, spool->retry_at))
            give_seal(spool);
        return true;
    }
    return give_image(spool);
}

void spool_commit(struct spool *spool, const unsigned char *data, size_t bytes, uint64_t events)
{
    struct sync_job job = {.op = SYNC_COMMIT,
                           .directory = spool->lane->directory,
                           .fd = spool->fd,
                           .data = data,
                           .bytes = bytes,
                           .offset = spool->good};

    if (spool->fd < 0) {
        snprintf(spool->name, sizeof spool->name, "open-%" PRIu64 ".seg",
                 spool->lane->open_number++);
        job.offset = SEGMENT_HEADER_BYTES;
    }
    snprintf(job.name, sizeof job.name, "%s", spool->name);
    spool->job_events = events;
    spool->job_bytes = bytes;
    syncer_give(spool->syncer, &job);
}

static enum spool_did committed(struct spool *spool, const struct sync_job *job, mono_t now)
{
    bool fresh = spool->fd < 0;

    stats_add(spool->lane->stats, METRIC_spool_commits_total, 1);
    stats_observe(spool->lane->stats, HISTOGRAM_spool_commit_seconds, job->took_us);
    spool->fd = job->fd;
    if (fresh && job->fd >= 0) {
        spool->good = SEGMENT_HEADER_BYTES;
        spool->events = 0;
        spool->since = now;
        spool->named = spool->broken = false;
    }
    if (job->error != 0) {
        stats_add(spool->lane->stats, METRIC_spool_commit_errors_total, 1);
        log_error("commit_failed", "file=%s error=%s", job->name, strerror(job->error));
        spool->broken = spool->fd >= 0;
        return job->error == ENOENT ? SPOOL_GONE : SPOOL_FAILED;
    }
    spool->good += (int64_t)spool->job_bytes;
    spool->events += spool->job_events;
    spool->lane->open_bytes = spool->good;
    stats_add(spool->lane->stats, METRIC_spool_written_bytes_total, (int64_t)spool->job_bytes);
    if (spool->lane->open_since_ms == 0)
        spool->lane->open_since_ms = wall_now().micros / 1000;
    return SPOOL_COMMITTED;
}

static enum spool_did sealed(struct spool *spool, const struct sync_job *job, mono_t now)
{
    if (job->error != 0) {
        log_error("seal_failed", "file=%s error=%s", job->name, strerror(job->error));
        spool->retry_at = mono_after_ms(now, SEAL_RETRY_MS);
        return job->error == ENOENT ? SPOOL_GONE : SPOOL_NOTHING;
    }
    if (job->op == SYNC_SEAL) {
        lane_add(spool->lane, &spool->sealing, spool->good, wall_now().micros / 1000, false);
        stats_add(spool->lane->stats, METRIC_segments_sealed_total, 1);
    }
    spool->fd = -1;
    spool->seals++;
    spool->named = spool->broken = false;
    spool->lane->open_bytes = spool->lane->open_since_ms = 0;
    return SPOOL_SEALED;
}

enum spool_did spool_done(struct spool *spool, mono_t now)
{
    struct sync_job job;

    if (!syncer_take(spool->syncer, &job))
        return SPOOL_NOTHING;
    switch (job.op) {
    case SYNC_COMMIT:
        return committed(spool, &job, now);
    case SYNC_SEAL:
    case SYNC_DISCARD:
        return sealed(spool, &job, now);
    case SYNC_WRITE:
        if (job.error != 0) {
            log_error("window_image_failed", "error=%s", strerror(job.error));
            close(spool->image_fd);
            spool->image_fd = -1; /* never synced again; segments wait for their age instead */
            spool->image_wanted = false;
        }
        break;
    }
    return SPOOL_NOTHING;
}

bool spool_empty(const struct spool *spool)
{
    return spool->fd < 0 && syncer_idle(spool->syncer);
}

bool spool_stuck(const struct spool *spool, mono_t now)
{
    return spool->fd >= 0 && !mono_reached(now, spool->retry_at);
}

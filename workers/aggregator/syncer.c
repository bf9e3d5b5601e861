/*
 * syncer.c - the thread that waits for the disk.  See syncer.h.
 *
 * Owns one thread, one job slot and the eventfd that says "done".  The slot belongs to the thread
 * from syncer_give until the eventfd is readable, and to the loop otherwise, so nothing in a job is
 * ever shared.  The thread knows nothing of events: it does what the job says, in order, and stops at
 * the first thing that fails.  A failed sync is reported and never repeated: after a failure the
 * kernel may call lost pages clean, and a second sync would lie.
 *
 * If we die on any line: what was not reported as done was not acknowledged.  A file that was made
 * but not filled, filled but not synced, or renamed but not yet in a synced directory is found and
 * judged by recovery at the next start.
 */
#include "workers/aggregator/syncer.h"

#include "common/base/clock.h"
#include "common/batch/batch.h"
#include "workers/aggregator/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SHARDS 1

struct syncer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t given;
    bool busy, finished, stop; /* under mutex */
    bool idle;                 /* the loop's own view */
    int done_fd;
    struct sync_job job;
};

static int make_segment(struct sync_job *job)
{
    unsigned char header[SEGMENT_HEADER_BYTES];
    int error;

    job->fd = openat(job->directory, job->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (job->fd < 0)
        return errno;
    segment_header(header, SHARDS);
    error = disk_write(job->fd, header, sizeof header, 0);
    /* The name must be durable before the first record in it is acknowledged. */
    if (error == 0 && fsync(job->directory) != 0)
        error = errno;
    return error;
}

static int commit(struct sync_job *job)
{
    int error = job->fd < 0 && job->op == SYNC_COMMIT ? make_segment(job) : 0;

    if (error == 0)
        error = disk_write(job->fd, job->data, job->bytes, job->offset);
    if (error == 0 && fdatasync(job->fd) != 0)
        error = errno;
    return error;
}

static int seal(struct sync_job *job)
{
    if (job->cut && ftruncate(job->fd, job->offset) != 0)
        return errno;
    /* Tried again after a failed directory sync: then it has its new name already. */
    if (renameat(job->directory, job->name, job->directory, job->to) != 0 &&
        (errno != ENOENT || faccessat(job->directory, job->to, F_OK, 0) != 0))
        return errno;
    if (fsync(job->directory) != 0)
        return errno;
    close(job->fd);
    return 0;
}

static int discard(struct sync_job *job)
{
    if (unlinkat(job->directory, job->name, 0) != 0 && errno != ENOENT)
        return errno;
    if (job->fd >= 0)
        close(job->fd);
    return 0;
}

static int run(struct sync_job *job)
{
    switch (job->op) {
    case SYNC_COMMIT:
    case SYNC_WRITE:
        return commit(job);
    case SYNC_SEAL:
        return seal(job);
    case SYNC_DISCARD:
        return discard(job);
    }
    return EINVAL;
}

static void *work(void *arg)
{
    struct syncer *syncer = arg;
    const uint64_t one = 1;
    mono_t began;

    pthread_mutex_lock(&syncer->mutex);
    while (!syncer->stop || syncer->busy) {
        if (!syncer->busy) {
            pthread_cond_wait(&syncer->given, &syncer->mutex);
            continue;
        }
        pthread_mutex_unlock(&syncer->mutex);
        began = mono_now();
        syncer->job.error = run(&syncer->job);
        syncer->job.took_us = mono_us_between(began, mono_now());
        pthread_mutex_lock(&syncer->mutex);
        syncer->busy = false;
        syncer->finished = true;
        if (write(syncer->done_fd, &one, sizeof one) < 0) {
            /* The counter cannot be full: one job at a time. */
        }
    }
    pthread_mutex_unlock(&syncer->mutex);
    return NULL;
}

struct syncer *syncer_start(struct err *err)
{
    struct syncer *syncer = calloc(1, sizeof *syncer);
    sigset_t all, before;
    int failed;

    if (syncer == NULL)
        bug("out of memory for the syncer");
    syncer->idle = true;
    syncer->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (syncer->done_fd < 0) {
        err_errno(err, "cannot make an eventfd");
        free(syncer);
        return NULL;
    }
    pthread_mutex_init(&syncer->mutex, NULL);
    pthread_cond_init(&syncer->given, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are the loop's */
    failed = pthread_create(&syncer->thread, NULL, work, syncer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        errno = failed;
        err_errno(err, "cannot start the syncer thread");
        close(syncer->done_fd);
        free(syncer);
        return NULL;
    }
    return syncer;
}

void syncer_stop(struct syncer **syncer)
{
    struct syncer *s = *syncer;

    if (s == NULL)
        return;
    *syncer = NULL;
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_cond_signal(&s->given);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->given);
    pthread_mutex_destroy(&s->mutex);
    close(s->done_fd);
    free(s);
}

int syncer_fd(const struct syncer *syncer)
{
    return syncer->done_fd;
}

bool syncer_idle(const struct syncer *syncer)
{
    return syncer->idle;
}

void syncer_give(struct syncer *syncer, const struct sync_job *job)
{
    if (!syncer->idle)
        bug("the syncer has a job");
    pthread_mutex_lock(&syncer->mutex);
    syncer->job = *job;
    syncer->idle = false;
    syncer->busy = true;
    pthread_cond_signal(&syncer->given);
    pthread_mutex_unlock(&syncer->mutex);
}

bool syncer_take(struct syncer *syncer, struct sync_job *job)
{
    uint64_t count;
    bool finished;

    if (read(syncer->done_fd, &count, sizeof count) < 0) {
        /* Nothing to clear: the flag decides. */
    }
    pthread_mutex_lock(&syncer->mutex);
    finished = syncer->finished;
    syncer->finished = false;
    pthread_mutex_unlock(&syncer->mutex);
    if (!finished)
        return false;
    *job = syncer->job;
    syncer->idle = true;
    return true;
}

/*
 * loop.c - the one loop.  See loop.h.
 *
 * A turn works on the watches that were there when it began.  One that is taken away during the turn is
 * marked dead, not called any more and freed when the turn is over: a callback may unwatch anything,
 * itself included, and a descriptor number that is used again within the turn has a new watch.  A new
 * watch is first looked at in the next turn.
 * poll rather than epoll: a worker watches a handful of descriptors, and there is no state in the kernel
 * that could disagree with ours.  If we die on any line nothing outside has changed.
 */
#include "common/harness/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

struct watch {
    int fd; /* -1: dead, freed when the turn is over */
    short events;
    watch_fn *ready;
    void *arg;
};

static void grow(struct loop *loop)
{
    unsigned size = loop->size > 0 ? loop->size * 2 : 16;

    if (size > LOOP_WATCHES_MAX)
        bug("more than %d descriptors are watched", LOOP_WATCHES_MAX);
    loop->watches = realloc(loop->watches, size * sizeof *loop->watches);
    loop->polled = realloc(loop->polled, size * sizeof *loop->polled);
    if (loop->watches == NULL || loop->polled == NULL)
        bug("no memory for %u watches", size);
    loop->size = size;
}

struct watch *loop_watch(struct loop *loop, int fd, short events, watch_fn *ready, void *arg)
{
    struct watch *watch = calloc(1, sizeof *watch);

    if (fd < 0)
        bug("watching descriptor %d", fd);
    if (watch == NULL)
        bug("no memory for a watch");
    *watch = (struct watch){.fd = fd, .events = events, .ready = ready, .arg = arg};
    if (loop->count == loop->size)
        grow(loop);
    loop->watches[loop->count++] = watch;
    return watch;
}

void watch_events(struct watch *watch, short events)
{
    watch->events = events;
}

void harness_unwatch(struct watch **watch)
{
    if (*watch == NULL)
        return;
    (*watch)->fd = -1;
    *watch = NULL;
}

void loop_before_sleep(struct loop *loop, sleep_fn *look, void *arg)
{
    if (loop->look_count == LOOP_LOOKS_MAX)
        bug("more than %d looks before sleep", LOOP_LOOKS_MAX);
    loop->looks[loop->look_count++] = (struct look){look, arg};
}

static void sweep(struct loop *loop)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < loop->count; i++) {
        if (loop->watches[i]->fd >= 0)
            loop->watches[kept++] = loop->watches[i];
        else
            free(loop->watches[i]);
    }
    loop->count = kept;
}

/* How long poll may sleep: to the next timer, rounded up so that it is due when we wake. */
static int sleep_ms(const struct loop *loop, int most_ms)
{
    mono_t next = timers_next(&loop->timers), now = mono_now();
    int64_t ms;

    if (next.micros == mono_never().micros)
        return most_ms;
    ms = mono_reached(now, next) ? 0 : (next.micros - now.micros + 999) / 1000;
    if (most_ms >= 0 && ms > most_ms)
        ms = most_ms;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void dispatch(struct loop *loop, unsigned polled)
{
    for (unsigned i = 0; i < polled; i++) {
        struct watch *watch = loop->watches[i];
        short revents = loop->polled[i].revents;

        /* An earlier callback of this turn may have taken it away, or asked for something else. */
        if (watch->fd >= 0 && (revents & (watch->events | POLLERR | POLLHUP | POLLNVAL)) != 0)
            watch->ready(watch->arg, revents);
    }
}

void loop_turn(struct loop *loop, int most_ms)
{
    bool more = false;
    unsigned polled;
    int ready;

    for (unsigned i = 0; i < loop->look_count; i++)
        more |= loop->looks[i].look(loop->looks[i].arg);
    sweep(loop);
    polled = loop->count;
    for (unsigned i = 0; i < polled; i++) {
        const struct watch *watch = loop->watches[i];

        loop->polled[i] = (struct pollfd){watch->events != 0 ? watch->fd : -1, watch->events, 0};
    }
    ready = poll(loop->polled, polled, more ? 0 : sleep_ms(loop, most_ms));
    if (ready < 0 && errno != EINTR)
        bug("poll: %s", strerror(errno));
    if (ready > 0)
        dispatch(loop, polled);
    timers_fire(&loop->timers, mono_now());
    loop->turns++;
}

void loop_cleanup(struct loop *loop)
{
    for (unsigned i = 0; i < loop->count; i++)
        free(loop->watches[i]);
    free(loop->watches);
    free(loop->polled);
    timers_cleanup(&loop->timers);
    *loop = (struct loop){0};
}

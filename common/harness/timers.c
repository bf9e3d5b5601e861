/*
 * timers.c - one-shot timers in a binary heap.  See timers.h; owners see struct timer through harness.h.
 *
 * The heap holds the timers that are set; a timer knows its place in it, so setting again and stopping
 * take log n steps.  A timer leaves the heap before its callback runs: the callback may set, stop or
 * free it.  If we die on any line nothing outside has changed.
 */
#include "common/harness/timers.h"

#include <stdlib.h>

#define NOT_SET UINT32_MAX

struct timer {
    struct timers *owner;
    timer_fn *due;
    void *arg;
    mono_t when;
    unsigned place; /* in the heap, or NOT_SET */
};

static bool earlier(const struct timer *a, const struct timer *b)
{
    return a->when.micros < b->when.micros;
}

static void put(struct timers *timers, unsigned place, struct timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void rise(struct timers *timers, unsigned place)
{
    struct timer *timer = timers->heap[place];

    while (place > 0 && earlier(timer, timers->heap[(place - 1) / 2])) {
        put(timers, place, timers->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(timers, place, timer);
}

static void sink(struct timers *timers, unsigned place)
{
    struct timer *timer = timers->heap[place];

    for (;;) {
        unsigned child = 2 * place + 1;

        if (child >= timers->count)
            break;
        if (child + 1 < timers->count && earlier(timers->heap[child + 1], timers->heap[child]))
            child++;
        if (!earlier(timers->heap[child], timer))
            break;
        put(timers, place, timers->heap[child]);
        place = child;
    }
    put(timers, place, timer);
}

static void grow(struct timers *timers)
{
    unsigned size = timers->size > 0 ? timers->size * 2 : 16;

    if (size > TIMERS_MAX)
        bug("more than %d timers are set", TIMERS_MAX);
    timers->heap = realloc(timers->heap, size * sizeof *timers->heap);
    if (timers->heap == NULL)
        bug("no memory for %u timers", size);
    timers->size = size;
}

struct timer *timers_add(struct timers *timers, timer_fn *due, void *arg)
{
    struct timer *timer = calloc(1, sizeof *timer);

    if (timer == NULL)
        bug("no memory for a timer");
    *timer = (struct timer){.owner = timers, .due = due, .arg = arg, .place = NOT_SET};
    return timer;
}

void timer_stop(struct timer *timer)
{
    struct timers *timers = timer->owner;
    unsigned place = timer->place;
    struct timer *moved;

    if (place == NOT_SET)
        return;
    timer->place = NOT_SET;
    moved = timers->heap[--timers->count];
    if (moved == timer)
        return;
    put(timers, place, moved);
    rise(timers, place);
    sink(timers, moved->place);
}

void timer_at(struct timer *timer, mono_t when)
{
    struct timers *timers = timer->owner;

    timer_stop(timer);
    if (timers->count == timers->size)
        grow(timers);
    if (timers->firing && mono_reached(timers->now, when))
        when = (mono_t){timers->now.micros + 1};
    timer->when = when;
    put(timers, timers->count++, timer);
    rise(timers, timer->place);
}

void timer_in_ms(struct timer *timer, int64_t ms)
{
    timer_at(timer, mono_after_ms(mono_now(), ms));
}

void harness_untimer(struct timer **timer)
{
    if (*timer == NULL)
        return;
    timer_stop(*timer);
    free(*timer);
    *timer = NULL;
}

mono_t timers_next(const struct timers *timers)
{
    return timers->count > 0 ? timers->heap[0]->when : mono_never();
}

/* What a callback sets for the present or the past is moved just behind `now`: this ends, and nobody
 * who was due waits behind a timer that is always due. */
unsigned timers_fire(struct timers *timers, mono_t now)
{
    unsigned fired = 0;

    timers->firing = true;
    timers->now = now;
    while (timers->count > 0 && mono_reached(now, timers->heap[0]->when)) {
        struct timer *timer = timers->heap[0];

        timer_stop(timer);
        fired++;
        timer->due(timer->arg);
    }
    timers->firing = false;
    return fired;
}

void timers_cleanup(struct timers *timers)
{
    for (unsigned i = 0; i < timers->count; i++)
        timers->heap[i]->place = NOT_SET;
    free(timers->heap);
    *timers = (struct timers){0};
}

/*
 * loop.h - the one loop: watched descriptors, timers, looks before sleeping.  Workers see it through
 * harness.h; main.c turns it.
 */
#ifndef SPENDD_HARNESS_LOOP_H
#define SPENDD_HARNESS_LOOP_H

#include "common/harness/harness.h"
#include "common/harness/timers.h"

#define LOOP_WATCHES_MAX 4096
#define LOOP_LOOKS_MAX 16

struct look {
    sleep_fn *look;
    void *arg;
};

struct loop {
    struct timers timers;
    struct watch **watches; /* in the order they were made; dead ones until the turn is over */
    struct pollfd *polled;  /* parallel to the watches that were there when the turn began */
    unsigned count, size;
    struct look looks[LOOP_LOOKS_MAX];
    unsigned look_count;
    uint32_t turns;
};

struct watch *loop_watch(struct loop *loop, int fd, short events, watch_fn *ready, void *arg);
void loop_before_sleep(struct loop *loop, sleep_fn *look, void *arg);

/* One turn: look, sleep until something is ready or due (at most `most_ms`, -1: no bound), call what
 * is. */
void loop_turn(struct loop *loop, int most_ms);

void loop_cleanup(struct loop *loop); /* watches that still exist are freed */

#endif

/*
 * harness.h - what a worker is given: one loop, its settings, watched descriptors, timers, and the
 * line to the supervisor (fd 3).
 *
 * A worker exports `const struct worker worker` and contains no loop, no signal handler and no exit.
 * The harness owns main(): records on fd 3 -> settings -> open -> ready -> the loop.  It beats from
 * the loop.  EOF on fd 3 means that the supervisor died: drain and leave.
 */
#ifndef SPENDD_HARNESS_HARNESS_H
#define SPENDD_HARNESS_HARNESS_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/msg/msg.h"
#include "common/stats/stats.h"

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_ASKED = 0, EXIT_TEMPORARY = 75, EXIT_CONFIGURATION = 78 };
/* FD_LOCK holds the flock of runtime_dir/lock: a new supervisor waits until the last worker of a dead
 * one has left.  FD_INHERITED: the first of every slot's page of counters, for PAGES_ALL; behind them the
 * listening sockets that the supervisor keeps for this worker (supervisor/listen.c). */
enum { FD_SUPERVISOR = 3, FD_STATS = 4, FD_LOCK = 5, FD_INHERITED = 6 };

struct harness;
struct watch;
struct timer;

struct worker {
    const char *name;
    /* Everything that can fail at start.  Returns the worker's state, or NULL with err and *code. */
    void *(*open)(struct harness *harness, int *code, struct err *err);
    /* A record from the supervisor that the harness does not handle itself (gate, snapshot...).
     * NULL: none. */
    void (*record)(void *self, const struct msg *record);
    /* Live settings (settings.def) have changed: harness_settings has the new ones, `before` the old ones,
     * borrowed for the call.  For what was derived from one of them: a timer, a buffer.  NULL: nothing
     * was.  Called on every reload, also when nothing has changed: a file that a setting names may have.
     * What is read from harness_settings where it is used needs no call. */
    void (*reload)(void *self, const struct settings *before);
    /* Begin to finish: take no new work, hand on what there is, call harness_leave when done.
     * The harness leaves by itself at the deadline.  NULL: leave at once. */
    void (*drain)(void *self, mono_t deadline);
    void (*close)(void *self);
    /* What this executable does instead when it is started for that one task (`spendd --migrate`); the
     * name is the task's, and a task may have another behind it.  NULL: none. */
    const struct worker *task;
};

/* Called from open by a worker that cannot be ready yet (an aggregator whose lane is still held by an
 * orphan): the loop runs and beats, and the worker calls harness_ready when it is.  Before readiness
 * each harness_status is a sign of life: supervisor.start_ms counts from the last one, so say what is
 * waited for about once a second, from a timer - or from within a long open.  Leave after a bound. */
void harness_wait(struct harness *harness);
void harness_ready(struct harness *harness);

/* The same place for the worker's life; the live ones in it change between two turns of the loop. */
const struct settings *harness_settings(const struct harness *harness);
unsigned harness_index(const struct harness *harness);      /* among the instances of this worker */
unsigned harness_generation(const struct harness *harness); /* which start of it, from 1 */
/* This worker's counters, for common/stats. */
struct stats_page *harness_stats(const struct harness *harness);
/* Every slot's page, for a worker whose row in roster.def says PAGES_ALL; slot numbers, names and
 * indexes are roster.h's (roster_slot with harness_settings).  Others: count 0. */
unsigned harness_pages(const struct harness *harness);
const struct stats_page *harness_page(const struct harness *harness, unsigned slot);

/* Descriptor of the listening socket `number`; stays open, others hold it too. */
int harness_listener(const struct harness *harness, unsigned number);

/* The functions below that return a pointer never return NULL: no memory aborts. */

/* Call `ready(arg, revents)` when the descriptor has one of `events` (POLLIN, POLLOUT).  Owned by the
 * caller until harness_unwatch; safe to unwatch from within any callback.  POLLERR and POLLHUP come
 * unasked, except while `events` is 0: then the descriptor is not looked at. */
typedef void watch_fn(void *arg, short revents);
struct watch *harness_watch(struct harness *harness, int fd, short events, watch_fn *ready, void *arg);
void watch_events(struct watch *watch, short events);
void harness_unwatch(struct watch **watch);

/* One-shot timers. */
typedef void timer_fn(void *arg);
struct timer *harness_timer(struct harness *harness, timer_fn *due, void *arg);
void timer_at(struct timer *timer, mono_t when); /* replaces an earlier time */
void timer_in_ms(struct timer *timer, int64_t ms);
void timer_stop(struct timer *timer);
void harness_untimer(struct timer **timer);

/* Called before the loop sleeps; true: do not sleep, there is more to do (ZeroMQ's edge-triggered
 * descriptors need this look). */
typedef bool sleep_fn(void *arg);
void harness_before_sleep(struct harness *harness, sleep_fn *look, void *arg);

/* Up fd 3.  Bounded; a record that does not fit now is kept and sent when it does. */
void harness_report(struct harness *harness, const struct msg *record);
void harness_status(struct harness *harness, const char *format, ...) PRINTF_LIKE(2, 3);

/* Leave the loop after this turn with an exit code (close is called). */
void harness_leave(struct harness *harness, int code);

#endif

/*
 * loop.c - a small loop behind the functions of harness.h, so that a door can be tested in a unit
 * test, in one process, without supervisor and records.  Same order as the real one: looks before
 * sleep, poll, descriptors, timers.  Bounded tables; more than that is a bug of the test.
 */
#include "tests/unit/loop.h"

#include <poll.h>
#include <stdlib.h>

#define MOST 64

struct watch {
    int fd;
    short events;
    watch_fn *ready;
    void *arg;
    bool used;
};

struct timer {
    timer_fn *due;
    void *arg;
    mono_t when;
    bool used, set;
};

struct harness {
    struct watch watch[MOST];
    struct timer timer[MOST];
    struct {
        sleep_fn *look;
        void *arg;
    } sleep[MOST];
    size_t sleeps;
    const struct settings *settings;
    struct stats_page *stats;
    bool left;
};

struct harness *loop_open(void)
{
    struct harness *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        bug("no memory");
    return loop;
}

void loop_close(struct harness **loop)
{
    free(*loop);
    *loop = NULL;
}

void loop_settings(struct harness *loop, const struct settings *settings, struct stats_page *stats)
{
    loop->settings = settings;
    loop->stats = stats;
}

const struct settings *harness_settings(const struct harness *harness)
{
    return harness->settings;
}

struct stats_page *harness_stats(const struct harness *harness)
{
    return harness->stats;
}

void harness_status(struct harness *harness, const char *format, ...)
{
    (void)harness;
    (void)format;
}

void harness_leave(struct harness *harness, int code)
{
    (void)code;
    harness->left = true;
}

struct watch *harness_watch(struct harness *harness, int fd, short events, watch_fn *ready, void *arg)
{
    for (size_t i = 0; i < MOST; i++)
        if (!harness->watch[i].used) {
            harness->watch[i] = (struct watch){fd, events, ready, arg, true};
            return &harness->watch[i];
        }
    bug("too many watches");
}

void watch_events(struct watch *watch, short events)
{
    watch->events = events;
}

void harness_unwatch(struct watch **watch)
{
    if (*watch != NULL)
        (*watch)->used = false;
    *watch = NULL;
}

struct timer *harness_timer(struct harness *harness, timer_fn *due, void *arg)
{
    for (size_t i = 0; i < MOST; i++)
        if (!harness->timer[i].used) {
            harness->timer[i] = (struct timer){due, arg, mono_never(), true, false};
            return &harness->timer[i];
        }
    bug("too many timers");
}

void timer_at(struct timer *timer, mono_t when)
{
    timer->when = when;
    timer->set = true;
}

void timer_in_ms(struct timer *timer, int64_t ms)
{
    timer_at(timer, mono_after_ms(mono_now(), ms));
}

void timer_stop(struct timer *timer)
{
    timer->set = false;
}

void harness_untimer(struct timer **timer)
{
    if (*timer != NULL)
        (*timer)->used = (*timer)->set = false;
    *timer = NULL;
}

void harness_before_sleep(struct harness *harness, sleep_fn *look, void *arg)
{
    if (harness->sleeps == MOST)
        bug("too many looks");
    harness->sleep[harness->sleeps].look = look;
    harness->sleep[harness->sleeps++].arg = arg;
}

static int64_t time_to_sleep(struct harness *loop, int64_t wait_ms)
{
    bool more = false;
    mono_t now;

    for (size_t i = 0; i < loop->sleeps; i++)
        more |= loop->sleep[i].look(loop->sleep[i].arg);
    if (more)
        return 0;
    now = mono_now();
    for (size_t i = 0; i < MOST; i++)
        if (loop->timer[i].set && mono_ms_between(now, loop->timer[i].when) + 1 < wait_ms)
            wait_ms = mono_ms_between(now, loop->timer[i].when) + 1;
    return wait_ms < 0 ? 0 : wait_ms;
}

static void run_timers(struct harness *loop)
{
    mono_t now = mono_now();

    for (size_t i = 0; i < MOST; i++) {
        struct timer *timer = &loop->timer[i];

        if (timer->set && mono_reached(now, timer->when)) {
            timer->set = false;
            timer->due(timer->arg);
        }
    }
}

void loop_turn(struct harness *loop, int64_t wait_ms)
{
    struct pollfd fds[MOST];

    for (size_t i = 0; i < MOST; i++)
        fds[i] = (struct pollfd){.fd = -1};
    wait_ms = time_to_sleep(loop, wait_ms);
    for (size_t i = 0; i < MOST; i++)
        if (loop->watch[i].used)
            fds[i] = (struct pollfd){.fd = loop->watch[i].fd, .events = loop->watch[i].events};
    poll(fds, MOST, (int)wait_ms);
    for (size_t i = 0; i < MOST; i++)
        if (fds[i].revents != 0 && loop->watch[i].used && loop->watch[i].fd == fds[i].fd)
            loop->watch[i].ready(loop->watch[i].arg, fds[i].revents);
    run_timers(loop);
}

bool loop_until(struct harness *loop, loop_done_fn *done, void *arg, int64_t limit_ms)
{
    mono_t limit = mono_after_ms(mono_now(), limit_ms);

    while (!done(arg)) {
        if (mono_reached(mono_now(), limit))
            return false;
        loop_turn(loop, 20);
    }
    return true;
}

/* A test has no other workers. */
unsigned harness_pages(const struct harness *harness)
{
    (void)harness;
    return 0;
}

const struct stats_page *harness_page(const struct harness *harness, unsigned slot)
{
    (void)slot;
    return harness->stats;
}

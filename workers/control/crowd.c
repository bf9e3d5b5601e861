/*
 * crowd.c - the bound on connections at the admin socket.  See crowd.h.
 *
 * Whoever may open the socket may open it a thousand times, by mistake as well (a watcher that leaks): then who is
 * there is served on, and who comes above the bound is hung up on, counted and said once a second.
 *
 * Owns a timer.  If we die on any line all connections end, and the next life counts from nothing.
 */
#include "workers/control/crowd.h"

#include "common/base/log.h"
#include "common/bus/bus_crowd.h"

#include <stdlib.h>

#define LOOK_MS 50
#define SAY_MS 1000

struct crowd {
    struct harness *harness;
    struct bus *bus;
    struct timer *timer;
    unsigned most, turned_away; /* since it was said */
    mono_t say_at;
};

static void on_look(void *arg)
{
    struct crowd *crowd = arg;
    unsigned away = bus_crowd_turn_away(crowd->bus);
    mono_t now = mono_now();

    if (away > 0)
        stats_add(harness_stats(crowd->harness), METRIC_admin_connections_refused_total, away);
    crowd->turned_away += away;
    if (crowd->turned_away > 0 && mono_reached(now, crowd->say_at)) {
        log_warn("admin_connections_full", "most=%u turned_away=%u", crowd->most, crowd->turned_away);
        crowd->turned_away = 0;
        crowd->say_at = mono_after_ms(now, SAY_MS);
    }
    timer_in_ms(crowd->timer, LOOK_MS);
}

struct crowd *crowd_watch(struct harness *harness, struct bus *bus)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    unsigned wanted = (unsigned)harness_settings(harness)->admin_max_connections;

    if (crowd == NULL)
        return NULL;
    crowd->harness = harness;
    crowd->bus = bus;
    crowd->say_at = mono_now();
    crowd->most = bus_crowd_bound(bus, wanted);
    if (crowd->most < wanted)
        log_warn("connections_bounded", "most=%u reason=\"the limit of open files (LimitNOFILE=) allows no more\"",
                 crowd->most);
    crowd->timer = harness_timer(harness, on_look, crowd);
    timer_in_ms(crowd->timer, LOOK_MS);
    return crowd;
}

void crowd_free(struct crowd **crowd)
{
    if (*crowd == NULL)
        return;
    harness_untimer(&(*crowd)->timer);
    free(*crowd);
    *crowd = NULL;
}

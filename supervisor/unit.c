/*
 * unit.c - what the service manager is told of us.  See unit.h.
 *
 * Ready is what a producer needs: every worker that no gate holds back is ready, so ingest accepts.  A
 * database that is down makes nobody unready: that is what the spool is for.  The watchdog is fed from the
 * supervisor's own loop and says nothing about workers: those are watched by us.  What was not taken is
 * said again in the next turn, so nothing here is remembered before it was heard.
 * If we die on any line the manager sees our end by itself, and starts us again.
 */
#include "supervisor/unit.h"

#include "common/base/log.h"
#include "supervisor/supervisor.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define STATUS_PAUSE_MS 1000 /* between two status lines: a crash loop is no news each time */
#define EXTEND_MS 5000       /* how often more time is asked for */
#define SLACK_MS 5000        /* what a drain takes beyond its deadline: the last kill, the last reap */

void unit_open(struct unit *unit)
{
    struct err err;

    memset(unit, 0, sizeof *unit);
    if (notify_open(&unit->notify, &err) < 0)
        log_warn("notify_refused", "error=\"%s\"", err.text);
    unit->watchdog_at = unit->notify.watchdog_ms > 0 ? mono_now() : mono_never();
    unit->extend_at = unit->status_at = mono_now();
}

/* --- one line about everything --------------------------------------------------------------------- */

static bool wanted(const struct slot *slot)
{
    return roster_table[slot->row].gate == GATE_NONE;
}

static bool all_ready(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->count; i++)
        if (wanted(&supervisor->slots[i]) && supervisor->slots[i].state != CHILD_READY)
            return false;
    return true;
}

static bool restarting(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->count; i++)
        if (supervisor->slots[i].restart != RESTART_NONE)
            return true;
    return false;
}

/* "READY; redis_writer BACKOFF (killed by signal 9); database gate closed (refused)" */
static void describe(const struct supervisor *supervisor, const char *phase, char *text, size_t size)
{
    const struct gate *gate = &supervisor->database;
    size_t used = (size_t)snprintf(text, size, "%s", phase);

    for (unsigned i = 0; i < supervisor->count && used < size; i++) {
        const struct slot *slot = &supervisor->slots[i];
        const char *why = slot->state == CHILD_HELD ? "" : slot->why;

        if (slot->state != CHILD_READY && !supervisor->draining)
            used += (size_t)snprintf(text + used, size - used, "; %s %s%s%.60s%s", slot->name,
                                     child_state_name(slot->state), why[0] != '\0' ? " (" : "", why,
                                     why[0] != '\0' ? ")" : "");
        else if (supervisor->draining && slot->pid != 0)
            used += (size_t)snprintf(text + used, size - used, "; %s %s", slot->name,
                                     child_state_name(slot->state));
    }
    if (!gate->open && !supervisor->draining && used < size)
        snprintf(text + used, size - used, "; database gate closed (%.80s)", gate->why);
    /* What a server said may hold anything: a line break would begin another assignment. */
    for (char *at = text; *at != '\0'; at++)
        if (iscntrl((unsigned char)*at))
            *at = ' ';
}

static const char *phase_of(const struct supervisor *supervisor)
{
    if (supervisor->draining)
        return "draining";
    if (supervisor->unit.reloading)
        return "reloading";
    return supervisor->unit.ready ? "ready" : "starting";
}

/* --- saying --------------------------------------------------------------------------------------- */

static void say_status(struct supervisor *supervisor, mono_t now)
{
    struct unit *unit = &supervisor->unit;
    char text[sizeof unit->status], line[sizeof unit->status + 16];

    if (!mono_reached(now, unit->status_at))
        return;
    describe(supervisor, phase_of(supervisor), text, sizeof text);
    if (strcmp(text, unit->status) == 0)
        return;
    snprintf(line, sizeof line, "STATUS=%s\n", text);
    if (!notify_send(&unit->notify, line))
        return;
    memcpy(unit->status, text, sizeof text);
    unit->status_at = mono_after_ms(now, STATUS_PAUSE_MS);
}

static void say_ready(struct unit *unit)
{
    if (!notify_send(&unit->notify, "READY=1\n"))
        return;
    log_info(unit->ready ? "reload_over" : "spendd_ready", "told=%d", unit->notify.fd >= 0);
    unit->ready = true;
    unit->reloading = false;
}

/* As long as it still takes, and asked for again before that is over. */
static void extend(struct unit *unit, mono_t now, int64_t ms)
{
    char line[64];

    if (!mono_reached(now, unit->extend_at))
        return;
    snprintf(line, sizeof line, "EXTEND_TIMEOUT_USEC=%lld\n", (long long)(ms + SLACK_MS) * 1000);
    if (notify_send(&unit->notify, line))
        unit->extend_at = mono_after_ms(now, EXTEND_MS);
}

void unit_waits(struct unit *unit, mono_t now, const char *why)
{
    char line[256];

    if (!mono_reached(now, unit->status_at))
        return;
    snprintf(line, sizeof line, "STATUS=waits for %s\n", why);
    if (notify_send(&unit->notify, line))
        unit->status_at = mono_after_ms(now, STATUS_PAUSE_MS);
    extend(unit, now, EXTEND_MS);
}

void unit_reloads(struct supervisor *supervisor)
{
    struct unit *unit = &supervisor->unit;
    char lines[80];

    if (!unit->ready || unit->stopping)
        return;
    snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%lld\n", (long long)mono_now().micros);
    notify_send(&unit->notify, lines);
    unit->reloading = true;
}

static void drain_check_unit(struct supervisor *supervisor, mono_t now)
{
    struct unit *unit = &supervisor->unit;
    int64_t left = mono_ms_between(now, supervisor->drain_at);

    if (!unit->stopping && notify_send(&unit->notify, "STOPPING=1\n")) {
        unit->stopping = true;
        unit->extend_at = unit->status_at = now;
    }
    if (unit->stopping)
        extend(unit, now, left > 0 ? left : 0);
}

void unit_check(struct supervisor *supervisor, mono_t now, bool healthy)
{
    struct unit *unit = &supervisor->unit;

    if (supervisor->draining)
        drain_check_unit(supervisor, now);
    else if ((!unit->ready && all_ready(supervisor)) || (unit->reloading && !restarting(supervisor)))
        say_ready(unit);
    else if (unit->reloading)
        extend(unit, now, EXTEND_MS); /* restarts one at a time, each drained, take their time */
    say_status(supervisor, now);
    if (healthy && mono_reached(now, unit->watchdog_at) && notify_send(&unit->notify, "WATCHDOG=1\n"))
        unit->watchdog_at = mono_after_ms(now, unit->notify.watchdog_ms / 2);
}

mono_t unit_next(const struct unit *unit)
{
    return unit->watchdog_at;
}

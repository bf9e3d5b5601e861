/*
 * unit.h - what the service manager is told of us: ready, status, watchdog, reloading, stopping.
 */
#ifndef SPENDD_SUPERVISOR_UNIT_H
#define SPENDD_SUPERVISOR_UNIT_H

#include "common/base/clock.h"
#include "supervisor/notify.h"

#include <stdbool.h>

struct supervisor;

struct unit {
    struct notify notify;
    bool ready;     /* READY=1 was taken */
    bool reloading; /* RELOADING=1 was said; READY=1 when the last restart is over */
    bool stopping;
    mono_t watchdog_at, extend_at, status_at; /* not before */
    char status[256];                         /* as it was taken last */
};

void unit_open(struct unit *unit);

/* While runtime_dir is still another's: why, and that we need more time. */
void unit_waits(struct unit *unit, mono_t now, const char *why);

/* A reload begins: to be said before anything is done. */
void unit_reloads(struct supervisor *supervisor);

/* Once in each turn of the loop: says what is new.  `healthy`: the turn did what turns do. */
void unit_check(struct supervisor *supervisor, mono_t now, bool healthy);

/* When unit_check is wanted next. */
mono_t unit_next(const struct unit *unit);

#endif

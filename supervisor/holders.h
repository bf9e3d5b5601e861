/*
 * holders.h - who holds runtime_dir/lock, written into that file: the supervisor and its workers, so that
 * a successor can name them, and end what a dead supervisor left behind hanging.
 */
#ifndef SPENDD_SUPERVISOR_HOLDERS_H
#define SPENDD_SUPERVISOR_HOLDERS_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/harness/roster.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOLDERS_MAX (1 + ROSTER_SLOTS_MAX) /* the supervisor, then each slot */

/* A process is its pid and the moment it was started: together they are never given out again. */
struct holder {
    pid_t pid;      /* 0: nobody */
    uint64_t start; /* clock ticks since boot, as in /proc/PID/stat */
    char program[32];
};

/* For the owner of the lock: forget everybody, we are the supervisor. */
int holders_begin(int lock, struct err *err) MUST_CHECK;
/* `slot` has this process now; pid 0: none.  A record that cannot be written is missed by nobody but a
 * successor, which then names nobody. */
void holders_put(int lock, unsigned slot, pid_t pid, const char *program);

/* holder[0] is the supervisor.  false: the pids are of another boot or another pid namespace, or there
 * are none. */
bool holders_read(int lock, struct holder holder[HOLDERS_MAX]) MUST_CHECK;

bool holder_lives(const struct holder *holder);
/* SIGKILL to exactly that process, or to nobody. */
int holder_kill(const struct holder *holder, struct err *err) MUST_CHECK;

#endif

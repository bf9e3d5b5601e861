/*
 * supervisor.h - the one struct of the supervisor, for the files that act on it.
 */
#ifndef SPENDD_SUPERVISOR_SUPERVISOR_H
#define SPENDD_SUPERVISOR_SUPERVISOR_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/harness/roster.h"
#include "common/msg/line.h"
#include "supervisor/backoff.h"
#include "supervisor/child.h"
#include "supervisor/gate.h"
#include "supervisor/listen.h"
#include "supervisor/orders.h"
#include "supervisor/unit.h"
#include "supervisor/pause.h"

#include <sys/types.h>

/* A worker is drained and started again: one at a time, so these wait for their turn (restarts.c). */
enum restart { RESTART_NONE, RESTART_QUEUED, RESTART_UNDERWAY };

#define LEVEL_OF_CONFIG (-1)

/* One instance of one row of the roster. */
struct slot {
    unsigned row, index;
    char name[32]; /* as in its log lines */
    enum child_state state;
    mono_t since_mono;
    wall_t since;        /* when the state began */
    pid_t pid;           /* 0: no process */
    struct line *line;   /* NULL: no process, or it closed its end */
    int page;            /* its counters, over all its lives */
    int page_readonly;   /* the same, for those who may only look */
    unsigned generation; /* starts so far */
    bool was_ready;      /* in this life */
    bool aborted;        /* SIGABRT was sent; SIGKILL at kill_at */
    bool refused;        /* of another build: killed, and FAILED once it is reaped */
    bool stopped;        /* by the operator: not wanted until started */
    enum restart restart;
    int level; /* enum log_level that the operator set, or LEVEL_OF_CONFIG */
    mono_t started, heard, kill_at, due;
    struct backoff backoff;
    char status[160];
    char why[200]; /* why it is not running */
};

struct supervisor {
    struct settings settings;
    const char *config; /* path of the file */
    int signals; /* signalfd */
    int lock;
    int images[32]; /* executable of each row */
    struct listeners listeners;
    struct slot slots[ROSTER_SLOTS_MAX];
    unsigned count;
    struct gate database;
    struct pause pauses[PAUSES];
    wall_t started;
    bool draining, leaving; /* leaving: everything was killed */
    int code;               /* to exit with */
    unsigned step;          /* of the drain */
    mono_t drain_at;        /* nobody lives past this */
    struct waiting waiting[WAITING_MAX];
    struct unit unit;
    mono_t turned; /* when the last turn looked at the clock */
};

/* supervisor.c */
int supervisor_run(const struct settings *settings, const char *config);

/* slot.c: one slot takes an event; what the table says is done. */
void slot_event(struct supervisor *supervisor, struct slot *slot, enum child_event event);
void slot_settle(struct supervisor *supervisor, struct slot *slot); /* START or HOLD, if wanted */
bool slot_gated(const struct supervisor *supervisor, const struct slot *slot); /* may a gate hold it back? */
void slot_exited(struct supervisor *supervisor, struct slot *slot, int wait_status);
void slot_check(struct supervisor *supervisor, struct slot *slot, mono_t now);
mono_t slot_next(const struct supervisor *supervisor, const struct slot *slot);
/* Kills it; it becomes FAILED when it is reaped. */
void slot_refuse(struct slot *slot, const char *why);

/* launch.c: its process, and what it is told. */
int slot_launch(struct supervisor *supervisor, struct slot *slot, struct err *err) MUST_CHECK;
/* Who is there, into the lock file, for a successor. */
void slot_note(const struct supervisor *supervisor, const struct slot *slot);
bool slot_send(struct slot *slot, const struct msg *record); /* false: it did not go */
bool slot_send_setting(struct slot *slot, const struct settings *settings, const struct setting *setting);
bool slot_send_settings_end(struct slot *slot, const char *task);
void slot_send_settings(struct slot *slot, const struct settings *settings, const char *task);
void slot_send_level(const struct supervisor *supervisor, struct slot *slot);

/* record.c: what a worker says. */
void slot_read(struct supervisor *supervisor, struct slot *slot);
void gate_tell(const struct supervisor *supervisor, struct slot *slot);

/* events.c: what changes, for whom the roster says HEARS_ALL. */
void event_tell(struct supervisor *supervisor, const struct msg_event *event);
void event_daemon(struct supervisor *supervisor, const char *after, const char *why); /* all of spendd */
void event_state(struct supervisor *supervisor, const struct slot *slot, enum child_state before);

/* drain.c: the ordered way out. */
void drain_begin(struct supervisor *supervisor, const char *asked_by);
/* `spared` (bits of slots) has a moment to hand on its last answer; everybody else is killed. */
void drain_cut_short(struct supervisor *supervisor, const char *asked_by, uint64_t spared);
void drain_check(struct supervisor *supervisor, mono_t now);
int64_t drain_left_ms(const struct supervisor *supervisor); /* for the step that begins now */
bool drain_done(const struct supervisor *supervisor);

/* place.c: runtime_dir and its lock.  The descriptor; -1 failed, -2 told to leave while waiting. */
int place_take(const struct settings *settings, struct unit *unit, int signals, struct err *err) MUST_CHECK;

#endif

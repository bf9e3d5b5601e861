/*
 * slot.c - one instance of a worker: does what child.c's table says.
 *
 * Owns the state and its deadlines; how a process comes to be is launch.c's.  If we die on any line, the
 * workers that live read end of file on fd 3 and drain, and hold runtime_dir/lock until the last of them
 * has left.
 */
#include "supervisor/supervisor.h"

#include "common/base/jitter.h"
#include "common/base/log.h"
#include "common/harness/harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static void enter(struct supervisor *supervisor, struct slot *slot, enum child_state state)
{
    enum child_state before = slot->state;

    if (before == state)
        return;
    slot->state = state;
    slot->since = wall_now();
    slot->since_mono = mono_now();
    event_state(supervisor, slot, before);
}

/* --- starting ------------------------------------------------------------------------------------- */

static void start(struct supervisor *supervisor, struct slot *slot)
{
    struct err err;

    slot->generation++;
    slot->was_ready = false;
    slot->aborted = false;
    slot->refused = false;
    slot->kill_at = mono_never();
    slot->started = slot->heard = mono_now();
    slot->why[0] = '\0';
    slot->status[0] = '\0';
    if (slot_launch(supervisor, slot, &err) < 0) {
        log_error("worker_not_started", "worker=%s error=\"%s\"", slot->name, err.text);
        snprintf(slot->why, sizeof slot->why, "not started: %.180s", err.text);
        slot_event(supervisor, slot, CHILD_EXITED);
        return;
    }
    log_info("worker_started", "worker=%s pid=%d generation=%u", slot->name, (int)slot->pid,
             slot->generation);
}

/* --- ending --------------------------------------------------------------------------------------- */

static void kill_it(struct slot *slot, int number)
{
    if (slot->pid > 0)
        kill(slot->pid, number);
}

void slot_refuse(struct slot *slot, const char *why)
{
    snprintf(slot->why, sizeof slot->why, "%s", why);
    slot->refused = true;
    slot->aborted = true; /* its silence says nothing any more */
    kill_it(slot, SIGKILL);
}

static void send_drain(const struct supervisor *supervisor, struct slot *slot)
{
    struct msg record = {.kind = MSG_drain};

    record.drain.deadline_ms = supervisor->draining ? drain_left_ms(supervisor)
                                                    : supervisor->settings.supervisor_drain_ms;
    slot_send(slot, &record);
    /* Outside of a shutdown nobody else sets a bound. */
    slot->kill_at = mono_after_ms(mono_now(), record.drain.deadline_ms +
                                                  supervisor->settings.supervisor_beat_ms);
}

static void abort_it(const struct supervisor *supervisor, struct slot *slot)
{
    log_error("worker_hung", "worker=%s pid=%d state=%s silent_ms=%lld", slot->name, (int)slot->pid,
              child_state_name(slot->state), (long long)mono_ms_between(slot->heard, mono_now()));
    kill_it(slot, SIGABRT);
    slot->aborted = true;
    slot->kill_at = mono_after_ms(mono_now(), supervisor->settings.supervisor_beat_ms);
}

/* Whoever started us decides then: another machine, or a person.  Nothing is lost: it is a drain. */
static void give_up(struct supervisor *supervisor, const struct slot *slot)
{
    log_error("worker_flaps", "worker=%s deaths=%u action=exit", slot->name, slot->backoff.deaths);
    supervisor->code = EXIT_TEMPORARY;
    drain_begin(supervisor, "flapping");
}

/* How long until the next life; says what happens next. */
static void retry(struct supervisor *supervisor, struct slot *slot)
{
    const struct settings *s = &supervisor->settings;
    const struct backoff_rules rules = {s->supervisor_backoff_min_ms, s->supervisor_backoff_max_ms,
                                        s->supervisor_flap_window_ms, s->supervisor_flap_deaths};
    int64_t ms =
        backoff_died(&slot->backoff, &rules, slot->was_ready, mono_now(), jitter_dice());

    slot->due = mono_after_ms(mono_now(), ms);
    log_info("worker_restarts", "worker=%s in_ms=%lld deaths=%u was_ready=%d", slot->name,
             (long long)ms, slot->backoff.deaths, slot->was_ready);
    if (strcmp(s->supervisor_on_flapping, "exit") == 0 && !supervisor->draining &&
        slot->backoff.deaths >= s->supervisor_flap_deaths)
        give_up(supervisor, slot);
}

static void describe(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, size, "exit code %d", WEXITSTATUS(status));
}

static enum child_event exit_event(const struct slot *slot, int status)
{
    bool configuration = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONFIGURATION;

    return slot->refused || configuration ? CHILD_REFUSED : CHILD_EXITED;
}

void slot_exited(struct supervisor *supervisor, struct slot *slot, int wait_status)
{
    bool asked = slot->state == CHILD_DRAINING && WIFEXITED(wait_status);
    char how[64];

    describe(wait_status, how, sizeof how);
    slot->pid = 0;
    slot_note(supervisor, slot);
    slot->kill_at = mono_never();
    if (slot->line != NULL)
        slot_read(supervisor, slot); /* its last words */
    line_free(&slot->line);
    if (!slot->refused)
        snprintf(slot->why, sizeof slot->why, "%s", how);
    if (asked)
        slot->status[0] = '\0'; /* last words explain a death; of who left in order they would say what is over */
    (asked ? log_info : log_warn)("worker_exited", "worker=%s generation=%u state=%s how=\"%s\"",
                                  slot->name, slot->generation, child_state_name(slot->state), how);
    slot_event(supervisor, slot, exit_event(slot, wait_status));
    if (slot->state == CHILD_FAILED)
        log_error("worker_failed", "worker=%s waits_for=reload why=\"%s\"", slot->name, slot->why);
}

/* --- the table's word is done --------------------------------------------------------------------- */

/* A flusher that holds LiteLLM's pod locks stays while PostgreSQL is away, and writes nothing meanwhile:
 * with the locks free, pods would pop their lists and lose what they cannot commit. */
bool slot_gated(const struct supervisor *supervisor, const struct slot *slot)
{
    return roster_table[slot->row].gate == GATE_DATABASE && !supervisor->settings.litellm_adopt;
}

void slot_settle(struct supervisor *supervisor, struct slot *slot)
{
    const struct roster_row *row = &roster_table[slot->row];

    /* In a shutdown a child that has left stays away; one whose turn has not come may still be needed. */
    if (supervisor->draining && row->drain <= supervisor->step)
        return;
    if (slot->stopped) {
        snprintf(slot->why, sizeof slot->why, "stopped by the operator");
        return;
    }
    if (slot_gated(supervisor, slot) && !supervisor->database.open) {
        snprintf(slot->why, sizeof slot->why, "%s", supervisor->database.why);
        slot_event(supervisor, slot, CHILD_HOLD);
    } else {
        slot_event(supervisor, slot, CHILD_START);
    }
}

void slot_event(struct supervisor *supervisor, struct slot *slot, enum child_event event)
{
    struct child_step step = child_step(slot->state, event);

    enter(supervisor, slot, step.next);
    switch (step.action) {
    case CHILD_NOTHING:
        return;
    case CHILD_SPAWN:
        start(supervisor, slot);
        return;
    case CHILD_DRAIN:
        send_drain(supervisor, slot);
        return;
    case CHILD_ABORT:
        abort_it(supervisor, slot);
        return;
    case CHILD_RETRY:
        retry(supervisor, slot);
        return;
    case CHILD_SETTLE:
        slot_settle(supervisor, slot);
        return;
    case CHILD_BUG:
    case CHILD_ACTIONS:
        bug("worker %s: event %d in state %s", slot->name, (int)event, child_state_name(slot->state));
    }
}

/* --- time ----------------------------------------------------------------------------------------- */

/* When silence becomes suspicious.  Before readiness only a hello and a status are signs of life. */
static mono_t silent_at(const struct supervisor *supervisor, const struct slot *slot)
{
    const struct settings *s = &supervisor->settings;

    if (slot->pid == 0 || slot->aborted)
        return mono_never();
    return mono_after_ms(slot->heard, slot->state == CHILD_STARTING ? s->supervisor_start_ms
                                                                    : s->supervisor_hang_ms);
}

mono_t slot_next(const struct supervisor *supervisor, const struct slot *slot)
{
    mono_t next = slot->pid != 0 ? slot->kill_at : mono_never(), silent = silent_at(supervisor, slot);

    if (silent.micros < next.micros)
        next = silent;
    if (slot->state == CHILD_BACKOFF && slot->due.micros < next.micros)
        next = slot->due;
    return next;
}

void slot_check(struct supervisor *supervisor, struct slot *slot, mono_t now)
{
    if (slot->pid != 0 && mono_reached(now, slot->kill_at)) {
        log_warn("worker_killed", "worker=%s pid=%d", slot->name, (int)slot->pid);
        kill_it(slot, SIGKILL);
        slot->kill_at = mono_never();
    }
    if (mono_reached(now, silent_at(supervisor, slot)))
        slot_event(supervisor, slot, CHILD_SILENT);
    if (slot->state == CHILD_BACKOFF && mono_reached(now, slot->due))
        slot_event(supervisor, slot, CHILD_DUE);
}

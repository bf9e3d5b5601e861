/*
 * record.c - what workers say on fd 3, and what they are told about gates and each other.
 *
 * Every record is a sign of life of a worker that is ready; before readiness only a hello and a status
 * are, so that a start that hangs in its loop is found too.  The first record must be the hello of our
 * own build.  If we die on any line, the workers read end of file.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"
#include "common/harness/build.h"

#include <stdio.h>
#include <string.h>

#define RECORDS_PER_READ 64

/* --- hello, status, ready ------------------------------------------------------------------------- */

static void take_hello(struct slot *slot, const struct msg *record)
{
    char why[sizeof slot->why];

    /* Each life has a line of its own, so what a former life said cannot come here; a process that
     * inherited the line could speak on it, and is found by its pid. */
    if (record->hello.pid != (uint32_t)slot->pid) {
        log_error("worker_refused", "worker=%s pid=%u ours=%d", slot->name, record->hello.pid,
                  (int)slot->pid);
        slot_refuse(slot, "another process spoke for it");
        return;
    }
    if (strcmp(record->hello.build, build_id) == 0)
        return;
    log_error("worker_refused", "worker=%s build=%s ours=%s", slot->name, record->hello.build, build_id);
    snprintf(why, sizeof why, "build %s, not ours: restart spendd", record->hello.build);
    slot_refuse(slot, why);
}

static void take_ready(struct supervisor *supervisor, struct slot *slot)
{
    bool starting = slot->state == CHILD_STARTING;

    if (slot->refused)
        return; /* it is dying: a stranger's word */
    slot_event(supervisor, slot, CHILD_IS_UP);
    if (!starting)
        return;
    slot->was_ready = true;
    backoff_ready(&slot->backoff);
    log_info("worker_ready", "worker=%s pid=%d generation=%u start_ms=%lld", slot->name,
             (int)slot->pid, slot->generation, (long long)mono_ms_between(slot->started, mono_now()));
}

/* --- gates ---------------------------------------------------------------------------------------- */

void gate_tell(const struct supervisor *supervisor, struct slot *slot)
{
    struct msg record = {.kind = MSG_gate, .gate = {.open = supervisor->database.open}};
    bool gated = roster_table[slot->row].gate != GATE_NONE;

    if (roster_table[slot->row].hears < HEARS_GATES && (!gated || slot_gated(supervisor, slot)))
        return; /* what a gate ought to hold back and does not, heeds it by itself */
    snprintf(record.gate.name, sizeof record.gate.name, "database");
    snprintf(record.gate.why, sizeof record.gate.why, "%s", supervisor->database.why);
    slot_send(slot, &record);
}

static void gate_moved(struct supervisor *supervisor)
{
    const struct gate *gate = &supervisor->database;
    struct msg_event event;

    event = (struct msg_event){.kind = "gate", .name = "database"};
    snprintf(event.after, sizeof event.after, "%s", gate->open ? "OPEN" : "CLOSED");
    snprintf(event.why, sizeof event.why, "%s", gate->why);
    event_tell(supervisor, &event);
    if (gate->open)
        log_info("gate_opened", "gate=database");
    else
        log_warn("gate_closed", "gate=database why=\"%s\"", gate->why);
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        gate_tell(supervisor, slot);
        if (!slot_gated(supervisor, slot) || slot->stopped)
            continue;
        if (!gate->open)
            snprintf(slot->why, sizeof slot->why, "%s", gate->why);
        if (!gate->open)
            slot_event(supervisor, slot, CHILD_HOLD);
        else
            slot_settle(supervisor, slot);
    }
}

/* What a gated worker finds itself closes nothing: it stands down by itself, says why in its own status and tries again
 * slowly.  Where a probe can see it too, the health checker looks at once, and its word closes the gate.  Where it
 * cannot (a full disk, a missing table), the next probe would open the gate again, and each round would cost a
 * process that had been waiting already. */
static void take_probe(struct supervisor *supervisor, const struct slot *slot, const struct msg *record)
{
    if (!record->probe.passed && roster_table[slot->row].gate != GATE_NONE)
        return;
    if (strcmp(record->probe.store, "database") == 0 &&
        gate_probed(&supervisor->database, record->probe.passed, record->probe.detail,
                    supervisor->settings.health_fail_after))
        gate_moved(supervisor);
}

/* --- control asks --------------------------------------------------------------------------------- */

static void send_row(struct slot *to, uint32_t ticket, const struct slot *slot)
{
    struct msg record = {.kind = MSG_snapshot_row};
    struct msg_snapshot_row *row = &record.snapshot_row;

    row->ticket = ticket;
    snprintf(row->worker, sizeof row->worker, "%s", roster_table[slot->row].name);
    row->index = slot->index;
    row->generation = slot->generation;
    row->pid = slot->pid;
    snprintf(row->state, sizeof row->state, "%s", child_state_name(slot->state));
    row->restarts = slot->generation > 0 ? slot->generation - 1 : 0;
    row->since_ms = slot->since.micros / 1000;
    snprintf(row->status, sizeof row->status, "%s", slot->status);
    snprintf(row->why, sizeof row->why, "%s", slot->why);
    slot_send(to, &record);
}

static void take_snapshot_ask(const struct supervisor *supervisor, struct slot *to,
                              const struct msg *record)
{
    uint32_t ticket = record->snapshot_ask.ticket;
    struct msg end = {.kind = MSG_snapshot_end};

    for (unsigned i = 0; i < supervisor->count; i++)
        send_row(to, ticket, &supervisor->slots[i]);
    end.snapshot_end.ticket = ticket;
    end.snapshot_end.started_ms = supervisor->started.micros / 1000;
    end.snapshot_end.draining = supervisor->draining;
    if (supervisor->draining)
        end.snapshot_end.drain_left_ms = mono_ms_between(mono_now(), supervisor->drain_at);
    end.snapshot_end.database_open = supervisor->database.open;
    snprintf(end.snapshot_end.database_why, sizeof end.snapshot_end.database_why, "%s",
             supervisor->database.why);
    slot_send(to, &end);
}

/* --- reading -------------------------------------------------------------------------------------- */

static void take(struct supervisor *supervisor, struct slot *slot, const struct msg *record)
{
    bool life = slot->state != CHILD_STARTING || record->kind == MSG_hello || record->kind == MSG_status;

    if (life)
        slot->heard = mono_now();
    if (record->kind == MSG_hello)
        take_hello(slot, record);
    else if (record->kind == MSG_ready)
        take_ready(supervisor, slot);
    else if (record->kind == MSG_status)
        snprintf(slot->status, sizeof slot->status, "%s", record->status.text);
    else if (record->kind == MSG_probe)
        take_probe(supervisor, slot, record);
    else if (record->kind == MSG_snapshot_ask)
        take_snapshot_ask(supervisor, slot, record);
    else if (record->kind == MSG_order)
        order_take(supervisor, slot, &record->order);
    else if (record->kind != MSG_beat)
        log_warn("record_unexpected", "worker=%s record=%s", slot->name, msg_name(record->kind));
}

void slot_read(struct supervisor *supervisor, struct slot *slot)
{
    struct msg record;
    struct err err;

    for (int i = 0; i < RECORDS_PER_READ && slot->line != NULL; i++) {
        enum line_outcome outcome = line_receive(slot->line, &record, &err);

        if (outcome == LINE_EMPTY)
            return;
        /* A closed line is a death that will be reaped; if it is not, silence finds it. */
        if (outcome == LINE_CLOSED)
            line_free(&slot->line);
        else if (outcome == LINE_BAD)
            log_error("record_refused", "worker=%s error=\"%s\"", slot->name, err.text);
        else if (slot->pid != 0 || record.kind == MSG_probe || record.kind == MSG_status)
            take(supervisor, slot, &record); /* last words of the dead: facts only */
    }
}

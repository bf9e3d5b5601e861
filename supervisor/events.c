/*
 * events.c - what changes, told to the workers whose row says HEARS_ALL (control streams it to whoever asks).
 *
 * Each event is one record, sent as it happens and kept by nobody: `status` says what is.  If we die on
 * any line, whoever listens sees its stream end.
 */
#include "supervisor/supervisor.h"

#include <stdio.h>

void event_tell(struct supervisor *supervisor, const struct msg_event *event)
{
    struct msg record = {.kind = MSG_event, .event = *event};

    record.event.at_ms = wall_now().micros / 1000;
    for (unsigned i = 0; i < supervisor->count; i++)
        if (roster_table[supervisor->slots[i].row].hears == HEARS_ALL)
            slot_send(&supervisor->slots[i], &record);
}

void event_daemon(struct supervisor *supervisor, const char *after, const char *why)
{
    struct msg_event event = {.kind = "daemon", .name = "spendd"};

    snprintf(event.after, sizeof event.after, "%s", after);
    snprintf(event.why, sizeof event.why, "%s", why);
    event_tell(supervisor, &event);
}

void event_state(struct supervisor *supervisor, const struct slot *slot, enum child_state before)
{
    struct msg_event event = {.kind = "worker", .generation = slot->generation, .pid = slot->pid};

    snprintf(event.name, sizeof event.name, "%s", slot->name);
    snprintf(event.before, sizeof event.before, "%s", child_state_name(before));
    snprintf(event.after, sizeof event.after, "%s", child_state_name(slot->state));
    snprintf(event.why, sizeof event.why, "%s", slot->why);
    event_tell(supervisor, &event);
}

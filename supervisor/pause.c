/*
 * pause.c - what the operator has paused.  See pause.h.
 *
 * The supervisor only keeps it and tells it, to every worker at its start and whenever it changes: the
 * flusher, the writer and the aggregators each do what it means, and end it by themselves when its time
 * is over (no timer here).  A pause that is over is forgotten when somebody looks.
 * If we die on any line the pauses are gone with us: a full restart begins to work, because a forgotten
 * pause that outlives everybody who knew of it fills the spool in silence.
 */
#include "supervisor/pause.h"

#include "common/base/log.h"
#include "supervisor/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[PAUSES] = {
    [PAUSE_FLUSH] = "flush", [PAUSE_PUSH] = "push", [PAUSE_INGEST] = "ingest"};

static bool holds(const struct pause *pause, mono_t now)
{
    return pause->on && !mono_reached(now, pause->until);
}

static void tell(const struct supervisor *supervisor, struct slot *slot, enum pause_what what)
{
    const struct pause *pause = &supervisor->pauses[what];
    struct msg record = {.kind = MSG_pause};
    mono_t now = mono_now();

    snprintf(record.pause.what, sizeof record.pause.what, "%s", names[what]);
    if (holds(pause, now)) {
        record.pause.left_ms = pause->until.micros == mono_never().micros
                                   ? -1
                                   : mono_ms_between(now, pause->until) + 1;
        memcpy(record.pause.who, pause->who, sizeof record.pause.who);
    }
    slot_send(slot, &record);
}

static void tell_all(struct supervisor *supervisor, enum pause_what what)
{
    for (unsigned i = 0; i < supervisor->count; i++)
        if (supervisor->slots[i].line != NULL)
            tell(supervisor, &supervisor->slots[i], what);
}

void pause_tell(const struct supervisor *supervisor, struct slot *slot)
{
    for (int what = 0; what < PAUSES; what++)
        if (holds(&supervisor->pauses[what], mono_now()))
            tell(supervisor, slot, (enum pause_what)what);
}

static int find(const char *name)
{
    for (int what = 0; what < PAUSES; what++)
        if (strcmp(names[what], name) == 0)
            return what;
    return -1;
}

static void say(struct msg *answer, uint32_t code, const char *text)
{
    answer->order_done.code = code;
    snprintf(answer->order_done.text, sizeof answer->order_done.text, "%s", text);
}

void pause_order(struct supervisor *supervisor, const struct msg_order *order, struct msg *answer)
{
    int what = find(order->target);
    char *who;
    long long ms = strtoll(order->argument, &who, 10);
    struct pause *pause;

    if (what < 0 || ms < 0 || who == order->argument) {
        say(answer, 400, "pause flush, push or ingest");
        return;
    }
    pause = &supervisor->pauses[what];
    pause->on = true;
    pause->until = ms > 0 ? mono_after_ms(mono_now(), ms) : mono_never();
    snprintf(pause->who, sizeof pause->who, "%s", who + strspn(who, " "));
    log_warn("paused", "what=%s for_ms=%lld who=\"%s\"", names[what], ms, pause->who);
    tell_all(supervisor, (enum pause_what)what);
    say(answer, 200, "paused");
}

void pause_resume(struct supervisor *supervisor, const struct msg_order *order, struct msg *answer)
{
    int only = find(order->target), resumed = 0;

    if (only < 0 && order->target[0] != '\0') {
        say(answer, 400, "resume flush, push or ingest, or all of them");
        return;
    }
    for (int what = 0; what < PAUSES; what++) {
        struct pause *pause = &supervisor->pauses[what];

        if (only >= 0 && what != only)
            continue;
        resumed += holds(pause, mono_now());
        *pause = (struct pause){.on = false};
        tell_all(supervisor, (enum pause_what)what);
        log_info("resumed", "what=%s", names[what]);
    }
    say(answer, 200, resumed > 0 ? "resumed" : "nothing was paused");
}

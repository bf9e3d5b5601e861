/*
 * orders.c - what the operator says through control: one row for each verb (SUPERVISOR in commands.def).
 *
 * An order is checked, acted on, and answered: rows, then order_done with the protocol's number.  Nothing
 * blocks: an order that waits for workers (--wait) is kept in supervisor->waiting and answered by
 * restarts.c.  Every order that changes something is logged, once, here.
 * If we die on any line the order is done or not, and control dies with us: the asker sees no answer.
 */
#include "supervisor/orders.h"

#include "common/base/log.h"
#include "common/config/config.h"
#include "supervisor/apply.h"
#include "supervisor/reload.h"
#include "supervisor/supervisor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct order {
    const char *verb;
    bool target, any_target, argument, wait, dry_run; /* what it takes */
    bool draining;                                    /* may it be given in a drain? */
    void (*act)(struct supervisor *supervisor, struct slot *from, const struct msg_order *order);
    /* Instead: judges its words itself and fills order_done. */
    void (*tell)(struct supervisor *supervisor, const struct msg_order *order, struct msg *answer);
};

/* --- answering ------------------------------------------------------------------------------------ */

void order_answer(struct slot *to, uint32_t ticket, unsigned code, const char *format, ...)
{
    struct msg record = {.kind = MSG_order_done, .order_done = {.ticket = ticket, .code = code}};
    va_list ap;

    va_start(ap, format);
    vsnprintf(record.order_done.text, sizeof record.order_done.text, format, ap);
    va_end(ap);
    slot_send(to, &record);
}

void order_answer_rows(struct supervisor *supervisor, struct slot *to, uint32_t ticket, uint64_t slots)
{
    for (unsigned i = 0; i < supervisor->count; i++) {
        const struct slot *slot = &supervisor->slots[i];
        struct msg record = {.kind = MSG_order_worker, .order_worker = {.ticket = ticket}};
        struct msg_order_worker *row = &record.order_worker;

        if ((slots >> i & 1) == 0)
            continue;
        snprintf(row->worker, sizeof row->worker, "%s", slot->name);
        snprintf(row->state, sizeof row->state, "%s", child_state_name(slot->state));
        snprintf(row->text, sizeof row->text, "%s",
                 slot->restart == RESTART_QUEUED ? "waits for its turn" : slot->why);
        slot_send(to, &record);
    }
}

/* The answer now, or when the workers are where they were sent. */
static void answer_or_wait(struct supervisor *supervisor, struct slot *from,
                           const struct msg_order *order, uint64_t slots)
{
    if (!order->wait) {
        order_answer_rows(supervisor, from, order->ticket, slots);
        order_answer(from, order->ticket, 200, "%s", "");
        return;
    }
    for (unsigned i = 0; i < WAITING_MAX; i++) {
        struct waiting *waiting = &supervisor->waiting[i];

        if (waiting->used)
            continue;
        *waiting = (struct waiting){.used = true,
                                    .drain = strcmp(order->verb, "drain") == 0,
                                    .stop = strcmp(order->verb, "stop") == 0,
                                    .ticket = order->ticket,
                                    .asker = (unsigned)(from - supervisor->slots),
                                    .generation = from->generation,
                                    .slots = slots};
        return;
    }
    order_answer(from, order->ticket, 409, "it is done, but too many wait already");
}

/* --- which workers -------------------------------------------------------------------------------- */

static bool named(const struct slot *slot, const char *target)
{
    const char *row = roster_table[slot->row].name;
    char full[48];

    snprintf(full, sizeof full, "%s.%u", row, slot->index);
    return strcmp(target, "all") == 0 || strcmp(target, row) == 0 || strcmp(target, full) == 0;
}

/* Bits of the slots; 0: none has that name. */
static uint64_t named_slots(const struct supervisor *supervisor, const char *target)
{
    uint64_t slots = 0;

    for (unsigned i = 0; i < supervisor->count; i++)
        if (named(&supervisor->slots[i], target))
            slots |= (uint64_t)1 << i;
    return slots;
}

/* 0: it was refused, and said so. */
static uint64_t wanted_slots(const struct supervisor *supervisor, struct slot *from,
                             const struct msg_order *order)
{
    uint64_t slots = named_slots(supervisor, order->target);

    if (slots == 0)
        order_answer(from, order->ticket, 400, "there is no worker %s", order->target);
    else
        log_info("order", "verb=%s target=%s", order->verb, order->target);
    return slots;
}

/* --- the verbs ------------------------------------------------------------------------------------ */

static void act_start(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    uint64_t slots = wanted_slots(supervisor, from, order);

    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        if ((slots >> i & 1) == 0)
            continue;
        slot->stopped = false;
        slot_event(supervisor, slot, CHILD_RELOAD); /* out of FAILED and BACKOFF */
        slot_settle(supervisor, slot);
    }
    if (slots != 0)
        answer_or_wait(supervisor, from, order, slots);
}

static void act_stop(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    uint64_t slots = named_slots(supervisor, order->target);
    uint64_t asker = (uint64_t)1 << (from - supervisor->slots);

    /* Nobody could start it again. */
    if (slots == asker) {
        order_answer(from, order->ticket, 409, "without %s nobody could start it again: restart it, or "
                     "drain spendd", from->name);
        return;
    }
    slots = wanted_slots(supervisor, from, order) & ~asker;
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        if ((slots >> i & 1) == 0)
            continue;
        slot->stopped = true;
        slot->restart = RESTART_NONE;
        if (slot->state != CHILD_DRAINING)
            slot_event(supervisor, slot, CHILD_STOP);
        if (slot->pid == 0)
            snprintf(slot->why, sizeof slot->why, "stopped by the operator");
    }
    if (slots != 0)
        answer_or_wait(supervisor, from, order, slots);
}

static void act_restart(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    uint64_t slots = wanted_slots(supervisor, from, order);

    for (unsigned i = 0; i < supervisor->count; i++) {
        if ((slots >> i & 1) == 0)
            continue;
        supervisor->slots[i].stopped = false;
        if (supervisor->slots[i].restart == RESTART_NONE)
            supervisor->slots[i].restart = RESTART_QUEUED;
    }
    if (slots != 0)
        answer_or_wait(supervisor, from, order, slots);
}

static void act_loglevel(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    bool of_config = strcmp(order->argument, "config") == 0;
    int level = of_config ? LEVEL_OF_CONFIG : log_level_from(order->argument);
    bool us = strcmp(order->target, "spendd") == 0, all = strcmp(order->target, "all") == 0;
    uint64_t slots;

    if (!of_config && level < 0) {
        order_answer(from, order->ticket, 400, "%s is no level: error, warn, info, debug, or config",
                     order->argument);
        return;
    }
    slots = us ? 0 : wanted_slots(supervisor, from, order);
    if (!us && slots == 0)
        return;
    if (us || all)
        log_set_level((enum log_level)(of_config ? log_level_from(supervisor->settings.log_level)
                                                 : level));
    for (unsigned i = 0; i < supervisor->count; i++)
        if ((slots >> i & 1) != 0) {
            supervisor->slots[i].level = level;
            slot_send_level(supervisor, &supervisor->slots[i]);
        }
    order_answer(from, order->ticket, 200, "log level of %s is %s", order->target,
                 of_config ? supervisor->settings.log_level : order->argument);
}

/* What the daemon runs with now; what waits for a restart of spendd is not in it. */
static void act_config(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    static const char *const applies[] = {
        [APPLY_LIVE] = "live", [APPLY_WORKER] = "worker", [APPLY_FULL] = "full"};

    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        struct msg record = {.kind = MSG_order_config, .order_config = {.ticket = order->ticket}};
        struct msg_order_config *row = &record.order_config;

        if (setting_absent(&supervisor->settings, setting))
            continue;
        snprintf(row->name, sizeof row->name, "%s", setting->path);
        snprintf(row->apply, sizeof row->apply, "%s", applies[setting->apply]);
        config_value(&supervisor->settings, setting, row->value, sizeof row->value);
        reload_reader_names(setting, row->workers, sizeof row->workers);
        slot_send(from, &record);
    }
    order_answer(from, order->ticket, 200, "%s", "");
}

static void act_drain(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    log_info("order", "verb=drain");
    if (order->wait)
        answer_or_wait(supervisor, from, order, 0);
    else
        order_answer(from, order->ticket, 200, "spendd drains and leaves");
    drain_begin(supervisor, "operator");
}

static void act_shutdown(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    log_info("order", "verb=shutdown");
    order_answer(from, order->ticket, 200, "spendd leaves now; what is not delivered waits in the spool");
    drain_cut_short(supervisor, "operator", (uint64_t)1 << (from - supervisor->slots));
}

static const struct order orders[] = {
    {.verb = "start", .target = true, .wait = true, .act = act_start},
    {.verb = "stop", .target = true, .wait = true, .act = act_stop},
    {.verb = "restart", .target = true, .wait = true, .act = act_restart},
    {.verb = "reload", .dry_run = true, .act = apply_order},
    {.verb = "config", .draining = true, .act = act_config},
    {.verb = "loglevel", .target = true, .argument = true, .draining = true, .act = act_loglevel},
    {.verb = "drain", .wait = true, .draining = true, .act = act_drain},
    {.verb = "pause", .target = true, .argument = true, .draining = true, .tell = pause_order},
    {.verb = "resume", .any_target = true, .draining = true, .tell = pause_resume},
    {.verb = "shutdown", .draining = true, .act = act_shutdown},
};

/* --- taking one ----------------------------------------------------------------------------------- */

/* NULL, or what is wrong with its words. */
static const char *wrong_words(const struct order *row, const struct msg_order *order)
{
    if (row->target && order->target[0] == '\0')
        return "which worker?  Name one, or all";
    if (row->argument && order->argument[0] == '\0')
        return "a word is missing";
    if ((!row->target && !row->any_target && order->target[0] != '\0') ||
        (!row->argument && order->argument[0] != '\0'))
        return "too many words";
    if (!row->wait && order->wait)
        return "there is nothing to --wait for";
    if (!row->dry_run && order->dry_run)
        return "there is no --dry-run of it";
    return NULL;
}

static void carry_out(const struct order *row, struct supervisor *supervisor, struct slot *from,
                      const struct msg_order *order)
{
    struct msg answer = {.kind = MSG_order_done, .order_done = {.ticket = order->ticket}};

    if (row->act != NULL) {
        row->act(supervisor, from, order);
        return;
    }
    row->tell(supervisor, order, &answer);
    slot_send(from, &answer);
}

void order_take(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        const char *wrong;

        if (strcmp(orders[i].verb, order->verb) != 0)
            continue;
        wrong = wrong_words(&orders[i], order);
        if (wrong != NULL)
            order_answer(from, order->ticket, 400, "%s", wrong);
        else if (supervisor->draining && !orders[i].draining)
            order_answer(from, order->ticket, 409, "spendd drains");
        else
            carry_out(&orders[i], supervisor, from, order);
        return;
    }
    order_answer(from, order->ticket, 404, "unknown order %s", order->verb);
}

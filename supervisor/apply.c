/*
 * apply.c - reload: the file is read and checked aside, then each changed setting is applied live, by
 * restarts of the workers that read it, or refused because it needs a full restart.
 *
 * What needs a full restart stays as it was, and the rest is applied beside it, if the two fit together:
 * the relations between settings are checked again for that mixture.  A file with any error changes
 * nothing, and so does one that has become empty.  Restarts are queued (restarts.c): one at a time,
 * drained; workers that read nothing of what has changed keep their process.  The new settings are the
 * supervisor's before anybody is told, so whoever dies in between is started with them.
 * Owns nothing beyond the call.  If we die on any line the next start reads the file anyway.
 */
#include "supervisor/apply.h"

#include "common/base/log.h"
#include "common/config/config.h"
#include "common/config/relations.h"
#include "supervisor/keys.h"
#include "supervisor/reload.h"
#include "supervisor/supervisor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VALUE_BYTES 1100

struct reload {
    struct supervisor *supervisor;
    struct slot *to; /* NULL: a signal asked, the log is the answer */
    uint32_t ticket;
    bool dry_run;
    unsigned errors;
};

/* --- saying --------------------------------------------------------------------------------------- */

static void say_error(void *arg, const char *line)
{
    struct reload *reload = arg;
    struct msg record = {.kind = MSG_order_error, .order_error = {.ticket = reload->ticket}};

    reload->errors++;
    log_error("reload_error", "error=\"%s\"", line);
    if (reload->to == NULL)
        return;
    snprintf(record.order_error.text, sizeof record.order_error.text, "%s", line);
    slot_send(reload->to, &record);
}

static void say_relation(void *arg, const char *path, const char *text)
{
    (void)path;
    say_error(arg, text);
}

static void shown(const struct settings *settings, const struct setting *setting, char *text, size_t size)
{
    char value[VALUE_BYTES];

    config_value(settings, setting, value, sizeof value);
    snprintf(text, size, "%.79s", value);
}

static void say_setting(const struct reload *reload, const struct settings *after,
                        const struct setting *setting)
{
    const struct settings *before = &reload->supervisor->settings;
    struct msg record = {.kind = MSG_order_setting, .order_setting = {.ticket = reload->ticket}};
    struct msg_order_setting *row = &record.order_setting;
    enum reload_outcome outcome = reload_compare(before, after, setting);

    if (outcome == RELOAD_SAME)
        return;
    snprintf(row->setting, sizeof row->setting, "%s", setting->path);
    snprintf(row->outcome, sizeof row->outcome, "%s", reload_word(outcome, reload->dry_run));
    reload_reader_names(setting, row->workers, sizeof row->workers);
    shown(before, setting, row->before, sizeof row->before);
    shown(after, setting, row->after, sizeof row->after);
    if (!reload->dry_run)
        (outcome == RELOAD_FULL ? log_warn : log_info)(
            "reload_setting", "setting=%s outcome=\"%s\" workers=\"%s\" before=\"%s\" after=\"%s\"",
            row->setting, row->outcome, row->workers, row->before, row->after);
    if (reload->to != NULL)
        slot_send(reload->to, &record);
}

static void PRINTF_LIKE(3, 4)
    answer(const struct reload *reload, unsigned code, const char *format, ...)
{
    char text[sizeof((struct msg_order_done *)0)->text];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (!reload->dry_run)
        event_daemon(reload->supervisor, code == 200 ? "RELOADED" : "REFUSED", text);
    if (!reload->dry_run)
        (code == 200 ? log_info : log_warn)("reload_done", "code=%u text=\"%s\"", code, text);
    if (reload->to != NULL)
        order_answer(reload->to, reload->ticket, code, "%s", text);
}

/* --- reading aside -------------------------------------------------------------------------------- */

/* A pipe or a device would stop the supervisor until somebody writes. */
static int check_kind(struct reload *reload)
{
    const char *path = reload->supervisor->config;
    char text[600];
    struct stat st;

    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return 0;
    snprintf(text, sizeof text, "%s: %s", path, errno != 0 ? strerror(errno) : "is not a plain file");
    say_error(reload, text);
    return -1;
}

/* Cut short by a full disk, or read between an editor's truncation and its writing: every setting would fall back
 * to its default, the stores' addresses too. */
static int check_emptied(struct reload *reload, const struct settings *wanted, unsigned given)
{
    const struct settings *before = &reload->supervisor->settings;
    unsigned changed = 0;
    char text[600];

    for (size_t i = 0; i < settings_count && given == 0; i++)
        changed += reload_compare(before, wanted, &settings_table[i]) != RELOAD_SAME;
    if (changed == 0)
        return 0;
    snprintf(text, sizeof text, "%s: sets nothing, and %u settings are not at their defaults",
             reload->supervisor->config, changed);
    say_error(reload, text);
    return -1;
}

/* `wanted` is what the file says, `mixed` what can be had without a full restart.  -1: said why not. */
static int read_aside(struct reload *reload, struct settings *wanted, struct settings *mixed)
{
    unsigned given = 0;
    struct err err;

    errno = 0;
    if (check_kind(reload) < 0 ||
        config_load(reload->supervisor->config, wanted, &given, say_error, reload) < 0 ||
        check_emptied(reload, wanted, given) < 0)
        return -1;
    if (keys_check(wanted, &err) < 0) {
        say_error(reload, err.text);
        return -1;
    }
    *mixed = *wanted;
    reload_keep_full(&reload->supervisor->settings, mixed);
    /* A relation that holds for the file may not hold beside what has to stay. */
    return settings_relations(mixed, say_relation, reload) == 0 ? 0 : -1;
}

/* --- applying ------------------------------------------------------------------------------------- */

static void tell(struct supervisor *supervisor, struct slot *slot, const struct settings *before)
{
    bool sent = true;

    for (size_t i = 0; i < settings_count && sent; i++)
        if (setting_read_by(&settings_table[i], slot->row) &&
            reload_compare(before, &supervisor->settings, &settings_table[i]) == RELOAD_LIVE)
            sent = slot_send_setting(slot, &supervisor->settings, &settings_table[i]);
    /* It does not read: what it has not been told it gets with a new life. */
    if (!sent || !slot_send_settings_end(slot, ""))
        slot->restart = RESTART_QUEUED;
}

static void apply(struct supervisor *supervisor, const struct settings *after, struct settings *before)
{
    uint32_t restarted;
    bool level;

    *before = supervisor->settings;
    restarted = reload_readers(before, after, RELOAD_WORKER);
    level = strcmp(before->log_level, after->log_level) != 0;
    supervisor->settings = *after;
    if (level)
        log_set_level((enum log_level)log_level_from(after->log_level));
    log_set_format(after->log_format);
    log_set_burst((unsigned)after->log_burst);
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        slot->heard = mono_now(); /* deadlines may be shorter now: everybody gets a full one */
        if (level)
            slot->level = LEVEL_OF_CONFIG;
        if (slot->line != NULL) /* all of them: a file that a setting names may have changed */
            tell(supervisor, slot, before);
        if (slot->pid != 0 && (restarted >> (1 + slot->row) & 1) != 0)
            slot->restart = RESTART_QUEUED;
        slot_event(supervisor, slot, CHILD_RELOAD);
    }
}

/* At the end `wanted` holds what was. */
static void reload_now(struct reload *reload, struct settings *wanted, struct settings *mixed)
{
    const struct settings *before = &reload->supervisor->settings;
    unsigned full, changed = 0;

    if (read_aside(reload, wanted, mixed) < 0) {
        answer(reload, 409, "%u errors: nothing has changed", reload->errors);
        return;
    }
    for (size_t i = 0; i < settings_count; i++) {
        changed += reload_compare(before, wanted, &settings_table[i]) != RELOAD_SAME;
        say_setting(reload, wanted, &settings_table[i]);
    }
    full = reload_count(before, wanted, RELOAD_FULL);
    if (!reload->dry_run)
        apply(reload->supervisor, mixed, wanted);
    if (full > 0)
        answer(reload, 409, "%u of %u changed settings: needs a full restart; the others %s", full,
               changed, reload->dry_run ? "do not" : "are applied");
    else
        answer(reload, 200, "%u settings %s", changed, reload->dry_run ? "differ" : "have changed");
}

static void begin(struct reload *reload)
{
    struct settings *two = calloc(2, sizeof *two); /* 100 KB each: too much for a stack frame */

    if (two == NULL)
        answer(reload, 500, "no memory: nothing has changed");
    else if (reload->supervisor->draining)
        answer(reload, 409, "spendd drains: nothing has changed");
    else {
        if (!reload->dry_run)
            unit_reloads(reload->supervisor);
        reload_now(reload, &two[0], &two[1]);
    }
    free(two);
}

void apply_reload(struct supervisor *supervisor)
{
    struct reload reload = {.supervisor = supervisor};

    begin(&reload);
}

void apply_order(struct supervisor *supervisor, struct slot *from, const struct msg_order *order)
{
    struct reload reload = {.supervisor = supervisor,
                            .to = from,
                            .ticket = order->ticket,
                            .dry_run = order->dry_run};

    begin(&reload);
}

/*
 * launch.c - a worker's process: its line, its descriptors, its place in the lock file, and what it is told
 * down fd 3.
 *
 * Owns the process and its line for as long as slot.c wants them, and lends it the page of counters, which
 * outlives every process, so counters never go back.  A worker is given only the settings that it reads.
 * If we die on any line, a process that was made reads end of file on fd 3 and leaves.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"
#include "supervisor/holders.h"
#include "supervisor/spawn.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB (1024 * 1024)

bool slot_send(struct slot *slot, const struct msg *record)
{
    if (slot->line == NULL)
        return false;
    if (line_send(slot->line, record) == 0)
        return true;
    /* Not read for hundreds of records: it is hung, and will be found so. */
    log_debug("record_dropped", "worker=%s record=%s", slot->name, msg_name(record->kind));
    return false;
}

bool slot_send_setting(struct slot *slot, const struct settings *settings, const struct setting *setting)
{
    struct msg record = {.kind = MSG_setting};

    snprintf(record.setting.name, sizeof record.setting.name, "%s", setting->name);
    settings_get(settings, setting, record.setting.value, sizeof record.setting.value);
    return slot_send(slot, &record);
}

bool slot_send_settings_end(struct slot *slot, const char *task)
{
    struct msg record = {.kind = MSG_settings_end};

    record.settings_end.index = slot->index;
    record.settings_end.generation = slot->generation;
    snprintf(record.settings_end.task, sizeof record.settings_end.task, "%s", task);
    return slot_send(slot, &record);
}

void slot_send_settings(struct slot *slot, const struct settings *settings, const char *task)
{
    for (size_t i = 0; i < settings_count; i++)
        if (setting_read_by(&settings_table[i], slot->row))
            slot_send_setting(slot, settings, &settings_table[i]);
    slot_send_settings_end(slot, task);
}

/* The operator's word outlives a worker, until a reload changes the configuration's. */
void slot_send_level(const struct supervisor *supervisor, struct slot *slot)
{
    struct msg record = {.kind = MSG_loglevel};
    int level = slot->level;

    if (level == LEVEL_OF_CONFIG)
        level = log_level_from(supervisor->settings.log_level);
    record.loglevel.level = (uint32_t)level;
    slot_send(slot, &record);
}

static pid_t spawn_with(const struct supervisor *supervisor, const struct slot *slot, int theirs,
                        struct err *err)
{
    int fds[3 + ROSTER_SLOTS_MAX + LISTENERS_MAX] = {theirs, slot->page, supervisor->lock};
    char title[48];
    struct spawn_order order = {.image = supervisor->images[slot->row],
                                .title = title,
                                .fds = fds,
                                .fd_count = 3,
                                .data_bytes = supervisor->settings.supervisor_data_limit_mb * MIB};

    snprintf(title, sizeof title, "spendd: %s", slot->name);
    if (roster_table[slot->row].pages == PAGES_ALL)
        for (unsigned i = 0; i < supervisor->count; i++)
            fds[order.fd_count++] = supervisor->slots[i].page_readonly;
    order.fd_count += listen_give(&supervisor->listeners, slot->row, fds + order.fd_count);
    order.files = listen_files(&supervisor->settings, slot->row);
    return spawn(&order, err);
}

void slot_note(const struct supervisor *supervisor, const struct slot *slot)
{
    holders_put(supervisor->lock, (unsigned)(slot - supervisor->slots), slot->pid,
                roster_table[slot->row].name);
}

/* Before it lives, into the socket (the line keeps what that does not hold, and sends it in order): a worker finds
 * all of it when it opens, a pause above all, before its first event. */
static void tell_first(const struct supervisor *supervisor, struct slot *slot)
{
    slot_send_settings(slot, &supervisor->settings, "");
    slot_send_level(supervisor, slot);
    gate_tell(supervisor, slot);
    pause_tell(supervisor, slot);
}

int slot_launch(struct supervisor *supervisor, struct slot *slot, struct err *err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, "socketpair");
    slot->line = line_new(pair[0]);
    if (slot->line == NULL) {
        close(pair[0]);
        close(pair[1]);
        return err_set(err, "no memory");
    }
    tell_first(supervisor, slot);
    slot->pid = spawn_with(supervisor, slot, pair[1], err);
    close(pair[1]);
    if (slot->pid < 0) {
        slot->pid = 0;
        line_free(&slot->line);
        return -1;
    }
    slot_note(supervisor, slot);
    return 0;
}

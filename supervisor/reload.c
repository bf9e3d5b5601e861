/*
 * reload.c - what a new configuration changes.  See reload.h; the doer is apply.c.
 * Pure: two structs and the table of settings.def.  If we die on any line nothing outside has changed.
 */
#include "supervisor/reload.h"

#include "common/harness/roster.h"

#include <stdio.h>
#include <string.h>

#define VALUE_BYTES 1100

enum reload_outcome reload_compare(const struct settings *before, const struct settings *after,
                                   const struct setting *setting)
{
    static const enum reload_outcome outcomes[] = {[APPLY_LIVE] = RELOAD_LIVE,
                                                   [APPLY_WORKER] = RELOAD_WORKER,
                                                   [APPLY_FULL] = RELOAD_FULL};
    char old[VALUE_BYTES], new[VALUE_BYTES];

    settings_get(before, setting, old, sizeof old);
    settings_get(after, setting, new, sizeof new);
    return strcmp(old, new) == 0 ? RELOAD_SAME : outcomes[setting->apply];
}

unsigned reload_count(const struct settings *before, const struct settings *after,
                      enum reload_outcome outcome)
{
    unsigned count = 0;

    for (size_t i = 0; i < settings_count; i++)
        count += reload_compare(before, after, &settings_table[i]) == outcome;
    return count;
}

uint32_t reload_readers(const struct settings *before, const struct settings *after,
                        enum reload_outcome outcome)
{
    uint32_t readers = 0;

    for (size_t i = 0; i < settings_count; i++)
        if (reload_compare(before, after, &settings_table[i]) == outcome)
            readers |= settings_table[i].readers;
    return readers;
}

void reload_keep_full(const struct settings *before, struct settings *after)
{
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];

        if (reload_compare(before, after, setting) == RELOAD_FULL)
            memcpy((char *)after + setting->offset, (const char *)before + setting->offset,
                   setting->size);
    }
}

const char *reload_word(enum reload_outcome outcome, bool dry_run)
{
    switch (outcome) {
    case RELOAD_SAME:
        return "the same";
    case RELOAD_LIVE:
        return dry_run ? "can be applied live" : "applied live";
    case RELOAD_WORKER:
        return dry_run ? "restarts its workers" : "worker restarted";
    case RELOAD_FULL:
        return "needs a full restart";
    }
    return "?";
}

void reload_reader_names(const struct setting *setting, char *names, size_t size)
{
    size_t used = 0;

    snprintf(names, size, "spendd");
    for (unsigned row = 0; row < roster_rows && used < size; row++)
        if (setting_read_by(setting, row))
            used += (size_t)snprintf(names + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     roster_table[row].name);
}

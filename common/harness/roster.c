/*
 * roster.c - rows and slots of workers/roster.def.  See roster.h.
 * Pure: a constant table and arithmetic on it.  If we die on any line nothing outside has changed.
 */
#include "common/harness/roster.h"

#include <stdio.h>
#include <string.h>

const struct roster_row roster_table[] = {
#define WORKER(name, instances, gate, drain, pages, hears, core, libraries)                        \
    {#name, #instances, gate, drain, pages, hears, core},
#include "workers/roster.def"
#undef WORKER
};

const unsigned roster_rows = COUNT_OF(roster_table);

/* "field|field": does one of these say where to listen?  Empty: the setting was not given, as good as on. */
static bool listens(const char *fields, const struct settings *settings)
{
    char name[40];

    for (size_t bytes = strcspn(fields, "|"); bytes > 0; bytes = strcspn(fields, "|")) {
        const struct setting *setting;

        snprintf(name, sizeof name, "%.*s", (int)bytes, fields);
        setting = setting_by_name(name);
        if (setting != NULL && strcmp((const char *)settings + setting->offset, "off") != 0)
            return true;
        fields += bytes + (fields[bytes] == '|');
    }
    return false;
}

unsigned roster_instances(const struct roster_row *row, const struct settings *settings)
{
    const struct setting *setting = setting_by_name(row->instances);
    int64_t count = 1;

    if (strchr(row->instances, '|') != NULL)
        return listens(row->instances, settings);
    if (setting != NULL)
        memcpy(&count, (const char *)settings + setting->offset, sizeof count);
    return count >= 1 ? (unsigned)count : 1;
}

unsigned roster_slots(const struct settings *settings)
{
    unsigned slots = 0;

    for (unsigned row = 0; row < roster_rows; row++)
        slots += roster_instances(&roster_table[row], settings);
    return slots;
}

bool roster_slot(const struct settings *settings, unsigned slot, unsigned *row, unsigned *index)
{
    for (unsigned r = 0; r < roster_rows; r++) {
        unsigned count = roster_instances(&roster_table[r], settings);

        if (slot < count) {
            *row = r;
            *index = slot;
            return true;
        }
        slot -= count;
    }
    return false;
}

int roster_find(const char *name)
{
    for (unsigned row = 0; row < roster_rows; row++)
        if (strcmp(roster_table[row].name, name) == 0)
            return (int)row;
    return -1;
}

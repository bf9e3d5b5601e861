/*
 * roster.h - workers/roster.def as data: for the supervisor, which starts what it says, and for a
 * worker that reads every page of counters.
 *
 * A slot is one instance of one row, numbered through in roster order (aggregator instances count).
 */
#ifndef SPENDD_HARNESS_ROSTER_H
#define SPENDD_HARNESS_ROSTER_H

#include "common/base/attr.h"
#include "common/config/settings.h"

#include <stdbool.h>

enum roster_gate { GATE_NONE, GATE_DATABASE };
enum roster_pages { PAGES_OWN, PAGES_ALL };
enum roster_hears { HEARS_OWN, HEARS_GATES, HEARS_ALL };
enum roster_core { CORE_NEVER, CORE_ALLOWED };

struct roster_row {
    const char *name;
    const char *instances; /* a setting's name, "ONE", or the names of two that say where to listen */
    enum roster_gate gate;
    unsigned drain;
    enum roster_pages pages;
    enum roster_hears hears;
    enum roster_core core;
};

extern const struct roster_row roster_table[];
extern const unsigned roster_rows;

#define ROSTER_SLOTS_MAX 64 /* bounds of the settings that say how many; checked by a unit test */

/* How many of this row these settings ask for, none if it would listen nowhere; a reader that was not given
 * the setting sees one. */
unsigned roster_instances(const struct roster_row *row, const struct settings *settings);

unsigned roster_slots(const struct settings *settings);

/* Which row and which instance of it a slot is.  false: there is no such slot. */
bool roster_slot(const struct settings *settings, unsigned slot, unsigned *row,
                 unsigned *index) MUST_CHECK;

int roster_find(const char *name); /* row, or -1 */

#endif

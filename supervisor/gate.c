/*
 * gate.c - see gate.h.  One success opens it, `fail_after` failures in a row close it.
 * Pure: if we die on any line nothing outside has changed.
 */
#include "supervisor/gate.h"

#include <stdio.h>
#include <string.h>

void gate_init(struct gate *gate)
{
    *gate = (struct gate){.why = "not probed yet"};
}

bool gate_probed(struct gate *gate, bool passed, const char *detail, int64_t fail_after)
{
    bool was_open = gate->open;

    if (passed) {
        *gate = (struct gate){.open = true};
        return !was_open;
    }
    if (gate->failures < UINT32_MAX)
        gate->failures++;
    if (was_open && gate->failures < fail_after)
        return false;
    if (!was_open && strncmp(gate->why, detail, sizeof gate->why - 1) == 0)
        return false;
    gate->open = false;
    snprintf(gate->why, sizeof gate->why, "%s", detail);
    return true;
}

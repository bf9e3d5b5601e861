/*
 * gate.h - a gate: closed until something was seen to work, closed again when it failed often enough.
 * Pure.
 */
#ifndef SPENDD_SUPERVISOR_GATE_H
#define SPENDD_SUPERVISOR_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    bool open;
    unsigned failures; /* in a row */
    char why[200];     /* why it is closed; empty while it is open */
};

void gate_init(struct gate *gate);

/* A probe's result.  true: the gate opened or closed, or it is closed for another reason now. */
bool gate_probed(struct gate *gate, bool passed, const char *detail, int64_t fail_after);

#endif

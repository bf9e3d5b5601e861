/*
 * spendctl_screen.h - one screen of `spendctl top`.
 */
#ifndef SPENDD_SUPERVISOR_SPENDCTL_SCREEN_H
#define SPENDD_SUPERVISOR_SPENDCTL_SCREEN_H

#include "common/json/json_tree.h"

#include <stddef.h>

struct rate {
    const char *name;
    double per_s;
};

/* From the upper left over what was there, cut to the terminal's size. */
void screen_draw(const struct json_tree *status, const struct rate *rates, size_t count);

/* In its place: why there is nothing to draw. */
void screen_complain(const char *text);

#endif

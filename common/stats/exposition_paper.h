/*
 * exposition_paper.h - how one line of the exposition is written; for exposition*.c alone.
 */
#ifndef SPENDD_STATS_EXPOSITION_PAPER_H
#define SPENDD_STATS_EXPOSITION_PAPER_H

#include "common/stats/exposition.h"

#include <stdio.h>

struct paper {
    FILE *out;
    const struct exposition *from;
};

/* # HELP and # TYPE. */
void paper_head(const struct paper *paper, const char *name, const char *type, const char *help);
/* The name and one label; the value follows. */
void paper_labeled(const struct paper *paper, const char *name, const char *label, const char *value);
/* The value behind a name, and the end of its line; the second in thousands, as seconds of ms. */
void paper_number(const struct paper *paper, int64_t value);
void paper_thousandths(const struct paper *paper, int64_t ms);

/* exposition_facts.c: the build, and what the asker has heard. */
void exposition_facts(const struct paper *paper);
void exposition_models(const struct paper *paper);

#endif

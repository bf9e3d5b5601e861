/*
 * figures.h - what is watched of the stores, as figures: read from what Redis says of itself.  Pure: text in,
 * numbers out; the text is untrusted, and what is missing in it is unknown.
 */
#ifndef SPENDD_HEALTH_CHECKER_FIGURES_H
#define SPENDD_HEALTH_CHECKER_FIGURES_H

#include "common/base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum watch_id {
#define WATCH(name, store, text) WATCH_##name,
#include "workers/health_checker/watch.def"
#undef WATCH
    WATCHES
};

#define FIGURE_UNKNOWN (-1)

struct figures {
    int64_t value[WATCHES];
    char detail[WATCHES][120]; /* "": nothing more to say */
};

void figures_unknown(struct figures *figures);

/* 100 * part / whole, or unknown. */
int64_t figures_percent(int64_t part, int64_t whole);

/* What INFO counts since Redis started, when last seen. */
struct redis_counts {
    bool seen;
    mono_t at;
    int64_t rejected, evicted, connections;
};

/* Value of a line "name:value\r\n" of INFO; "" if there is none. */
void info_value(const char *info, size_t length, const char *name, char *value, size_t size);
int64_t info_number(const char *info, size_t length, const char *name); /* FIGURE_UNKNOWN: none */

/* A policy that may evict keys without a time to live, and a bound at which it does. */
bool info_evicts(const char *policy, const char *bound);

/* `counts`: of the INFO before; replaced by this one's. */
void figures_info(const char *info, size_t length, mono_t now, struct redis_counts *counts,
                  struct figures *figures);

/* CLIENT LIST: how many are idle, and the addresses with most clients. */
void figures_clients(const char *list, size_t length, int64_t idle_s, struct figures *figures);

#endif

/*
 * loop.h - a small loop behind the functions of harness.h, for unit tests of doors.
 */
#ifndef SPENDD_TESTS_LOOP_H
#define SPENDD_TESTS_LOOP_H

#include "common/harness/harness.h"

struct harness *loop_open(void);
void loop_close(struct harness **loop);

/* What harness_settings and harness_stats give; borrowed. */
void loop_settings(struct harness *loop, const struct settings *settings,
                   struct stats_page *stats);

/* One turn, which sleeps at most `wait_ms`. */
void loop_turn(struct harness *loop, int64_t wait_ms);

/* Turns until `done` says so; false: it did not within `limit_ms`. */
typedef bool loop_done_fn(void *arg);
bool loop_until(struct harness *loop, loop_done_fn *done, void *arg, int64_t limit_ms);

#endif

/*
 * host.h - the side of the harness that main() sees: make it, turn it, end it.  Also how a test gives a
 * door a harness without a supervisor (no line: reports go nowhere, and it never drains by itself).
 */
#ifndef SPENDD_HARNESS_HOST_H
#define SPENDD_HARNESS_HOST_H

#include "common/harness/harness.h"
#include "common/msg/line.h"

struct host_options {
    const struct worker *worker;
    const struct settings *settings; /* copied */
    struct line *line;               /* taken over; NULL: no supervisor */
    struct stats_page *page;         /* NULL: a private one is made */
    unsigned index, generation;
};

/* NULL: failed. */
struct harness *harness_new(const struct host_options *options, struct err *err);
void harness_free(struct harness **harness);

/* Maps the pages of all slots from FD_INHERITED on. */
int harness_map_pages(struct harness *harness, struct err *err) MUST_CHECK;

/* Opens the worker and says ready (unless it asked to wait).  -1: *code is what to exit with. */
int harness_open(struct harness *harness, int *code, struct err *err) MUST_CHECK;
void harness_close(struct harness *harness);

/* One turn of the loop, asleep for at most `most_ms` (-1: no bound).  false: leave with harness_code. */
bool harness_turn(struct harness *harness, int most_ms);
int harness_code(const struct harness *harness);

#endif

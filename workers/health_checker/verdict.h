/*
 * verdict.h - what a store said about itself -> can spendd work with it?
 * Pure: facts in, a verdict and one line of reason out.
 */
#ifndef SPENDD_HEALTH_CHECKER_VERDICT_H
#define SPENDD_HEALTH_CHECKER_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As in MSG_probe. */
struct verdict {
    bool passed;
    bool risky; /* passed, and a human should mend what `detail` says */
    bool scarce; /* not passed, and others are trying too: ask less and less often */
    char detail[200]; /* why not; or, when passed, what a human should still know */
};

enum schema_state { SCHEMA_ABSENT, SCHEMA_THERE };

struct database_facts {
    int server_version; /* 150018 */
    bool in_recovery, read_only;
    char encoding[32];
    enum schema_state schema; /* is <schema>.schema_version there? */
    int schema_version;       /* 0: the table is there and empty */
    bool may_create;          /* the role may make what is missing */
    bool may_temporary;       /* the role may make temporary tables */
    bool may_write;           /* the role may write to the tables that are there */
    bool migrate;             /* database.migrate */
};

void verdict_database(const struct database_facts *facts, struct verdict *verdict);

/* `info`: the text of INFO, or NULL where it is not permitted. */
void verdict_redis(const char *info, size_t length, struct verdict *verdict);

#endif

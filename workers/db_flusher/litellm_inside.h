/*
 * litellm_inside.h - what the files of the layout "litellm" share: layout_litellm.c (life, rows),
 * litellm_sums.c (keys), litellm_catalog.c (what there is), litellm_sql.c (statements).
 */
#ifndef SPENDD_DB_FLUSHER_LITELLM_INSIDE_H
#define SPENDD_DB_FLUSHER_LITELLM_INSIDE_H

#include "workers/db_flusher/litellm.h"

#include <assert.h>

#define LITELLM_TABLES (LITELLM_ENTITIES + LITELLM_DAILIES)
static_assert(LITELLM_TABLES <= LAYOUT_TABLES, "a layout has more tables than layout.h allows");
static_assert(LITELLM_EXTRAS == TALLY_EXTRAS, "tally.h has the number of extra amounts");

enum litellm_sql { SQL_TARGET, SQL_CREATE, SQL_COPY, SQL_MOVE, SQL_LOCK, SQL_MERGE, SQLS };

/* One table as the catalog has it. */
struct litellm_table {
    bool there; /* else its sums are kept in spendd's own schema */
    bool kept;  /* rows of it are there */
    bool updated_at, last_active, total_spend; /* columns, of an entity's */
    bool has[LITELLM_TEXTS], extra[LITELLM_EXTRAS]; /* columns, of a daily one */
    bool key[LITELLM_KEYS]; /* those of its unique index */
};

#define LITELLM_LOG_COLUMNS 27

struct litellm_words { /* a row of litellm.def */
    const char *name, *table, *id, *second;
    bool upsert;
    enum metric missed;
};

struct litellm {
    char schema[64], quoted[132];
    bool full;             /* sums are made of events */
    bool newer;            /* its writer makes rows of team members, and adds to members of organizations */
    bool timed;            /* its days have columns for how long requests took */
    struct litellm_table table[LITELLM_TABLES];
    bool log[LITELLM_LOG_COLUMNS]; /* columns of SpendLogs that are there */
    struct text sql[LITELLM_TABLES][SQLS], log_create, log_insert, log_others;
    char missing[512];     /* tables that are not there, by name */
    unsigned missing_count;
};

extern const struct litellm_words litellm_words[LITELLM_TABLES];
extern const char *const litellm_text_columns[LITELLM_TEXTS]; /* of LITELLM_WHO: "who", as in our own tables */
extern const char *const litellm_count_columns[TALLY_COUNTS];
extern const struct litellm_extra_column {
    const char *name;
    bool count;
} litellm_extra_columns[LITELLM_EXTRAS];

/* litellm_sums.c: what one event adds. */
int litellm_fan_out(const struct layout *layout, struct tally *const table[LAYOUT_TABLES],
                    const struct event *event) MUST_CHECK;
/* A key and its tail taken apart; absent ones are "". */
void litellm_entity_key(const struct sum *sum, const struct tally *tally, struct slice *id,
                        struct slice *second);
void litellm_daily_key(const struct sum *sum, const struct tally *tally,
                       struct slice text[LITELLM_TEXTS]);

/* litellm_catalog.c */
void litellm_look(struct layout *layout, const char *schema, struct text *sql);
int litellm_learn(struct layout *layout, const struct pg_answer *answer, struct err *err) MUST_CHECK;

/* litellm_log.c */
extern const struct litellm_log_column {
    const char *name, *type;
} litellm_log_columns[LITELLM_LOG_COLUMNS];
int litellm_build_log(struct layout *layout) MUST_CHECK; /* -1: no memory */

/* litellm_json.c: an object, as jsonb takes it, with one member more; false: it was given up. */
bool litellm_json(struct text *to, struct slice object, struct slice event_id);

/* litellm_sql.c */
int litellm_build(struct layout *layout) MUST_CHECK; /* -1: no memory */

#endif

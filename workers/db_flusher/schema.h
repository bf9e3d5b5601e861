/*
 * schema.h - spendd's own schema: is it there, may it be made, and keeping the log's partitions.
 * Everything is one conversation over the door to PostgreSQL, answered once.
 */
#ifndef SPENDD_DB_FLUSHER_SCHEMA_H
#define SPENDD_DB_FLUSHER_SCHEMA_H

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/pg/pg.h"
#include "workers/db_flusher/layout.h"

#include <stdbool.h>

struct schema;

enum schema_result {
    SCHEMA_READY, /* usable; schema_install says whose it is */
    SCHEMA_LOST,  /* connection gone or busy: try again */
    SCHEMA_WRONG  /* cannot be used: a human must act */
};

/* `refusal` is PG_REFUSED_NOT where it is not the server's word. */
typedef void schema_fn(void *arg, enum schema_result result, enum pg_refusal refusal, const char *why);

struct schema *schema_open(struct pg *pg, const struct settings *settings,
                           const struct layout *layout, struct err *err);
void schema_close(struct schema **schema);

/* Looks, migrates where allowed and needed, then makes and drops partitions around `today`.  Needs a
 * connection. */
void schema_check(struct schema *schema, day_t today, schema_fn *done, void *arg);

const char *schema_quoted(const struct schema *schema);
const char *schema_install(const struct schema *schema);

#endif

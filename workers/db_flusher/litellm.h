/*
 * litellm.h - sums for LiteLLM's own tables (layout_litellm), added by whoever has them: the fan-out of
 * events, and the elements of its Redis lists.
 *
 * Who brings sums that are not a load's events fills a struct sums with these calls, all of what is to be
 * applied together, and gives it to flush_run as flush_ask.sums beside a load without batches: it goes up,
 * is merged and committed by the one transaction of the flush, in whose table of steps (flush.c) a claim has
 * its own, and of which there are no retries within.  The sums are not changed by that, so the same may be
 * given again.  Each call adds wholly, or not at all.
 */
#ifndef SPENDD_DB_FLUSHER_LITELLM_H
#define SPENDD_DB_FLUSHER_LITELLM_H

#include "common/event/event.h"
#include "workers/db_flusher/sums.h"

enum litellm_entity {
#define ENTITY(name, table, id, second, manner) LITELLM_##name,
#include "workers/db_flusher/litellm.def"
#undef ENTITY
    LITELLM_ENTITIES
};

enum litellm_daily {
#define DAILY(name, table, column) LITELLM_DAILY_##name,
#include "workers/db_flusher/litellm.def"
#undef DAILY
    LITELLM_DAILIES
};

enum litellm_extra {
#define EXTRA(name, kind) LITELLM_##name,
#include "workers/db_flusher/litellm.def"
#undef EXTRA
    LITELLM_EXTRAS
};

/* The texts of a daily row: first those that its unique index may have, in the order of the newest one. */
enum litellm_text {
    LITELLM_WHO, /* user_id, team_id, ... by its table */
    LITELLM_DATE,
    LITELLM_API_KEY,
    LITELLM_MODEL,
    LITELLM_PROVIDER,
    LITELLM_TOOL,
    LITELLM_ENDPOINT,
    LITELLM_KEYS,
    LITELLM_MODEL_GROUP = LITELLM_KEYS, /* of a new row only */
    LITELLM_REQUEST_ID,                 /* of tags; the newest that is not absent */
    LITELLM_TEXTS
};

struct litellm_day {
    struct slice text[LITELLM_TEXTS]; /* "" where null or absent */
    int64_t count[TALLY_COUNTS];
    amount_t spend;
    bool extras; /* is there any of the following? */
    amount_t extra[LITELLM_EXTRAS]; /* COUNT as it is, AMOUNT in 10^-24 USD (money.h) */
};

enum litellm_added {
    LITELLM_ADDED,
    LITELLM_NO_MEMORY,
    LITELLM_REFUSED /* PostgreSQL could not store it; err says why.  It is for the caller to keep */
};

/* `second` only where litellm.def has one (of a team member: the user; of its team: `id`). */
enum litellm_added litellm_add_entity(struct sums *sums, enum litellm_entity entity, struct slice id,
                                      struct slice second, amount_t amount, struct err *err) MUST_CHECK;
enum litellm_added litellm_add_daily(struct sums *sums, enum litellm_daily daily,
                                     const struct litellm_day *day, struct err *err) MUST_CHECK;

#endif

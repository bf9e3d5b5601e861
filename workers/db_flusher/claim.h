/*
 * claim.h - elements of LiteLLM's lists that were moved into a claim: one claim for each list, with a random
 * id, which PostgreSQL writes down in the transaction that counts its elements (tests/model).
 *
 *   in the list --claim--> in the claim --commit 'applied'--> deleted
 *                                       --commit 'returned'--> back at the head of its list
 *
 * Whoever finds a claim does what PostgreSQL says of its id; a claim of which it says nothing is counted or
 * given back.  What stands here is what Redis answered last; Redis has the claim until it is settled.
 */
#ifndef SPENDD_DB_FLUSHER_CLAIM_H
#define SPENDD_DB_FLUSHER_CLAIM_H

#include "common/base/clock.h"
#include "common/config/settings.h"
#include "common/litellm/lists.h"
#include "common/redis/redis.h"
#include "workers/db_flusher/flush.h"

#include <stdbool.h>
#include <stddef.h>

#define CLAIMS_MOST (2 * LITELLM_LISTS) /* bare and with the namespace */

struct claim_element {
    size_t at, length; /* in the claim's bytes */
};

struct claim {
    void *owner; /* the asker's own */
    enum litellm_list list;
    char list_key[LITELLM_KEY], key[LITELLM_KEY];
    struct flush_claim flush; /* its id ("": none), and what PostgreSQL says of it */
    char fresh[REDIS_FRESH]; /* the id under which it is asked for */
    bool found;      /* it was there already */
    bool resumed;    /* and nobody here had seen it before */
    bool empty;      /* nothing stands in any of its elements */
    int64_t left;    /* elements in its list */
    mono_t since;    /* seen first */
    char *bytes;
    size_t used, room;
    struct claim_element *element;
    size_t elements, element_room;
};

/* Every list of the settings, bare and with the namespace.  Returns how many. */
size_t claims_init(struct claim claims[CLAIMS_MOST], const struct settings *settings, void *owner);
void claims_free(struct claim *claims, size_t count);

/* The claim that is there, or a new one of so many elements and bytes at the most. */
void claim_ask(struct claim *claim, struct redis *redis, int64_t elements, int64_t bytes, redis_reply_fn *f,
               void *arg);
enum claim_taken { CLAIM_TAKEN, CLAIM_NOTHING, CLAIM_FOREIGN, CLAIM_NO_MEMORY };
enum claim_taken claim_take(struct claim *claim, const struct redis_reply *reply); /* "ok ..." */

/* As PostgreSQL says: out of Redis, or back to its list. */
void claim_settle(struct claim *claim, struct redis *redis, redis_reply_fn *f, void *arg);
void claim_forget(struct claim *claim);
bool claim_there(const struct claim *claim); /* it has an id */

#endif

/*
 * claim.c - see claim.h.
 *
 * Owns copies of what Redis answered.  Invariants: a claim is never added to; it is deleted and given back
 * by its id, never by what is in it or how much; ids are random, because a counter would come again after a
 * failover to a replica that had not seen the last ones.
 * If we die on any line: the claim stands in Redis whole, and the next one finds it.
 */
#include "workers/db_flusher/claim.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 4 /* items of the answer before the elements */

static void add(struct claim *claims, size_t *count, enum litellm_list list, const char *namespace)
{
    struct claim *claim = &claims[*count];

    *claim = (struct claim){.list = list};
    litellm_list_key(list, namespace, claim->list_key);
    for (size_t i = 0; i < *count; i++)
        if (strcmp(claims[i].list_key, claim->list_key) == 0)
            return;
    litellm_claim_key(claim->list_key, claim->key);
    ++*count;
}

size_t claims_init(struct claim claims[CLAIMS_MOST], const struct settings *settings, void *owner)
{
    size_t count = 0;

    for (int list = 0; list < LITELLM_LISTS; list++) {
        add(claims, &count, (enum litellm_list)list, "");
        add(claims, &count, (enum litellm_list)list, settings->litellm_list_namespace);
    }
    for (size_t i = 0; i < count; i++)
        claims[i].owner = owner;
    return count;
}

bool claim_there(const struct claim *claim)
{
    return claim->flush.id[0] != '\0';
}

void claims_free(struct claim *claims, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(claims[i].bytes);
        free(claims[i].element);
    }
}

void claim_ask(struct claim *claim, struct redis *redis, int64_t elements, int64_t bytes, redis_reply_fn *f,
               void *arg)
{
    char most[24], room[24];
    const char *argv[] = {claim->list_key, claim->key, claim->fresh, most, room};

    redis_fresh(claim->fresh);
    snprintf(most, sizeof most, "%lld", (long long)elements);
    snprintf(room, sizeof room, "%lld", (long long)bytes);
    redis_script(redis, REDIS_claim, 5, argv, NULL, f, arg);
}

/* What Redis holds is untrusted: an id goes into SQL and logs. */
static bool plain_id(const struct redis_reply *id)
{
    if (id->text == NULL || id->length == 0 || id->length >= CLAIM_ID)
        return false;
    for (size_t i = 0; i < id->length; i++)
        if (!isalnum((unsigned char)id->text[i]) && id->text[i] != '-')
            return false;
    return true;
}

static int reserve(struct claim *claim, size_t elements, size_t bytes)
{
    void *grown;

    if (bytes > claim->room) {
        grown = realloc(claim->bytes, bytes);
        if (grown == NULL)
            return -1;
        claim->bytes = grown;
        claim->room = bytes;
    }
    if (elements > claim->element_room) {
        grown = realloc(claim->element, elements * sizeof *claim->element);
        if (grown == NULL)
            return -1;
        claim->element = grown;
        claim->element_room = elements;
    }
    return 0;
}

static int copy_elements(struct claim *claim, const struct redis_reply *reply)
{
    size_t bytes = 1;

    for (size_t i = HEAD; i < reply->items; i++)
        bytes += reply->item[i].length;
    claim->used = claim->elements = 0;
    if (reserve(claim, reply->items, bytes) != 0)
        return -1;
    for (size_t i = HEAD; i < reply->items; i++) {
        const struct redis_reply *item = &reply->item[i];

        claim->element[claim->elements++] = (struct claim_element){claim->used, item->length};
        if (item->length > 0)
            memcpy(claim->bytes + claim->used, item->text, item->length);
        claim->used += item->length;
    }
    return 0;
}

enum claim_taken claim_take(struct claim *claim, const struct redis_reply *reply)
{
    const struct redis_reply *id = &reply->item[1];
    bool same = id->length == strlen(claim->flush.id) && memcmp(id->text, claim->flush.id, id->length) == 0;

    claim->left = redis_item_number(reply, 3);
    if (id->length == 0) {
        claim_forget(claim);
        return CLAIM_NOTHING;
    }
    if (!plain_id(id)) {
        claim_forget(claim);
        return CLAIM_FOREIGN;
    }
    claim->found = redis_item_number(reply, 2) == 1;
    claim->resumed = claim->found && !same;
    if (!same) {
        claim->flush = (struct flush_claim){.known = CLAIM_NEW};
        memcpy(claim->flush.id, id->text, id->length);
        claim->since = mono_now();
    }
    return copy_elements(claim, reply) == 0 ? CLAIM_TAKEN : CLAIM_NO_MEMORY;
}

void claim_settle(struct claim *claim, struct redis *redis, redis_reply_fn *f, void *arg)
{
    const char *gone[] = {claim->key, claim->flush.id};
    const char *back[] = {claim->list_key, claim->key, claim->flush.id};

    if (claim->flush.known == CLAIM_RETURNED)
        redis_script(redis, REDIS_give, 3, back, NULL, f, arg);
    else
        redis_script(redis, REDIS_unclaim, 2, gone, NULL, f, arg);
}

void claim_forget(struct claim *claim)
{
    claim->flush = (struct flush_claim){.known = CLAIM_NEW};
    claim->used = claim->elements = 0;
    claim->found = claim->resumed = claim->empty = false;
}

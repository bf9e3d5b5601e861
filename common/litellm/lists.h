/*
 * lists.h - names in LiteLLM's Redis: its lists, its pod locks, and the claim that spendd keeps beside a
 * list.  Pure.
 */
#ifndef SPENDD_LITELLM_LISTS_H
#define SPENDD_LITELLM_LISTS_H

#include "common/base/attr.h"
#include "common/stats/stats.h"

#include <stddef.h>

#define LITELLM_KEY 192
#define LITELLM_LOCKS 2

enum litellm_list {
#define LIST(name, key, field, metric) LITELLM_LIST_##name,
#include "common/litellm/lists.def"
#undef LIST
    LITELLM_LISTS
};

const char *litellm_list_name(enum litellm_list list);
const char *litellm_list_field(enum litellm_list list);
enum metric litellm_list_metric(enum litellm_list list);

/* LiteLLM's rule: a key that begins with the namespace already is left as it is. */
void litellm_key(const char *key, const char *namespace, char to[LITELLM_KEY]);
void litellm_list_key(enum litellm_list list, const char *namespace, char to[LITELLM_KEY]);
const char *litellm_lock_job(unsigned lock); /* "db_spend_update_job" */
void litellm_lock_key(unsigned lock, const char *namespace, char to[LITELLM_KEY]);

/* In the slot of the list, on a cluster too: braces around a name that has a hash tag would move it. */
void litellm_claim_key(const char *list, char to[LITELLM_KEY]);

#endif

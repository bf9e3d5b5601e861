/*
 * lists.c - see lists.h.  Pure: text in, text out.
 */
#include "common/litellm/lists.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *key, *field;
    enum metric metric;
} lists[LITELLM_LISTS] = {
#define LIST(name, key, field, metric) [LITELLM_LIST_##name] = {#name, key, field, METRIC_##metric},
#include "common/litellm/lists.def"
#undef LIST
};

static const char *const jobs[LITELLM_LOCKS] = {"db_spend_update_job", "db_daily_tag_spend_update_job"};

const char *litellm_list_name(enum litellm_list list)
{
    return lists[list].name;
}

const char *litellm_list_field(enum litellm_list list)
{
    return lists[list].field;
}

enum metric litellm_list_metric(enum litellm_list list)
{
    return lists[list].metric;
}

void litellm_key(const char *key, const char *namespace, char to[LITELLM_KEY])
{
    size_t length = strlen(namespace);

    if (length == 0 || strncmp(key, namespace, length) == 0)
        snprintf(to, LITELLM_KEY, "%s", key);
    else
        snprintf(to, LITELLM_KEY, "%s:%s", namespace, key);
}

void litellm_list_key(enum litellm_list list, const char *namespace, char to[LITELLM_KEY])
{
    litellm_key(lists[list].key, namespace, to);
}

const char *litellm_lock_job(unsigned lock)
{
    return jobs[lock];
}

void litellm_lock_key(unsigned lock, const char *namespace, char to[LITELLM_KEY])
{
    char key[LITELLM_KEY];

    snprintf(key, sizeof key, "cronjob_lock:%s", jobs[lock]);
    litellm_key(key, namespace, to);
}

/* Redis takes for a hash tag what stands between the first brace and the next closing one, if anything does. */
static int has_hash_tag(const char *key)
{
    const char *open = strchr(key, '{'), *close = open != NULL ? strchr(open, '}') : NULL;

    return close != NULL && close > open + 1;
}

void litellm_claim_key(const char *list, char to[LITELLM_KEY])
{
    snprintf(to, LITELLM_KEY, has_hash_tag(list) ? "%s:spendd:claim" : "{%s}:spendd:claim", list);
}

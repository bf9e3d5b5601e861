/*
 * status_litellm.c - what "status" and "lock" say of LiteLLM's lists and pod locks (status_views.c has the
 * contract).  The locks as Redis has them now, the rest as the flusher's page has it.
 * Owns nothing; if we die on any line, the asker asks again.
 */
#include "workers/control/status.h"

#include "common/json/json_put.h"
#include "common/litellm/lists.h"
#include "workers/control/figures.h"

static void write_locks(struct json_out *out, const struct queue_figures *queue, bool adopt)
{
    json_key(out, "pod_locks");
    json_array(out);
    for (unsigned lock = 0; adopt && lock < LITELLM_LOCKS; lock++) {
        bool held = queue->known && queue->pod[lock].held;

        json_object(out);
        json_put_text(out, "job", litellm_lock_job(lock));
        json_put_text(out, "holder", held ? queue->pod[lock].holder : NULL);
        json_put_number_if(out, "ttl_ms", held && queue->pod[lock].ttl_ms >= 0, queue->pod[lock].ttl_ms);
        json_end(out);
    }
    json_end(out);
}

void status_litellm(struct json_out *out, const struct harness *harness, const struct queue_figures *queue)
{
    bool adopt = harness_settings(harness)->litellm_adopt;
    bool held = figures_sum(harness, METRIC_litellm_lock_held) > 0 &&
                figures_sum(harness, METRIC_litellm_tag_lock_held) > 0;
    int64_t oldest_ms = figures_sum(harness, METRIC_litellm_oldest_claim_ms);

    json_key(out, "litellm");
    json_object(out);
    json_put_bool(out, "adopt", adopt);
    json_put_bool(out, "held_here", held);
    json_put_number_if(out, "oldest_claim_s", oldest_ms > 0, oldest_ms / 1000);
    json_key(out, "lists");
    json_object(out);
    for (int list = 0; adopt && list < LITELLM_LISTS; list++)
        json_put_number_if(out, litellm_list_name((enum litellm_list)list), held,
                           figures_sum(harness, litellm_list_metric((enum litellm_list)list)));
    json_end(out);
    write_locks(out, queue, adopt);
    json_end(out);
}

/*
 * litellm_log.c - rows of LiteLLM's SpendLogs, as its own writer makes them (absent texts "", times UTC).
 *
 * ON CONFLICT has no target: where the table is partitioned its key has two columns.  So that our own rows
 * can be told from those of pods, metadata has a member spendd_event_id.  A row of the same request_id is a
 * pod's own one of this request if it has no such member and names the same call, or the same key, times,
 * tokens and spend; then it stays alone.  Any other one is another event's.
 * Columns of int4 hold no more than they can.  Pure; dying here loses nothing.
 */
#include "workers/db_flusher/litellm_inside.h"

#include "workers/db_flusher/copy.h"
#include "workers/db_flusher/merge.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

const struct litellm_log_column litellm_log_columns[LITELLM_LOG_COLUMNS] = {
    {"request_id", "text"},
    {"call_type", "text"},
    {"api_key", "text"},
    {"spend", "float8"},
    {"total_tokens", "int"},
    {"prompt_tokens", "int"},
    {"completion_tokens", "int"},
    {"startTime", "timestamp"},
    {"endTime", "timestamp"},
    {"request_duration_ms", "int"},
    {"model", "text"},
    {"model_group", "text"},
    {"custom_llm_provider", "text"},
    {"api_base", "text"},
    {"user", "text"},
    {"metadata", "jsonb"},
    {"cache_hit", "text"},
    {"request_tags", "jsonb"},
    {"team_id", "text"},
    {"organization_id", "text"},
    {"end_user", "text"},
    {"agent_id", "text"},
    {"requester_ip_address", "text"},
    {"session_id", "text"},
    {"status", "text"},
    {"mcp_namespaced_tool_name", "text"},
    {"litellm_call_id", "text"},
};

/* --- a row ---------------------------------------------------------------------------------------- */

static int32_t clamp(int64_t number, bool *clamped)
{
    *clamped |= number > INT32_MAX || number < 0;
    return number > INT32_MAX ? INT32_MAX : number < 0 ? 0 : (int32_t)number;
}

static void put_json(struct text *text, const struct text *json)
{
    copy_bytes(text, json->data ? json->data : "", json->used);
}

static void put_tags(struct text *text, const struct tag_set *tags)
{
    char one[6 * (EVENT_LABEL_MAX + 1) + 2];
    struct text json = {0};

    text_add(&json, "\1[", 2); /* jsonb's version, then its text */
    for (uint32_t i = 0; i < tags->count; i++) {
        text_put(&json, i ? ", " : "");
        text_add(&json, one, merge_json_text(tags->tag[i], one));
    }
    text_put(&json, "]");
    text->failed |= json.failed;
    put_json(text, &json);
    text_free(&json);
}

static bool put_metadata(struct text *text, const struct event *event)
{
    struct text json = {0};
    bool kept;

    text_add(&json, "\1", 1);
    kept = litellm_json(&json, event->metadata, event->event_id);
    text->failed |= json.failed;
    put_json(text, &json);
    text_free(&json);
    return kept;
}

/* As Python writes a bool, or that there is none. */
static const char *cache_hit(struct slice word)
{
    if (word.length == 4 && memcmp(word.data, "true", 4) == 0)
        return "True";
    return word.length == 5 && memcmp(word.data, "false", 5) == 0 ? "False" : "None";
}

/* `end` of an event that has none is its start. */
static void put_times(struct text *text, const struct event *event, bool *clamped)
{
    bool given = event->present >> EVENT_end_time & 1;
    int64_t end = given ? event->end_time : event->start_time;

    copy_time(text, event->start_time);
    copy_time(text, end);
    if (given)
        copy_int(text, clamp((end - event->start_time) / 1000, clamped));
    else
        copy_null(text);
}

static void put_other_id(struct text *text, struct slice request_id, const unsigned char id[16])
{
    char other[EVENT_LABEL_MAX + 24], digits[17];

    sodium_bin2hex(digits, sizeof digits, id, 8);
    copy_bytes(text, other, (size_t)snprintf(other, sizeof other, "%.*s:%s", (int)request_id.length,
                                             request_id.data, digits));
}

static bool log_row(struct text *text, const struct event *event, const unsigned char id[16])
{
    struct slice request_id = event->request_id.length ? event->request_id : event->event_id;
    bool clamped = false;

    copy_row(text, LITELLM_LOG_COLUMNS + 2);
    copy_key(text, request_id);
    copy_key(text, event->call_type);
    copy_key(text, event->api_key);
    copy_double(text, amount_double(amount_of_pico(event->spend)));
    copy_int(text, clamp(event->prompt_tokens + event->completion_tokens, &clamped));
    copy_int(text, clamp(event->prompt_tokens, &clamped));
    copy_int(text, clamp(event->completion_tokens, &clamped));
    put_times(text, event, &clamped);
    copy_key(text, event->model);
    copy_key(text, event->model_group);
    copy_key(text, event->custom_llm_provider);
    copy_key(text, event->api_base);
    copy_key(text, event->user_id);
    clamped |= !put_metadata(text, event);
    copy_string(text, cache_hit(event->cache_hit));
    put_tags(text, &event->tags);
    copy_key(text, event->team_id);
    copy_key(text, event->organization_id);
    copy_key(text, event->end_user);
    copy_slice(text, event->agent_id);
    copy_slice(text, event->requester_ip_address);
    copy_slice(text, event->session_id);
    copy_slice(text, event->status);
    copy_slice(text, event->mcp_namespaced_tool_name);
    copy_key(text, event->event_id);
    copy_key(text, event->event_id); /* for us: whose row it is */
    put_other_id(text, request_id, id);
    return clamped;
}

/* --- statements ----------------------------------------------------------------------------------- */

static void names(struct text *to, const struct litellm *it, const char *request_id)
{
    const char *before = "";

    for (unsigned i = 0; i < LITELLM_LOG_COLUMNS; i++) {
        if (!it->log[i])
            continue;
        text_put(to, before);
        if (i == 0)
            text_put(to, request_id);
        else
            text_format(to, "\"%s\"", litellm_log_columns[i].name);
        before = ", ";
    }
}

static void insert(struct text *to, const struct litellm *it, const char *request_id)
{
    text_format(to, "INSERT INTO %s.\"LiteLLM_SpendLogs\" (", it->quoted);
    names(to, it, "request_id");
    text_put(to, ") SELECT ");
    names(to, it, request_id);
    text_put(to, " FROM pg_temp.spendd_logs s");
}

/* Rows of the pods are theirs by times that lost their microseconds. */
#define NEAR(column)                                                                               \
    "l.\"" column "\" BETWEEN s.\"" column "\" - interval '2 ms' AND s.\"" column "\" + interval '2 ms'"

static void others(struct text *to, const struct litellm *it)
{
    bool call = it->log[LITELLM_LOG_COLUMNS - 1];

    insert(to, it, "other_id");
    text_format(to, " WHERE NOT EXISTS (SELECT FROM %s.\"LiteLLM_SpendLogs\" l ", it->quoted);
    text_put(to, "WHERE l.request_id = s.request_id AND CASE "
                 "WHEN coalesce(l.metadata ? 'spendd_event_id', false) "
                 "THEN l.metadata->>'spendd_event_id' = s.event_id ");
    text_put(to, call ? "WHEN coalesce(l.litellm_call_id, '') <> '' THEN l.litellm_call_id = s.event_id " : "");
    text_put(to, "ELSE l.api_key = s.api_key AND l.spend = s.spend AND l.total_tokens = s.total_tokens AND "
                 NEAR("startTime") " AND " NEAR("endTime") " END) ON CONFLICT DO NOTHING");
}

int litellm_build_log(struct layout *layout)
{
    struct litellm *it = layout->litellm;

    if (strcmp(layout->settings->litellm_events, "off") == 0)
        return 0;
    text_clear(&it->log_create);
    text_clear(&it->log_insert);
    text_clear(&it->log_others);
    text_put(&it->log_create, "CREATE TEMP TABLE spendd_logs (");
    for (unsigned i = 0; i < LITELLM_LOG_COLUMNS; i++)
        text_format(&it->log_create, "\"%s\" %s, ", litellm_log_columns[i].name, litellm_log_columns[i].type);
    text_put(&it->log_create, "event_id text, other_id text) ON COMMIT DROP");
    insert(&it->log_insert, it, "request_id");
    text_put(&it->log_insert, " ON CONFLICT DO NOTHING");
    others(&it->log_others, it);
    layout->log = (struct layout_log){it->log_create.data, "COPY pg_temp.spendd_logs FROM STDIN (FORMAT binary)",
                                      it->log_insert.data, it->log_others.data, log_row};
    return it->log_create.failed || it->log_insert.failed || it->log_others.failed ? -1 : 0;
}

/*
 * litellm_sums.c - keys of sums for LiteLLM's tables, and what one event adds.  See litellm.h.
 *
 * A key is its columns with a NUL between them, in the order of the index, so that the sorted sums touch
 * the index in its order, and rows in the order in which LiteLLM's own writers sort them.  What is not in
 * the newest index is the tail, of which the first value stays, as in LiteLLM.  NULL and "" are one.  Keys
 * do not depend on the catalog: an older index with fewer columns is the merging statement's business.
 *
 * What PostgreSQL would refuse is refused here, before it makes a whole transaction fail: NUL, broken
 * UTF-8 (lone surrogates), keys too long for an index row.  PostgreSQL would take some longer keys that
 * compress well; we do not guess which.
 * Pure: dying here loses nothing.
 */
#include "workers/db_flusher/litellm_inside.h"

#include "common/base/utf8.h"

#include <string.h>

#define INDEX_ROW_MOST 2600 /* bytes of key texts: 2704 of an index row, less seven headers and paddings */
#define COUNT_MOST 1000000000000000LL
#define AMOUNT_UNIT ((amount_t)1000000000000LL * 1000000000000LL)
static_assert(INDEX_ROW_MOST + 2 * LITELLM_TEXTS < TALLY_KEY_MAX, "a key fits its buffer");

struct key {
    unsigned char data[2 * TALLY_KEY_MAX];
    size_t used;
};

static void put(struct key *key, struct slice text, bool first)
{
    if (!first)
        key->data[key->used++] = '\0';
    if (text.length)
        memcpy(key->data + key->used, text.data, text.length);
    key->used += text.length;
}

static bool storable(struct slice text)
{
    return text.length == 0 || utf8_clean(text.data, text.length);
}

static bool amount_fits(amount_t amount)
{
    return amount < AMOUNT_MOST * AMOUNT_UNIT && amount > -AMOUNT_MOST * AMOUNT_UNIT;
}

static bool count_fits(amount_t count)
{
    return count <= COUNT_MOST && count >= -COUNT_MOST;
}

/* --- entities ------------------------------------------------------------------------------------- */

static int add_entity(struct tally *tally, struct slice id, struct slice second, amount_t amount)
{
    struct sum worth = {.spend = amount};
    struct key key = {.used = 0};

    put(&key, id, true);
    if (second.length)
        put(&key, second, false);
    return tally_add(tally, key.data, key.used, &worth);
}

enum litellm_added litellm_add_entity(struct sums *sums, enum litellm_entity entity, struct slice id,
                                      struct slice second, amount_t amount, struct err *err)
{
    if (!storable(id) || !storable(second))
        err_set(err, "an id is not text that PostgreSQL takes (NUL, or not UTF-8)");
    else if ((size_t)id.length + second.length > INDEX_ROW_MOST)
        err_set(err, "an id of more than %d bytes", INDEX_ROW_MOST);
    else if (!amount_fits(amount))
        err_set(err, "an amount of 10^9 USD or more");
    else
        return add_entity(&sums->tally[entity], id, second, amount) ? LITELLM_NO_MEMORY : LITELLM_ADDED;
    return LITELLM_REFUSED;
}

void litellm_entity_key(const struct sum *sum, const struct tally *tally, struct slice *id,
                        struct slice *second)
{
    const char *key = (const char *)tally_key(tally, sum);
    const char *stop = memchr(key, '\0', sum->length);
    size_t first = stop ? (size_t)(stop - key) : sum->length;

    *id = (struct slice){key, (uint32_t)first};
    *second = stop ? (struct slice){stop + 1, (uint32_t)(sum->length - first - 1)} : (struct slice){"", 0};
}

/* --- days ----------------------------------------------------------------------------------------- */

static int add_day(struct tally *tally, const struct litellm_day *day)
{
    struct sum worth = {.spend = day->spend};
    struct key key = {.used = 0};
    struct tally_more more = {.extra = day->extras ? day->extra : NULL};
    size_t length;

    memcpy(worth.count, day->count, sizeof worth.count);
    for (unsigned i = 0; i < LITELLM_KEYS; i++)
        put(&key, day->text[i], i == 0);
    length = key.used;
    for (unsigned i = LITELLM_KEYS; i < LITELLM_TEXTS; i++)
        put(&key, day->text[i], i == LITELLM_KEYS);
    more.tail = key.data + length;
    more.tail_bytes = key.used - length;
    return tally_add_more(tally, key.data, length, &worth, &more);
}

static bool day_storable(const struct litellm_day *day, struct err *err)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < LITELLM_TEXTS; i++) {
        bytes += day->text[i].length;
        if (!storable(day->text[i])) {
            err_set(err, "%s is not text that PostgreSQL takes (NUL, or not UTF-8)",
                    litellm_text_columns[i]);
            return false;
        }
    }
    if (bytes > INDEX_ROW_MOST)
        err_set(err, "texts of more than %d bytes: no index row holds them", INDEX_ROW_MOST);
    else if (day->text[LITELLM_DATE].length == 0)
        err_set(err, "no date");
    else
        return true;
    return false;
}

static bool figures_fit(const struct litellm_day *day)
{
    bool fit = amount_fits(day->spend);

    for (unsigned i = 0; i < TALLY_COUNTS; i++)
        fit = fit && count_fits(day->count[i]);
    for (unsigned i = 0; day->extras && i < LITELLM_EXTRAS; i++)
        fit = fit && (litellm_extra_columns[i].count ? count_fits(day->extra[i]) : amount_fits(day->extra[i]));
    return fit;
}

enum litellm_added litellm_add_daily(struct sums *sums, enum litellm_daily daily,
                                     const struct litellm_day *day, struct err *err)
{
    if (!day_storable(day, err))
        return LITELLM_REFUSED;
    if (!figures_fit(day)) {
        err_set(err, "a figure out of all bounds");
        return LITELLM_REFUSED;
    }
    return add_day(&sums->tally[LITELLM_ENTITIES + daily], day) ? LITELLM_NO_MEMORY : LITELLM_ADDED;
}

static void take_apart(const char *at, size_t length, struct slice *text, unsigned count)
{
    const char *end = at + length;

    for (unsigned i = 0; i < count; i++) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));

        stop = stop ? stop : end;
        text[i] = (struct slice){at, (uint32_t)(stop - at)};
        at = stop < end ? stop + 1 : end;
    }
}

void litellm_daily_key(const struct sum *sum, const struct tally *tally,
                       struct slice text[LITELLM_TEXTS])
{
    const char *key = (const char *)tally_key(tally, sum);

    take_apart(key, sum->length, text, LITELLM_KEYS);
    take_apart(key + sum->length, sum->tail, text + LITELLM_KEYS, LITELLM_TEXTS - LITELLM_KEYS);
}

/* --- an event ------------------------------------------------------------------------------------- */

struct target {
    struct tally *const *table;
    const struct event *event;
    struct litellm_day day;
    int failed;
};

static void entity(struct target *to, enum litellm_entity which, struct slice id, struct slice second)
{
    if (to->table[which] && id.length > 0)
        to->failed |= add_entity(to->table[which], id, second, to->day.spend);
}

static void day(struct target *to, enum litellm_daily which, struct slice who)
{
    struct tally *tally = to->table[LITELLM_ENTITIES + which];

    to->day.text[LITELLM_WHO] = who;
    to->day.text[LITELLM_REQUEST_ID] = which == LITELLM_DAILY_tag ? to->event->request_id : (struct slice){"", 0};
    if (tally && (who.length > 0 || which == LITELLM_DAILY_user || which == LITELLM_DAILY_team))
        to->failed |= add_day(tally, &to->day);
}


/* How long it took: of one that succeeded, and says so in time that a request may take. */
static void time_of(struct litellm_day *day, const struct event *event)
{
    const uint64_t both = UINT64_C(1) << EVENT_start_time | UINT64_C(1) << EVENT_end_time;
    int64_t ms = (event->end_time - event->start_time) / 1000;

    day->extras = day->count[TALLY_SUCCESSFUL] && (event->present & both) == both && ms >= 0 && ms <= INT32_MAX;
    day->extra[LITELLM_total_response_time_ms] = day->extras ? ms : 0;
    day->extra[LITELLM_timed_requests] = day->extras;
}

static void day_of(struct litellm_day *day, const struct event *event, char date[16])
{
    bool failed = event->status.length == 7 && memcmp(event->status.data, "failure", 7) == 0;

    *day = (struct litellm_day){.spend = amount_of_pico(event->spend)};
    day_text(event_day(event), date, 16);
    day->text[LITELLM_DATE] = (struct slice){date, (uint32_t)strlen(date)};
    day->text[LITELLM_API_KEY] = event->api_key;
    day->text[LITELLM_MODEL] = event->model;
    day->text[LITELLM_PROVIDER] = event->custom_llm_provider;
    day->text[LITELLM_TOOL] = event->mcp_namespaced_tool_name;
    day->text[LITELLM_ENDPOINT] = event->endpoint;
    day->text[LITELLM_MODEL_GROUP] = event->model_group;
    day->count[TALLY_PROMPT] = event->prompt_tokens;
    day->count[TALLY_COMPLETION] = event->completion_tokens;
    day->count[TALLY_CACHE_READ] = event->cache_read_input_tokens;
    day->count[TALLY_CACHE_CREATION] = event->cache_creation_input_tokens;
    day->count[TALLY_REQUESTS] = 1;
    day->count[TALLY_SUCCESSFUL] = !failed;
    day->count[TALLY_FAILED] = failed;
}

/* Whom LiteLLM's own writer would add it to: entities that are named (and the proxy's budget user), and
 * their days; those of users and teams also where there is none, as "".  Two differences: LiteLLM leaves out
 * days of requests without model or key; we keep their money. */
int litellm_fan_out(const struct layout *layout, struct tally *const table[LAYOUT_TABLES],
                    const struct event *event)
{
    const char *budget = layout->settings->litellm_proxy_budget_user;
    const struct slice none = {"", 0}, proxy = {budget, (uint32_t)strlen(budget)};
    struct target to = {.table = table, .event = event};
    char date[16];

    day_of(&to.day, event, date);
    if (layout->litellm->timed)
        time_of(&to.day, event);
    entity(&to, LITELLM_user, event->user_id, none);
    entity(&to, LITELLM_user, proxy, none);
    entity(&to, LITELLM_end_user, event->end_user, none);
    entity(&to, LITELLM_key, event->api_key, none);
    entity(&to, LITELLM_team, event->team_id, none);
    if (event->user_id.length > 0)
        entity(&to, LITELLM_team_member, event->team_id, event->user_id);
    entity(&to, LITELLM_organization, event->organization_id, none);
    if (layout->litellm->newer && event->user_id.length > 0)
        entity(&to, LITELLM_organization_member, event->organization_id, event->user_id);
    entity(&to, LITELLM_agent, event->agent_id, none);
    day(&to, LITELLM_DAILY_user, event->user_id);
    day(&to, LITELLM_DAILY_team, event->team_id);
    day(&to, LITELLM_DAILY_organization, event->organization_id);
    day(&to, LITELLM_DAILY_end_user, event->end_user);
    day(&to, LITELLM_DAILY_agent, event->agent_id);
    for (uint32_t i = 0; i < event->tags.count; i++) {
        entity(&to, LITELLM_tag, event->tags.tag[i], none);
        day(&to, LITELLM_DAILY_tag, event->tags.tag[i]);
    }
    return to.failed ? -1 : 0;
}

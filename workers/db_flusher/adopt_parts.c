/*
 * adopt_parts.c - see adopt_parts.h.
 *
 * Owns the sums, the dead letters and which entries were refused.  Invariant: every entry of every element
 * that is read is either in the sums or in a dead letter, never in both and never in neither; an element
 * that cannot be read is one dead letter.  If we die on any line: the claims stand in Redis.
 */
#include "workers/db_flusher/adopt_parts.h"

#include "common/litellm/element.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where in LiteLLM's tables an entry belongs. */
static const enum litellm_entity entities[ELEMENT_ENTITIES] = {
    [ELEMENT_user] = LITELLM_user,
    [ELEMENT_end_user] = LITELLM_end_user,
    [ELEMENT_key] = LITELLM_key,
    [ELEMENT_team] = LITELLM_team,
    [ELEMENT_team_member] = LITELLM_team_member,
    [ELEMENT_org] = LITELLM_organization,
    [ELEMENT_tag] = LITELLM_tag,
    [ELEMENT_agent] = LITELLM_agent,
    [ELEMENT_org_member] = LITELLM_organization_member,
    [ELEMENT_project] = LITELLM_project,
    [ELEMENT_model_access_group] = LITELLM_model_access_group,
};

static const enum litellm_daily days[LITELLM_LISTS] = {
    [LITELLM_LIST_daily_user] = LITELLM_DAILY_user,
    [LITELLM_LIST_daily_team] = LITELLM_DAILY_team,
    [LITELLM_LIST_daily_org] = LITELLM_DAILY_organization,
    [LITELLM_LIST_daily_tag] = LITELLM_DAILY_tag,
    [LITELLM_LIST_daily_end_user] = LITELLM_DAILY_end_user,
    [LITELLM_LIST_daily_agent] = LITELLM_DAILY_agent,
};

static const enum tally_count counts[] = {
    [ELEMENT_prompt_tokens] = TALLY_PROMPT,
    [ELEMENT_completion_tokens] = TALLY_COMPLETION,
    [ELEMENT_cache_read_input_tokens] = TALLY_CACHE_READ,
    [ELEMENT_cache_creation_input_tokens] = TALLY_CACHE_CREATION,
    [ELEMENT_api_requests] = TALLY_REQUESTS,
    [ELEMENT_successful_requests] = TALLY_SUCCESSFUL,
    [ELEMENT_failed_requests] = TALLY_FAILED,
};

static const struct {
    enum element_text from;
    enum litellm_text to;
} texts[] = {{ELEMENT_date, LITELLM_DATE},
             {ELEMENT_api_key, LITELLM_API_KEY},
             {ELEMENT_model, LITELLM_MODEL},
             {ELEMENT_custom_llm_provider, LITELLM_PROVIDER},
             {ELEMENT_mcp_namespaced_tool_name, LITELLM_TOOL},
             {ELEMENT_endpoint, LITELLM_ENDPOINT},
             {ELEMENT_model_group, LITELLM_MODEL_GROUP},
             {ELEMENT_request_id, LITELLM_REQUEST_ID}};

static const struct {
    enum element_money from;
    enum litellm_extra to;
} extras[] = {
    {ELEMENT_compression_savings_spend, LITELLM_compression_savings_spend},
    {ELEMENT_prompt_caching_savings_spend, LITELLM_prompt_caching_savings_spend},
    {ELEMENT_gateway_injected_caching_savings_spend, LITELLM_gateway_injected_caching_savings_spend},
    {ELEMENT_autorouter_savings_spend, LITELLM_autorouter_savings_spend},
};

static const struct {
    enum element_count from;
    enum litellm_extra to;
} extra_counts[] = {
    {ELEMENT_compression_saved_tokens, LITELLM_compression_saved_tokens},
    {ELEMENT_total_response_time_ms, LITELLM_total_response_time_ms},
    {ELEMENT_timed_requests, LITELLM_timed_requests},
};

/* One pass over all claims. */
struct pass {
    struct adopt_parts *parts;
    const struct poison *poison;
    const struct claim *claim;
    bool settled;   /* the claim: its entries are only numbered */
    size_t element; /* of this claim */
    size_t entries; /* of this element: counted or dead */
    size_t dead;    /* of them */
    int failed;
};

/* --- dead letters ----------------------------------------------------------------------------------- */

/* `n` within the element; 0: all of it.  The key says where the record comes from, and keeps two that are
 * alike apart. */
static struct load_dead *letter(struct pass *pass, const char *class, const char *why, size_t n)
{
    struct load_dead *dead = load_add_dead(&pass->parts->load, class, why);

    if (dead == NULL)
        pass->failed = -1;
    else
        snprintf(dead->key, sizeof dead->key, "claim %s %s %zu %zu", pass->claim->flush.id,
                 litellm_list_name(pass->claim->list), pass->element + 1, n);
    return dead;
}

static void bury_part(struct pass *pass, const struct element_part *part, const char *class, const char *why)
{
    struct text *records = &pass->parts->records;
    struct load_dead *dead = letter(pass, class, why, pass->entries);
    size_t at = records->used, length = element_record(part, NULL, 0);
    char *to = text_room(records, length);

    pass->dead++;
    pass->parts->dead_entries++;
    if (dead == NULL || to == NULL) {
        pass->failed = -1;
        return;
    }
    (void)element_record(part, to, length);
    dead->at = at;
    dead->bytes = length;
}

static void bury_element(struct pass *pass, const char *bytes, size_t length, const char *why)
{
    struct load_dead *dead = letter(pass, "corrupt", why, 0);

    pass->parts->dead_elements++;
    if (dead != NULL) {
        dead->at = pass->parts->records.used;
        dead->bytes = length;
        text_add(&pass->parts->records, bytes, length);
    }
}

/* The records lie still now. */
static void point(struct adopt_parts *parts)
{
    for (size_t i = 0; i < parts->load.deads; i++)
        parts->load.dead[i].record = (const unsigned char *)parts->records.data + parts->load.dead[i].at;
}

/* --- sums ------------------------------------------------------------------------------------------- */

static enum litellm_added add_entity(struct adopt_parts *parts, const struct element_part *part, struct err *err)
{
    const struct slice *spend = &part->money[ELEMENT_spend];
    amount_t amount;

    if (amount_parse(spend->data, spend->length, &amount) != 0) {
        err_set(err, "an amount is out of bounds");
        return LITELLM_REFUSED;
    }
    return litellm_add_entity(&parts->sums, entities[part->entity], part->id, part->second, amount, err);
}

static enum litellm_added add_day(struct adopt_parts *parts, const struct element_part *part, struct err *err)
{
    struct litellm_day day = {.text[LITELLM_WHO] = part->id};
    const struct slice *spend = &part->money[ELEMENT_spend];
    int failed = amount_parse(spend->data, spend->length, &day.spend);

    for (size_t i = 0; i < COUNT_OF(texts); i++)
        day.text[texts[i].to] = part->text[texts[i].from];
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        day.count[counts[i]] = part->count[i];
    for (size_t i = 0; i < COUNT_OF(extras); i++) {
        const struct slice *money = &part->money[extras[i].from];

        failed |= amount_parse(money->data, money->length, &day.extra[extras[i].to]);
        day.extras |= day.extra[extras[i].to] != 0;
    }
    for (size_t i = 0; i < COUNT_OF(extra_counts); i++) {
        day.extra[extra_counts[i].to] = part->count[extra_counts[i].from];
        day.extras |= part->count[extra_counts[i].from] != 0;
    }
    if (failed) {
        err_set(err, "an amount is out of bounds");
        return LITELLM_REFUSED;
    }
    return litellm_add_daily(&parts->sums, days[part->list], &day, err);
}

static bool is_refused(const struct adopt_parts *parts, size_t item)
{
    return item < parts->refused_room && parts->refused[item];
}

/* As it came: what PostgreSQL reads of it are the members that were looked at here. */
static void add_window(struct pass *pass, const struct element_part *part)
{
    struct flush_windows *windows = &pass->parts->windows;

    if (windows->missing) {
        bury_part(pass, part, "invalid", "LiteLLM_BudgetWindowSpend is not there");
        return;
    }
    if (windows->count++ > 0)
        text_put(&windows->json, ",");
    text_add(&windows->json, part->value.at, part->value.length);
}

/* A good one, by its number.  What LiteLLM's tables cannot hold whatever PostgreSQL says is said here too. */
static void take_item(struct pass *pass, const struct element_part *part, size_t item)
{
    struct adopt_parts *parts = pass->parts;
    enum litellm_added added;
    struct err err;

    if (is_refused(parts, item)) {
        bury_part(pass, part, "poison", "refused by PostgreSQL for its data");
        return;
    }
    if (pass->poison != NULL && !poison_included(pass->poison, item))
        return;
    if (part->list == LITELLM_LIST_window) {
        add_window(pass, part);
        return;
    }
    added = part->list == LITELLM_LIST_spend ? add_entity(parts, part, &err) : add_day(parts, part, &err);
    if (added == LITELLM_REFUSED)
        bury_part(pass, part, "invalid", err.text);
    else if (added == LITELLM_NO_MEMORY)
        pass->failed = -1;
}

static bool take_part(void *arg, const struct element_part *part)
{
    struct pass *pass = arg;
    bool good = part->bad == NULL;
    size_t item = pass->parts->items;

    pass->entries++;
    pass->parts->items += good;
    if (pass->settled)
        return true;
    if (good)
        take_item(pass, part, item);
    else
        bury_part(pass, part, "invalid", part->bad);
    return pass->failed == 0;
}

static void take_element(struct pass *pass)
{
    const struct claim_element *element = &pass->claim->element[pass->element];
    const char *bytes = pass->claim->bytes + element->at;
    struct err err;

    pass->entries = pass->dead = 0;
    if (element_read(pass->claim->list, bytes, element->length, take_part, pass, &err) != 0 && !pass->settled)
        bury_element(pass, bytes, element->length, err.text);
    else if (pass->entries > pass->dead && !pass->settled)
        pass->parts->elements++;
}

int adopt_parts_make(struct adopt_parts *parts, const struct poison *poison)
{
    struct pass pass = {.parts = parts, .poison = poison};

    sums_clear(&parts->sums);
    load_clear(&parts->load);
    text_clear(&parts->records);
    text_clear(&parts->windows.json);
    parts->windows.count = 0;
    parts->items = 0;
    parts->elements = parts->dead_elements = parts->dead_entries = 0;
    if (load_add_nameless(&parts->load) != 0)
        return -1;
    for (size_t i = 0; i < parts->claims && pass.failed == 0; i++) {
        pass.claim = &parts->claim[i];
        pass.settled = pass.claim->flush.known != CLAIM_NEW;
        for (pass.element = 0; pass.element < pass.claim->elements && pass.failed == 0; pass.element++)
            take_element(&pass);
    }
    point(parts);
    return pass.failed != 0 || parts->records.failed || parts->windows.json.failed ? -1 : 0;
}

int adopt_parts_refuse(struct adopt_parts *parts, size_t item)
{
    if (item >= parts->refused_room) {
        uint8_t *grown = item <= parts->items ? realloc(parts->refused, parts->items + 1) : NULL;

        if (grown == NULL)
            return -1;
        memset(grown + parts->refused_room, 0, parts->items + 1 - parts->refused_room);
        parts->refused = grown;
        parts->refused_room = parts->items + 1;
    }
    parts->refused[item] = 1;
    return 0;
}

void adopt_parts_begin(struct adopt_parts *parts, struct claim *claim, size_t claims)
{
    parts->claim = claim;
    parts->claims = claims;
    parts->windows.missing = false;
    free(parts->refused);
    parts->refused = NULL;
    parts->refused_room = 0;
}

void adopt_parts_init(struct adopt_parts *parts, const struct layout *layout)
{
    *parts = (struct adopt_parts){.claims = 0};
    sums_init(&parts->sums, layout);
}

void adopt_parts_free(struct adopt_parts *parts)
{
    sums_free(&parts->sums);
    load_free(&parts->load);
    text_free(&parts->records);
    text_free(&parts->windows.json);
    free(parts->refused);
}

static bool note_part(void *arg, const struct element_part *part)
{
    (void)part;
    *(bool *)arg = true;
    return false;
}

bool adopt_element_empty(enum litellm_list list, const char *bytes, size_t length)
{
    bool something = false;
    struct err err;

    return element_read(list, bytes, length, note_part, &something, &err) == 0 && !something;
}

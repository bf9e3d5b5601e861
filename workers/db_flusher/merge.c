/*
 * merge.c - what one event adds, and to whom.  See merge.h.
 *
 * The common case must cost PostgreSQL nothing but the COPY and the merge, so the sums are made here,
 * exactly.  An event counts once for each entity that it names; each of its tags has the full spend.
 * Pure: dying here loses nothing.
 */
#include "workers/db_flusher/merge.h"

#include <stdio.h>
#include <string.h>

#define DAY_BIAS 0x80000000u
#define MEMBER_MAX (2 * 6 * (EVENT_LABEL_MAX + 1) + 8)

static const char *const entity_names[ENTITY_TYPES] = {
    [ENTITY_agent] = "agent",   [ENTITY_end_user] = "end_user",
    [ENTITY_key] = "key",       [ENTITY_organization] = "organization",
    [ENTITY_tag] = "tag",       [ENTITY_team] = "team",
    [ENTITY_user] = "user",     [ENTITY_team_member] = "team_member",
};

const char *entity_name(unsigned type)
{
    return type < ENTITY_TYPES ? entity_names[type] : "";
}

size_t merge_json_text(struct slice text, char *to)
{
    static const char short_form[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                      ['\r'] = 'r'};
    char *at = to;

    *at++ = '"';
    for (uint32_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else if (c < sizeof short_form && short_form[c]) {
            *at++ = '\\';
            *at++ = short_form[c];
        } else if (c < 0x20) {
            at += sprintf(at, "\\u%04x", c);
        } else {
            *at++ = (char)c;
        }
    }
    *at++ = '"';
    return (size_t)(at - to);
}

size_t merge_team_member(struct slice team, struct slice user, char *to, size_t size)
{
    size_t used = 0;

    if (6 * ((size_t)team.length + user.length) + 8 > size)
        return 0;
    to[used++] = '[';
    used += merge_json_text(team, to + used);
    to[used++] = ',';
    used += merge_json_text(user, to + used);
    to[used++] = ']';
    return used;
}

struct target {
    struct tally *entities, *days;
    const struct event *event;
    unsigned types;
    struct sum worth;
    unsigned char tail[TALLY_KEY_MAX]; /* NUL api_key NUL model ... endpoint: the same for all */
    size_t tail_bytes;
};

static unsigned char *put(unsigned char *to, struct slice slice)
{
    if (slice.length)
        memcpy(to, slice.data, slice.length);
    return to + slice.length;
}

static int add(struct target *target, enum entity_type type, struct slice id)
{
    unsigned char key[TALLY_KEY_MAX + 8], *at = key;
    uint32_t day = (uint32_t)event_day(target->event) ^ DAY_BIAS;

    if (id.length == 0 || !(target->types >> type & 1))
        return 0;
    if (5 + (size_t)id.length + target->tail_bytes > sizeof key)
        return -1;
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (unsigned char)(day >> shift);
    *at++ = (unsigned char)type;
    at = put(at, id);
    if (target->entities && tally_add(target->entities, key + 4, (size_t)(at - key) - 4, &target->worth))
        return -1;
    if (!target->days)
        return 0;
    memcpy(at, target->tail, target->tail_bytes);
    at += target->tail_bytes;
    return tally_add(target->days, key, (size_t)(at - key), &target->worth);
}

static void worth_of(struct sum *worth, const struct event *event)
{
    bool failed = event->status.length == 7 && memcmp(event->status.data, "failure", 7) == 0;

    *worth = (struct sum){.spend = event->spend};
    worth->count[TALLY_PROMPT] = event->prompt_tokens;
    worth->count[TALLY_COMPLETION] = event->completion_tokens;
    worth->count[TALLY_CACHE_READ] = event->cache_read_input_tokens;
    worth->count[TALLY_CACHE_CREATION] = event->cache_creation_input_tokens;
    worth->count[TALLY_REQUESTS] = 1;
    worth->count[TALLY_SUCCESSFUL] = !failed;
    worth->count[TALLY_FAILED] = failed;
}

static int make_tail(struct target *target)
{
    const struct event *event = target->event;
    const struct slice columns[] = {
        event->api_key,  event->model, event->model_group, event->custom_llm_provider,
        event->mcp_namespaced_tool_name, event->endpoint,
    };
    unsigned char *at = target->tail;

    for (size_t i = 0; i < COUNT_OF(columns); i++) {
        if ((size_t)(at - target->tail) + columns[i].length + 1 > sizeof target->tail)
            return -1;
        *at++ = '\0';
        at = put(at, columns[i]);
    }
    target->tail_bytes = (size_t)(at - target->tail);
    return 0;
}

int merge_event(struct tally *entities, struct tally *days, const struct event *event, unsigned types)
{
    struct target target;
    char member[MEMBER_MAX];
    struct slice pair = {member, 0};

    /* Field by field: an initializer would wipe the tail, some kilobytes for each event. */
    target.entities = entities;
    target.days = days;
    target.event = event;
    target.types = types;
    worth_of(&target.worth, event);
    if (make_tail(&target))
        return -1;
    if (event->team_id.length && event->user_id.length)
        pair.length = (uint32_t)merge_team_member(event->team_id, event->user_id, member,
                                                  sizeof member);
    if (add(&target, ENTITY_key, event->api_key) || add(&target, ENTITY_user, event->user_id) ||
        add(&target, ENTITY_end_user, event->end_user) ||
        add(&target, ENTITY_team, event->team_id) || add(&target, ENTITY_team_member, pair) ||
        add(&target, ENTITY_organization, event->organization_id) ||
        add(&target, ENTITY_agent, event->agent_id))
        return -1;
    for (uint32_t i = 0; i < event->tags.count; i++)
        if (add(&target, ENTITY_tag, event->tags.tag[i]))
            return -1;
    return 0;
}

unsigned merge_entity(const unsigned char *key, size_t length, struct slice *id)
{
    *id = (struct slice){(const char *)key + 1, (uint32_t)length - 1};
    return key[0];
}

unsigned merge_day(const unsigned char *key, size_t length, day_t *day,
                   struct slice column[DAILY_KEY_COLUMNS])
{
    const char *at = (const char *)key + 5, *end = (const char *)key + length;
    uint32_t biased = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];

    *day = (day_t)(biased ^ DAY_BIAS);
    for (int i = 0; i < DAILY_KEY_COLUMNS; i++) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));

        stop = stop ? stop : end;
        column[i] = (struct slice){at, (uint32_t)(stop - at)};
        at = stop < end ? stop + 1 : end;
    }
    return key[4];
}

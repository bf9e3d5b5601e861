/*
 * element.c - see element.h.
 *
 * Job: what LiteLLM's pods push, taken apart.  Owns nothing but a scratch on the stack.  Invariants: either
 * no part is given, or every byte of the element that means money lies in exactly one part, counted or bad;
 * nothing that PostgreSQL would refuse for what it is (NUL, half a surrogate, an amount that is not finite,
 * a key too long for an index) comes as a good part.
 *
 * The composite key of a daily element is never looked into: its parts may hold its own separator, and all
 * of them stand in the transaction again.  If we die on any line nothing outside has changed.
 */
#include "common/litellm/element.h"

#include "common/base/utf8.h"
#include "common/money/money.h"

#include <string.h>

#define NAME_MAX_BYTES 64 /* of a field whose name we look at */

struct reader {
    struct element_part part;
    element_part_fn *give;
    void *arg;
    bool ended;
    size_t used;
    char scratch[ELEMENT_SCRATCH];
};

static void begin(struct reader *reader, const struct json_span *key, const struct json_span *value)
{
    enum litellm_list list = reader->part.list;
    enum element_entity entity = reader->part.entity;
    struct json_span field = reader->part.field;

    reader->part = (struct element_part){.list = list, .entity = entity, .field = field, .key = *key, .value = *value};
    for (int i = 0; i < ELEMENT_MONIES; i++)
        reader->part.money[i] = (struct slice){"0", 1};
    reader->used = 0;
}

static void give(struct reader *reader)
{
    if (!reader->give(reader->arg, &reader->part))
        reader->ended = true;
}

static void bad(struct reader *reader, const char *why)
{
    if (reader->part.bad == NULL)
        reader->part.bad = why;
}

/* --- values ---------------------------------------------------------------------------------------- */

static struct slice text(struct reader *reader, const struct json_span *string)
{
    struct slice slice = {reader->scratch + reader->used, 0};
    size_t length;

    if (string->length > sizeof reader->scratch - reader->used) {
        bad(reader, "a text is too long");
    } else if (json_span_text(string, reader->scratch + reader->used, &length) != 0) {
        bad(reader, "a text holds NUL, half of a surrogate pair or bytes that are not UTF-8");
    } else {
        slice.length = (uint32_t)length;
        reader->used += length;
    }
    return slice;
}

static void take_text(struct reader *reader, const struct json_span *value, struct slice *to)
{
    if (value->kind == JSON_SCAN_STRING)
        *to = text(reader, value);
    else if (value->kind != JSON_SCAN_NULL)
        bad(reader, "a text is something else");
}

/* null is nothing: LiteLLM itself adds only what is there. */
static void take_money(struct reader *reader, const struct json_span *value, struct slice *to)
{
    int64_t units;

    if (value->kind == JSON_SCAN_NULL)
        return;
    if (value->kind == JSON_SCAN_NOT_FINITE)
        bad(reader, "an amount is not finite");
    else if (value->kind != JSON_SCAN_NUMBER)
        bad(reader, "an amount is no number");
    else if (decimal_parse(value->at, value->length, ELEMENT_MONEY_SCALE, &units) != 0)
        bad(reader, "an amount is out of bounds");
    *to = (struct slice){value->at, (uint32_t)value->length};
}

static void take_count(struct reader *reader, const struct json_span *value, int64_t *to)
{
    if (value->kind == JSON_SCAN_NULL)
        return;
    if (value->kind == JSON_SCAN_NOT_FINITE)
        bad(reader, "a count is not finite");
    else if (value->kind != JSON_SCAN_NUMBER)
        bad(reader, "a count is no number");
    else if (decimal_parse(value->at, value->length, 0, to) != 0)
        bad(reader, "a count is out of bounds");
}

static bool named(const struct json_span *key, char name[NAME_MAX_BYTES])
{
    size_t length;

    if (key->length > NAME_MAX_BYTES || json_span_text(key, name, &length) != 0)
        return false;
    name[length] = '\0';
    return true;
}

/* --- entity totals ---------------------------------------------------------------------------------- */

static const char *const entity_fields[ELEMENT_ENTITIES] = {
#define ENTITY(name, field) [ELEMENT_##name] = field,
#include "common/litellm/fields.def"
#undef ENTITY
};

static const char *find(const char *from, const char *end, const char *word)
{
    return memmem(from, (size_t)(end - from), word, strlen(word));
}

/* "<first><team or organization>::user_id::<user>".  LiteLLM splits at each "::" and takes the second and the
 * fourth; an id that holds the middle part itself can be cut in two ways, and nobody knows which was meant. */
static void split_member(struct reader *reader, const char *first)
{
    static const char middle[] = "::user_id::";
    const char *at = reader->part.id.data, *end = at + reader->part.id.length, *cut;

    if (reader->part.bad != NULL)
        return;
    if (reader->part.id.length < strlen(first) || memcmp(at, first, strlen(first)) != 0) {
        bad(reader, "the key of a member does not begin with team_id:: or organization_id::");
        return;
    }
    at += strlen(first);
    cut = find(at, end, middle);
    if (cut == NULL) {
        bad(reader, "the key of a member names no user");
        return;
    }
    if (find(cut + 1, end, middle) != NULL)
        bad(reader, "the key of a member can be read in more than one way");
    reader->part.id = (struct slice){at, (uint32_t)(cut - at)};
    cut += sizeof middle - 1;
    reader->part.second = (struct slice){cut, (uint32_t)(end - cut)};
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* Percent-encoding undone, as urllib's unquote does it: what is no %XX stays.  It lies in our scratch. */
static void unquote(struct reader *reader, struct slice *text)
{
    char *to = reader->scratch + (text->data - reader->scratch), *first = to;
    const char *at = text->data, *end = at + text->length;

    while (at < end) {
        bool quoted = end - at > 2 && *at == '%' && hex(at[1]) >= 0 && hex(at[2]) >= 0;

        *to++ = (char)(quoted ? hex(at[1]) << 4 | hex(at[2]) : *at);
        at += quoted ? 3 : 1;
    }
    text->length = (uint32_t)(to - first);
    if (!utf8_clean(text->data, text->length))
        bad(reader, "a text holds NUL, half of a surrogate pair or bytes that are not UTF-8");
}

static void take_member_key(struct reader *reader)
{
    if (reader->part.entity == ELEMENT_team_member)
        split_member(reader, "team_id::");
    if (reader->part.entity != ELEMENT_org_member)
        return;
    split_member(reader, "organization_id::");
    if (reader->part.bad != NULL)
        return;
    unquote(reader, &reader->part.id);
    unquote(reader, &reader->part.second);
}

static void read_map(struct reader *reader, const struct json_span *map)
{
    struct json_walk walk;
    struct json_span key, value;

    json_walk_begin(&walk, map);
    while (!reader->ended && json_walk_member(&walk, &key, &value)) {
        begin(reader, &key, &value);
        if (reader->part.entity == ELEMENT_ENTITIES)
            bad(reader, "a field that this build does not know");
        take_text(reader, &key, &reader->part.id);
        take_member_key(reader);
        take_money(reader, &value, &reader->part.money[ELEMENT_spend]);
        if (reader->part.id.length + reader->part.second.length > ELEMENT_KEY_MAX)
            bad(reader, "an id is too long for an index");
        give(reader);
    }
}

static enum element_entity entity_of(const struct json_span *field)
{
    char name[NAME_MAX_BYTES];
    int entity = ELEMENT_ENTITIES;

    if (named(field, name))
        for (entity = 0; entity < ELEMENT_ENTITIES && strcmp(entity_fields[entity], name) != 0;)
            entity++;
    return (enum element_entity)entity;
}

static void read_totals(struct reader *reader, const struct json_span *element)
{
    struct json_walk walk;
    struct json_span field, map;

    json_walk_begin(&walk, element);
    while (!reader->ended && json_walk_member(&walk, &field, &map)) {
        reader->part.field = field;
        reader->part.entity = entity_of(&field);
        if (map.kind == JSON_SCAN_OBJECT) {
            read_map(reader, &map);
        } else if (map.kind != JSON_SCAN_NULL) {
            reader->part.field = (struct json_span){.kind = JSON_SCAN_NONE};
            begin(reader, &field, &map);
            bad(reader, "a field is no map");
            give(reader);
        }
    }
}

/* --- daily transactions ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum { IS_COUNT, IS_MONEY, IS_TEXT } is;
    int index;
} members[] = {
#define COUNT(name) {#name, IS_COUNT, ELEMENT_##name},
#define MONEY(name) {#name, IS_MONEY, ELEMENT_##name},
#define TEXT(name) {#name, IS_TEXT, ELEMENT_##name},
#include "common/litellm/fields.def"
#undef COUNT
#undef MONEY
#undef TEXT
};

static void take_member(struct reader *reader, const struct json_span *key, const struct json_span *value)
{
    struct element_part *part = &reader->part;
    char name[NAME_MAX_BYTES];

    if (!named(key, name))
        return;
    if (strcmp(name, litellm_list_field(part->list)) == 0)
        take_text(reader, value, &part->id);
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        if (strcmp(members[i].name, name) != 0)
            continue;
        if (members[i].is == IS_COUNT)
            take_count(reader, value, &part->count[members[i].index]);
        else if (members[i].is == IS_MONEY)
            take_money(reader, value, &part->money[members[i].index]);
        else
            take_text(reader, value, &part->text[members[i].index]);
    }
}

#define DATE_LENGTH 10

/* Begins with a day, as far as its looks go. */
static bool is_dated(const struct slice *text)
{
    static const char pattern[DATE_LENGTH + 1] = "dddd-dd-dd";
    bool fits = text->length >= DATE_LENGTH;

    for (size_t i = 0; fits && i < DATE_LENGTH; i++)
        fits = pattern[i] == '-' ? text->data[i] == '-' : text->data[i] >= '0' && text->data[i] <= '9';
    return fits;
}

static void check_date(struct reader *reader)
{
    const struct slice *date = &reader->part.text[ELEMENT_date];

    if (date->length != DATE_LENGTH || !is_dated(date))
        bad(reader, "the date is no date");
}

static void check_lengths(struct reader *reader)
{
    const struct element_part *part = &reader->part;
    size_t key = part->id.length + part->second.length;

    for (int i = 0; i < ELEMENT_TEXTS; i++) {
        if (i != ELEMENT_model_group && i != ELEMENT_request_id)
            key += part->text[i].length;
        else if (part->text[i].length > ELEMENT_TEXT_MAX)
            bad(reader, "a text is too long");
    }
    if (key > ELEMENT_KEY_MAX)
        bad(reader, "the key of a day is too long for an index");
}

static void read_days(struct reader *reader, const struct json_span *element)
{
    struct json_walk walk, inner;
    struct json_span key, transaction, name, value;

    json_walk_begin(&walk, element);
    while (!reader->ended && json_walk_member(&walk, &key, &transaction)) {
        begin(reader, &key, &transaction);
        if (transaction.kind != JSON_SCAN_OBJECT)
            bad(reader, "a transaction is no object");
        json_walk_begin(&inner, &transaction);
        while (reader->part.bad == NULL && json_walk_member(&inner, &name, &value))
            take_member(reader, &name, &value);
        check_date(reader);
        check_lengths(reader);
        give(reader);
    }
}

/* --- budget windows --------------------------------------------------------------------------------- */

static void take_window(struct reader *reader, const struct json_span *key, const struct json_span *value)
{
    struct element_part *part = &reader->part;
    struct {
        const char *name;
        struct slice *to;
    } texts[] = {{"entity_type", &part->second},
                 {"entity_id", &part->id},
                 {"window_duration", &part->text[ELEMENT_model]},
                 {"window_start", &part->text[ELEMENT_date]}};

    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (json_span_is(key, texts[i].name))
            take_text(reader, value, texts[i].to);
    if (json_span_is(key, "spend"))
        take_money(reader, value, &part->money[ELEMENT_spend]);
}

/* Naive UTC, "2026-08-01T00:00:00.123456"; a newer build may say the zone. */
static void check_window(struct reader *reader)
{
    const struct element_part *part = &reader->part;
    const struct slice *start = &part->text[ELEMENT_date];

    if (part->second.length == 0 || part->text[ELEMENT_model].length == 0)
        bad(reader, "a window names no entity or no duration");
    if (start->length < 19 || start->length > 32 || !is_dated(start) ||
        (start->data[DATE_LENGTH] != 'T' && start->data[DATE_LENGTH] != ' '))
        bad(reader, "the start of a window is no time");
}

static void read_windows(struct reader *reader, const struct json_span *element)
{
    static const struct json_span none = {.kind = JSON_SCAN_NONE};
    struct json_walk walk, inner;
    struct json_span window, name, value;

    json_walk_begin(&walk, element);
    while (!reader->ended && json_walk_item(&walk, &window)) {
        begin(reader, &none, &window);
        if (window.kind != JSON_SCAN_OBJECT)
            bad(reader, "a window is no object");
        json_walk_begin(&inner, &window);
        while (reader->part.bad == NULL && json_walk_member(&inner, &name, &value))
            take_window(reader, &name, &value);
        check_window(reader);
        check_lengths(reader);
        give(reader);
    }
}

/* --- the element ------------------------------------------------------------------------------------- */

int element_read(enum litellm_list list, const char *bytes, size_t length, element_part_fn *part, void *arg,
                 struct err *err)
{
    bool windows = list == LITELLM_LIST_window;
    struct json_span element;
    struct reader reader;
    size_t offset;

    if (json_scan_whole(bytes, length, &element, &offset) != 0)
        return err_set(err, "no JSON from byte %zu on", offset);
    if (element.kind != (windows ? JSON_SCAN_ARRAY : JSON_SCAN_OBJECT))
        return err_set(err, "no JSON %s", windows ? "array" : "object");
    reader.part = (struct element_part){.list = list};
    reader.give = part;
    reader.arg = arg;
    reader.ended = false;
    reader.used = 0;
    if (windows)
        read_windows(&reader, &element);
    else if (list == LITELLM_LIST_spend)
        read_totals(&reader, &element);
    else
        read_days(&reader, &element);
    return 0;
}

struct record {
    char *to;
    size_t room, used;
};

static void put(struct record *record, const char *text, size_t length)
{
    if (record->used + length <= record->room)
        memcpy(record->to + record->used, text, length);
    record->used += length;
}

size_t element_record(const struct element_part *part, char *to, size_t room)
{
    bool field = part->field.kind == JSON_SCAN_STRING, window = part->list == LITELLM_LIST_window;
    struct record record = {.to = to, .room = room};

    put(&record, window ? "[" : "{", 1);
    if (field) {
        put(&record, part->field.at, part->field.length);
        put(&record, ": {", 3);
    }
    if (part->key.kind == JSON_SCAN_STRING) {
        put(&record, part->key.at, part->key.length);
        put(&record, ": ", 2);
    }
    put(&record, part->value.at, part->value.length);
    if (field)
        put(&record, "}", 1);
    put(&record, window ? "]" : "}", 1);
    return record.used;
}

/*
 * test_event_codec.c - an event as bytes and back: every field, every truncation, every range.
 *
 * links: common/event/event.c common/event/codec.c common/base/utf8.c common/base/clock.c common/base/err.c
 * libs:
 */
#include "common/event/event.h"
#include "common/event/fields.h"
#include "common/money/money.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct slice text(const char *s)
{
    return (struct slice){s, (uint32_t)strlen(s)};
}

/* Every field filled with something of its own. */
static void fill(struct event *event)
{
    memset(event, 0, sizeof *event);
    for (unsigned i = 0; i < EVENT_FIELDS; i++) {
        const struct field *field = &event_fields[i];
        void *value = (char *)event + field->offset;

        event->present |= UINT64_C(1) << i;
        if (field->kind == FIELD_TEXT)
            *(struct slice *)value = text(field->name);
        else if (field->kind == FIELD_JSON)
            *(struct slice *)value = text("{\"a\":1}");
        else if (field->kind != FIELD_TAGS)
            *(int64_t *)value = 1000 + i;
    }
    event->tags.count = 3;
    event->tags.tag[0] = text("a");
    event->tags.tag[1] = text("ab");
    event->tags.tag[2] = text("b\xc3\xa4");
    event->status = text("failure");
}

static bool same_slice(struct slice a, struct slice b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static void round_trip(void **state)
{
    struct event event, back;
    unsigned char bytes[4096];
    struct err err;
    size_t length;

    (void)state;
    fill(&event);
    length = event_encoded_bytes(&event);
    assert_int_equal(event_encode(&event, bytes), length);
    assert_int_equal(event_decode(&back, bytes, length, &err), 0);
    assert_int_equal(back.present, event.present);
    for (unsigned i = 0; i < EVENT_FIELDS; i++) {
        const struct field *field = &event_fields[i];
        const void *a = (char *)&event + field->offset, *b = (char *)&back + field->offset;

        if (field->kind == FIELD_TEXT || field->kind == FIELD_JSON)
            assert_true(same_slice(*(const struct slice *)a, *(const struct slice *)b));
        else if (field->kind != FIELD_TAGS)
            assert_memory_equal(a, b, 8);
    }
    assert_int_equal(back.tags.count, 3);
    assert_true(same_slice(back.tags.tag[2], event.tags.tag[2]));
    assert_true(same_slice(event_key(&back), text("event_id")));
}

static void truncated_or_longer(void **state)
{
    struct event event, back;
    unsigned char bytes[4096];
    struct err err;
    size_t length;

    (void)state;
    fill(&event);
    length = event_encode(&event, bytes);
    for (size_t cut = 0; cut < length; cut++) {
        unsigned char *copy = malloc(cut + 1); /* the exact size, for the address sanitizer */

        memcpy(copy, bytes, cut);
        assert_int_equal(event_decode(&back, copy, cut, &err), -1);
        free(copy);
    }
    assert_int_equal(event_decode(&back, bytes, length + 1, &err), -1);
    bytes[7] |= 0x80; /* a field that this build does not know */
    assert_int_equal(event_decode(&back, bytes, length, &err), -1);
}

static int spoilt(void (*spoil)(struct event *))
{
    struct event event, back;
    unsigned char bytes[8192];
    struct err err;

    fill(&event);
    spoil(&event);
    return event_decode(&back, bytes, event_encode(&event, bytes), &err);
}

#define SPOILS(X)                                                                                  \
    X(no_id, event->present &= ~EVENT_BIT(request_id))                                             \
    X(no_spend, event->present &= ~EVENT_BIT(spend))                                               \
    X(no_arrival, event->present &= ~EVENT_BIT(received))                                          \
    X(spend_large, event->spend = MONEY_MAX)                                                       \
    X(spend_small, event->spend = -MONEY_MAX)                                                      \
    X(count_negative, event->prompt_tokens = -1)                                                   \
    X(count_large, event->completion_tokens = EVENT_COUNT_MAX + 1)                                 \
    X(late, event->start_time = EVENT_TIME_MOST + 1)                                               \
    X(empty, event->model.length = 0)                                                              \
    X(not_utf8, event->model = text("\xff"))                                                       \
    X(surrogate, event->model = text("\xed\xa0\x80"))                                              \
    X(overlong, event->model = text("\xc0\xaf"))                                                   \
    X(nul, event->model = ((struct slice){"a\0b", 3}))                                             \
    X(status_word, event->status = text("success"))                                                \
    X(metadata_array, event->metadata = text("[]"))                                                \
    X(no_tags, event->tags.count = 0)                                                              \
    X(equal_tags, event->tags.tag[1] = event->tags.tag[0])                                         \
    X(unsorted_tags, event->tags.tag[2] = text("aa"))

#define DEFINE_SPOIL(name, line)                                                                   \
    static void name(struct event *event)                                                          \
    {                                                                                              \
        line;                                                                                      \
    }
SPOILS(DEFINE_SPOIL)
#undef DEFINE_SPOIL

static void ranges(void **state)
{
    static const struct {
        const char *name;
        void (*spoil)(struct event *);
    } rows[] = {
#define ROW(name, line) {#name, name},
        SPOILS(ROW)
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (spoilt(rows[i].spoil) == 0)
            fail_msg("%s was accepted", rows[i].name);
}

static void key_and_day(void **state)
{
    struct event event;

    (void)state;
    fill(&event);
    event.start_time = -1; /* the last microsecond of 1969 */
    assert_int_equal(event_day(&event), -1);
    event.present &= ~EVENT_BIT(start_time);
    event.received = 86400LL * 1000000 * 5;
    assert_int_equal(event_day(&event), 5);
    event.present &= ~EVENT_BIT(event_id);
    assert_true(same_slice(event_key(&event), text("request_id")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(truncated_or_longer),
        cmocka_unit_test(ranges),
        cmocka_unit_test(key_and_day),
    };

    return cmocka_run_group_tests_name("event_codec", tests, NULL, NULL);
}

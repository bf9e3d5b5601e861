/*
 * test_window.c - the dedupe window.
 *
 * links: workers/aggregator/window.c common/event/event.c common/base/clock.c common/batch/crc32c.c common/base/err.c
 * libs: libsodium
 */
#include "workers/aggregator/window.h"

#include "common/base/attr.h"
#include "common/event/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const unsigned char key[WINDOW_KEY_BYTES] = "0123456789abcde";

static struct id_hash id(const struct window *window, unsigned number)
{
    return window_hash(window, &number, sizeof number);
}

static void lives(void **state)
{
    struct window *w = window_new(100, 10, key);

    (void)state;
    assert_int_equal(window_take(w, id(w, 1), 1000, 1), WINDOW_NEW);
    assert_int_equal(window_take(w, id(w, 1), 1000, 1), WINDOW_PENDING);
    window_durable(w, 1);
    assert_int_equal(window_take(w, id(w, 1), 1009, 2), WINDOW_KNOWN);
    assert_int_equal(window_take(w, id(w, 1), 1010, 2), WINDOW_NEW); /* too old: new again */
    window_remove(w, id(w, 1));
    assert_int_equal(window_take(w, id(w, 1), 1010, 2), WINDOW_NEW);
    window_free(&w);
    w = window_new(100, 0, key); /* switched off */
    assert_int_equal(window_take(w, id(w, 1), 5, 1), WINDOW_NEW);
    assert_int_equal(window_take(w, id(w, 1), 5, 1), WINDOW_NEW);
    window_free(&w);
}

static void oldest_gives_way(void **state)
{
    struct window *w = window_new(64, 1000, key);

    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        assert_int_equal(window_take(w, id(w, i), 5, 0), WINDOW_NEW);
        if (i >= 63)
            assert_int_equal(window_take(w, id(w, i - 63), 5, 0), WINDOW_KNOWN);
        assert_true(window_count(w) <= 64);
    }
    assert_int_equal(window_take(w, id(w, 9000), 5, 0), WINDOW_NEW);
    window_free(&w);
}

/* Against an array of booleans: removal must leave every other id findable. */
static void removal(void **state)
{
    struct window *w = window_new(5000, 1000, key);
    bool there[60] = {false};
    unsigned chance = 7;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        unsigned one = (chance = chance * 1103515245 + 12345) >> 16;
        unsigned number = one % 60;

        if (one & 0x4000) {
            window_remove(w, id(w, number));
            there[number] = false;
        } else {
            assert_int_equal(window_take(w, id(w, number), 5, 0) == WINDOW_KNOWN, there[number]);
            there[number] = true;
        }
    }
    window_free(&w);
}

static void image(void **state)
{
    struct window *w = window_new(50, 100, key), *back;
    size_t bytes = window_image_bytes(w), offset, length, places;
    unsigned char *file = calloc(1, bytes), run[20 * WINDOW_ENTRY_BYTES], found[WINDOW_KEY_BYTES];

    (void)state;
    window_image_header(w, file);
    for (unsigned i = 0; i < 120; i++)
        (void)window_take(w, id(w, i), 1000 + i, i + 1);
    window_durable(w, 110);
    while (window_image_next(w, run, 20, &offset, &length)) {
        assert_true(offset + length <= bytes);
        memcpy(file + offset, run, length);
    }
    assert_int_equal(window_image_key(file, bytes, found, &places), 0);
    assert_int_equal(places, 50);
    file[WINDOW_HEADER_BYTES + 2 * WINDOW_ENTRY_BYTES] ^= 1; /* torn: number 102 is lost */
    back = window_new(50, 100, found);
    for (size_t i = 0; i < places; i++)
        window_image_load(back, file + WINDOW_HEADER_BYTES + i * WINDOW_ENTRY_BYTES, 1120);
    for (unsigned i = 70; i < 120; i++)
        assert_int_equal(window_take(back, id(back, i), 1120, 0) == WINDOW_KNOWN,
                         i < 110 && i != 102 && i > 70 ? 1 : i == 70 ? 1 : 0);
    file[9] ^= 1;
    assert_int_equal(window_image_key(file, bytes, found, &places), -1);
    free(file);
    window_free(&w);
    window_free(&back);
}

#define TEXT_OF(text) ((struct slice){text, sizeof(text) - 1})

static bool same(const struct window *w, const struct event *one, const struct event *two)
{
    struct id_hash a = window_event(w, one), b = window_event(w, two);

    return a.a == b.a && a.b == b.b;
}

/* The same id with another spend, key or model must reach the arbiter; anything else is a repeat. */
static void other_contents_are_another_event(void **state)
{
    struct window *w = window_new(10, 10, key);
    const struct event first = {.present = EVENT_BIT(request_id) | EVENT_BIT(spend) |
                                           EVENT_BIT(api_key) | EVENT_BIT(model),
                                .request_id = TEXT_OF("r"),
                                .spend = 5,
                                .api_key = TEXT_OF("k"),
                                .model = TEXT_OF("m")};
    struct event other = first;

    (void)state;
    other.end_time = 77;
    other.present |= EVENT_BIT(end_time);
    assert_true(same(w, &first, &other));
    other.spend = 6;
    assert_false(same(w, &first, &other));
    other = first;
    other.present &= ~EVENT_BIT(model);
    assert_false(same(w, &first, &other));
    other = first;
    other.api_key = TEXT_OF("km"); /* the parts do not run into each other */
    other.model = (struct slice){NULL, 0};
    assert_false(same(w, &first, &other));
    window_contents(w, false);
    assert_true(same(w, &first, &other));
    window_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lives),
        cmocka_unit_test(oldest_gives_way),
        cmocka_unit_test(removal),
        cmocka_unit_test(image),
        cmocka_unit_test(other_contents_are_another_event),
    };

    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}

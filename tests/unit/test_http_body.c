/*
 * test_http_body.c - a body within its bounds: plain and gzip, in any pieces.
 * links: workers/gateway/body.c
 * libs: zlib
 */
#include "workers/gateway/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const struct body_limits limits = {100000, 300000};

/* gzip of `size` bytes; the caller frees. */
static char *pack(const char *text, size_t size, size_t *packed)
{
    z_stream stream = {0};
    char *to = malloc(size + 1000);

    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)to;
    stream.avail_out = (uInt)(size + 1000);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *packed = size + 1000 - stream.avail_out;
    deflateEnd(&stream);
    return to;
}

static enum body_outcome feed(struct body *body, struct body_purse *purse, const char *bytes, size_t size, size_t step)
{
    enum body_outcome outcome = BODY_OK;

    for (size_t at = 0; at < size && outcome == BODY_OK; at += step)
        outcome = body_add(body, purse, &limits, bytes + at, size - at < step ? size - at : step);
    return outcome;
}

static void collects_plain(void **unused)
{
    struct body_purse purse = {0, 1000000};
    struct body body;

    (void)unused;
    assert_int_equal(body_begin(&body, &purse, false), BODY_OK);
    assert_int_equal(feed(&body, &purse, "hello, world", 12, 5), BODY_OK);
    assert_int_equal(body_finish(&body, &purse), BODY_OK);
    assert_string_equal(body.data, "hello, world");
    body_free(&body, &purse);
    assert_int_equal(body_begin(&body, &purse, false), BODY_OK);
    assert_int_equal(body_finish(&body, &purse), BODY_OK);
    assert_string_equal(body.data, "");
    body_free(&body, &purse);
    assert_int_equal(purse.held, 0);
}

/* The room doubles from 4096 on, and one byte of it is the NUL's: a text that fills it has its end, too. */
static void unpacks_what_just_fills_the_room(void **unused)
{
    static char text[65536];

    (void)unused;
    memset(text, 'a', sizeof text);
    for (size_t size = 4096; size <= sizeof text; size *= 2)
        for (size_t less = 0; less <= 2; less++) {
            struct body_purse purse = {0, 1000000};
            struct body body;
            size_t packed;
            char *gzip = pack(text, size - less, &packed);

            assert_int_equal(body_begin(&body, &purse, true), BODY_OK);
            assert_int_equal(feed(&body, &purse, gzip, packed, packed), BODY_OK);
            assert_int_equal(body_finish(&body, &purse), BODY_OK);
            assert_int_equal(body.used, size - less);
            body_free(&body, &purse);
            free(gzip);
        }
}

static void unpacks_in_any_pieces(void **unused)
{
    static const size_t steps[] = {1, 2, 3, 7, 64, 100000};
    char text[50000];
    size_t packed;
    char *gzip;

    (void)unused;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    gzip = pack(text, sizeof text, &packed);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct body_purse purse = {0, 1000000};
        struct body body;

        assert_int_equal(body_begin(&body, &purse, true), BODY_OK);
        assert_int_equal(feed(&body, &purse, gzip, packed, steps[i]), BODY_OK);
        assert_int_equal(feed(&body, &purse, gzip, packed, steps[i]), BODY_OK); /* a second member */
        assert_int_equal(body_finish(&body, &purse), BODY_OK);
        assert_int_equal(body.used, 2 * sizeof text);
        assert_memory_equal(body.data + sizeof text, text, sizeof text);
        body_free(&body, &purse);
        assert_int_equal(purse.held, 0);
    }
    free(gzip);
}

static void a_bomb_ends_at_the_limit(void **unused)
{
    static const char zeros[20000000];
    struct body_purse purse = {0, 10000000};
    struct body body;
    size_t packed;
    char *gzip = pack(zeros, sizeof zeros, &packed);

    (void)unused;
    assert_true(packed < 100000);
    assert_int_equal(body_begin(&body, &purse, true), BODY_OK);
    assert_int_equal(feed(&body, &purse, gzip, packed, 4096), BODY_TOO_LARGE);
    assert_true(purse.held < 3 * limits.inflated);
    body_free(&body, &purse);
    assert_int_equal(purse.held, 0);
    free(gzip);
}

static void refuses_what_is_too_much(void **unused)
{
    static const char bytes[100001];
    struct body_purse purse = {0, 1000000}, poor = {0, 60000};
    struct body body, other;

    (void)unused;
    assert_int_equal(body_begin(&body, &purse, false), BODY_OK);
    assert_int_equal(feed(&body, &purse, bytes, sizeof bytes, 1000), BODY_TOO_LARGE);
    body_free(&body, &purse);
    assert_int_equal(body_begin(&body, &poor, false), BODY_OK);
    assert_int_equal(feed(&body, &poor, bytes, 99999, 1000), BODY_NO_ROOM);
    assert_int_equal(body_begin(&other, &poor, true), BODY_NO_ROOM); /* a window of zlib's is memory too */
    body_free(&other, &poor);
    body_free(&body, &poor);
    assert_int_equal(poor.held, 0);
}

static void refuses_broken_gzip(void **unused)
{
    static const char text[] = "some text that is long enough to be packed, packed, packed";
    size_t packed;
    char *gzip = pack(text, sizeof text, &packed);
    struct body_purse purse = {0, 1000000};
    struct body body;

    (void)unused;
    assert_int_equal(body_begin(&body, &purse, true), BODY_OK);
    assert_int_equal(feed(&body, &purse, "not gzip at all", 15, 15), BODY_BROKEN);
    body_free(&body, &purse);
    for (size_t cut = 0; cut < packed; cut++) {
        assert_int_equal(body_begin(&body, &purse, true), BODY_OK);
        assert_int_equal(feed(&body, &purse, gzip, cut, 9), BODY_OK);
        assert_int_equal(body_finish(&body, &purse), BODY_BROKEN);
        body_free(&body, &purse);
    }
    assert_int_equal(purse.held, 0);
    free(gzip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collects_plain),           cmocka_unit_test(unpacks_in_any_pieces),
        cmocka_unit_test(unpacks_what_just_fills_the_room),
        cmocka_unit_test(a_bomb_ends_at_the_limit), cmocka_unit_test(refuses_what_is_too_much),
        cmocka_unit_test(refuses_broken_gzip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

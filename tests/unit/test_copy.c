/*
 * test_copy.c - rows of PostgreSQL's binary COPY, read back as its receive functions do.
 * links: workers/db_flusher/copy.c workers/db_flusher/text.c common/money/money.c common/base/err.c
 */
#include "workers/db_flusher/copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S(literal) ((struct slice){literal, sizeof literal - 1})

/* Reads big-endian integers from the front. */
struct cursor {
    const unsigned char *at, *end;
};

static int64_t take(struct cursor *c, int bytes)
{
    uint64_t value = 0;

    assert_true(c->end - c->at >= bytes);
    for (int i = 0; i < bytes; i++)
        value = value << 8 | *c->at++;
    return bytes == 2 ? (int16_t)value : bytes == 4 ? (int32_t)value : (int64_t)value;
}

static struct cursor cursor_of(const struct text *text)
{
    const unsigned char *data = (const unsigned char *)text->data;

    assert_false(text->failed);
    return (struct cursor){data, data + text->used};
}

/* numeric_recv and numeric_out, for what we send: no more places shown than there are digits for. */
static void numeric_text(struct cursor *c, char *to)
{
    int64_t length = take(c, 4), digits = take(c, 2), weight = take(c, 2), sign = take(c, 2);
    int64_t shown = take(c, 2), digit[16] = {0}, count = digits;
    char fraction[16] = "";

    assert_int_equal(length, 8 + 2 * digits);
    assert_in_range(shown, 0, 12);
    assert_true(sign == 0 || sign == 0x4000);
    for (int i = 0; i < digits; i++) {
        digit[i] = take(c, 2);
        assert_in_range(digit[i], 0, 9999);
    }
    assert_true(digits == 0 || (digit[0] != 0 && digit[digits - 1] != 0)); /* its one spelling */
    to += sprintf(to, "%s", sign ? "-" : "");
    if (weight < 0 || digits == 0)
        to += sprintf(to, "0");
    for (int64_t w = weight; w >= 0 && digits; w--)
        to += sprintf(to, w == weight ? "%lld" : "%04lld",
                      (long long)(weight - w < count ? digit[weight - w] : 0));
    for (int64_t w = -1; w >= -3; w--) {
        int64_t i = weight - w;

        sprintf(fraction + 4 * (-1 - w), "%04lld", (long long)(i >= 0 && i < count ? digit[i] : 0));
    }
    for (int64_t i = shown; i < 12; i++)
        assert_int_equal(fraction[i], '0'); /* what is not shown would be cut off */
    fraction[shown] = '\0';
    if (shown)
        sprintf(to, ".%s", fraction);
}

static void check_money(money_sum_t pico)
{
    struct text text = {0};
    struct cursor c;
    char is[64], should[MONEY_TEXT];

    copy_money(&text, pico);
    c = cursor_of(&text);
    numeric_text(&c, is);
    assert_true(c.at == c.end);
    money_text(pico, should);
    assert_string_equal(is, should);
    text_free(&text);
}

static void money(void **state)
{
    unsigned seed = 7;
    money_sum_t value = 1;

    (void)state;
    check_money(0);
    for (int power = 0; power < 38; power++, value *= 10)
        for (int i = -11; i <= 11; i++) {
            check_money(value * i);
            check_money(value + i);
            check_money(i - value);
        }
    for (int i = 0; i < 100000; i++) {
        money_sum_t random = 0;

        for (int bits = rand_r(&seed) % 120; bits > 0; bits -= 15)
            random = random << 15 | (rand_r(&seed) & 32767);
        check_money(i & 1 ? random : -random);
    }
}

static void fields(void **state)
{
    static const unsigned char head[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";
    static const unsigned char id[16] = {0x01, 0x93, 0xab, 0xcd, 0xef, 0, 0x7f, 0xff, 0x80};
    struct text text = {0};
    struct cursor c;

    (void)state;
    copy_begin(&text);
    copy_row(&text, 9);
    copy_null(&text);
    copy_slice(&text, S(""));
    copy_key(&text, S(""));
    copy_bytes(&text, "a\tb", 3);
    copy_bool(&text, true);
    copy_int(&text, -2);
    copy_bigint(&text, INT64_MIN);
    copy_time(&text, 946684800000001LL);
    copy_day(&text, 10956);
    copy_no_day(&text);
    copy_uuid(&text, id);
    copy_epoch(&text, "0193abcd-ef00-7fff-8000-000000000000");
    copy_end(&text);
    c = cursor_of(&text);
    assert_memory_equal(c.at, head, 19);
    c.at += 19;
    assert_int_equal(take(&c, 2), 9);
    assert_int_equal(take(&c, 4), -1);
    assert_int_equal(take(&c, 4), -1);
    assert_int_equal(take(&c, 4), 0);
    assert_int_equal(take(&c, 4), 3);
    assert_memory_equal(c.at, "a\tb", 3);
    c.at += 3;
    assert_int_equal(take(&c, 4), 1);
    assert_int_equal(*c.at++, 1);
    assert_int_equal(take(&c, 4), 4);
    assert_int_equal(take(&c, 4), -2);
    assert_int_equal(take(&c, 4), 8);
    assert_true(take(&c, 8) == INT64_MIN);
    assert_int_equal(take(&c, 4), 8);
    assert_int_equal(take(&c, 8), 1);
    assert_int_equal(take(&c, 4), 4);
    assert_int_equal(take(&c, 4), -1);
    assert_int_equal(take(&c, 4), 4);
    assert_int_equal(take(&c, 4), INT32_MIN);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(take(&c, 4), 16);
        assert_memory_equal(c.at, id, 16);
        c.at += 16;
    }
    assert_int_equal(take(&c, 2), -1);
    assert_true(c.at == c.end);
    text_free(&text);
}

static void tags(void **state)
{
    static const int counts[] = {0, 2};
    struct text text = {0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tag_set set = {.count = (uint32_t)counts[i], .tag = {S("a\"b"), S("c\\d")}};
        struct cursor c;
        int64_t length;

        text_clear(&text);
        copy_tags(&text, &set);
        c = cursor_of(&text);
        length = take(&c, 4);
        assert_int_equal(length, c.end - c.at);
        assert_int_equal(take(&c, 4), i);
        assert_int_equal(take(&c, 4), 0);
        assert_int_equal(take(&c, 4), 25);
        if (i == 0) {
            assert_true(c.at == c.end);
            continue;
        }
        assert_int_equal(take(&c, 4), 2);
        assert_int_equal(take(&c, 4), 1);
        for (int tag = 0; tag < 2; tag++) {
            assert_int_equal(take(&c, 4), 3);
            assert_memory_equal(c.at, set.tag[tag].data, 3);
            c.at += 3;
        }
        assert_true(c.at == c.end);
    }
    text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(money),
        cmocka_unit_test(fields),
        cmocka_unit_test(tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

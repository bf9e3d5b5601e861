/*
 * test_words.c - the arguments of a command: options, flags, numbers, durations, row by row.
 * links: common/admin/words.c common/base/err.c
 */
#include "common/admin/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MOST 6

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* 0: refused */
    } row[] = {
        {"500ms", 500},
        {"30s", 30000},
        {"5m", 300000},
        {"2h", 7200000},
        {"7d", 604800000},
        {"12", 12000},
        {"1ms", 1},
        {"366d", DURATION_MOST_MS},
        {"31622400000ms", DURATION_MOST_MS},
        {"007s", 7000},
        {"367d", 0},
        {"31622400001ms", 0},
        {"999999999999d", 0}, /* would overflow */
        {"9999999999999ms", 0}, /* more digits than any year has */
        {"0", 0},
        {"0ms", 0},
        {"-1s", 0},
        {"+1s", 0},
        {" 1s", 0},
        {"1 s", 0},
        {"1.5s", 0},
        {"1S", 0},
        {"1w", 0},
        {"s", 0},
        {"", 0},
        {"1s ", 0},
        {"0x10", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct err err = {""};
        int64_t ms = 0;
        int result = duration_read(row[i].text, &ms, &err);

        if (row[i].ms == 0) {
            assert_int_equal(result, -1);
            assert_true(strlen(err.text) > 0);
        } else {
            assert_int_equal(result, 0);
            assert_int_equal(ms, row[i].ms);
        }
    }
}

static void numbers(void **state)
{
    static const struct {
        const char *text;
        int64_t least, most;
        int result;
        int64_t number;
    } row[] = {
        {"1", 1, 10, 0, 1},
        {"10", 1, 10, 0, 10},
        {"-3", -5, 5, 0, -3},
        {"007", 1, 10, 0, 7},
        {"9223372036854775807", 1, INT64_MAX, 0, INT64_MAX},
        {"0", 1, 10, -1, 0},
        {"11", 1, 10, -1, 0},
        {"9223372036854775808", 1, INT64_MAX, -1, 0},
        {"-9223372036854775809", INT64_MIN, 0, -1, 0},
        {"", 0, 10, -1, 0},
        {"-", -5, 5, -1, 0},
        {"+1", 1, 10, -1, 0},
        {" 1", 1, 10, -1, 0},
        {"\t1", 1, 10, -1, 0},
        {"\n1", 1, 10, -1, 0},
        {"1 ", 1, 10, -1, 0},
        {"1x", 1, 10, -1, 0},
        {"1.0", 1, 10, -1, 0},
        {"0x1", 1, 10, -1, 0},
        {"{1}", 1, 10, -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct err err = {""};
        int64_t number = 0;

        assert_int_equal(words_number(row[i].text, row[i].least, row[i].most, &number, &err), row[i].result);
        if (row[i].result == 0)
            assert_int_equal(number, row[i].number);
        else
            assert_true(strlen(err.text) > 0);
    }
}

/* What was read: the value of --for, --by, the flags --all and --wait, and what was no option. */
struct seen {
    const char *for_, *by, *plain[WORDS_MOST];
    bool all, wait;
    size_t count;
};

static int read_all(size_t count, const char *const *words, struct seen *seen, struct err *err)
{
    const struct words_option options[] = {
        {.name = "--for", .value = &seen->for_},
        {.name = "--by", .value = &seen->by},
        {.name = "--all", .flag = &seen->all},
        {.name = "--wait", .flag = &seen->wait},
    };

    *seen = (struct seen){.count = 0};
    return words_read(count, words, options, COUNT_OF(options), seen->plain, &seen->count, err);
}

static void options_and_plain_words(void **state)
{
    const char *const words[] = {"flush", "--for", "--all", "push", "--wait", "--all"};
    struct err err;
    struct seen seen;

    (void)state;
    assert_int_equal(read_all(6, words, &seen, &err), 0);
    assert_string_equal(seen.for_, "--all"); /* a value is whatever stands there */
    assert_true(seen.all && seen.wait);
    assert_null(seen.by);
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.plain[0], "flush");
    assert_string_equal(seen.plain[1], "push");
    assert_int_equal(read_all(0, words, &seen, &err), 0);
    assert_int_equal(seen.count, 0);
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *words[WORDS_MOST];
        const char *says;
    } row[] = {
        {{"--for"}, "--for needs a value"},
        {{"flush", "--by"}, "--by needs a value"},
        {{"--for", "1s", "--for", "2s"}, "--for stands there twice"},
        {{"--all", "--all"}, "--all stands there twice"},
        {{"--forever"}, "what is \"--forever\"?"},
        {{"-f"}, "what is \"-f\"?"},
        {{"-"}, "what is \"-\"?"},
        {{"--"}, "what is \"--\"?"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct err err = {""};
        struct seen seen;
        size_t count = 0;

        while (count < WORDS_MOST && row[i].words[count] != NULL)
            count++;
        assert_int_equal(read_all(count, row[i].words, &seen, &err), -1);
        assert_string_equal(err.text, row[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(numbers),
        cmocka_unit_test(options_and_plain_words),
        cmocka_unit_test(what_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

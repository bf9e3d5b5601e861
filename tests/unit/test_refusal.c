/*
 * test_refusal.c - which row a refusal is, how long it waits, and how often it is said.
 * links: common/base/refusal.c common/base/refusal_voice.c common/base/jitter.c common/base/log.c common/base/clock.c
 * libs:
 */
#include "common/base/refusal.h"

#include "common/base/attr.h"
#include "common/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct refusal table[] = {
    {"other", "", REFUSAL_RETRY_SOON, STAY, 50, 0, "?"},
    {"busy", "BUSY", REFUSAL_RETRY_SOON, STAY, 50, 0, "?"},
    {"busykey", "BUSYKEY", REFUSAL_NORMAL, STAY, 0, 0, "?"},
    {"full", "ERR max", REFUSAL_RETRY_SLOWLY, LEAVE, 1000, 0, "?"},
    {"password", "WRONGPASS", REFUSAL_OPERATOR, LEAVE, 200, 0, "?"},
};

static void the_longest_match_is_found(void **state)
{
    static const struct {
        const char *text, *name;
    } row[] = {
        {"BUSY Redis is busy", "busy"}, {"BUSYKEY Target", "busykey"}, {"ERR max number", "full"},
        {"ERR ma", NULL}, {"", NULL}, {"busy", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        const struct refusal *found = refusal_find(table, COUNT_OF(table), row[i].text);

        if (row[i].name == NULL)
            assert_null(found);
        else
            assert_string_equal(found->name, row[i].name);
    }
}

/* The longest pause after so many attempts: what the dice can reach at most. */
static int64_t longest(const struct refusal *refusal, unsigned attempts)
{
    return refusal_pause_ms(refusal, attempts, 5000, 30000, UINT32_MAX);
}

static void pauses_double_up_to_the_cap_of_their_class(void **state)
{
    static const struct {
        int refusal;
        unsigned attempts;
        int64_t most;
    } row[] = {
        {1, 0, 50}, {1, 1, 100}, {1, 6, 3200}, {1, 7, 5000}, {1, 4000000000u, 5000},
        {2, 0, 0}, {2, 9, 0},
        {3, 0, 1000}, {3, 4, 16000}, {3, 5, 30000}, {3, 4000000000u, 30000},
        {4, 3, 1600}, {4, 20, 30000},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        assert_int_equal(longest(&table[row[i].refusal], row[i].attempts), row[i].most);
        assert_int_equal(refusal_pause_ms(&table[row[i].refusal], row[i].attempts, 5000, 30000, 0), 0);
    }
}

/* --- what is said: standard error goes to a file meanwhile ------------------------------------------ */

struct ear {
    int before;
    FILE *file;
};

static struct ear listen_in(void)
{
    struct ear ear = {dup(STDERR_FILENO), tmpfile()};

    assert_non_null(ear.file);
    assert_true(dup2(fileno(ear.file), STDERR_FILENO) >= 0);
    return ear;
}

static unsigned lines_heard(struct ear *ear, char *last, size_t size)
{
    unsigned lines = 0;

    dup2(ear->before, STDERR_FILENO);
    close(ear->before);
    rewind(ear->file);
    last[0] = '\0';
    while (fgets(last, (int)size, ear->file) != NULL)
        lines++;
    fclose(ear->file);
    return lines;
}

static void the_same_is_said_each_ten_seconds(void **state)
{
    struct refusal_voice voice = {0};
    struct ear ear = listen_in();
    mono_t now = {1000000};
    char last[512];

    (void)state;
    for (int i = 0; i < 25; i++) /* 25 s, one a second: at 0, 10 and 20 */
        refusal_tell(&voice, "redis_refused", "push", &table[3], "full up", mono_after_ms(now, i * 1000));
    assert_int_equal(lines_heard(&ear, last, sizeof last), 3);
    assert_non_null(strstr(last, " warn "));
    assert_non_null(strstr(last, "redis_refused refusal=full class=retry_slowly what=push unsaid=9"));
    assert_non_null(strstr(last, "why=\"full up\""));
}

static void another_one_is_said_at_once_but_not_without_end(void **state)
{
    struct refusal_voice voice = {0};
    struct ear ear = listen_in();
    mono_t now = {1000000};
    char last[512];

    (void)state;
    for (int i = 0; i < 100; i++)
        refusal_tell(&voice, "redis_refused", "push", &table[i % 2 ? 3 : 4], "", now);
    assert_int_equal(lines_heard(&ear, last, sizeof last), 10);
    ear = listen_in();
    refusal_tell(&voice, "redis_refused", "push", &table[4], "", mono_after_ms(now, 10000));
    refusal_over(&voice);
    refusal_tell(&voice, "redis_refused", "push", &table[4], "", mono_after_ms(now, 10001));
    assert_int_equal(lines_heard(&ear, last, sizeof last), 2);
    assert_non_null(strstr(last, " error "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_match_is_found),
        cmocka_unit_test(pauses_double_up_to_the_cap_of_their_class),
        cmocka_unit_test(the_same_is_said_each_ten_seconds),
        cmocka_unit_test(another_one_is_said_at_once_but_not_without_end),
    };

    return cmocka_run_group_tests_name("refusal", tests, NULL, NULL);
}

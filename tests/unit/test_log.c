/*
 * test_log.c - log lines: three formats, hostile values, what is suppressed, what is masked.
 * Standard error is a pipe here.  tests/flow/test_logs.py reads lines back with other people's parsers.
 *
 * links: common/base/log.c
 * libs:
 */
#include "common/base/log.h"

#include "common/base/log_fields.h"
#include "common/base/log_limit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char said[1 << 16];

/* What `speak` writes to standard error. */
static const char *heard(void (*speak)(void))
{
    int pipes[2], kept = dup(STDERR_FILENO);
    ssize_t got;

    assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
    dup2(pipes[1], STDERR_FILENO);
    speak();
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(pipes[1]);
    got = read(pipes[0], said, sizeof said - 1);
    close(pipes[0]);
    said[got > 0 ? got : 0] = '\0';
    return said;
}

static size_t lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

#define HOSTILE "a\" level=error forged=\"1\n2026 error spendd/0 forged\r\x1b[2J\xff\\ \xc2\x9b \xe2\x80\xae"

static void speak_hostile(void)
{
    log_info("hostile", "id=%s why=\"%s\" n=%d seq=%" PRIu64, HOSTILE, HOSTILE, -7, UINT64_MAX);
}

static void a_value_ends_neither_itself_nor_the_line(void **state)
{
    static const char escaped[] = "=\"a\\\" level=error forged=\\\"1\\n2026 error spendd/0 forged\\r\\u001b[2J"
                                  "\\ufffd\\\\ \\u009b \\u202e\" ";

    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *at;

        log_set_format(i == 0 ? "text" : "logfmt");
        at = strstr(heard(speak_hostile), " id=");
        assert_int_equal(lines(said), 1);
        assert_non_null(at);
        assert_memory_equal(at + 3, escaped, sizeof escaped - 1);
        assert_memory_equal(at + 3 + sizeof escaped - 1 + 3, escaped, sizeof escaped - 1);
        assert_string_equal(strstr(at, " n="), " n=-7 seq=18446744073709551615\n");
    }
    log_set_format("text");
}

static void speak_formats(void)
{
    log_warn("formats", "plain=%s empty=%s quoted=\"%s\" two=%d/%d hex=%016llx star=%.*s long=%lld size=%zu "
             "literal=closed percent=5%% char=%c", "x-1", "", "x", 1, 2, 255LL, 3, "abcdef", -5LL, (size_t)9, 'c');
}

static void each_format_says_the_same(void **state)
{
    (void)state;
    log_init("tester", 3);
    log_set_format("text");
    assert_non_null(strstr(heard(speak_formats), "Z warn tester/3 formats plain=x-1 empty=\"\" "
        "quoted=\"x\" two=1/2 hex=00000000000000ff star=abc long=-5 size=9 literal=closed percent=5% char=c\n"));
    log_set_format("logfmt");
    assert_memory_equal(heard(speak_formats), "ts=2", 4);
    assert_non_null(strstr(said, "Z level=warn process=tester life=3 event=formats plain=x-1 empty=\"\" "
        "quoted=\"x\" two=1/2 "));
    log_set_format("json");
    assert_non_null(strstr(heard(speak_formats), "Z\",\"level\":\"warn\",\"process\":\"tester\",\"life\":3,"
        "\"event\":\"formats\",\"plain\":\"x-1\",\"empty\":\"\",\"quoted\":\"x\",\"two\":\"1/2\","
        "\"hex\":\"00000000000000ff\",\"star\":\"abc\",\"long\":-5,\"size\":9,\"literal\":\"closed\","
        "\"percent\":\"5%\",\"char\":\"c\"}\n"));
    log_set_format("nonsense");
    assert_memory_equal(heard(speak_formats), "{", 1);
    log_set_format("text");
}

static void speak_much(void)
{
    static char much[3000];

    memset(much, '\x01', sizeof much - 1);
    log_error("much", "first=\"%s\" second=\"%s\" third=%d", much, much, 5);
}

static void a_long_line_is_cut_and_whole(void **state)
{
    (void)state;
    log_set_format("json");
    heard(speak_much);
    assert_int_equal(lines(said), 1);
    assert_in_range(strlen(said), 3000, 4096);
    assert_string_equal(said + strlen(said) - 2, "}\n");
    log_set_format("text");
    heard(speak_much);
    assert_int_equal(lines(said), 1);
    assert_in_range(strlen(said), 3000, 4096);
}

static void speak_secrets(void)
{
    log_warn("secrets", "a=\"%s\" b=\"%s\" c=\"%s\" d=\"%s\" e=%s",
             "cannot reach postgresql://spend:hunter2@db:5432/x?password=hunter2&y=1 and redis://:hunter2@r:1/0",
             "host=db password=hunter2 user=x", "host=db password='hunter 2 hunter2' user=x",
             "https://example.com:8080/a@b and ://:@ and ://x:@ password=", "redis://u:h@h:1");
}

static void passwords_are_masked(void **state)
{
    (void)state;
    heard(speak_secrets);
    assert_null(strstr(said, "hunter"));
    assert_non_null(strstr(said, "postgresql://spend:***@db:5432/x?password=***&y=1 and redis://:***@r:1/0"));
    assert_non_null(strstr(said, "c=\"host=db password='***' user=x\""));
    assert_non_null(strstr(said, "https://example.com:8080/a@b and ://:@ and ://x:@ password="));
    assert_non_null(strstr(said, "redis://u:*@h:1"));
}

static void speak_often(void)
{
    for (int i = 0; i < 50; i++) {
        log_warn("often", "i=%d", i);
        if (i % 10 == 0)
            log_info("seldom", "i=%d", i);
    }
    log_leave();
    log_leave();
}

static void what_is_suppressed_is_counted(void **state)
{
    (void)state;
    log_set_burst(7);
    heard(speak_often);
    assert_int_equal(lines(said), 7 + 5 + 1);
    assert_non_null(strstr(said, " warn tester/3 log_suppressed message=often count=43\n"));
    log_set_burst(0);
    assert_int_equal(lines(heard(speak_often)), 55);
    log_set_burst(100);
}

static mono_t at(int64_t ms)
{
    return (mono_t){ms * 1000 + 1};
}

static void the_table_of_messages_is_bounded(void **state)
{
    struct log_limit *limit = calloc(1, sizeof *limit);
    static char sites[LOG_LIMIT_SITES + 1];
    const char *event;
    unsigned suppressed, told = 0;

    (void)state;
    limit->burst = 1;
    for (size_t i = 0; i < LOG_LIMIT_SITES; i++) {
        assert_true(log_limit_allows(limit, &sites[i], "e", at(0)));
        assert_false(log_limit_allows(limit, &sites[i], "e", at(1)));
    }
    for (int i = 0; i < 3; i++) /* no place: no limit */
        assert_true(log_limit_allows(limit, &sites[LOG_LIMIT_SITES], "e", at(2)));
    assert_false(log_limit_told(limit, at(9999), false, &event, &suppressed));
    while (log_limit_told(limit, at(10000), false, &event, &suppressed))
        told += suppressed;
    assert_int_equal(told, LOG_LIMIT_SITES);
    assert_true(log_limit_allows(limit, &sites[0], "e", at(10001)));
    assert_true(log_limit_allows(limit, &sites[LOG_LIMIT_SITES], "e", at(10001))); /* takes a place now */
    assert_false(log_limit_allows(limit, &sites[LOG_LIMIT_SITES], "e", at(10002)));
    free(limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_says_the_same),
        cmocka_unit_test(a_value_ends_neither_itself_nor_the_line),
        cmocka_unit_test(a_long_line_is_cut_and_whole),
        cmocka_unit_test(passwords_are_masked),
        cmocka_unit_test(what_is_suppressed_is_counted),
        cmocka_unit_test(the_table_of_messages_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

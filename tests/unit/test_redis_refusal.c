/*
 * test_redis_refusal.c - the table of Redis' refusals: what servers have said over the years, and
 * what must hold for each row.
 * links: common/redis/redis_refusal.c common/base/refusal.c common/base/jitter.c common/base/clock.c
 * libs:
 */
#include "common/redis/redis.h"

#include "common/stats/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum redis_refusal said(const char *text)
{
    const struct redis_reply reply = {.kind = REDIS_ERROR, .text = text, .length = strlen(text)};

    return redis_refused(&reply);
}

static void what_servers_say(void **state)
{
    static const struct {
        const char *text, *name;
    } row[] = {
        {"LOADING Redis is loading the dataset in memory", "loading"},
        {"READONLY You can't write against a read only replica.", "readonly"},
        {"READONLY You can't write against a read only slave.", "readonly"},
        {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "masterdown"},
        {"CLUSTERDOWN Hash slot not served", "clusterdown"},
        {"TRYAGAIN Multiple keys request during rehashing of slot", "tryagain"},
        {"MOVED 3999 127.0.0.1:6381", "nocluster"}, /* where no route has taken it */
        {"ASK 3999 127.0.0.1:6381", "ask"},
        {"CROSSSLOT Keys in request don't hash to the same slot", "crossslot"},
        {"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "busy"},
        {"BUSYKEY Target key name already exists.", "other"},
        {"NOSCRIPT No matching script. Please use EVAL.", "noscript"},
        {"ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'", "nocompile"},
        {"ERR max number of clients reached", "maxclients"},
        {"ERR max number of clients + cluster connections reached", "maxclients"},
        {"OOM command not allowed when used memory > 'maxmemory'.", "oom"},
        {"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'", "oom"},
        {"ERR Error running script (call to f_5c): @user_script:3: @user_script: 3: -OOM command not "
         "allowed when used memory > 'maxmemory'.", "oom"},
        {"ERR Error running script (call to f_5c): @user_script:16: -OOM command not allowed", "oom"},
        {"ERR Error running script (call to f_5c): @user_script:2: -READONLY You can't write", "readonly"},
        {"ERR Error running script (call to f_5c): @user_script:2: something else", "other"},
        {"ERR Error running script (call to f_5c): @user_script:1: The user executing the script "
         "can't run this command or subcommand", "noperm_lua"},
        {"ERR The user executing the script can't run this command or subcommand script: 55, on "
         "@user_script:17.", "noperm_script"},
        {"ERR ACL failure in script: User least has no permissions to run the 'rpush' command "
         "script: 55, on @user_script:17.", "noperm_acl"},
        {"ERR ACL failure in script: User least has no permissions to access the 'x' key script: 55", "noperm_acl"},
        {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to", "misconf"},
        {"NOREPLICAS Not enough good replicas to write.", "noreplicas"},
        {"NOAUTH Authentication required.", "noauth"},
        {"NOAUTH HELLO must be called with the client already authenticated", "noauth"},
        {"WRONGPASS invalid username-password pair or user is disabled.", "wrongpass"},
        {"ERR invalid password", "badauth"},
        {"ERR AUTH <password> called without any password configured for the default user.", "nopassword"},
        {"ERR Client sent AUTH, but no password is set", "sentnoauth"},
        {"ERR DB index is out of range", "nodatabase"},
        {"ERR SELECT is not allowed in cluster mode", "noselect"},
        {"DENIED Redis is running in protected mode because protected mode is enabled", "denied"},
        {"NOPERM this user has no permissions to run the 'evalsha' command", "noperm"},
        {"NOPERM User least has no permissions to run the 'info' command", "noperm"},
        {"ERR unknown command 'INFO', with args beginning with: ", "unknown"},
        {"ERR unknown command `INFO`, with args beginning with: ", "unknown"},
        {"WRONGTYPE Operation against a key holding the wrong kind of value", "wrongtype"},
        {"ERR value is not an integer or out of range", "other"},
        {"", "other"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++)
        assert_string_equal(redis_refusal(said(row[i].text))->name, row[i].name);
}

static void what_is_no_refusal(void **state)
{
    const struct redis_reply word = {.kind = REDIS_WORD, .text = "OOM", .length = 3};

    (void)state;
    assert_int_equal(redis_refused(NULL), REDIS_REFUSED_NOT);
    assert_int_equal(redis_refused(&word), REDIS_REFUSED_NOT);
}

static void every_row_holds_together(void **state)
{
    (void)state;
    for (int i = REDIS_REFUSED_NOT + 1; i < REDIS_REFUSALS; i++) {
        const struct refusal *row = redis_refusal((enum redis_refusal)i);

        assert_true(strlen(row->means) > 10);
        assert_true(strlen(row->means) < 140); /* a log line is 1,024 bytes, and the reason is in it */
        assert_in_range(row->metric, 0, METRICS - 1);
        /* Without a pause a refusal that stays would be asked for without end. */
        assert_true(row->first_ms > 0);
        if (row->match[0] != '\0')
            assert_int_equal(said(row->match), i); /* no row hides behind another */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_servers_say),
        cmocka_unit_test(what_is_no_refusal),
        cmocka_unit_test(every_row_holds_together),
    };

    return cmocka_run_group_tests_name("redis_refusal", tests, NULL, NULL);
}

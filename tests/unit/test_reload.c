/*
 * test_reload.c - what a new configuration changes, for every row of settings.def.
 *
 * links: supervisor/reload.c common/config/settings.c common/harness/roster.c common/base/err.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/harness/roster.h"
#include "supervisor/reload.h"

#include <stdio.h>
#include <string.h>

/* Another value that the row allows; false: it has none (a choice of one word). */
static bool change(struct settings *settings, const struct setting *setting)
{
    char value[1100], was[1100];
    struct err err;
    const char *bar;

    settings_get(settings, setting, was, sizeof was);
    if (setting->kind == SETTING_INT)
        snprintf(value, sizeof value, "%lld",
                 (long long)(setting->number == setting->least ? setting->most : setting->least));
    else if (setting->kind == SETTING_BOOL)
        snprintf(value, sizeof value, "%s", strcmp(was, "true") == 0 ? "false" : "true");
    else
        snprintf(value, sizeof value, "/other");
    if (setting->kind == SETTING_CHOICE) {
        bar = strchr(setting->words, '|');
        if (bar == NULL)
            return false;
        snprintf(value, sizeof value, "%.*s", (int)(bar - setting->words), setting->words);
        if (strcmp(value, was) == 0)
            snprintf(value, sizeof value, "%.*s", (int)strcspn(bar + 1, "|"), bar + 1);
    }
    assert_int_equal(settings_set(settings, setting, value, &err), 0);
    return true;
}

static void each_setting_alone(void **unused)
{
    static const enum reload_outcome expected[] = {
        [APPLY_LIVE] = RELOAD_LIVE, [APPLY_WORKER] = RELOAD_WORKER, [APPLY_FULL] = RELOAD_FULL};
    static struct settings before, after;

    (void)unused;
    settings_defaults(&before);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        enum reload_outcome outcome = expected[setting->apply];

        after = before;
        if (!change(&after, setting))
            continue;
        assert_int_equal(reload_compare(&before, &after, setting), outcome);
        for (int other = RELOAD_LIVE; other <= RELOAD_FULL; other++) {
            bool same = other == (int)outcome;

            assert_int_equal(reload_count(&before, &after, (enum reload_outcome)other), same ? 1 : 0);
            assert_int_equal(reload_readers(&before, &after, (enum reload_outcome)other),
                             same ? setting->readers : 0);
        }
        /* A restart of workers that nobody reads would apply nothing. */
        if (outcome == RELOAD_WORKER)
            assert_true(setting->readers > 1);
        reload_keep_full(&before, &after);
        assert_int_equal(reload_compare(&before, &after, setting),
                         outcome == RELOAD_FULL ? RELOAD_SAME : outcome);
    }
}

static void readers_have_names(void **unused)
{
    char names[200];

    (void)unused;
    reload_reader_names(setting_by_path("supervisor.start_ms"), names, sizeof names);
    assert_string_equal(names, "spendd");
    reload_reader_names(setting_by_path("seal.ms"), names, sizeof names);
    assert_string_equal(names, "aggregator");
    reload_reader_names(setting_by_path("ingest.retry_after_ms"), names, sizeof names);
    assert_non_null(strstr(names, "aggregator, gateway"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_setting_alone),
        cmocka_unit_test(readers_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

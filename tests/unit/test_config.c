/*
 * test_config.c - bad files and what is said about them; conf/spendd.conf against the table; masks.
 *
 * links: common/config/config.c common/config/config_print.c common/config/litellm_environment.c common/config/settings.c common/config/endpoint.c common/config/relations.c common/config/model_relations.c common/config/mask.c common/config/nearest.c common/config/widen.c common/config/secret.c common/harness/roster.c common/base/err.c common/base/nodes.c
 * libs: libconfig
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/config/config.h"
#include "common/config/mask.h"
#include "common/config/nearest.h"
#include "common/config/relations.h"
#include "common/config/secret.h"
#include "common/harness/roster.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct heard {
    char text[4096];
};

/* Keeps the lines without the name of the temporary file. */
static void hear(void *arg, const char *line)
{
    struct heard *heard = arg;
    const char *at = strstr(line, ".conf:");
    size_t used = strlen(heard->text);

    snprintf(heard->text + used, sizeof heard->text - used, "%s\n", at != NULL ? at + 6 : line);
}

static int load_text(const char *text, struct settings *settings, struct heard *heard)
{
    char path[] = "/tmp/spendd-test-XXXXXX.conf";
    int fd = mkstemps(path, 5), outcome;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    heard->text[0] = '\0';
    outcome = config_load(path, settings, NULL, hear, heard);
    unlink(path);
    return outcome;
}

static const struct {
    const char *file, *said;
} bad[] = {
    {"runtime_dri = \"/x\";", "1: unknown setting runtime_dri; the nearest is runtime_dir\n"},
    {"\nspool: {\n max_byte = 5;\n};", "3: unknown setting spool.max_byte; the nearest is spool.max_bytes\n"},
    {"spool: { deep: { x = 1; }; };", "1: unknown setting spool.deep; the nearest is spool.dir\n"},
    {"spool = 5;", "1: spool is a group: write spool: { ... };\n"},
    {"seal: { ms = \"5\"; };", "1: seal.ms must be a whole number\n"},
    {"seal: { ms = 5.5; };", "1: seal.ms must be a whole number\n"},
    {"seal: { ms = true; };", "1: seal.ms must be a whole number\n"},
    {"seal: { ms = 9; };", "1: seal.ms = 9 is out of range: 10 to 60000\n"},
    {"seal: { ms = 99999999999L; };", "1: seal.ms = 99999999999 is out of range: 10 to 60000\n"},
    {"dedupe: { database = 1; };", "1: dedupe.database must be true or false\n"},
    {"log: { level = \"loud\"; };", "1: log.level = \"loud\" is not one of error|warn|info|debug\n"},
    {"log: { level = \"\"; };", "1: log.level = \"\" is not one of error|warn|info|debug\n"},
    {"instance = 5;", "1: instance must be a string in quotes\n"},
    {"instance = { a = 1; };", "1: instance must be a string in quotes\n"},
    {"instance = \"a\\nb\";", "1: instance has a control character at byte 1\n"},
    {"instance = \"env:SPENDD_TEST_UNSET\";", "1: instance: SPENDD_TEST_UNSET is not in the environment\n"},
    {"redis: { url = \"credential:../x\"; };", "1: redis.url: \"../x\" is no name of a credential\n"},
    {"redis: { url = \"credential:x\"; };", "1: redis.url: secret /nonexistent/x: No such file or directory\n"},
    {"redis: { url = \"file:/nonexistent/x\"; };",
     "1: redis.url: secret /nonexistent/x: No such file or directory\n"},
    {"runtime_dir = \"/a\" \"run\"; seal: { ms = 1; };\nseal2: { ms = 1; };",
     "1: seal.ms = 1 is out of range: 10 to 60000\n2: unknown setting seal2; the nearest is seal.ms\n"},
    {"seal: { ms = 4294967396; };", "1: seal.ms = 4294967396 is out of range: 10 to 60000\n"},
    {"seal: {", "1: syntax error\n"},
    {"runtime_dir = \"run\";",
     "1: runtime_dir = \"run\" must be an absolute path\n"
     " ingest.acked: \"ipc://run/ingest.sock\" must be an absolute path\n"},
    {"lock: {\n ttl_ms = 3000;\n renew_ms = 1001;\n};",
     "3: lock.renew_ms = 1001 is above a third of lock.ttl_ms = 3000\n"},
    {"supervisor: { backoff_min_ms = 20000; };",
     "1: supervisor.backoff_min_ms = 20000 is above supervisor.backoff_max_ms = 10000\n"},
    {"spend_log: { keep_days = 60; };",
     " ingest.max_age_days = 60 must be smaller than spend_log.keep_days = 60: an event must not outlive"
     " the log rows that tell whether it was counted\n"},
    {"admin: { listen = \"tcp://127.0.0.1:1\"; };",
     "1: admin.listen = \"tcp://127.0.0.1:1\" needs CURVE, on loopback too: set admin.curve_certificate"
     " and admin.curve_clients (spendd --curve-keys makes them)\n"},
    {"ingest: { acked = \"tcp://0.0.0.0:1\"; };",
     "1: ingest.acked = \"tcp://0.0.0.0:1\" is reached from other machines and needs CURVE: set"
     " ingest.curve_certificate and ingest.curve_clients (spendd --curve-keys makes them)\n"},
    {"ingest: { unacked = \"tcp://127.0.0.1.example.com:1\"; };",
     "1: ingest.unacked: \"127.0.0.1.example.com\" is neither an address nor the name of an interface"
     " (an IPv6 address stands in brackets; a host name cannot be listened on)\n"},
    {"ingest: { curve_certificate = \"/x\"; };",
     "1: ingest.curve_certificate and ingest.curve_clients are set together, or neither\n"},
    {"ingest: { curve_certificate = \"/x\"; curve_clients = \"y\"; };",
     "1: ingest.curve_clients = \"y\" must be an absolute path\n"},
    {"dedupe: { ids = 50000000; };",
     "1: an aggregator needs 1993 MiB (dedupe.ids = 50000000 takes 1657 of them,"
     " ingest.max_connections = 4096 takes 256), supervisor.data_limit_mb = 1024 allows less\n"},
    {"supervisor: { data_limit_mb = 64; };",
     "1: an aggregator needs 367 MiB (dedupe.ids = 1000000 takes 31 of them,"
     " ingest.max_connections = 4096 takes 256), supervisor.data_limit_mb = 64 allows less\n"},
    {"flush: { bytes = 536870912; };",
     "1: the flusher needs 3640 MiB (flush.bytes = 536870912 takes seven times itself),"
     " supervisor.data_limit_mb = 1024 allows less\n"},
    {"redis: { prefix = \"{}x\"; };",
     "1: redis.prefix = \"{}x\" must contain a word in braces, such as {spendd}\n"},
};

static void bad_files(void **unused)
{
    struct settings settings;
    struct heard heard;

    (void)unused;
    setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(load_text(bad[i].file, &settings, &heard), -1);
        /* Where more follows from the same mistake, the first line is what matters. */
        if (strncmp(heard.text, bad[i].said, strcspn(bad[i].said, "\n") + 1) != 0)
            fail_msg("file: %s\nsaid: %swanted: %s", bad[i].file, heard.text, bad[i].said);
    }
}

static void good_values(void **unused)
{
    struct settings s;
    struct heard heard;

    (void)unused;
    setenv("SPENDD_TEST_DIR", "/tmp/r", 1);
    assert_int_equal(load_text("runtime_dir = \"env:SPENDD_TEST_DIR\"; spool: { max_bytes = 8589934593; };"
                               "ingest: { unacked = \"off\"; }; instance = \"\";", &s, &heard), 0);
    assert_string_equal(heard.text, "");
    assert_string_equal(s.ingest_acked, "ipc:///tmp/r/ingest.sock");
    assert_string_equal(s.ingest_unacked, "off");
    assert_string_equal(s.admin_listen, "ipc:///tmp/r/admin.sock");
    assert_true(s.spool_max_bytes == 8589934593);
    assert_true(s.instance[0] != '\0');
    assert_int_equal(load_text("spool: { max_bytes = 8589934593L; };", &s, &heard), 0);
    assert_true(s.spool_max_bytes == 8589934593);
}

/* conf/spendd.conf names every setting, with its default. */
static void default_file_is_the_table(void **unused)
{
    struct settings settings, defaults;
    struct heard heard = {""};
    char value[1100], wanted[1100];
    unsigned given, alone = 0;

    (void)unused;
    assert_int_equal(config_load("conf/spendd.conf", &settings, &given, hear, &heard), 0);
    for (size_t i = 0; i < settings_count; i++) /* the list of models is empty there */
        alone += settings_table[i].list == NULL;
    assert_int_equal(given, alone);
    assert_int_equal(load_text("", &defaults, &heard), 0);
    for (size_t i = 0; i < settings_count; i++) {
        settings_get(&settings, &settings_table[i], value, sizeof value);
        settings_get(&defaults, &settings_table[i], wanted, sizeof wanted);
        assert_string_equal(value, wanted);
    }
}

/* Names and groups that the printer and fd 3 rely on; every default is within its own row. */
static void table_is_sound(void **unused)
{
    struct settings settings, copy;
    char value[1100];
    struct err err;

    (void)unused;
    settings_defaults(&settings);
    settings_defaults(&copy);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];

        assert_ptr_equal(setting_by_name(setting->name), setting);
        assert_ptr_equal(setting_by_path(setting->path), setting);
        assert_true(strlen(setting->name) < 40);
        settings_get(&settings, setting, value, sizeof value);
        assert_int_equal(settings_set(&copy, setting, value, &err), 0);
    }
    for (unsigned row = 0; row < roster_rows; row++)
        if (strcmp(roster_table[row].instances, "ONE") != 0 && strchr(roster_table[row].instances, '|') == NULL)
            assert_non_null(setting_by_name(roster_table[row].instances));
    settings.aggregator_processes = setting_by_name("aggregator_processes")->most;
    assert_true(roster_slots(&settings) <= ROSTER_SLOTS_MAX);
}

static const struct {
    const char *value, *shown;
} masks[] = {
    {"redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"},
    {"redis://u:pw@h:1/0", "redis://u:***@h:1/0"},
    {"redis://:p@w@h/0", "redis://:***@h/0"},
    {"postgresql://u:p/w@h/db?sslmode=require", "postgresql://u:***@h/db?sslmode=require"},
    {"postgresql://u@h/db?password=x&application_name=y",
     "postgresql://u@h/db?password=***&application_name=y"},
    {"host=h password=pw user=u", "host=h password=*** user=u"},
    {"host=h password = 'a b\\' c' user=u", "host=h password = *** user=u"},
    {"file:/run/secrets/x", "file:/run/secrets/x"},
    {"hunter2", "***"},
    {"", ""},
};

static void masked(void **unused)
{
    char shown[200];

    (void)unused;
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        secret_mask(masks[i].value, shown, sizeof shown);
        assert_string_equal(shown, masks[i].shown);
    }
}

/* Every SECRET row: a token may look like anything, and a URL's secret part stays secret wherever it stands. */
static void no_secret_is_shown(void **unused)
{
    static const char *const words[] = {"hunter2", "hunter2==", "k=hunter2",
                                        "x://hunter2/y", "a hunter2=b", "hunter2,c=d"};
    static const char *const urls[] = {"https://u:hunter2@h/p?a=b", "https://h/p?password=hunter2"};
    static struct settings settings;
    char shown[1100];
    struct err err;
    unsigned secrets = 0;

    (void)unused;
    settings_defaults(&settings);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        bool url = strcmp(setting->path + strlen(setting->path) - 4, ".url") == 0;

        if (setting->kind != SETTING_SECRET)
            continue;
        secrets++;
        for (size_t n = 0; n < (url ? COUNT_OF(urls) : COUNT_OF(words)); n++) {
            assert_int_equal(settings_set(&settings, setting, url ? urls[n] : words[n], &err), 0);
            config_value(&settings, setting, shown, sizeof shown);
            assert_null(strstr(shown, "hunter2"));
            assert_non_null(strstr(shown, "***"));
        }
        assert_int_equal(settings_set(&settings, setting, "file:/hunter2", &err), 0);
        config_value(&settings, setting, shown, sizeof shown);
        assert_string_equal(shown, "file:/hunter2"); /* the path is no secret */
    }
    assert_true(secrets > 5);
}

static void distances(void **unused)
{
    (void)unused;
    assert_int_equal(edit_distance("", ""), 0);
    assert_int_equal(edit_distance("abc", ""), 3);
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files),      cmocka_unit_test(good_values),
        cmocka_unit_test(default_file_is_the_table), cmocka_unit_test(table_is_sound),
        cmocka_unit_test(masked),         cmocka_unit_test(no_secret_is_shown),
        cmocka_unit_test(distances),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

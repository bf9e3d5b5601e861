/*
 * test_litellm_environment.c - LiteLLM's environment variables, row by row: which settings they make.
 * links: common/config/litellm_environment.c common/base/err.c
 * libs:
 */
#include "common/config/litellm_environment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* "NAME=value" lines in, "path=value\n" out. */
struct world {
    const char *variables;
    char value[32][300], out[4096]; /* every answer stays as it was given, as getenv's does */
    size_t answers;
};

static const char *get(void *arg, const char *name)
{
    struct world *world = arg;
    const char *at = world->variables;
    size_t length = strlen(name);

    while (at != NULL && *at != '\0') {
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            char *value = world->value[world->answers++ % 32];

            snprintf(value, sizeof world->value[0], "%.*s", (int)strcspn(at + length + 1, "\n"),
                     at + length + 1);
            return value;
        }
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return NULL;
}

static int set(void *arg, const char *path, const char *value, struct err *err)
{
    struct world *world = arg;
    size_t used = strlen(world->out);

    (void)err;
    snprintf(world->out + used, sizeof world->out - used, "%s=%s\n", path, value);
    return 0;
}

static const struct {
    int (*read)(const struct litellm_environment *, struct err *);
    const char *variables, *settings; /* NULL: refused */
} rows[] = {
    {litellm_redis, "REDIS_HOST=r\nREDIS_PORT=6380", "redis.url=redis://r:6380/0\n"},
    {litellm_redis, "REDIS_HOST=r", "redis.url=redis://r:6379/0\n"},
    {litellm_redis, "REDIS_HOST=r\nREDIS_PORT=1\nREDIS_PASSWORD=a b@/:%\nREDIS_DB=3",
     "redis.url=redis://:a%20b%40%2F%3A%25@r:1/3\n"},
    {litellm_redis, "REDIS_HOST=::1\nREDIS_USERNAME=u\nREDIS_PASSWORD=p\nREDIS_SSL=True",
     "redis.url=rediss://u:p@[::1]:6379/0\n"},
    {litellm_redis, "REDIS_HOST=r\nREDIS_SSL=false", "redis.url=redis://r:6379/0\n"},
    {litellm_redis, "REDIS_HOST=r\nREDIS_SSL=yes\nREDIS_SSL_CA_CERTS=/ca\nREDIS_SSL_CERTFILE=/c\n"
                    "REDIS_SSL_KEYFILE=/k\nREDIS_SSL_CERT_REQS=none",
     "redis.tls_ca=/ca\nredis.tls_cert=/c\nredis.tls_key=/k\nredis.tls_verify=false\n"
     "redis.url=rediss://r:6379/0\n"},
    {litellm_redis, "REDIS_URL=rediss://u:p@h:1/2?ssl_cert_reqs=none&protocol=3&ssl_ca_certs=/ca\nREDIS_HOST=x",
     "redis.tls_verify=false\nredis.tls_ca=/ca\nredis.url=rediss://u:p@h:1/2\n"},
    {litellm_redis, "REDIS_URL=unix:///s?socket_timeout=1&db=4", "redis.url=unix:///s?db=4\n"},
    {litellm_redis, "REDIS_URL=redis://h:1\nREDIS_PASSWORD=p", "redis.url=redis://h:1\n"},
    {litellm_redis, "REDIS_CLUSTER_NODES=[{\"host\": \"a\", \"port\": 7001}, {\"port\": \"7002\", \"host\": \"b\"}]\n"
                    "REDIS_PASSWORD=p",
     "redis.cluster_nodes=a:7001, b:7002\nredis.url=redis://:p@127.0.0.1:6379/0\n"},
    {litellm_redis, "REDIS_SENTINEL_NODES=[[\"s1\", 26379],[\"s2\",26380]]\nREDIS_SERVICE_NAME=m\n"
                    "REDIS_SENTINEL_PASSWORD=sp",
     "redis.sentinels=s1:26379, s2:26380\nredis.sentinel_master=m\nredis.sentinel_password=sp\n"
     "redis.url=redis://127.0.0.1:6379/0\n"},
    {litellm_redis, "REDIS_CLUSTER_NODES=a:7001", NULL},
    {litellm_redis, "REDIS_CLUSTER_NODES=[]", NULL},
    {litellm_redis, "REDIS_CLUSTER_NODES=[{\"host\": \"a\"}]", NULL},
    {litellm_redis, "REDIS_CLUSTER_NODES=[[\"a\", 1]", NULL},
    {litellm_redis, "REDIS_PORT=6379", NULL},
    {litellm_redis, "REDIS_HOST=\n", NULL},
    {litellm_redis, "REDIS_HOST=r\nREDIS_AZURE_AD_TOKEN=true", NULL},
    {litellm_redis, "REDIS_HOST=r\nREDIS_AZURE_AD_TOKEN=false", "redis.url=redis://r:6379/0\n"},
    {litellm_database, "DATABASE_URL=postgresql://u:p@h/d?connection_limit=10",
     "database.url=postgresql://u:p@h/d?connection_limit=10\n"},
    {litellm_database, "DATABASE_HOST=h:5433\nDATABASE_USERNAME=u\nDATABASE_PASSWORD=p@ss\nDATABASE_NAME=n m\n"
                       "DATABASE_SCHEMA=s",
     "database.url=postgresql://u:p%40ss@h:5433/n%20m?schema=s\n"},
    {litellm_database, "DATABASE_HOST=h\nDATABASE_USERNAME=u", NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world = {.variables = rows[i].variables};
        struct litellm_environment of = {get, set, &world};
        struct err err = {0};
        int rc = rows[i].read(&of, &err);

        if (rows[i].settings == NULL) {
            assert_int_equal(rc, -1);
            assert_true(err.text[0] != '\0');
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(world.out, rows[i].settings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

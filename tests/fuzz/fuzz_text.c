/*
 * fuzz_text.c - the short texts that people and other programs give us: money, Redis and PostgreSQL
 * URLs.  Money that parses prints as text that parses to the same amount.
 * libs: libpq
 */
#include "common/money/money.h"
#include "common/pg/pg.h"
#include "common/redis/redis_url.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void money(const unsigned char *input, size_t bytes)
{
    int64_t pico, back;
    struct err err = {{0}};
    char text[MONEY_TEXT];
    if (money_parse((const char *)input, bytes, &pico, &err) < 0) {
        fuzz_claim(err.text[0] != '\0');
        return;
    }
    fuzz_claim(pico < MONEY_MAX && pico > -MONEY_MAX);
    size_t length = money_text(pico, text);
    fuzz_claim(length < MONEY_TEXT && text[length] == '\0');
    fuzz_claim(money_parse(text, length, &back, &err) == 0 && back == pico);
}

static void run(const unsigned char *input, size_t bytes)
{
    money(input, bytes);
    char *text = malloc(bytes + 1);
    fuzz_claim(text);
    if (bytes) memcpy(text, input, bytes);
    text[bytes] = '\0';
    struct redis_url url;
    struct err err = {{0}};
    char dropped[64];
    if (redis_url_parse(text, &url, &err) < 0) fuzz_claim(err.text[0] != '\0');
    if (pg_url_check(text, dropped, sizeof dropped, &err) < 0) fuzz_claim(err.text[0] != '\0');
    fuzz_claim(memchr(dropped, '\0', sizeof dropped));
    free(text);
}

static const char *const samples[] = {
    "0.1", "-0", "1E-7", "123456.789012345678901234567890", "1e-400", "999999.999999999999",
    "redis://user:p%40ss@host:6379/3", "redis://:secret@[::1]:6379/0?db=2", "unix:///run/redis.sock?db=1",
    "postgresql://u:p%20w@h1:5432,h2:5433/db?sslmode=require&connection_limit=5&pgbouncer=true&schema=x",
    "host=/tmp port=5432 dbname='spendd x' user=u password=\\'", "postgres:///db?host=/var/run"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= sizeof samples / sizeof samples[0] || room < 256) return 0;
    memcpy(to, samples[index], strlen(samples[index]));
    return strlen(samples[index]);
}

static const char *const words[] = {"redis://", "rediss://", "unix://", "postgresql://", "?db=", "@", ":",
                                    "/", "%", "%00", "%4", "[", "]", "&", "=", "?", "e", "E+", ".", "-",
                                    "99999999999999999999", "sslmode=", "pool_timeout=10", "'", "\\", NULL};

const struct fuzz_target fuzz_target = {"text", seed, run, words};

/*
 * url.c - database.url made into what libpq takes.  See url.h.
 *
 * Gateways hand their DATABASE_URL over as it is, with parameters that Prisma's engine reads and libpq
 * refuses.  They are taken out by name, never by guess: an unknown name that is not in the list is an
 * error, because it may be a misspelt sslmode.  Prisma's `sslcert` is a CA: given without an sslkey it
 * is passed on as sslrootcert.  Owns the copies it makes; nothing durable, so dying here loses nothing.
 */
#include "common/pg/url.h"

#include "common/pg/pg.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const foreign_names[] = {
    "connection_limit", "pool_timeout",    "max_idle_connection_lifetime", "max_connection_lifetime",
    "socket_timeout",   "pgbouncer",       "schema",                       "sslaccept",
    "sslidentity",      "statement_cache_size",         "single_use_connections",
    "pool_mode",        "connection_name", "multi_schema",
};

static bool is_foreign(const char *pair, size_t length)
{
    const char *equals = memchr(pair, '=', length);
    size_t name = equals ? (size_t)(equals - pair) : length;

    for (size_t i = 0; i < COUNT_OF(foreign_names); i++)
        if (strlen(foreign_names[i]) == name && strncmp(pair, foreign_names[i], name) == 0)
            return true;
    return false;
}

static void list_name(char *list, size_t size, const char *name, size_t length)
{
    size_t used;

    if (!list)
        return;
    used = strlen(list);
    if (used + length + 3 > size)
        return;
    snprintf(list + used, size - used, "%s%.*s", used ? ", " : "", (int)length, name);
}

/* Cuts the foreign pairs out of the query part, in place. */
static void take_out_foreign(char *url, char *dropped, size_t size)
{
    char *query = strchr(url, '?'), *from, *to;

    if (!query)
        return;
    from = to = query + 1;
    while (*from) {
        size_t length = strcspn(from, "&");
        size_t name = strcspn(from, "=&");
        bool more = from[length] == '&';

        if (is_foreign(from, length)) {
            list_name(dropped, size, from, name);
        } else {
            if (to != query + 1)
                *to++ = '&';
            memmove(to, from, length);
            to += length;
        }
        from += length + more;
    }
    *to = '\0';
    if (to == query + 1)
        *query = '\0';
}

void pg_parameters_clear(struct pg_parameters *parameters)
{
    for (size_t i = 0; i < parameters->count; i++) {
        free(parameters->keyword[i]);
        if (parameters->value[i])
            explicit_bzero(parameters->value[i], strlen(parameters->value[i]));
        free(parameters->value[i]);
    }
    memset(parameters, 0, sizeof *parameters);
}

const char *pg_parameters_get(const struct pg_parameters *parameters, const char *keyword)
{
    for (size_t i = 0; i < parameters->count; i++)
        if (strcmp(parameters->keyword[i], keyword) == 0)
            return parameters->value[i];
    return NULL;
}

int pg_parameters_set(struct pg_parameters *parameters, const char *keyword, const char *value,
                      int only_if_absent)
{
    size_t i = 0;
    char *copy;

    while (i < parameters->count && strcmp(parameters->keyword[i], keyword) != 0)
        i++;
    if (i < parameters->count && only_if_absent)
        return 0;
    if (i == PG_PARAMETERS_MAX || !(copy = strdup(value)))
        return -1;
    if (i == parameters->count) {
        if (!(parameters->keyword[i] = strdup(keyword))) {
            free(copy);
            return -1;
        }
        parameters->count++;
    }
    free(parameters->value[i]);
    parameters->value[i] = copy;
    return 0;
}

/* Prisma says sslcert for what libpq calls sslrootcert. */
static int mend_certificate(struct pg_parameters *parameters)
{
    const char *cert = pg_parameters_get(parameters, "sslcert");

    if (!cert || pg_parameters_get(parameters, "sslkey"))
        return 0;
    if (pg_parameters_set(parameters, "sslrootcert", cert, 1))
        return -1;
    return pg_parameters_set(parameters, "sslcert", "", 0);
}

static int copy_parsed(struct pg_parameters *parameters, const PQconninfoOption *option)
{
    for (; option->keyword; option++)
        if (option->val && option->val[0] &&
            pg_parameters_set(parameters, option->keyword, option->val, 0))
            return -1;
    return mend_certificate(parameters);
}

int pg_parameters_parse(struct pg_parameters *parameters, const char *url, char *dropped,
                        size_t size, struct err *err)
{
    PQconninfoOption *options = NULL;
    char *copy = strdup(url), *why = NULL;
    int rc = -1;

    memset(parameters, 0, sizeof *parameters);
    if (dropped && size)
        dropped[0] = '\0';
    if (!copy) {
        err_set(err, "out of memory");
        goto out;
    }
    if (strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0)
        take_out_foreign(copy, dropped, size);
    options = PQconninfoParse(copy, &why);
    if (!options) {
        /* libpq's text may quote the URL, password and all: it is not passed on, only its first words. */
        const char *words = why && strncmp(why, "invalid URI query parameter", 27) == 0
                                ? "unknown query parameter"
                                : "it does not parse";
        err_set(err, "database.url is not a libpq URI or keyword list: %s", words);
        goto out;
    }
    if (copy_parsed(parameters, options)) {
        pg_parameters_clear(parameters);
        err_set(err, "database.url has too many parameters, or out of memory");
        goto out;
    }
    rc = 0;
out:
    if (copy)
        explicit_bzero(copy, strlen(copy));
    free(copy);
    PQfreemem(why);
    PQconninfoFree(options);
    return rc;
}

int pg_url_check(const char *url, char *dropped, size_t size, struct err *err)
{
    struct pg_parameters parameters;
    int rc;

    if (strncmp(url, "file:", 5) == 0)
        return 0; /* read, and checked, at each connect */
    rc = pg_parameters_parse(&parameters, url, dropped, size, err);
    if (rc == 0)
        pg_parameters_clear(&parameters);
    return rc;
}

int pg_identifier(const char *name, char *quoted, size_t size)
{
    size_t used = 0;

    if (size < 3)
        return -1;
    quoted[used++] = '"';
    for (; *name; name++) {
        if (used + 4 > size)
            return -1;
        if (*name == '"')
            quoted[used++] = '"';
        quoted[used++] = *name;
    }
    quoted[used++] = '"';
    quoted[used] = '\0';
    return 0;
}

/*
 * url.c - database.url made into what libpq takes.  See url.h.
 *
 * Gateways hand their DATABASE_URL over as it is, with parameters that Prisma's engine reads and libpq
 * refuses.  They are known by name, never by guess: an unknown name that is not in the table is an
 * error, because it may be a misspelt sslmode.  `sslcert` without an `sslkey` is Prisma's: a CA, which
 * libpq calls sslrootcert.  `service` is refused: libpq would look its host up by itself, and block.
 * Owns the copies it makes; nothing durable, so dying here loses nothing.
 */
#include "common/pg/url.h"

#include "common/pg/pg.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prisma's parameters. */
static const struct foreign {
    const char *name;
    bool honoured; /* or true of us anyway; else ignored, with one warning */
} foreigners[] = {
    {"sslaccept", true},             /* strict: verify-full; accept_invalid_certs: no verification */
    {"pgbouncer", true},             /* nothing here lives longer than a transaction */
    {"statement_cache_size", true},  /* nothing is prepared */
    {"single_use_connections", true},
    {"connection_limit", false},     /* one connection per instance, by design */
    {"pool_timeout", false},
    {"pool_mode", false},
    {"max_idle_connection_lifetime", false}, /* database.max_idle_s */
    {"max_connection_lifetime", false},
    {"socket_timeout", false},               /* database.socket_timeout_ms, database.statement_ms */
    {"schema", false},                       /* ours: database.schema; handed on for who wants it */
    {"multi_schema", false},
    {"sslidentity", false}, /* PKCS 12: give sslcert and sslkey as PEM */
    {"connection_name", false},
};

enum accept { ACCEPT_UNSAID, ACCEPT_STRICT, ACCEPT_ANY, ACCEPT_WRONG };

static const struct foreign *find_foreign(const char *name, size_t length)
{
    for (size_t i = 0; i < COUNT_OF(foreigners); i++)
        if (strlen(foreigners[i].name) == length && strncmp(name, foreigners[i].name, length) == 0)
            return &foreigners[i];
    return NULL;
}

static void list_name(char *list, size_t size, const char *name)
{
    size_t used;

    if (!list)
        return;
    used = strlen(list);
    if (used + strlen(name) + 3 > size)
        return;
    snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

static enum accept accept_of(const char *value, size_t length)
{
    if (length == 6 && strncmp(value, "strict", 6) == 0)
        return ACCEPT_STRICT;
    return length == 20 && strncmp(value, "accept_invalid_certs", 20) == 0 ? ACCEPT_ANY : ACCEPT_WRONG;
}

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* A value with its %XX undone; one that does not fit is cut, and will not be found. */
static void take_value(char *to, size_t size, const char *from, size_t length)
{
    size_t used = 0;

    for (size_t i = 0; i < length && used + 1 < size; i++) {
        int high = i + 2 < length && from[i] == '%' ? hex_value(from[i + 1]) : -1;
        int low = high >= 0 ? hex_value(from[i + 2]) : -1;

        to[used++] = (char)(low >= 0 ? high << 4 | low : from[i]);
        i += low >= 0 ? 2 : 0;
    }
    to[used] = '\0';
}

/* Cuts the foreign pairs out of the query part, in place. */
static enum accept take_out_foreign(char *url, char schema[64], char *ignored, size_t size)
{
    char *query = strchr(url, '?'), *from, *to;
    enum accept accept = ACCEPT_UNSAID;

    if (!query)
        return accept;
    from = to = query + 1;
    while (*from) {
        size_t length = strcspn(from, "&"), name = strcspn(from, "=&");
        const struct foreign *foreign = find_foreign(from, name);
        bool more = from[length] == '&';

        if (foreign && strcmp(foreign->name, "sslaccept") == 0)
            accept = accept_of(from + name + 1, length > name ? length - name - 1 : 0);
        if (foreign && strcmp(foreign->name, "schema") == 0 && length > name)
            take_value(schema, 64, from + name + 1, length - name - 1);
        if (foreign && !foreign->honoured)
            list_name(ignored, size, foreign->name);
        if (!foreign) {
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
    return accept;
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

/* What libpq's sslmode must be to mean what sslaccept says.  An sslmode that verifies stands. */
static int mend_acceptance(struct pg_parameters *parameters, enum accept accept)
{
    const char *mode = pg_parameters_get(parameters, "sslmode");

    if (accept == ACCEPT_UNSAID || (mode && (strcmp(mode, "disable") == 0 ||
                                             strncmp(mode, "verify-", 7) == 0)))
        return 0;
    if (accept == ACCEPT_ANY) /* with a CA at hand, `require` verifies all the same */
        return pg_parameters_get(parameters, "sslrootcert")
                   ? pg_parameters_set(parameters, "sslrootcert", "/dev/null/none", 0)
                   : 0;
    return pg_parameters_set(parameters, "sslmode", "verify-full", 0) ||
           pg_parameters_set(parameters, "sslrootcert", "system", 1);
}

static int copy_parsed(struct pg_parameters *parameters, const PQconninfoOption *option,
                       enum accept accept)
{
    for (; option->keyword; option++)
        if (option->val && option->val[0] &&
            pg_parameters_set(parameters, option->keyword, option->val, 0))
            return -1;
    return mend_certificate(parameters) || mend_acceptance(parameters, accept) ? -1 : 0;
}

/* libpq's text may quote the URL, password and all: it is not passed on, only its first words. */
static void say_unparsed(const char *why, struct err *err)
{
    bool name = why && strncmp(why, "invalid URI query parameter", 27) == 0;

    err_set(err, "database.url is not a libpq URI or keyword list: %s",
            name ? "unknown query parameter" : "it does not parse");
}

int pg_parameters_parse(struct pg_parameters *parameters, const char *url, char *ignored,
                        size_t size, struct err *err)
{
    PQconninfoOption *options = NULL;
    char *copy = strdup(url), *why = NULL;
    enum accept accept = ACCEPT_UNSAID;
    int rc = -1;

    memset(parameters, 0, sizeof *parameters);
    if (ignored && size)
        ignored[0] = '\0';
    if (!copy) {
        err_set(err, "database.url: out of memory");
        goto out;
    }
    if (strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0)
        accept = take_out_foreign(copy, parameters->schema, ignored, size);
    options = PQconninfoParse(copy, &why);
    if (!options)
        say_unparsed(why, err);
    else if (accept == ACCEPT_WRONG)
        err_set(err, "database.url: sslaccept is strict or accept_invalid_certs");
    else if (copy_parsed(parameters, options, accept))
        err_set(err, "database.url has too many parameters, or out of memory");
    else if (pg_parameters_get(parameters, "service"))
        err_set(err, "database.url: service is not supported, give the host");
    else
        rc = 0;
out:
    if (rc)
        pg_parameters_clear(parameters);
    if (copy)
        explicit_bzero(copy, strlen(copy));
    free(copy);
    PQfreemem(why);
    PQconninfoFree(options);
    return rc;
}

int pg_url_check(const char *url, char *ignored, size_t size, struct err *err)
{
    struct pg_parameters parameters;
    int rc;

    if (strncmp(url, "file:", 5) == 0)
        return 0; /* read, and checked, at each connect */
    rc = pg_parameters_parse(&parameters, url, ignored, size, err);
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

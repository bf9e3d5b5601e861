/*
 * redis_url.c - a Redis URL taken apart.
 *
 * Pure.  Every byte is used or refused; nothing is guessed, because a wrong guess about a store is
 * found out in production.  Errors name the part that is wrong and never quote it.
 */
#include "common/redis/redis_url.h"

#include "common/redis/redis.h"

#include <stdlib.h>
#include <string.h>

#define DB_MAX 65535

struct part {
    const char *from;
    size_t length;
};

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Percent-decodes a part.  A NUL has no place in any of them. */
static int decode(struct part part, char *to, size_t size, const char *what, struct err *err)
{
    size_t used = 0;

    for (size_t i = 0; i < part.length; i++) {
        char c = part.from[i];

        if (c == '%') {
            int high = i + 2 < part.length ? hex(part.from[i + 1]) : -1;
            int low = i + 2 < part.length ? hex(part.from[i + 2]) : -1;

            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return err_set(err, "redis url: bad %% escape in the %s", what);
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (used + 1 >= size)
            return err_set(err, "redis url: the %s is too long", what);
        to[used++] = c;
    }
    to[used] = '\0';
    return 0;
}

static int parse_number(struct part part, long most, const char *what, long *number,
                        struct err *err)
{
    char digits[8];

    if (part.length == 0 || part.length >= sizeof digits)
        return err_set(err, "redis url: the %s is no number", what);
    memcpy(digits, part.from, part.length);
    digits[part.length] = '\0';
    if (strspn(digits, "0123456789") != part.length)
        return err_set(err, "redis url: the %s is no number", what);
    *number = strtol(digits, NULL, 10);
    if (*number > most)
        return err_set(err, "redis url: the %s is larger than %ld", what, most);
    return 0;
}

static int parse_db(struct part part, struct redis_url *url, struct err *err)
{
    long db;

    if (parse_number(part, DB_MAX, "database number", &db, err) != 0)
        return -1;
    url->db = (int)db;
    return 0;
}

static int parse_login(struct part login, struct redis_url *url, struct err *err)
{
    const char *colon = memchr(login.from, ':', login.length);
    struct part user = {login.from, login.length}, password = {"", 0};

    if (colon == NULL)
        return err_set(err, "redis url: a user needs a password (user:password@)");
    user.length = (size_t)(colon - login.from);
    password.from = colon + 1;
    password.length = login.length - user.length - 1;
    if (decode(user, url->user, sizeof url->user, "user", err) != 0)
        return -1;
    if (decode(password, url->password, sizeof url->password, "password", err) != 0)
        return -1;
    if (url->password[0] == '\0')
        return err_set(err, "redis url: the password is empty");
    return 0;
}

static int parse_host(struct part host, struct redis_url *url, struct err *err)
{
    struct part port = {"6379", 4};
    const char *end = host.from + host.length, *colon;
    long number;

    if (host.length > 0 && host.from[0] == '[') {
        const char *close = memchr(host.from, ']', host.length);

        if (close == NULL || (close + 1 < end && close[1] != ':'))
            return err_set(err, "redis url: bad [address]");
        colon = close + 1 < end ? close + 1 : NULL;
        host.from++;
        host.length = (size_t)(close - host.from);
    } else {
        colon = memchr(host.from, ':', host.length);
        if (colon != NULL)
            host.length = (size_t)(colon - host.from);
    }
    if (colon != NULL)
        port = (struct part){colon + 1, (size_t)(end - colon - 1)};
    if (host.length == 0)
        return err_set(err, "redis url: no host");
    if (decode(host, url->host, sizeof url->host, "host", err) != 0)
        return -1;
    if (parse_number(port, 65535, "port", &number, err) != 0)
        return -1;
    if (number == 0)
        return err_set(err, "redis url: port 0");
    return decode(port, url->port, sizeof url->port, "port", err);
}

/* What follows the scheme and the login: host and /db, or a path. */
static int parse_place(struct part rest, bool local, struct redis_url *url, struct err *err)
{
    const char *slash;

    if (local) {
        if (rest.length == 0 || rest.from[0] != '/')
            return err_set(err, "redis url: unix:// needs an absolute path");
        return decode(rest, url->path, sizeof url->path, "path", err);
    }
    slash = memchr(rest.from, '/', rest.length);
    if (slash != NULL) {
        struct part db = {slash + 1, (size_t)(rest.from + rest.length - slash - 1)};

        if (db.length > 0 && parse_db(db, url, err) != 0)
            return -1;
        rest.length = (size_t)(slash - rest.from);
    }
    return parse_host(rest, url, err);
}

int redis_url_parse(const char *text, struct redis_url *url, struct err *err)
{
    struct part rest = {text, 0};
    const char *question, *at, *slash;
    bool local;

    memset(url, 0, sizeof *url);
    local = strncmp(text, "unix://", 7) == 0;
    url->tls = strncmp(text, "rediss://", 9) == 0;
    if (!local && !url->tls && strncmp(text, "redis://", 8) != 0)
        return err_set(err, "redis url: begins with none of redis://, rediss:// and unix://");
    rest.from = strstr(text, "://") + 3;
    question = strchr(rest.from, '?');
    rest.length = question != NULL ? (size_t)(question - rest.from) : strlen(rest.from);
    if (question != NULL) {
        struct part db = {question + 4, 0};

        if (strncmp(question, "?db=", 4) != 0)
            return err_set(err, "redis url: the only parameter is db");
        db.length = strlen(db.from);
        if (parse_db(db, url, err) != 0)
            return -1;
    }
    slash = memchr(rest.from, '/', rest.length);
    at = memrchr(rest.from, '@', slash != NULL ? (size_t)(slash - rest.from) : rest.length);
    if (at != NULL) {
        struct part login = {rest.from, (size_t)(at - rest.from)};

        if (parse_login(login, url, err) != 0)
            return -1;
        rest.length -= login.length + 1;
        rest.from = at + 1;
    }
    return parse_place(rest, local, url, err);
}

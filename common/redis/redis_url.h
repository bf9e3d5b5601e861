/*
 * redis_url.h - a Redis URL taken apart.  Pure.
 */
#ifndef SPENDD_REDIS_URL_H
#define SPENDD_REDIS_URL_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>

struct redis_url {
    char host[256]; /* empty: a Unix socket */
    char port[6];
    char path[108];
    char user[128]; /* empty: AUTH with the password alone */
    char password[256];
    int db;
    bool tls; /* rediss:// */
};

/* redis[s]://[[user]:password@]host[:port][/db] or unix://[user:password@]/path, either with ?db=N.
 * User and password are percent-decoded.  The error never quotes the URL: it may hold a
 * password. */
int redis_url_parse(const char *text, struct redis_url *url, struct err *err) MUST_CHECK;

#endif

/*
 * clients.h - who is allowed: the public keys in the files of one directory.
 *
 * A file is a certificate (certificate.h); its name without what follows the last dot is the client's.
 * Names that begin with a dot are passed over.  No file: nobody.
 */
#ifndef SPENDD_CURVE_CLIENTS_H
#define SPENDD_CURVE_CLIENTS_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/curve/certificate.h"

#include <stddef.h>

#define CLIENTS_MAX 10000
#define CLIENT_NAME 64

struct client {
    char key[CURVE_KEY_TEXT]; /* public */
    char name[CLIENT_NAME];
};

struct clients {
    struct client *client; /* sorted by key, each once */
    size_t count;
    size_t unreadable;    /* files that are no certificates; `err` of the read named one */
    int64_t changed_ns;   /* when the directory last changed, by its clock; 0: it is not there */
    bool unsettled;       /* it changed so lately that the next change may carry the same time */
};

/* Reads the directory into `clients`, which may hold a former reading: *removed says whether a key of that is
 * gone.  -1: it could not be read, and `clients` is as before (a directory that does not exist holds nobody,
 * and can be read).  `now`: of the wall. */
int clients_read(struct clients *clients, const char *directory, wall_t now, bool *removed,
                 struct err *err) MUST_CHECK;

/* May it hold other files than those that were read? */
bool clients_stale(const struct clients *clients, const char *directory);

const struct client *clients_find(const struct clients *clients, const char *key); /* NULL: not allowed */

void clients_free(struct clients *clients);

#endif

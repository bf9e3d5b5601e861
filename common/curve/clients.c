/*
 * clients.c - who is allowed: the public keys in the files of one directory.  See clients.h.
 *
 * A reading is made aside and then takes the place of the former one, whole: a directory that cannot be read
 * for a moment locks nobody out and lets nobody in.  A file that is no certificate costs its own client the
 * entrance and nobody else's.  A directory's time has the grain of the kernel's tick, so a reading within a
 * second of the change is not relied upon.
 * If we die on any line nothing outside has changed.
 */
#include "common/curve/clients.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLED_NS 1000000000LL

static int by_key(const void *a, const void *b)
{
    return memcmp(a, b, CURVE_KEY_TEXT);
}

static int64_t changed(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int add(struct clients *clients, const char *directory, const char *file, struct err *err)
{
    struct certificate certificate;
    const char *dot = strrchr(file, '.');
    struct client *client;
    char path[512];

    snprintf(path, sizeof path, "%s/%s", directory, file);
    if (certificate_read(path, &certificate, err) < 0) {
        clients->unreadable++;
        return 0;
    }
    explicit_bzero(certificate.secret_key, sizeof certificate.secret_key);
    if (clients->count == CLIENTS_MAX)
        return err_set(err, "%s holds more than %d keys", directory, CLIENTS_MAX);
    if ((clients->count & (clients->count - 1)) == 0) { /* full at each power of two */
        size_t size = clients->count == 0 ? 1 : clients->count * 2;
        struct client *grown = reallocarray(clients->client, size, sizeof *grown);

        if (grown == NULL)
            return err_set(err, "no memory for %zu keys", size);
        clients->client = grown;
    }
    client = &clients->client[clients->count++];
    memcpy(client->key, certificate.public_key, CURVE_KEY_TEXT);
    snprintf(client->name, sizeof client->name, "%.*s", dot != NULL ? (int)(dot - file) : CLIENT_NAME, file);
    return 0;
}

/* All files, in whatever order. */
static int read_files(struct clients *fresh, DIR *dir, const char *directory, struct err *err)
{
    struct dirent *entry;

    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && add(fresh, directory, entry->d_name, err) < 0)
            return -1;
        errno = 0;
    }
    return errno != 0 ? err_errno(err, "reading %s", directory) : 0;
}

static void order(struct clients *fresh)
{
    size_t kept = 0;

    if (fresh->count > 1)
        qsort(fresh->client, fresh->count, sizeof *fresh->client, by_key);
    for (size_t i = 0; i < fresh->count; i++)
        if (kept == 0 || by_key(&fresh->client[i], &fresh->client[kept - 1]) != 0)
            fresh->client[kept++] = fresh->client[i];
    fresh->count = kept;
}

static void replace(struct clients *clients, struct clients *fresh, bool *removed)
{
    *removed = false;
    order(fresh);
    for (size_t i = 0; i < clients->count; i++)
        *removed |= clients_find(fresh, clients->client[i].key) == NULL;
    clients_free(clients);
    *clients = *fresh;
}

int clients_read(struct clients *clients, const char *directory, wall_t now, bool *removed,
                 struct err *err)
{
    struct clients fresh = {0};
    DIR *dir = opendir(directory);
    struct stat st;
    int result = -1;

    if (dir == NULL && errno == ENOENT) {
        replace(clients, &fresh, removed);
        return 0;
    }
    if (dir == NULL)
        return err_errno(err, "%s", directory);
    /* The time first: what changes behind it is seen by the next look. */
    if (fstat(dirfd(dir), &st) < 0) {
        err_errno(err, "%s", directory);
    } else {
        fresh.changed_ns = changed(&st);
        fresh.unsettled = now.micros * 1000 - fresh.changed_ns < SETTLED_NS;
        result = read_files(&fresh, dir, directory, err);
    }
    closedir(dir);
    if (result == 0)
        replace(clients, &fresh, removed);
    else
        clients_free(&fresh);
    return result;
}

bool clients_stale(const struct clients *clients, const char *directory)
{
    struct stat st;

    if (clients->unsettled)
        return true;
    if (stat(directory, &st) < 0)
        return clients->changed_ns != 0;
    return changed(&st) != clients->changed_ns;
}

const struct client *clients_find(const struct clients *clients, const char *key)
{
    if (clients->count == 0 || strlen(key) != CURVE_KEY_TEXT - 1)
        return NULL;
    return bsearch(key, clients->client, clients->count, sizeof *clients->client, by_key);
}

void clients_free(struct clients *clients)
{
    free(clients->client);
    memset(clients, 0, sizeof *clients);
}

/*
 * keys.c - CURVE keys.  See keys.h.
 *
 * Only text is looked at here: the keys themselves are made by the aggregator's task "curve-keys", for
 * spendd links no cryptography.  That a certificate cannot be used is said by --check, by a start and by a
 * reload, before any worker has failed over it.
 * If we die while making keys, a file may be there without its other part: remove it and ask again.
 */
#include "supervisor/keys.h"

#include "common/curve/certificate.h"
#include "common/harness/harness.h"
#include "supervisor/task.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int check_pair(const char *certificate, const char *clients, struct err *err)
{
    struct certificate read;
    struct stat st;
    int result;

    if (certificate[0] == '\0')
        return 0;
    result = certificate_read_secret(certificate, &read, err);
    explicit_bzero(&read, sizeof read);
    if (result < 0)
        return -1;
    if (stat(clients, &st) < 0)
        return err_errno(err, "%s (the clients' public keys)", clients);
    return S_ISDIR(st.st_mode) ? 0 : err_set(err, "%s is not a directory of public keys", clients);
}

int keys_check(const struct settings *s, struct err *err)
{
    if (check_pair(s->ingest_curve_certificate, s->ingest_curve_clients, err) < 0)
        return -1;
    return check_pair(s->admin_curve_certificate, s->admin_curve_clients, err);
}

/* --- making --------------------------------------------------------------------------------------- */

static int complain(const struct err *err)
{
    fprintf(stderr, "spendd --curve-keys: %s\n", err->text);
    return EXIT_TEMPORARY;
}

static int make_directory(const char *path, mode_t mode, struct err *err)
{
    return mkdir(path, mode) == 0 || errno == EEXIST ? 0 : err_errno(err, "%s", path);
}

static bool good_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) < 60;
}

static void say_server(const char *directory)
{
    printf("\nIn spendd.conf (the files belong to the user that runs spendd):\n"
           "    ingest: { acked = \"tcp://*:5555\"; curve_certificate = \"%s/server.key\"; curve_clients = "
           "\"%s/clients\"; };\n"
           "Each client needs %s/server.pub, and a pair of its own: spendd --curve-keys %s NAME\n",
           directory, directory, directory, directory);
}

static void say_client(const char *directory, const char *name)
{
    printf("\nMove %s/%s.key to the client: it is not needed here.  %s/clients/%s.pub lets it in, at its next\n"
           "connection; take that file away and `spendctl reload`, and it is not served any more.\n",
           directory, name, directory, name);
}

int keys_make(const char *given, const char *name)
{
    static const struct settings nothing;
    struct settings settings = nothing;
    char directory[PATH_MAX], clients[PATH_MAX + 16];
    struct err err;
    int code;

    if (name != NULL && !good_name(name)) {
        err_set(&err, "\"%s\" is no name for a client", name);
        return complain(&err);
    }
    if (make_directory(given, 0755, &err) < 0)
        return complain(&err);
    if (realpath(given, directory) == NULL) {
        err_errno(&err, "%s", given);
        return complain(&err);
    }
    snprintf(clients, sizeof clients, "%s/clients", directory);
    if (make_directory(clients, 0755, &err) < 0)
        return complain(&err);
    settings_defaults(&settings);
    /* The task writes its secret part to the one, its public part into the other. */
    if ((size_t)snprintf(settings.ingest_curve_certificate, sizeof settings.ingest_curve_certificate,
                         "%s/%s.key", directory, name != NULL ? name : "server") >=
            sizeof settings.ingest_curve_certificate ||
        (size_t)snprintf(settings.ingest_curve_clients, sizeof settings.ingest_curve_clients, "%s/%s.pub",
                         name != NULL ? clients : directory, name != NULL ? name : "server") >=
            sizeof settings.ingest_curve_clients) {
        err_set(&err, "%s is too long a path", directory);
        return complain(&err);
    }
    code = task_run(&settings, "aggregator", "curve-keys");
    if (code == 0 && name != NULL)
        say_client(directory, name);
    else if (code == 0)
        say_server(directory);
    return code;
}

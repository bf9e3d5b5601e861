/*
 * keys_task.c - the task "curve-keys" (`spendd --curve-keys`): makes one key pair in two files.
 *
 * Here because an aggregator has libzmq, whose keys they are.  Paths come in the places of the settings that
 * will name them.  Neither file may exist: a key that somebody relies on is not written over.
 * If we die on any line, the secret file is there without the public one: spendd says which exists.
 */
#include "workers/aggregator/keys_task.h"

#include "common/bus/bus_guard.h"
#include "workers/aggregator/spool_task.h"

#include <string.h>
#include <unistd.h>

static int make(const struct settings *settings, struct err *err)
{
    const char *secret = settings->ingest_curve_certificate, *open = settings->ingest_curve_clients;
    struct certificate certificate;
    int result = -1;

    if (bus_guard_keys(&certificate, err) < 0 || certificate_write(secret, &certificate, true, err) < 0)
        return -1;
    if (certificate_write(open, &certificate, false, err) < 0)
        unlink(secret); /* made a moment ago, by us */
    else
        result = 0;
    explicit_bzero(&certificate, sizeof certificate);
    return result;
}

static void *keys_open(struct harness *harness, int *code, struct err *err)
{
    const struct settings *settings = harness_settings(harness);

    *code = EXIT_TEMPORARY;
    if (make(settings, err) < 0) {
        harness_status(harness, "%s", err->text);
        return NULL;
    }
    harness_status(harness, "made %s (mode 0600) and %s", settings->ingest_curve_certificate,
                   settings->ingest_curve_clients);
    harness_leave(harness, EXIT_ASKED);
    return harness;
}

static void keys_close(void *self)
{
    (void)self;
}

const struct worker keys_task = {.name = "curve-keys", .open = keys_open, .close = keys_close,
                                 .task = &spool_ls_task};

/*
 * checks.c - keeps the health checker's last document (workers/health_checker/face.h) and shows the part of
 * it that an operator reads.  See checks.h.
 *
 * A document is the whole truth: the newest replaces the one before.  It comes every few seconds, so an old
 * one means that nobody tells any more, and that is said.  Owns the channel's end and the text.  If we die
 * on any line the next document comes within seconds.
 */
#include "workers/control/checks.h"

#include "common/base/clock.h"
#include "common/bus/bus.h"
#include "common/json/json_put.h"
#include "common/json/json_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_BYTES_MAX (256 * 1024)
#define SILENT_S 15

struct heard_checks {
    struct bus_socket *socket;
    char *text; /* NULL: none has come */
    size_t length;
    mono_t at;
};

static void on_document(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    struct heard_checks *checks = arg;
    char *text;

    (void)socket;
    if (count != 1 || frames[0].bytes == 0 || frames[0].bytes > DOCUMENT_BYTES_MAX)
        return;
    text = malloc(frames[0].bytes);
    if (text == NULL)
        return; /* the next one comes */
    memcpy(text, frames[0].data, frames[0].bytes);
    free(checks->text);
    checks->text = text;
    checks->length = frames[0].bytes;
    checks->at = mono_now();
}

static void write_rows(const struct json_tree *document, const char *name, const char *const *keys,
                       struct json_out *out)
{
    const struct json_tree *rows = json_member(document, name);

    json_key(out, name);
    json_array(out);
    for (const struct json_tree *row = rows != NULL ? rows->first : NULL; row != NULL; row = row->next) {
        json_object(out);
        for (const char *const *key = keys; *key != NULL; key++) {
            json_key(out, *key);
            json_tree_write(json_member(row, *key), out);
        }
        json_end(out);
    }
    json_end(out);
}

void heard_checks_write(const struct heard_checks *checks, struct json_out *out)
{
    static const char *const models[] = {"name",       "healthy", "age_s",        "status",         "latency_ms",
                                         "checked_by", "error",   "checks_total", "cost_usd_total", NULL};
    static const char *const stores[] = {"watch", "state", "value", "threshold", "detail", NULL};
    struct json_tree *document = NULL;
    char why[80] = "";
    struct err err;
    int64_t silent_s = checks->text != NULL ? mono_ms_between(checks->at, mono_now()) / 1000 : 0;

    if (checks->text != NULL)
        document = json_tree_read(checks->text, checks->length, &err);
    if (document == NULL)
        snprintf(why, sizeof why, "the health checker has told nothing yet");
    else if (silent_s > SILENT_S)
        snprintf(why, sizeof why, "the health checker has been silent for %lld s", (long long)silent_s);
    json_key(out, "checks");
    json_object(out);
    json_put_bool(out, "known", why[0] == '\0');
    json_put_text(out, "why", why);
    json_end(out);
    write_rows(document, "models", models, out);
    write_rows(document, "stores", stores, out);
    json_tree_free(&document);
}

struct heard_checks *heard_checks_new(struct bus *bus, struct err *err)
{
    struct heard_checks *checks = calloc(1, sizeof *checks);

    if (checks == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    checks->socket = bus_read(bus, BUS_health_control, 0, on_document, checks, err);
    if (checks->socket == NULL)
        heard_checks_free(&checks);
    return checks;
}

void heard_checks_free(struct heard_checks **checks)
{
    if (*checks == NULL)
        return;
    if ((*checks)->socket != NULL)
        bus_drop(&(*checks)->socket);
    free((*checks)->text);
    free(*checks);
    *checks = NULL;
}

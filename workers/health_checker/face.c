/*
 * face.c - sends the document of health to whoever shows it.  See face.h.
 *
 * Sent soon after a change (changes of one moment together) and again every few seconds, so that a
 * reader that was started anew has it; a reader that is away or slow misses one and gets the next, for a
 * document is the whole truth and never a difference.  Bounded: a document beyond DOCUMENT_BYTES_MAX is
 * not sent.  Owns the bus and its two sockets.  If we die on any line the readers keep the last document, and see
 * by at_ms that it grows old.
 */
#include "workers/health_checker/face.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/harness/harness.h"
#include "common/json/json_put.h"

#include <stdlib.h>

#define SOON_MS 50
#define REPEAT_MS 3000
#define DOCUMENT_BYTES_MAX (256 * 1024)

struct face {
    struct harness *harness;
    face_write_fn *write;
    void *arg;
    struct bus *bus;
    struct bus_socket *gateway, *control;
    struct json_out *out;
    struct timer *due;
    bool soon; /* `due` is on its way for a change */
};

static void send_to(struct bus_socket *socket, const char *json, size_t length)
{
    const struct bus_frame frame = {json, length};

    if (bus_writable(socket) && bus_send(socket, &frame, 1) != 0)
        log_debug("health_unsent", "reason=\"the reader is away or slow\"");
}

static void on_due(void *arg)
{
    struct face *face = arg;
    const char *json;
    size_t length;

    face->soon = false;
    json_clear(face->out);
    json_object(face->out);
    json_put_number(face->out, "at_ms", wall_now().micros / 1000);
    json_put_text(face->out, "instance", harness_settings(face->harness)->instance);
    face->write(face->arg, face->out);
    json_end(face->out);
    json = json_text(face->out, &length);
    if (length <= DOCUMENT_BYTES_MAX) {
        send_to(face->gateway, json, length);
        send_to(face->control, json, length);
    } else {
        log_error("health_too_large", "bytes=%zu most=%d", length, DOCUMENT_BYTES_MAX);
    }
    timer_in_ms(face->due, REPEAT_MS);
}

void face_changed(struct face *face)
{
    if (face->soon)
        return;
    face->soon = true;
    timer_in_ms(face->due, SOON_MS);
}

struct face *face_new(struct harness *harness, face_write_fn *write, void *arg, struct err *err)
{
    struct face *face = calloc(1, sizeof *face);

    if (face == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    *face = (struct face){.harness = harness, .write = write, .arg = arg};
    face->out = json_out_new(false);
    face->due = harness_timer(harness, on_due, face);
    face->bus = bus_open(harness, harness_settings(harness)->runtime_dir, err);
    if (face->bus != NULL)
        face->gateway = bus_write(face->bus, BUS_health, 0, err);
    if (face->gateway != NULL)
        face->control = bus_write(face->bus, BUS_health_control, 0, err);
    if (face->control == NULL)
        face_free(&face);
    else
        face_changed(face);
    return face;
}

void face_free(struct face **face)
{
    if (*face == NULL)
        return;
    harness_untimer(&(*face)->due);
    if ((*face)->bus != NULL) {
        if ((*face)->gateway != NULL)
            bus_drop(&(*face)->gateway);
        if ((*face)->control != NULL)
            bus_drop(&(*face)->control);
        bus_close(&(*face)->bus, 0);
    }
    json_out_free(&(*face)->out);
    free(*face);
    *face = NULL;
}

/*
 * errand.c - the worker's side: listens, takes a question, keeps the answers until they are read.
 * See errand.h.
 *
 * Owns the socket in runtime_dir/private and a bounded number of connections.  An errand belongs to the
 * worker until it says done; its connection lives on until the last answer is read, or a while at most.
 * If we die on any line, the asker reads end of file before a final answer; the next start of the worker
 * puts its own socket in the place of ours.
 */
#include "common/errand/errand.h"

#include "common/errand/errand_wire.h"
#include "common/json/json_put.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ERRANDS_MAX 16
#define FULL_BYTES (256 * 1024)
#define LINGER_MS 30000 /* an answer that nobody reads is kept this long */

struct errand {
    struct errands *owner;
    struct wire wire;
    char words[WIRE_QUESTION_BYTES];
    size_t word[ERRAND_WORDS_MAX], count; /* offsets; 0: the question is not read yet */
    bool asked, done;
    struct timer *late;
    errand_room_fn *room;
    void *room_arg;
};

struct errands {
    struct harness *harness;
    errands_fn *begin;
    void *arg;
    int fd;
    struct watch *watch;
    struct sockaddr_un address;
    struct errand *errand[ERRANDS_MAX];
};

static void drop(struct errand *errand)
{
    struct errands *owner = errand->owner;

    for (size_t i = 0; i < ERRANDS_MAX; i++)
        if (owner->errand[i] == errand)
            owner->errand[i] = NULL;
    harness_untimer(&errand->late);
    wire_close(&errand->wire);
    free(errand);
}

static void on_late(void *arg)
{
    drop(arg);
}

/* Tells who waits for room; drops what is finished.  The errand may be gone afterwards. */
static void settle(struct errand *errand)
{
    errand_room_fn *room = errand->room;

    if (errand->wire.gone || !errand_full(errand))
        errand->room = NULL;
    else
        room = NULL;
    if (errand->done ? wire_waiting(&errand->wire) == 0 : errand->wire.gone && !errand->asked) {
        drop(errand);
        return;
    }
    wire_watch(&errand->wire, true);
    if (room != NULL)
        room(errand->room_arg);
}

/* -1: no question of ours. */
static int read_question(struct errand *errand, uint32_t count, const unsigned char *data, size_t bytes)
{
    size_t at = 0;

    if (count == 0 || count > ERRAND_WORDS_MAX || bytes == 0 || data[bytes - 1] != '\0')
        return -1;
    memcpy(errand->words, data, bytes);
    for (uint32_t i = 0; i < count; i++) {
        if (at >= bytes)
            return -1;
        errand->word[i] = at;
        at += strlen(errand->words + at) + 1;
    }
    errand->count = count;
    return at == bytes ? 0 : -1;
}

static void on_ready(void *arg, short revents)
{
    struct errand *errand = arg;
    const unsigned char *data;
    uint32_t count;
    size_t bytes;
    int next;

    if (revents & POLLOUT)
        wire_flush(&errand->wire);
    if (revents & (POLLIN | POLLHUP | POLLERR))
        wire_receive(&errand->wire);
    next = errand->asked ? 0
                         : wire_next(&errand->wire, WIRE_QUESTION_BYTES, &count, &data, &bytes);
    if (errand->asked)
        errand->wire.in.used = errand->wire.in.at = 0; /* one errand, one question */
    if (next < 0 || (next > 0 && read_question(errand, count, data, bytes) < 0)) {
        drop(errand);
        return;
    }
    if (next > 0) {
        errand->asked = true;
        wire_watch(&errand->wire, true);
        errand->owner->begin(errand->owner->arg, errand);
        return;
    }
    settle(errand);
}

static void on_asker(void *arg, short revents)
{
    struct errands *errands = arg;
    int fd = accept4(errands->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct errand *errand;
    size_t free_place = 0;

    (void)revents;
    if (fd < 0)
        return;
    while (free_place < ERRANDS_MAX && errands->errand[free_place] != NULL)
        free_place++;
    if (free_place == ERRANDS_MAX) {
        close(fd); /* the asker reads end of file, and asks again */
        return;
    }
    errand = calloc(1, sizeof *errand);
    if (errand == NULL)
        bug("out of memory for an errand");
    errand->owner = errands;
    errand->wire.fd = fd;
    errand->late = harness_timer(errands->harness, on_late, errand);
    errand->wire.watch = harness_watch(errands->harness, fd, POLLIN, on_ready, errand);
    errands->errand[free_place] = errand;
}

/* --- for the worker ------------------------------------------------------------------------------- */

size_t errand_count(const struct errand *errand)
{
    return errand->count;
}

const char *errand_word(const struct errand *errand, size_t index)
{
    return index < errand->count ? errand->words + errand->word[index] : "";
}

void errand_item(struct errand *errand, const char *json, size_t length)
{
    wire_put(&errand->wire, ERRAND_ITEM, json, length);
    wire_watch(&errand->wire, true);
}

void errand_done(struct errand **errand, int status, const char *json, size_t length)
{
    struct errand *e = *errand;

    *errand = NULL;
    wire_put(&e->wire, (uint32_t)status, json, length);
    e->done = true;
    e->room = NULL;
    timer_in_ms(e->late, LINGER_MS);
    settle(e);
}

void errand_refuse(struct errand **errand, int status, const char *format, ...)
{
    struct json_out *out = json_out_new(false);
    const char *json;
    char why[512];
    size_t length;
    va_list ap;

    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    json_object(out);
    json_put_text(out, "error", why);
    json_end(out);
    json = json_text(out, &length);
    errand_done(errand, status, json, length);
    json_out_free(&out);
}

bool errand_gone(const struct errand *errand)
{
    return errand->wire.gone;
}

bool errand_full(const struct errand *errand)
{
    return wire_waiting(&errand->wire) > FULL_BYTES;
}

void errand_when_room(struct errand *errand, errand_room_fn *room, void *arg)
{
    errand->room = room;
    errand->room_arg = arg;
}

/* --- life ----------------------------------------------------------------------------------------- */

static int listen_at(struct errands *errands, struct err *err)
{
    char directory[sizeof errands->address.sun_path];
    char *slash;

    memcpy(directory, errands->address.sun_path, sizeof directory);
    slash = strrchr(directory, '/');
    *slash = '\0';
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return err_errno(err, "cannot make %s", directory);
    errands->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (errands->fd < 0)
        return err_errno(err, "socket");
    /* A dead one's, or that of an orphan that is about to leave. */
    if (unlink(errands->address.sun_path) != 0 && errno != ENOENT)
        return err_errno(err, "cannot remove %s", errands->address.sun_path);
    if (bind(errands->fd, (const struct sockaddr *)&errands->address, sizeof errands->address) != 0 ||
        chmod(errands->address.sun_path, 0600) != 0 || listen(errands->fd, ERRANDS_MAX) != 0)
        return err_errno(err, "cannot listen at %s", errands->address.sun_path);
    return 0;
}

struct errands *errands_open(struct harness *harness, const char *worker, unsigned index,
                             errands_fn *begin, void *arg, struct err *err)
{
    struct errands *errands = calloc(1, sizeof *errands);

    if (errands == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    errands->harness = harness;
    errands->begin = begin;
    errands->arg = arg;
    errands->fd = -1;
    if (wire_address(harness, worker, index, &errands->address, err) != 0 ||
        listen_at(errands, err) != 0) {
        if (errands->fd >= 0)
            close(errands->fd);
        free(errands);
        return NULL;
    }
    errands->watch = harness_watch(harness, errands->fd, POLLIN, on_asker, errands);
    return errands;
}

/* The path stays: a successor may have put its own there already. */
void errands_close(struct errands **errands)
{
    if (*errands == NULL)
        return;
    for (size_t i = 0; i < ERRANDS_MAX; i++)
        if ((*errands)->errand[i] != NULL)
            drop((*errands)->errand[i]);
    harness_unwatch(&(*errands)->watch);
    close((*errands)->fd);
    free(*errands);
    *errands = NULL;
}

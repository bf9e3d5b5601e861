/*
 * errand_ask.c - control's side of an errand: connects, asks, hands on what is answered.  See errand.h.
 *
 * A Unix socket connects at once or not at all: a worker that is not there says so now.  Owns one
 * connection for each errand.  If we die on any line, the worker sees that its asker has left and stops.
 */
#include "common/errand/errand.h"

#include "common/errand/errand_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct errand_ask {
    struct wire wire;
    errand_answer_fn *answer;
    void *arg;
    bool paused, calling, dropped;
};

static void release(struct errand_ask *ask)
{
    wire_close(&ask->wire);
    free(ask);
}

/* False: that was the last one. */
static bool hand_on(struct errand_ask *ask, int status, const char *json, size_t length)
{
    ask->calling = true;
    ask->answer(ask->arg, status, json, length);
    ask->calling = false;
    return status == ERRAND_ITEM && !ask->dropped;
}

static void on_ready(void *arg, short revents)
{
    static const char left[] = "{\"error\": \"the worker left before it had answered\"}";
    struct errand_ask *ask = arg;
    const unsigned char *data;
    uint32_t status;
    size_t bytes;
    int next = 0;

    if (revents & POLLOUT)
        wire_flush(&ask->wire);
    if (revents & (POLLIN | POLLHUP | POLLERR))
        wire_receive(&ask->wire);
    while (!ask->paused &&
           (next = wire_next(&ask->wire, WIRE_ANSWER_BYTES, &status, &data, &bytes)) > 0)
        if (!hand_on(ask, (int)status, (const char *)data, bytes)) {
            release(ask);
            return;
        }
    if (next < 0 || (ask->wire.gone && !ask->paused)) {
        (void)hand_on(ask, 0, left, sizeof left - 1);
        release(ask);
        return;
    }
    wire_watch(&ask->wire, !ask->paused);
}

static int connect_to(const struct sockaddr_un *address, const char *worker, struct err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return err_errno(err, "socket");
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return fd;
    if (errno == ENOENT || errno == ECONNREFUSED)
        err_set(err, "%s is not running", worker);
    else if (errno == EAGAIN)
        err_set(err, "%s has too many questions waiting", worker);
    else
        err_errno(err, "cannot reach %s", worker);
    close(fd);
    return -1;
}

struct errand_ask *errand_ask(struct harness *harness, const char *worker, unsigned index,
                              size_t count, const char *const *words, struct err *err)
{
    char question[WIRE_QUESTION_BYTES];
    struct errand_ask *ask;
    struct sockaddr_un address;
    size_t used = 0;
    int fd;

    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(words[i]) + 1;

        if (count > ERRAND_WORDS_MAX || length > sizeof question - used) {
            err_set(err, "too many words, or too long ones");
            return NULL;
        }
        memcpy(question + used, words[i], length);
        used += length;
    }
    if (wire_address(harness, worker, index, &address, err) != 0)
        return NULL;
    fd = connect_to(&address, worker, err);
    if (fd < 0)
        return NULL;
    ask = calloc(1, sizeof *ask);
    if (ask == NULL)
        bug("out of memory for an errand");
    ask->wire.fd = fd;
    ask->wire.watch = harness_watch(harness, fd, POLLIN, on_ready, ask);
    wire_put(&ask->wire, (uint32_t)count, question, used);
    wire_watch(&ask->wire, true);
    return ask;
}

void errand_ask_answer(struct errand_ask *ask, errand_answer_fn *answer, void *arg)
{
    ask->answer = answer;
    ask->arg = arg;
}

void errand_ask_pause(struct errand_ask *ask, bool paused)
{
    bool more = ask->paused && !paused && !ask->calling;

    ask->paused = paused;
    if (more)
        on_ready(ask, 0); /* what has come meanwhile; may be the last of it */
}

void errand_ask_drop(struct errand_ask **ask)
{
    struct errand_ask *it = *ask;

    *ask = NULL;
    if (it == NULL)
        return;
    it->dropped = true;
    if (!it->calling)
        release(it);
}

/*
 * offloop.c - a blocking function in a helper thread.  See offloop.h.
 *
 * The thread and its owner hold one reference each; whoever lets go last frees, so a loop that closes
 * waits for nobody.  The thread writes the eventfd when the function has returned and then touches
 * nothing that the owner reads.  The eventfd is what orders the two: the owner reads the work only after
 * it.  Nothing durable: a death on any line loses a question.
 */
#include "common/base/offloop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_BYTES (512 * 1024) /* the resolver's buffers lie on it */

struct offloop {
    atomic_int holders;
    int fd;
    offloop_fn *function;
    void *work;
};

static void let_go(struct offloop *offloop)
{
    if (atomic_fetch_sub(&offloop->holders, 1) > 1)
        return;
    close(offloop->fd);
    free(offloop->work);
    free(offloop);
}

static void *run(void *arg)
{
    struct offloop *offloop = arg;
    uint64_t one = 1;

    offloop->function(offloop->work);
    if (write(offloop->fd, &one, sizeof one) != (ssize_t)sizeof one)
        bug("eventfd: %s", strerror(errno));
    let_go(offloop);
    return NULL;
}

static int start_thread(struct offloop *offloop)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int code;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    code = pthread_create(&thread, &attributes, run, offloop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return code;
}

struct offloop *offloop_start(offloop_fn *function, void *work, struct err *err)
{
    struct offloop *offloop = calloc(1, sizeof *offloop);

    if (offloop == NULL) {
        err_set(err, "no memory for a helper thread");
        return NULL;
    }
    offloop->function = function;
    offloop->work = work;
    atomic_init(&offloop->holders, 2);
    offloop->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (offloop->fd < 0) {
        err_errno(err, "no eventfd for a helper thread");
        free(offloop);
        return NULL;
    }
    errno = start_thread(offloop);
    if (errno != 0) {
        err_errno(err, "no helper thread");
        close(offloop->fd);
        free(offloop);
        return NULL;
    }
    return offloop;
}

int offloop_fd(const struct offloop *offloop)
{
    return offloop->fd;
}

void offloop_drop(struct offloop **offloop)
{
    if (*offloop != NULL)
        let_go(*offloop);
    *offloop = NULL;
}

/*
 * test_bus.c - sockets and channels of common/bus in one process.
 * links: common/bus/bus.c common/bus/bus_socket.c common/bus/bus_guard.c common/curve/certificate.c common/curve/clients.c common/stats/stats.c common/base/clock.c common/base/err.c tests/unit/loop.c
 * libs: libzmq
 */
#include "common/bus/bus.h"

#include "tests/unit/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

struct world {
    struct harness *loop;
    struct bus *bus;
    char directory[32];
    size_t messages, frames, wanted, echoed;
    char last[64];
    bool echo, drop;
    struct bus_socket *socket;
};

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct err err;

    strcpy(w->directory, "/tmp/bus-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    w->loop = loop_open();
    w->bus = bus_open(w->loop, w->directory, &err);
    assert_non_null(w->bus);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;
    char command[64];

    bus_close(&w->bus, 100);
    loop_close(&w->loop);
    snprintf(command, sizeof command, "rm -rf %s", w->directory);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void take(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    struct world *w = arg;
    size_t last = count > BUS_FRAMES_MAX ? BUS_FRAMES_MAX - 1 : count - 1;

    w->messages++;
    w->frames = count;
    snprintf(w->last, sizeof w->last, "%.*s", (int)frames[last].bytes,
             (const char *)frames[last].data);
    if (w->echo && bus_send(socket, frames, count) == 0)
        w->echoed++;
    if (w->drop)
        bus_drop(&w->socket);
}

static bool enough(void *arg)
{
    struct world *w = arg;
    return w->messages >= w->wanted;
}

static void channel_carries_frames(void **state)
{
    struct world *w = *state;
    struct err err;
    char big[300000];
    struct bus_frame frames[2] = {{"head", 4}, {big, sizeof big}};
    struct bus_socket *reader, *writer;
    int sent = -1;

    memset(big, 'x', sizeof big);
    writer = bus_write(w->bus, BUS_receipts, 7, &err);
    assert_non_null(writer);
    /* Nobody there: refused, not swallowed. */
    assert_int_equal(bus_send(writer, frames, 2), -1);
    assert_false(bus_writable(writer));
    reader = bus_read(w->bus, BUS_receipts, 7, take, w, &err);
    assert_non_null(reader);
    for (int turn = 0; turn < 500 && sent != 0; turn++) {
        loop_turn(w->loop, 10);
        sent = bus_send(writer, frames, 2);
    }
    assert_int_equal(sent, 0);
    w->wanted = 1;
    assert_true(loop_until(w->loop, enough, w, 5000));
    assert_int_equal(w->frames, 2);
}

static void private_sockets_are_private(void **state)
{
    struct world *w = *state;
    struct err err;
    struct stat st;
    char path[96];

    assert_non_null(bus_read(w->bus, BUS_batches, 0, take, w, &err));
    snprintf(path, sizeof path, "%s/private/batches.sock", w->directory);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static struct bus_socket *bind_router(struct world *w, char endpoint[64])
{
    const struct bus_limits limits = {
        .max_message_bytes = 1 << 20, .high_water = 1000, .socket_mode = 0660};
    struct err err;
    struct bus_socket *socket;

    snprintf(endpoint, 64, "ipc://%s/ingest.sock", w->directory);
    socket = bus_bind(w->bus, BUS_ROUTER, endpoint, &limits, take, w, &err);
    assert_non_null(socket);
    return socket;
}

static void router_echoes_and_refuses_the_gone(void **state)
{
    struct world *w = *state;
    char endpoint[64];
    struct bus_socket *socket = bind_router(w, endpoint);
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    struct bus_frame nobody[2] = {{"nobody", 6}, {"x", 1}};
    struct stat st;
    int none = 0;

    assert_int_equal(stat(endpoint + 6, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    zmq_setsockopt(dealer, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_connect(dealer, endpoint), 0);
    w->echo = true;
    w->wanted = 2000;
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(zmq_send(dealer, "E1", 2, ZMQ_SNDMORE), 2);
        assert_int_equal(zmq_send(dealer, "7", 1, ZMQ_SNDMORE), 1);
        assert_int_equal(zmq_send(dealer, "{}", 2, 0), 2);
        loop_turn(w->loop, 0);
    }
    assert_true(loop_until(w->loop, enough, w, 5000));
    assert_int_equal(w->frames, 4);
    assert_int_equal(w->echoed, 2000);
    assert_int_equal(bus_send(socket, nobody, 2), -1);
    zmq_close(dealer);
    zmq_ctx_term(context);
}

static void too_many_frames_are_cut(void **state)
{
    struct world *w = *state;
    char endpoint[64];
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    int none = 0;

    bind_router(w, endpoint);
    zmq_setsockopt(dealer, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_connect(dealer, endpoint), 0);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(zmq_send(dealer, "a", 1, i < 4999 ? ZMQ_SNDMORE : 0), 1);
    w->wanted = 1;
    assert_true(loop_until(w->loop, enough, w, 5000));
    assert_int_equal(w->frames, BUS_FRAMES_MAX + 1);
    assert_int_equal(zmq_send(dealer, "next", 4, 0), 4);
    w->wanted = 2;
    assert_true(loop_until(w->loop, enough, w, 5000));
    assert_int_equal(w->frames, 2);
    assert_string_equal(w->last, "next");
    zmq_close(dealer);
    zmq_ctx_term(context);
}

static void paused_reads_nothing_and_resumes(void **state)
{
    struct world *w = *state;
    char endpoint[64];
    struct bus_socket *socket = bind_router(w, endpoint);
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    int none = 0;

    zmq_setsockopt(dealer, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_connect(dealer, endpoint), 0);
    bus_pause(socket, true);
    assert_int_equal(zmq_send(dealer, "x", 1, 0), 1);
    w->wanted = 1;
    assert_false(loop_until(w->loop, enough, w, 100));
    bus_pause(socket, false);
    assert_true(loop_until(w->loop, enough, w, 5000));
    /* The owner may drop its socket from within the message. */
    w->drop = true;
    w->socket = socket;
    assert_int_equal(zmq_send(dealer, "y", 1, 0), 1);
    w->wanted = 2;
    assert_true(loop_until(w->loop, enough, w, 5000));
    assert_null(w->socket);
    zmq_close(dealer);
    zmq_ctx_term(context);
}

static void binding_spares_files_and_takes_leftovers(void **state)
{
    struct world *w = *state;
    const struct bus_limits limits = {.socket_mode = 0600};
    char endpoint[64], path[64];
    struct err err = {""};
    FILE *file;
    struct bus_socket *socket;

    snprintf(path, sizeof path, "%s/precious", w->directory);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/precious", w->directory);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_null(bus_bind(w->bus, BUS_PULL, endpoint, &limits, take, w, &err));
    assert_non_null(strstr(err.text, "not a socket"));
    socket = bind_router(w, endpoint);
    bus_drop(&socket);
    socket = bind_router(w, endpoint);
    assert_non_null(socket);
    assert_null(bus_bind(w->bus, BUS_PULL, "ipc:///nonexistent/x.sock", &limits, take, w, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_world, end_world)
        T(channel_carries_frames),
        T(private_sockets_are_private),
        T(router_echoes_and_refuses_the_gone),
        T(too_many_frames_are_cut),
        T(paused_reads_nothing_and_resumes),
        T(binding_spares_files_and_takes_leftovers),
    };

    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}

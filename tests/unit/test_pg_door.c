/*
 * test_pg_door.c - the door to PostgreSQL against servers that misbehave and a resolver that hangs.
 *
 * getaddrinfo is ours here: it counts, and waits on a pipe when the test says so.  The server is a thread
 * that greets as PostgreSQL does and then does what its script says.
 *
 * links: tests/unit/loop.c common/pg/pg.c common/pg/pg_connect.c common/pg/pg_query.c common/pg/pg_copy.c common/pg/pg_tls.c common/pg/pg_refusal.c common/pg/resolve.c common/base/offloop.c common/pg/targets.c common/pg/url.c common/config/secret.c common/base/err.c common/base/clock.c
 * libs: libpq openssl
 */
#include "common/pg/pg.h"

#include "tests/unit/loop.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the resolver ------------------------------------------------------------------------------- */

static atomic_int look_ups, hanging;
static int release_pipe[2];

static struct addrinfo *made(unsigned address, const char *service, struct addrinfo *next)
{
    struct addrinfo *info = calloc(1, sizeof *info + sizeof(struct sockaddr_in));
    struct sockaddr_in *in = (struct sockaddr_in *)(info + 1);

    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(address);
    in->sin_port = htons((uint16_t)(service ? atoi(service) : 0));
    info->ai_addr = (struct sockaddr *)in;
    info->ai_addrlen = sizeof *in;
    info->ai_family = AF_INET;
    info->ai_socktype = SOCK_STREAM;
    info->ai_next = next;
    return info;
}

/* Any name is 127.0.0.1; "two.test" is 127.0.0.2, where nobody listens, and then 127.0.0.1.  libpq asks
 * for numbers. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    struct pollfd release = {.fd = release_pipe[0], .events = POLLIN};
    struct in_addr number;

    if (hints->ai_flags & AI_NUMERICHOST) {
        assert_int_equal(inet_pton(AF_INET, node, &number), 1);
        *list = made(ntohl(number.s_addr), service, NULL);
        return 0;
    }
    atomic_fetch_add(&look_ups, 1);
    if (atomic_load(&hanging))
        poll(&release, 1, 20000);
    *list = made(INADDR_LOOPBACK, service, NULL);
    if (strcmp(node, "two.test") == 0)
        *list = made(INADDR_LOOPBACK + 1, service, *list);
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;

        free(list);
        list = next;
    }
}

/* --- the server --------------------------------------------------------------------------------- */

struct server {
    int listener, port;
    const char *last; /* sent when it is asked something, before it hangs up */
    size_t last_bytes;
    pthread_t thread;
};

static void serve(const struct server *server, int peer)
{
    static const char greeting[] = "R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    char buffer[4096];

    if (read(peer, buffer, sizeof buffer) <= 0 ||
        write(peer, greeting, sizeof greeting - 1) != (ssize_t)(sizeof greeting - 1) ||
        read(peer, buffer, sizeof buffer) <= 0 || buffer[0] == 'X')
        return;
    if (server->last_bytes && write(peer, server->last, server->last_bytes) < 0)
        return;
}

static void *run_server(void *arg)
{
    struct server *server = arg;
    int peer;

    while ((peer = accept(server->listener, NULL, NULL)) >= 0) {
        serve(server, peer);
        close(peer);
    }
    return NULL;
}

static void start_server(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->listener, 8), 0);
    getsockname(server->listener, (struct sockaddr *)&address, &length);
    server->port = ntohs(address.sin_port);
    pthread_create(&server->thread, NULL, run_server, server);
}

static void stop_server(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
}

/* --- asking ------------------------------------------------------------------------------------- */

struct heard {
    bool done;
    enum pg_outcome outcome;
    enum pg_refusal refusal;
    char text[256];
};

static void hear(void *arg, const struct pg_answer *answer)
{
    struct heard *heard = arg;

    heard->done = true;
    heard->outcome = answer->outcome;
    heard->refusal = answer->refusal;
    snprintf(heard->text, sizeof heard->text, "%s", answer->text);
}

static bool is_done(void *arg)
{
    return ((struct heard *)arg)->done;
}

static struct pg *open_door(struct harness *loop, const char *url, int64_t connect_ms)
{
    const struct pg_options options = {url, "test", connect_ms, 2000};
    struct err err = {{0}};
    struct pg *pg = pg_open(loop, &options, &err);

    assert_non_null(pg);
    return pg;
}

static struct heard connect_door(struct harness *loop, struct pg *pg)
{
    struct heard heard = {false};

    pg_connect(pg, hear, &heard);
    assert_false(heard.done); /* never from within the call */
    assert_true(loop_until(loop, is_done, &heard, 10000));
    return heard;
}

static struct heard ask(struct harness *loop, struct pg *pg, int64_t timeout_ms)
{
    struct heard heard = {false};

    pg_query(pg, "SELECT 1", 0, NULL, timeout_ms, hear, &heard);
    assert_true(loop_until(loop, is_done, &heard, 10000));
    return heard;
}

static int descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* --- tests -------------------------------------------------------------------------------------- */

static void a_resolver_that_hangs_stops_nothing(void **state)
{
    struct harness *loop = loop_open();
    struct pg *pg = open_door(loop, "host=db.test port=1", 100);
    struct heard heard;

    (void)state;
    atomic_store(&look_ups, 0);
    atomic_store(&hanging, 1);
    for (int i = 0; i < 5; i++) {
        heard = connect_door(loop, pg);
        assert_int_equal(heard.outcome, PG_LOST);
        assert_int_equal(heard.refusal, PG_REFUSED_unresolved);
    }
    assert_int_equal(atomic_load(&look_ups), 1); /* waited for again each time, never a second thread */
    atomic_store(&hanging, 0);
    assert_int_equal(write(release_pipe[1], "x", 1), 1);
    do
        heard = connect_door(loop, pg);
    while (heard.refusal == PG_REFUSED_unresolved);
    assert_int_equal(heard.refusal, PG_REFUSED_unreachable); /* port 1 */
    pg_close(&pg);
    loop_close(&loop);
}

static void the_next_address_serves_and_is_remembered_while_all_goes_well(void **state)
{
    struct server server = {.last = NULL};
    struct harness *loop = loop_open();
    struct heard heard;
    struct pg *pg;
    char url[128];

    (void)state;
    start_server(&server);
    /* A fake cannot say whether it is writable: any server will do. */
    snprintf(url, sizeof url, "host=two.test port=%d sslmode=disable target_session_attrs=any",
             server.port);
    pg = open_door(loop, url, 5000);
    atomic_store(&look_ups, 0);
    for (int i = 0; i < 3; i++) {
        heard = connect_door(loop, pg);
        assert_int_equal(heard.outcome, PG_OK);
        pg_disconnect(pg);
    }
    assert_int_equal(atomic_load(&look_ups), 1);
    heard = connect_door(loop, pg);
    heard = ask(loop, pg, 5000); /* it hangs up: the name may lead elsewhere now */
    assert_int_equal(heard.outcome, PG_LOST);
    assert_int_equal(heard.refusal, PG_REFUSED_connection_lost);
    heard = connect_door(loop, pg);
    assert_int_equal(heard.outcome, PG_OK);
    assert_int_equal(atomic_load(&look_ups), 2);
    pg_close(&pg);
    loop_close(&loop);
    stop_server(&server);
}

static void the_last_word_of_the_server_is_heard(void **state)
{
    static const char fatal[] =
        "E\0\0\0\x2aSFATAL\0VFATAL\0C57P01\0Mgoing down now\0\0";
    struct server server = {.last = fatal, .last_bytes = sizeof fatal - 1};
    struct harness *loop = loop_open();
    struct heard heard;
    struct pg *pg;
    char url[128];

    (void)state;
    assert_int_equal(sizeof fatal - 2, 0x2a);
    start_server(&server);
    snprintf(url, sizeof url, "host=127.0.0.1 port=%d sslmode=disable", server.port);
    pg = open_door(loop, url, 5000);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(connect_door(loop, pg).outcome, PG_OK);
        heard = ask(loop, pg, 5000);
        assert_int_equal(heard.outcome, PG_LOST);
        assert_int_equal(heard.refusal, PG_REFUSED_shut_down);
        assert_string_equal(heard.text, "going down now");
    }
    pg_close(&pg);
    loop_close(&loop);
    stop_server(&server);
}

static void a_thousand_failures_leave_nothing_behind(void **state)
{
    struct harness *loop = loop_open();
    struct server server = {.last = NULL};
    struct pg *nobody = open_door(loop, "host=/nonexistent", 1000), *cut;
    char url[128];
    int before;

    (void)state;
    start_server(&server);
    snprintf(url, sizeof url, "host=127.0.0.1 port=%d sslmode=disable", server.port);
    cut = open_door(loop, url, 5000);
    connect_door(loop, nobody);
    ask(loop, nobody, 1000);
    before = descriptors();
    for (int i = 0; i < 500; i++) {
        assert_int_equal(connect_door(loop, nobody).refusal, PG_REFUSED_unreachable);
        assert_int_equal(connect_door(loop, cut).outcome, PG_OK);
        assert_int_equal(ask(loop, cut, 5000).refusal, PG_REFUSED_connection_lost);
    }
    pg_close(&cut);
    pg_close(&nobody);
    loop_close(&loop);
    stop_server(&server);
    assert_true(descriptors() <= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resolver_that_hangs_stops_nothing),
        cmocka_unit_test(the_next_address_serves_and_is_remembered_while_all_goes_well),
        cmocka_unit_test(the_last_word_of_the_server_is_heard),
        cmocka_unit_test(a_thousand_failures_leave_nothing_behind),
    };

    if (pipe(release_pipe) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

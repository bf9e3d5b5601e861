/*
 * test_redis_link.c - the transport to Redis over a pair of sockets, the other end of which the test is:
 * TLS with buffers so small that every read and write is partial, key updates in between, ends and
 * cuts; and what a TCP socket is tuned to.
 * links: common/redis/redis_link.c common/redis/redis_tls.c common/base/err.c
 * libs: openssl
 */
#include "common/redis/redis_link.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STREAM_BYTES (600 * 1024)

struct world {
    char authority[32];
    EVP_PKEY *key;
    X509 *cert;
    SSL_CTX *context;
    struct redis_link link;
    SSL *server;
    int fd; /* the server's */
    unsigned seed;
};

/* Signs itself, and is what the client trusts. */
static void sign(struct world *w)
{
    FILE *file = fopen(w->authority, "w");

    assert_non_null(file);
    assert_true(X509_sign(w->cert, w->key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(file, w->cert), 1);
    fclose(file);
}

/* A certificate for localhost. */
static void make_certificate(struct world *w)
{
    X509_NAME *name;
    X509_EXTENSION *names;

    w->key = EVP_EC_gen("P-256");
    w->cert = X509_new();
    X509_set_version(w->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(w->cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(w->cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(w->cert), 3600);
    X509_set_pubkey(w->cert, w->key);
    name = X509_get_subject_name(w->cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(w->cert, name);
    names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    assert_non_null(names);
    X509_add_ext(w->cert, names, -1);
    X509_EXTENSION_free(names);
    strcpy(w->authority, "/tmp/red-ca-XXXXXX");
    close(mkstemp(w->authority));
    sign(w);
}

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    int pair[2], small = 4096;

    assert_non_null(w);
    signal(SIGPIPE, SIG_IGN); /* as the harness does */
    w->seed = 77;
    make_certificate(w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    w->link = (struct redis_link){.fd = pair[0]};
    w->fd = pair[1];
    w->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(w->context, w->cert);
    SSL_CTX_use_PrivateKey(w->context, w->key);
    SSL_CTX_set_mode(w->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    w->server = SSL_new(w->context);
    SSL_set_fd(w->server, w->fd);
    SSL_set_accept_state(w->server);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    link_close(&w->link);
    SSL_free(w->server);
    SSL_CTX_free(w->context);
    X509_free(w->cert);
    EVP_PKEY_free(w->key);
    if (w->fd >= 0)
        close(w->fd);
    unlink(w->authority);
    free(w);
    return 0;
}

static int secure(struct world *w, const char *host, struct err *err)
{
    const struct redis_tls options = {
        .ca = w->authority, .cert = "", .key = "", .name = "", .verify = true};

    return link_secure(&w->link, &options, host, err);
}

/* Both ends in turn, until ours has said its last word. */
static int shake_hands(struct world *w, struct err *err)
{
    for (int i = 0; i < 1000; i++) {
        int done = link_handshake(&w->link, err);

        if (done != 0) {
            (void)SSL_do_handshake(w->server);
            return done;
        }
        (void)SSL_do_handshake(w->server);
    }
    return 0;
}

static void begin(struct world *w)
{
    struct err err = {""};

    assert_int_equal(secure(w, "localhost", &err), 0);
    if (shake_hands(w, &err) != 1)
        fail_msg("%s", err.text);
}

static unsigned dice(struct world *w, unsigned sides)
{
    return (unsigned)rand_r(&w->seed) % sides;
}

static unsigned char at(size_t offset)
{
    return (unsigned char)(offset * 7 + (offset >> 11));
}

/* --- both directions at once ---------------------------------------------------------------- */

struct stream {
    unsigned char bytes[STREAM_BYTES];
    size_t sent, heard;
};

static void check_heard(struct stream *stream, const unsigned char *bytes, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (bytes[i] != at(stream->heard + (size_t)i))
            fail_msg("byte %zu differs", stream->heard + (size_t)i);
    stream->heard += (size_t)count;
}

/* As the door does it: some pieces, any sizes; what was not taken is offered again, with more. */
static void we_write(struct world *w, struct stream *up)
{
    struct iovec iov[6];
    size_t from = up->sent;
    struct err err;
    int64_t sent;

    for (int i = 0; i < 6; i++) {
        size_t size = i == 0 && dice(w, 4) == 0 ? 40000 : dice(w, 900);

        size = from + size > STREAM_BYTES ? STREAM_BYTES - from : size;
        iov[i] = (struct iovec){up->bytes + from, size};
        from += size;
    }
    /* A repetition must not be shorter: all that is left is offered behind it. */
    iov[5].iov_len += STREAM_BYTES - from;
    sent = link_write(&w->link, iov, 6, &err);
    assert_true(sent >= 0);
    up->sent += (size_t)sent;
}

static void we_read(struct world *w, struct stream *down)
{
    unsigned char bytes[5000];
    struct err err;
    int64_t got = link_read(&w->link, bytes, 1 + dice(w, sizeof bytes), &err);

    if (got < 0)
        fail_msg("%s", err.text);
    check_heard(down, bytes, got);
}

static void they_work(struct world *w, struct stream *up, struct stream *down)
{
    unsigned char bytes[3000];
    size_t left = STREAM_BYTES - down->sent;
    int got = SSL_read(w->server, bytes, (int)(1 + dice(w, sizeof bytes)));

    if (got > 0)
        check_heard(up, bytes, got);
    if (left > 0) {
        /* Whole, so that a repetition is never shorter. */
        int sent = SSL_write(w->server, down->bytes + down->sent, (int)left);

        if (sent > 0)
            down->sent += (size_t)sent;
    }
    if (dice(w, 40) == 0)
        (void)SSL_key_update(w->server, SSL_KEY_UPDATE_REQUESTED);
}

static void streams_cross_through_tiny_buffers(void **state)
{
    struct world *w = *state;
    struct stream *up = calloc(1, sizeof *up), *down = calloc(1, sizeof *down);
    unsigned turns = 0;

    assert_non_null(up);
    assert_non_null(down);
    for (size_t i = 0; i < STREAM_BYTES; i++)
        up->bytes[i] = down->bytes[i] = at(i);
    begin(w);
    while (up->heard < STREAM_BYTES || down->heard < STREAM_BYTES) {
        short events = link_events(&w->link, up->sent < STREAM_BYTES);
        struct pollfd fd = {w->link.fd, events, 0};

        assert_true(turns++ < 1000000);
        assert_true(events & POLLIN);
        /* What the door waits for must be enough: no try without an event, except for what waits in
         * memory. */
        if (poll(&fd, 1, 0) > 0 || link_pending(&w->link)) {
            we_read(w, down);
            if (up->sent < STREAM_BYTES)
                we_write(w, up);
        }
        they_work(w, up, down);
    }
    free(up);
    free(down);
}

/* --- ends ----------------------------------------------------------------------------------- */

static void expect_end(struct world *w, enum redis_refusal refusal)
{
    char bytes[64];
    struct err err = {""};
    int64_t got = 0;

    for (int i = 0; i < 100 && got == 0; i++)
        got = link_read(&w->link, bytes, sizeof bytes, &err);
    assert_int_equal(got, -1);
    assert_int_equal(w->link.refused, refusal);
    assert_true(err.text[0] != '\0');
}

static void a_goodbye_is_an_end(void **state)
{
    struct world *w = *state;

    begin(w);
    SSL_shutdown(w->server);
    expect_end(w, REDIS_REFUSED_closed);
}

/* FIN without goodbye, the other direction still open: half closed. */
static void half_closed_is_an_end(void **state)
{
    struct world *w = *state;

    begin(w);
    shutdown(w->fd, SHUT_WR);
    expect_end(w, REDIS_REFUSED_closed);
}

static void a_cut_while_writing_is_an_end(void **state)
{
    struct world *w = *state;
    char bytes[100] = "x";
    struct iovec iov = {bytes, sizeof bytes};
    struct err err;

    begin(w);
    close(w->fd);
    w->fd = -1;
    assert_int_equal(link_write(&w->link, &iov, 1, &err), -1);
    assert_int_equal(w->link.refused, REDIS_REFUSED_closed);
}

static void nonsense_on_an_open_session_ends_it(void **state)
{
    struct world *w = *state;

    begin(w);
    assert_int_equal(write(w->fd, "+PONG\r\n", 7), 7);
    expect_end(w, REDIS_REFUSED_tls_other);
}

static void each_handshake_that_fails_has_a_name(void **state)
{
    struct world *w = *state;
    struct err err;

    assert_int_equal(secure(w, "elsewhere", &err), 0);
    assert_int_equal(shake_hands(w, &err), -1);
    assert_int_equal(w->link.refused, REDIS_REFUSED_tls_name);
    end_world(state);

    make_world(state);
    w = *state;
    X509_gmtime_adj(X509_getm_notAfter(w->cert), -10);
    sign(w);
    assert_int_equal(secure(w, "localhost", &err), 0);
    assert_int_equal(shake_hands(w, &err), -1);
    assert_int_equal(w->link.refused, REDIS_REFUSED_tls_expired);
    end_world(state);

    make_world(state);
    w = *state;
    assert_int_equal(write(w->fd, "-ERR unknown command\r\n", 22), 22);
    assert_int_equal(secure(w, "localhost", &err), 0);
    assert_int_equal(link_handshake(&w->link, &err), -1);
    assert_int_equal(w->link.refused, REDIS_REFUSED_tls_plain);
    end_world(state);

    make_world(state);
    w = *state;
    shutdown(w->fd, SHUT_WR);
    assert_int_equal(secure(w, "localhost", &err), 0);
    assert_int_equal(link_handshake(&w->link, &err), -1);
    assert_int_equal(w->link.refused, REDIS_REFUSED_tls_cut);
}

static void files_that_are_none_are_named(void **state)
{
    struct world *w = *state;
    const struct redis_tls options[] = {
        {"/nowhere/ca.pem", "", "", "", true},
        {w->authority, "/nowhere/cert.pem", "", "", true},
        {w->authority, w->authority, "", "", true}, /* no key in it */
    };
    static const char *const names[] = {"redis.tls_ca", "redis.tls_cert", "redis.tls_key"};

    for (size_t i = 0; i < COUNT_OF(options); i++) {
        struct err err = {""};

        assert_int_equal(link_secure(&w->link, &options[i], "localhost", &err), -1);
        assert_int_equal(w->link.refused, REDIS_REFUSED_tls_setup);
        assert_non_null(strstr(err.text, names[i]));
    }
}

/* --- TCP ------------------------------------------------------------------------------------ */

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void a_peer_that_vanishes_is_found_out(void **state)
{
    struct redis_link link = {.fd = -1};
    struct address to = {.length = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&to.at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct err err;

    (void)state;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)in, to.length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)in, &to.length), 0);
    assert_int_equal(link_open(&link, &to, 5000, &err), 0);
    assert_int_equal(option_of(link.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(link.fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(option_of(link.fd, IPPROTO_TCP, TCP_KEEPINTVL), 30);
    assert_int_equal(option_of(link.fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_int_equal(option_of(link.fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    assert_int_equal(option_of(link.fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_true(fcntl(link.fd, F_GETFL) & O_NONBLOCK);
    link_close(&link);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_world, end_world)
        T(streams_cross_through_tiny_buffers),
        T(a_goodbye_is_an_end),
        T(half_closed_is_an_end),
        T(a_cut_while_writing_is_an_end),
        T(nonsense_on_an_open_session_ends_it),
        T(each_handshake_that_fails_has_a_name),
        T(files_that_are_none_are_named),
        cmocka_unit_test(a_peer_that_vanishes_is_found_out),
    };

    return cmocka_run_group_tests_name("redis_link", tests, NULL, NULL);
}

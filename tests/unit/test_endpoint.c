/*
 * test_endpoint.c - addresses to listen on, row by row: what they are, and who reaches them.
 * links: common/config/endpoint.c common/base/err.c
 * libs:
 */
#include "common/config/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NONE 9

static const struct {
    const char *text;
    int kind, port;
    bool loopback;
} rows[] = {
    {"ipc:///run/spendd/ingest.sock", ENDPOINT_IPC, 0, true},
    {"tcp://127.0.0.1:5555", ENDPOINT_TCP4, 5555, true},
    {"tcp://127.255.0.9:1", ENDPOINT_TCP4, 1, true},
    {"tcp://localhost:65535", ENDPOINT_TCP4, 65535, true},
    {"tcp://[::1]:80", ENDPOINT_TCP6, 80, true},
    {"tcp://[::ffff:127.0.0.1]:80", ENDPOINT_TCP6, 80, true},
    {"tcp://*:5555", ENDPOINT_TCP4, 5555, false},
    {"tcp://0.0.0.0:5555", ENDPOINT_TCP4, 5555, false},
    {"tcp://10.1.2.3:5555", ENDPOINT_TCP4, 5555, false},
    {"tcp://128.0.0.1:5555", ENDPOINT_TCP4, 5555, false},
    {"tcp://[::]:5555", ENDPOINT_TCP6, 5555, false},
    {"tcp://[::ffff:10.0.0.1]:80", ENDPOINT_TCP6, 80, false},
    {"tcp://[2001:db8::1]:80", ENDPOINT_TCP6, 80, false},
    {"tcp://eth0:5555", ENDPOINT_INTERFACE, 5555, false},
    {"tcp://lo:5555", ENDPOINT_INTERFACE, 5555, false},
    {"tcp://127.1:5555", ENDPOINT_INTERFACE, 5555, false},
    {"tcp://localhost.:80", ENDPOINT_INTERFACE, 80, false},
    /* No endpoints at all. */
    {"tcp://127.0.0.1.example.com:5555", NONE, 0, false},
    {"tcp://a-host-of-long-name:5555", NONE, 0, false},
    {"tcp://::1:80", NONE, 0, false},
    {"tcp://[127.0.0.1]:80", NONE, 0, false},
    {"tcp://[fe80::1%eth0]:80", NONE, 0, false},
    {"tcp://[::1]80", NONE, 0, false},
    {"tcp://127.0.0.1", NONE, 0, false},
    {"tcp://127.0.0.1:", NONE, 0, false},
    {"tcp://127.0.0.1:0", NONE, 0, false},
    {"tcp://127.0.0.1:*", NONE, 0, false},
    {"tcp://127.0.0.1:65536", NONE, 0, false},
    {"tcp://127.0.0.1:+80", NONE, 0, false},
    {"tcp://127.0.0.1:000080", NONE, 0, false},
    {"tcp://:80", NONE, 0, false},
    {"tcp://", NONE, 0, false},
    {"tcp:", NONE, 0, false},
    {"", NONE, 0, false},
    {"ipc://run/x.sock", NONE, 0, false},
    {"ipc://@abstract", NONE, 0, false},
    {"udp://127.0.0.1:80", NONE, 0, false},
};

static void each_row(void **unused)
{
    struct endpoint endpoint;
    struct err err;

    (void)unused;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int result = endpoint_read(rows[i].text, &endpoint, &err);

        if (result != (rows[i].kind == NONE ? -1 : 0))
            fail_msg("%s: %d %s", rows[i].text, result, err.text);
        if (result < 0)
            continue;
        if (rows[i].kind != (int)endpoint.kind || endpoint.port != rows[i].port ||
            endpoint.loopback != rows[i].loopback)
            fail_msg("%s: kind %d port %d loopback %d", rows[i].text, endpoint.kind, endpoint.port,
                     endpoint.loopback);
        assert_int_equal(endpoint_is_tcp(&endpoint), rows[i].kind != ENDPOINT_IPC);
    }
}

static void longest_path(void **unused)
{
    char text[200] = "ipc:///";
    struct endpoint endpoint;
    struct err err;

    (void)unused;
    memset(text + 7, 'x', SOCKET_PATH_MAX - 1);
    assert_int_equal(endpoint_read(text, &endpoint, &err), 0);
    assert_int_equal(strlen(endpoint.path), SOCKET_PATH_MAX);
    text[strlen(text)] = 'x';
    assert_int_equal(endpoint_read(text, &endpoint, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_row), cmocka_unit_test(longest_path)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

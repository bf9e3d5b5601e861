/*
 * test_notify.c - sd_notify's socket: addresses, what leaves, what is not taken, and the environment behind it.
 *
 * links: supervisor/notify.c common/base/err.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/attr.h"
#include "supervisor/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Somebody who listens at an abstract name of this process; its NOTIFY_SOCKET in `name`. */
static int listener(char name[64])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(name, 64, "@spendd-unit-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    return fd;
}

static void the_environment_is_taken(void **unused)
{
    static const char *const taken[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    struct notify notify;
    struct err err;
    char text[64], pid[24];
    int fd = listener(text);
    ssize_t bytes;

    (void)unused;
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("NOTIFY_SOCKET", text, 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_open(&notify, &err), 0);
    assert_int_equal(notify.watchdog_ms, 3000);
    for (size_t i = 0; i < COUNT_OF(taken); i++)
        assert_null(getenv(taken[i]));
    assert_true(notify_send(&notify, "READY=1\n"));
    bytes = recv(fd, text, sizeof text, 0);
    assert_int_equal(bytes, 8);
    assert_memory_equal(text, "READY=1\n", 8);
    /* Whoever listens does not read: not now, and never a wait. */
    for (int i = 0; i < 100000 && notify_send(&notify, "STATUS=x\n"); i++) {
    }
    assert_false(notify_send(&notify, "READY=1\n"));
    while (recv(fd, text, sizeof text, 0) > 0) {
    }
    assert_true(notify_send(&notify, "READY=1\n"));
    close(fd);
    assert_false(notify_send(&notify, "READY=1\n")); /* gone: it may come back */
    close(notify.fd);
}

static void addresses_that_are_none(void **unused)
{
    static char lengthy[200];
    const char *const names[] = {"vsock:2:1", "relative", "@", "/", lengthy};
    struct notify notify;
    struct err err;

    (void)unused;
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[0] = '/';
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        assert_int_equal(notify_open(&notify, &err), -1);
        assert_true(notify_send(&notify, "READY=1\n")); /* nobody is told, and nothing waits for it */
        assert_null(getenv("NOTIFY_SOCKET"));
    }
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(notify_open(&notify, &err), 0);
    assert_int_equal(notify.fd, -1);
}

static void watchdogs_that_are_not_ours(void **unused)
{
    static const struct {
        const char *micros, *pid;
    } rows[] = {{"1000000", "1"}, {"soon", NULL}, {"-5", NULL}, {"", NULL}, {"5x", NULL},
                {"99999999999999999999999", NULL}};
    struct notify notify;
    struct err err;

    (void)unused;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        setenv("WATCHDOG_USEC", rows[i].micros, 1);
        if (rows[i].pid != NULL)
            setenv("WATCHDOG_PID", rows[i].pid, 1);
        assert_int_equal(notify_open(&notify, &err), 0);
        assert_int_equal(notify.watchdog_ms, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_taken),
        cmocka_unit_test(addresses_that_are_none),
        cmocka_unit_test(watchdogs_that_are_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

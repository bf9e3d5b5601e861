/*
 * test_curve.c - certificates as files, and the directory of those who are allowed.
 * links: common/curve/certificate.c common/curve/clients.c common/base/err.c
 * libs:
 */
#include "common/curve/clients.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PUBLIC "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define SECRET "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
#define LATER 4000000000000000LL /* microseconds: long after any file here was made */

static char directory[32];

static const char *in(const char *name)
{
    static char path[96];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void put(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(in(name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(in(name), mode), 0);
}

static void put_key(const char *name, char first)
{
    char text[128];

    snprintf(text, sizeof text, "curve\n  public-key = \"%c%s\"\n", first, PUBLIC + 1);
    put(name, text, 0644);
}

static int begin(void **unused)
{
    (void)unused;
    strcpy(directory, "/tmp/curve-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int end(void **unused)
{
    char command[64];

    (void)unused;
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

static const struct {
    const char *text;
    int result; /* 0 and above: of certificate_read; 1: with a secret */
} files[] = {
    {"curve\n    public-key = \"" PUBLIC "\"\n", 0},
    {"#   of czmq\nmetadata\n    name = \"x\"\ncurve\n    public-key = \"" PUBLIC "\"\n    secret-key = \"" SECRET
     "\"\n", 1},
    {"public-key=\"" PUBLIC "\"", 0},
    {"secret-key = \"" SECRET "\"\r\n\tpublic-key\t=\t\"" PUBLIC "\"\r\n", 1},
    {"# public-key = \"" PUBLIC "\"\n", -1},
    {"public-key = \"" PUBLIC "x\"\n", -1},
    {"public-key = \"short\"\n", -1},
    {"public-key = " PUBLIC "\n", -1},
    {"public-key = \"" PUBLIC, -1},
    {"public-key = \"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf~\"\n", -1},
    {"public-keys = \"" PUBLIC "\"\n", -1},
    {"secret-key = \"" SECRET "\"\n", -1},
    {"public-key = \"" PUBLIC "\"\nsecret-key = \"short\"\n", -1},
    {"", -1},
    {"\n\n\n", -1},
};

static void certificates(void **unused)
{
    struct certificate read;
    struct err err;

    (void)unused;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        int result;

        put("c", files[i].text, 0600);
        result = certificate_read(in("c"), &read, &err);
        if (result != (files[i].result < 0 ? -1 : 0))
            fail_msg("file %zu: %d %s", i, result, err.text);
        if (result < 0)
            continue;
        assert_string_equal(read.public_key, PUBLIC);
        assert_string_equal(read.secret_key, files[i].result == 1 ? SECRET : "");
        assert_int_equal(certificate_read_secret(in("c"), &read, &err), files[i].result == 1 ? 0 : -1);
    }
}

static void secrets_are_closed(void **unused)
{
    static const mode_t open[] = {0640, 0604, 0660, 0644, 0620, 0601};
    struct certificate pair = {PUBLIC, SECRET}, read;
    struct stat st;
    struct err err;

    (void)unused;
    assert_int_equal(certificate_write(in("s"), &pair, true, &err), 0);
    assert_int_equal(stat(in("s"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(certificate_read_secret(in("s"), &read, &err), 0);
    assert_string_equal(read.secret_key, SECRET);
    assert_int_equal(certificate_write(in("s"), &pair, true, &err), -1); /* not written over */
    for (size_t i = 0; i < COUNT_OF(open); i++) {
        assert_int_equal(chmod(in("s"), open[i]), 0);
        assert_int_equal(certificate_read_secret(in("s"), &read, &err), -1);
    }
    assert_int_equal(certificate_write(in("p"), &pair, false, &err), 0);
    assert_int_equal(certificate_read(in("p"), &read, &err), 0);
    assert_string_equal(read.secret_key, "");
}

static void directory_of_clients(void **unused)
{
    const wall_t later = {LATER};
    struct clients clients = {0};
    char key[] = PUBLIC;
    bool removed;
    struct err err;

    (void)unused;
    assert_int_equal(clients_read(&clients, in("nowhere"), later, &removed, &err), 0);
    assert_int_equal(clients.count, 0);
    assert_null(clients_find(&clients, key));
    put_key("a.pub", 'a');
    put_key("again.pub", 'a');
    put_key("b.of.many.pub", 'b');
    put_key(".hidden", 'c');
    put("garbage", "x", 0644);
    assert_true(clients_stale(&clients, directory));
    assert_int_equal(clients_read(&clients, directory, later, &removed, &err), 0);
    assert_int_equal(clients.count, 2);
    assert_int_equal(clients.unreadable, 1);
    assert_false(removed);
    assert_false(clients.unsettled);
    assert_false(clients_stale(&clients, directory));
    key[0] = 'b';
    assert_non_null(clients_find(&clients, key));
    assert_string_equal(clients_find(&clients, key)->name, "b.of.many");
    key[0] = 'c';
    assert_null(clients_find(&clients, key));
    assert_null(clients_find(&clients, ""));
    /* One of two files of a key goes: it stays allowed.  Then the other: removed. */
    assert_int_equal(unlink(in("again.pub")), 0);
    assert_int_equal(clients_read(&clients, directory, later, &removed, &err), 0);
    assert_false(removed);
    assert_int_equal(unlink(in("a.pub")), 0);
    assert_int_equal(clients_read(&clients, directory, later, &removed, &err), 0);
    assert_true(removed);
    assert_int_equal(clients.count, 1);
    clients_free(&clients);
    assert_int_equal(clients.count, 0);
}

/* A change within the grain of the directory's time must not be missed. */
static void young_readings_are_not_relied_upon(void **unused)
{
    struct clients clients = {0};
    struct stat st;
    wall_t now;
    bool removed;
    struct err err;

    (void)unused;
    assert_int_equal(stat(directory, &st), 0);
    now.micros = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000 + 500000;
    assert_int_equal(clients_read(&clients, directory, now, &removed, &err), 0);
    assert_true(clients_stale(&clients, directory));
    now.micros += 1000000;
    assert_int_equal(clients_read(&clients, directory, now, &removed, &err), 0);
    assert_false(clients_stale(&clients, directory));
    clients_free(&clients);
}

/* What cannot be read changes nothing. */
static void unreadable_keeps(void **unused)
{
    const wall_t later = {LATER};
    struct clients clients = {0};
    bool removed = false;
    struct err err;

    (void)unused;
    put_key("k.pub", 'k');
    assert_int_equal(clients_read(&clients, directory, later, &removed, &err), 0);
    assert_true(clients.count >= 1);
    assert_int_equal(clients_read(&clients, in("k.pub"), later, &removed, &err), -1);
    assert_true(clients.count >= 1);
    clients_free(&clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(certificates, begin, end),
        cmocka_unit_test_setup_teardown(secrets_are_closed, begin, end),
        cmocka_unit_test_setup_teardown(directory_of_clients, begin, end),
        cmocka_unit_test_setup_teardown(young_readings_are_not_relied_upon, begin, end),
        cmocka_unit_test_setup_teardown(unreadable_keeps, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

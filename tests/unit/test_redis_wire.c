/*
 * test_redis_wire.c - replies as bytes: what is read, and what of a hostile or confused server is
 * refused, the same with each hiredis.
 * links: common/redis/redis_wire.c common/base/err.c
 * libs: hiredis
 */
#include "common/redis/redis_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* 1, 0 or -1 of wire_reply; the reply is freed. */
static int read_text(const char *text, size_t bytes_max, struct err *err)
{
    struct wire_reader *reader = wire_reader_new(bytes_max);
    struct redis_reply *reply = NULL;
    int result = wire_feed(reader, text, strlen(text), err);

    if (result == 0)
        result = wire_reply(reader, &reply, err);
    if (reply != NULL)
        wire_reply_free(&reply);
    wire_reader_free(&reader);
    return result;
}

static void table(void **state)
{
    static const struct {
        const char *text;
        int result;
    } row[] = {
        {"+OK\r\n", 1},
        {"-ERR no\r\n", 1},
        {":-7\r\n", 1},
        {"$3\r\na\nb\r\n", 1},
        {"$-1\r\n", 1},
        {"*-1\r\n", 1},
        {"*0\r\n", 1},
        {"*2\r\n*1\r\n$1\r\na\r\n:1\r\n", 1},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", 1}, /* seven within each other */
        {"", 0},
        {"$3\r\nab", 0},
        {"*2\r\n:1\r\n", 0},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", -1},
        {"*1048577\r\n", -1},
        {"*1\r\n*1048577\r\n", -1},
        {"*4294967295\r\n", -1},
        {"*-2\r\n", -1},
        {"?\r\n", -1},
        {",1.5\r\n", -1}, /* RESP3, which was not asked for */
        {"#t\r\n", -1},
        {"*2\r\n:1\r\n,1.5\r\n", -1},
        {"*2\r\n$1\r\na\r\n#f\r\n", -1},
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        int result = read_text(row[i].text, 1000, &err);

        if (result != row[i].result)
            fail_msg("row %zu: %d instead of %d", i, result, row[i].result);
    }
    assert_int_equal(read_text("$20\r\nabcdefghijklm", 16, &err), -1);
}

static void values(void **state)
{
    struct wire_reader *reader = wire_reader_new(1000);
    struct redis_reply *reply = NULL;
    const char *text = "*3\r\n$4\r\ndone\r\n$2\r\n42\r\n:7\r\n+next\r\n";
    struct err err;

    (void)state;
    assert_int_equal(wire_feed(reader, text, strlen(text), &err), 0);
    assert_int_equal(wire_reply(reader, &reply, &err), 1);
    assert_true(redis_said(reply, "done"));
    assert_int_equal(redis_item_number(reply, 0), -1);
    assert_int_equal(redis_item_number(reply, 1), 42);
    assert_int_equal(redis_item_number(reply, 2), 7);
    assert_int_equal(redis_item_number(reply, 3), -1);
    wire_reply_free(&reply);
    assert_int_equal(wire_reply(reader, &reply, &err), 1);
    assert_int_equal(reply->kind, REDIS_WORD);
    assert_string_equal(reply->text, "next");
    wire_reply_free(&reply);
    assert_int_equal(wire_reply(reader, &reply, &err), 0);
    wire_reader_free(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

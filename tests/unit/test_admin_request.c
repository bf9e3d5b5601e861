/*
 * test_admin_request.c - frames of the admin socket: what is echoed, what is refused.
 *
 * links: workers/control/request.c common/base/err.c
 * libs:
 */
#include "workers/control/request.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define F(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static char long_word[300];

static void rows(void **state)
{
    static const struct {
        struct bus_frame frames[8];
        size_t count;
        int result;
        size_t route, words;
        const char *says;
    } row[] = {
        {{F("id"), F("spendctl/1"), F("status")}, 3, 0, 1, 1, ""},
        {{F("id"), F(""), F("spendctl/1"), F("status"), F("x")}, 5, 0, 2, 2, ""},
        {{F("id"), F("spendctl/1")}, 2, -1, 1, 0, "no command"},
        {{F("id"), F("status")}, 2, -1, 1, 0, "no frame says"},
        {{F("id"), F(""), F("status")}, 3, -1, 2, 0, "no frame says"},
        {{F("id")}, 1, -1, 1, 0, "no frame says"},
        /* a peer that calls itself spendctl/1 is still a peer */
        {{F("spendctl/1"), F("spendctl/1"), F("status")}, 3, 0, 1, 1, ""},
        {{F("id"), F("spendctl/1"), F("sta\0tus")}, 3, -1, 1, 0, "NUL"},
        {{F("id"), F("spendctl/1"), {long_word, 256}}, 3, -1, 1, 0, "longer than"},
        {{F("id"), F("spendctl/1"), {long_word, 255}}, 3, 0, 1, 1, ""},
        {{F("id"), {long_word, 256}, F("spendctl/1"), F("status")}, 4, -1, 1, 0, "echoed"},
        {{F("id"), F("spendctl/1"), {NULL, 0}}, 3, 0, 1, 1, ""},
    };

    (void)state;
    memset(long_word, 'x', sizeof long_word);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct request request;
        struct err err = {""};

        assert_int_equal(request_read(&request, row[i].frames, row[i].count, &err), row[i].result);
        assert_int_equal(request.route.count, row[i].route);
        assert_int_equal(request.count, row[i].words);
        assert_non_null(strstr(err.text, row[i].says));
    }
}

static void too_many(void **state)
{
    struct bus_frame frames[BUS_FRAMES_MAX + 1];
    struct request request;
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(frames); i++)
        frames[i] = (struct bus_frame)F("x");
    /* count is one more than the frames that are there: the rest was dropped */
    assert_int_equal(request_read(&request, frames, BUS_FRAMES_MAX + 1, &err), -1);
    frames[10] = (struct bus_frame)F("spendctl/1");
    assert_int_equal(request_read(&request, frames, 12, &err), -1);
    frames[1] = (struct bus_frame)F("spendctl/1");
    assert_int_equal(request_read(&request, frames, 2 + REQUEST_WORDS_MAX + 1, &err), -1);
    assert_int_equal(request_read(&request, frames, 2 + REQUEST_WORDS_MAX, &err), 0);
    assert_int_equal(request_read(&request, frames, 0, &err), -1);
    assert_int_equal(request.route.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(too_many)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

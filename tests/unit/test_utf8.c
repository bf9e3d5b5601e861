/*
 * test_utf8.c - text and no text, wherever in a label it stands: words of eight bytes are looked at as one.
 *
 * links: common/base/utf8.c
 * libs:
 */
#include "common/base/utf8.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONGEST 27

static const struct {
    const char *bytes;
    size_t length;
    bool valid, clean;
} parts[] = {
    {"a", 1, true, true},
    {"\x7f", 1, true, true},
    {"\x01", 1, true, true},
    {"\0", 1, true, false},
    {"\x80", 1, false, false},
    {"\xff", 1, false, false},
    {"\xc3\xa9", 2, true, true},
    {"\xc3", 1, false, false},
    {"\xc0\xaf", 2, false, false},
    {"\xe2\x82\xac", 3, true, true},
    {"\xed\xa0\x80", 3, false, false},
    {"\xf0\x9f\x92\xb8", 4, true, true},
    {"\xf4\x90\x80\x80", 4, false, false},
};

/* Each part at each place of a text of each length, alone among ASCII.  The text fills its block exactly. */
static void every_place(void **state)
{
    (void)state;
    for (size_t part = 0; part < COUNT_OF(parts); part++)
        for (size_t length = parts[part].length; length <= LONGEST; length++)
            for (size_t at = 0; at + parts[part].length <= length; at++) {
                char *text = malloc(length);

                assert_non_null(text);
                memset(text, 'x', length);
                memcpy(text + at, parts[part].bytes, parts[part].length);
                assert_int_equal(utf8_clean(text, length), parts[part].clean);
                assert_int_equal(utf8_valid_bytes(text, length), parts[part].valid ? length : at);
                free(text);
            }
    assert_true(utf8_clean("", 0));
}

static void a_cut_splits_no_character(void **state)
{
    (void)state;
    assert_int_equal(utf8_cut("ab\xe2\x82\xac", 5, 5), 5);
    assert_int_equal(utf8_cut("ab\xe2\x82\xac", 5, 4), 2);
    assert_int_equal(utf8_cut("ab\xe2\x82\xac", 5, 3), 2);
    assert_int_equal(utf8_cut("ab\xe2\x82\xac", 5, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_place),
        cmocka_unit_test(a_cut_splits_no_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

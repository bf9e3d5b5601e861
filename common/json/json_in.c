/*
 * json_in.c - the JSON reader: the only file that knows yajl.
 *
 * yajl takes the text apart; what it lets pass and we do not is looked at here: the whole text is
 * UTF-8 (checked once, in front, eight bytes at a time; yajl's own check is off), no escape is half
 * of a surrogate pair, exactly one value.  Numbers go on as they were written.  Depth
 * is the handler's to bound: yajl keeps one byte per level, so the length of the text bounds it.
 * A handle lives for one text: after a syntax error yajl's cannot be used again.
 * Owns nothing of the caller's; the handler gets borrowed text.
 */
#include "common/json/json.h"

#include "common/base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

struct json_in {
    const struct json_handler *handler;
    void *arg;
    yajl_handle yajl; /* while a text is parsed */
};

static int on_null(void *arg)
{
    struct json_in *in = arg;

    return in->handler->null(in->arg);
}

static int on_boolean(void *arg, int value)
{
    struct json_in *in = arg;

    return in->handler->boolean(in->arg, value != 0);
}

static int on_number(void *arg, const char *text, size_t length)
{
    struct json_in *in = arg;

    return in->handler->number(in->arg, text, length);
}

static int on_string(void *arg, const unsigned char *text, size_t length)
{
    struct json_in *in = arg;

    return in->handler->string(in->arg, (const char *)text, length);
}

static int on_key(void *arg, const unsigned char *text, size_t length)
{
    struct json_in *in = arg;

    return in->handler->key(in->arg, (const char *)text, length);
}

static int on_start_object(void *arg)
{
    struct json_in *in = arg;

    return in->handler->start_object(in->arg);
}

static int on_end_object(void *arg)
{
    struct json_in *in = arg;

    return in->handler->end_object(in->arg);
}

static int on_start_array(void *arg)
{
    struct json_in *in = arg;

    return in->handler->start_array(in->arg);
}

static int on_end_array(void *arg)
{
    struct json_in *in = arg;

    return in->handler->end_array(in->arg);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_object,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end_object,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

struct json_in *json_in_new(const struct json_handler *handler, void *arg)
{
    struct json_in *in = calloc(1, sizeof *in);

    if (in == NULL)
        bug("out of memory for a JSON reader");
    in->handler = handler;
    in->arg = arg;
    return in;
}

void json_in_free(struct json_in **in)
{
    free(*in);
    *in = NULL;
}

/* The four hex digits behind "\u"; -1: not that. */
static int escaped_unit(const char *at, const char *end)
{
    int unit = 0;

    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        char c = at[i];

        if (c >= '0' && c <= '9')
            unit = unit << 4 | (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            unit = unit << 4 | ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

/* The first escape that is half of a pair; NULL: none.  (Backslashes outside of strings are yajl's to
 * refuse.) */
static const char *lone_surrogate(const char *text, const char *end)
{
    const char *at = text;
    int unit, low;

    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        unit = escaped_unit(at, end);
        if (unit >= 0xd800 && unit <= 0xdfff) {
            low = escaped_unit(at + 6, end);
            if (unit >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
                return at;
            at += 12;
            continue;
        }
        if (end - at <= 2)
            return NULL;
        at += 2;
    }
    return NULL;
}

/* yajl's own words, in one line without its drawing. */
static int say_syntax(struct json_in *in, const char *text, size_t length, struct err *err)
{
    unsigned char *words = yajl_get_error(in->yajl, 0, (const unsigned char *)text, length);

    err_set(err, "%.*s", (int)strcspn((const char *)words, "\n"), (const char *)words);
    yajl_free_error(in->yajl, words);
    return -1;
}

static int run(struct json_in *in, const char *text, size_t length, size_t *offset, struct err *err)
{
    yajl_status status = yajl_parse(in->yajl, (const unsigned char *)text, length);

    *offset = yajl_get_bytes_consumed(in->yajl);
    if (status == yajl_status_ok) {
        *offset = length;
        status = yajl_complete_parse(in->yajl);
    }
    if (status == yajl_status_ok)
        return 0;
    if (status == yajl_status_client_canceled)
        return err_set(err, "stopped");
    return say_syntax(in, text, length, err);
}

int json_parse(struct json_in *in, const char *text, size_t length, size_t *offset, struct err *err)
{
    const char *lone;
    int result;

    *offset = utf8_valid_bytes(text, length);
    if (*offset < length)
        return err_set(err, "invalid UTF-8");
    if (length > 0 && (lone = lone_surrogate(text, text + length)) != NULL) {
        *offset = (size_t)(lone - text);
        return err_set(err, "half of a surrogate pair");
    }
    in->yajl = yajl_alloc(&callbacks, NULL, in);
    if (in->yajl == NULL)
        return err_set(err, "out of memory");
    yajl_config(in->yajl, yajl_dont_validate_strings, 1);
    result = run(in, text, length, offset, err);
    yajl_free(in->yajl);
    in->yajl = NULL;
    return result;
}

size_t json_position(const struct json_in *in)
{
    return yajl_get_bytes_consumed(in->yajl);
}

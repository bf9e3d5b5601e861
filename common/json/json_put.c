/*
 * json_put.c - a member of an object in one call.  See json_put.h.  Pure; owns nothing.
 */
#include "common/json/json_put.h"

void json_put_text(struct json_out *out, const char *key, const char *text)
{
    json_key(out, key);
    if (text != NULL)
        json_string(out, text);
    else
        json_null(out);
}

void json_put_number(struct json_out *out, const char *key, int64_t number)
{
    json_key(out, key);
    json_number(out, number);
}

void json_put_bool(struct json_out *out, const char *key, bool value)
{
    json_key(out, key);
    json_bool(out, value);
}

void json_put_number_if(struct json_out *out, const char *key, bool known, int64_t number)
{
    json_key(out, key);
    if (known)
        json_number(out, number);
    else
        json_null(out);
}

void json_put_bool_if(struct json_out *out, const char *key, bool known, bool value)
{
    json_key(out, key);
    if (known)
        json_bool(out, value);
    else
        json_null(out);
}

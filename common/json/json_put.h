/*
 * json_put.h - a member of an object in one call: its name and its value.
 */
#ifndef SPENDD_JSON_JSON_PUT_H
#define SPENDD_JSON_JSON_PUT_H

#include "common/json/json.h"

void json_put_text(struct json_out *out, const char *key, const char *text); /* NULL: null */
void json_put_number(struct json_out *out, const char *key, int64_t number);
void json_put_bool(struct json_out *out, const char *key, bool value);
/* null where the claim does not hold. */
void json_put_number_if(struct json_out *out, const char *key, bool known, int64_t number);
void json_put_bool_if(struct json_out *out, const char *key, bool known, bool value);

#endif

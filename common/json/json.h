/*
 * json.h - the door to the JSON library (yajl): a strict reader that hands numbers over as text, and
 * a writer.  yajl because money must not become a float: it gives each number as it was written.
 */
#ifndef SPENDD_JSON_JSON_H
#define SPENDD_JSON_JSON_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writer: appends to a buffer that it owns; text strings are validated UTF-8 (else replaced). */
struct json_out;
struct json_out *json_out_new(bool pretty);
void json_out_free(struct json_out **out);
void json_object(struct json_out *out);
void json_array(struct json_out *out);
void json_end(struct json_out *out); /* closes the innermost */
void json_key(struct json_out *out, const char *key);
void json_string(struct json_out *out, const char *text);
void json_bytes(struct json_out *out, const char *text, size_t length);
void json_number(struct json_out *out, int64_t number);
void json_bool(struct json_out *out, bool value);
void json_null(struct json_out *out);
void json_raw(struct json_out *out, const char *json, size_t length); /* a value that is JSON already */
/* The text so far, NUL-terminated, borrowed until the next call. */
const char *json_text(struct json_out *out, size_t *length);
void json_clear(struct json_out *out);

/* Reader: events to a table of functions.  Returning false from one stops the parse. */
struct json_handler {
    bool (*null)(void *arg);
    bool (*boolean)(void *arg, bool value);
    bool (*number)(void *arg, const char *text, size_t length); /* as it was written */
    bool (*string)(void *arg, const char *text, size_t length); /* unescaped; borrowed for the call,
                                     and as long as the text itself where it points into it */
    bool (*start_object)(void *arg);
    bool (*key)(void *arg, const char *text, size_t length);
    bool (*end_object)(void *arg);
    bool (*start_array)(void *arg);
    bool (*end_array)(void *arg);
};

struct json_in;
struct json_in *json_in_new(const struct json_handler *handler, void *arg);
void json_in_free(struct json_in **in);

/* Parses one whole text with exactly one value.  0, or -1 with err (syntax, UTF-8, a lone surrogate,
 * stopped) and *offset = the byte where it went wrong.  Reusable; repeated keys are the
 * handler's affair (json_keys). */
int json_parse(struct json_in *in, const char *text, size_t length, size_t *offset,
               struct err *err) MUST_CHECK;

/* Bytes of the text already consumed at the time of a callback (end of the current token): with it a
 * caller can keep a value as its own text. */
size_t json_position(const struct json_in *in);

/* The keys of one document, each under the number of its object: is one repeated?  Bounded: a
 * document with more than JSON_KEYS_MAX keys is JSON_KEY_TOO_MANY. */
#define JSON_KEYS_MAX 4096
enum json_key { JSON_KEY_NEW, JSON_KEY_REPEATED, JSON_KEY_TOO_MANY };
struct json_keys;
struct json_keys *json_keys_new(void);
void json_keys_free(struct json_keys **keys);
void json_keys_begin(struct json_keys *keys); /* another document */
enum json_key json_keys_add(struct json_keys *keys, uint32_t object, const char *key, size_t length);

#endif

/*
 * json_tree.h - one whole JSON text as a tree, for readers that are not in a hurry (spendctl).
 * Numbers stay text; strings are UTF-8, NUL-terminated, and hold no NUL within.
 */
#ifndef SPENDD_JSON_JSON_TREE_H
#define SPENDD_JSON_JSON_TREE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/json/json.h"

#include <stddef.h>
#include <stdint.h>

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_tree {
    enum json_kind kind;
    char *key;               /* of a member of an object, else NULL */
    char *text;              /* of a number or a string, else NULL */
    struct json_tree *first; /* members of an object, items of an array, in their order */
    struct json_tree *last;
    struct json_tree *next; /* the next one beside it */
};

/* NULL and `err` if it is no JSON, or memory is short.  Free with json_tree_free. */
struct json_tree *json_tree_read(const char *text, size_t length, struct err *err) MUST_CHECK;
void json_tree_free(struct json_tree **tree);

/* A member by its name; NULL if `tree` is NULL, no object, or has none. */
const struct json_tree *json_member(const struct json_tree *tree, const char *key);

/* The whole number that stands there; `otherwise` if there is none. */
int64_t json_integer(const struct json_tree *tree, int64_t otherwise);

/* Written out again; NULL: null. */
void json_tree_write(const struct json_tree *tree, struct json_out *out);

#endif

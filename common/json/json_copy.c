/*
 * json_copy.c - a tree, or a part of it, written out again.  See json_tree.h.
 * Numbers stay the text that they were.  If we die on any line nothing outside has changed.
 */
#include "common/json/json_tree.h"

#include <string.h>

void json_tree_write(const struct json_tree *value, struct json_out *out)
{
    if (value == NULL || value->kind == JSON_NULL) {
        json_null(out);
        return;
    }
    switch (value->kind) {
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        json_bool(out, value->kind == JSON_TRUE);
        return;
    case JSON_NUMBER:
        json_raw(out, value->text, strlen(value->text));
        return;
    case JSON_STRING:
        json_string(out, value->text);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    (value->kind == JSON_ARRAY ? json_array : json_object)(out);
    for (const struct json_tree *at = value->first; at != NULL; at = at->next) {
        if (value->kind == JSON_OBJECT)
            json_key(out, at->key);
        json_tree_write(at, out);
    }
    json_end(out);
}

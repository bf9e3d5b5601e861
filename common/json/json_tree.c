/*
 * json_tree.c - one whole JSON text as a tree, built from the reader's events.  See json_tree.h.
 *
 * Owns the nodes it makes; the stack of open containers is bounded by the reader's own bound on
 * depth and checked here all the same.  Holds nothing outside the process: dying on any line loses
 * nothing.
 */
#include "common/json/json_tree.h"

#include "common/json/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64

struct builder {
    struct json_tree *root;
    struct json_tree *open[DEPTH_MAX];
    size_t depth;
    char *key; /* of the member that comes next */
};

/* A copy with a NUL behind it; NULL if memory is short or a NUL stands within. */
static char *copy(const char *text, size_t length)
{
    char *made;

    if (memchr(text, '\0', length) != NULL)
        return NULL;
    made = malloc(length + 1);
    if (made != NULL) {
        memcpy(made, text, length);
        made[length] = '\0';
    }
    return made;
}

static struct json_tree *add(struct builder *builder, enum json_kind kind)
{
    struct json_tree *made = calloc(1, sizeof *made), *parent;

    if (made == NULL)
        return NULL;
    made->kind = kind;
    made->key = builder->key;
    builder->key = NULL;
    if (builder->depth == 0) {
        builder->root = made;
        return made;
    }
    parent = builder->open[builder->depth - 1];
    if (parent->last != NULL)
        parent->last->next = made;
    else
        parent->first = made;
    parent->last = made;
    return made;
}

static bool add_text(struct builder *builder, enum json_kind kind, const char *text, size_t length)
{
    struct json_tree *made = add(builder, kind);

    if (made == NULL)
        return false;
    made->text = copy(text, length);
    return made->text != NULL;
}

static bool add_container(struct builder *builder, enum json_kind kind)
{
    struct json_tree *made = builder->depth < DEPTH_MAX ? add(builder, kind) : NULL;

    if (made == NULL)
        return false;
    builder->open[builder->depth++] = made;
    return true;
}

static bool on_null(void *arg)
{
    return add(arg, JSON_NULL) != NULL;
}

static bool on_boolean(void *arg, bool value)
{
    return add(arg, value ? JSON_TRUE : JSON_FALSE) != NULL;
}

static bool on_number(void *arg, const char *text, size_t length)
{
    return add_text(arg, JSON_NUMBER, text, length);
}

static bool on_string(void *arg, const char *text, size_t length)
{
    return add_text(arg, JSON_STRING, text, length);
}

static bool on_start_object(void *arg)
{
    return add_container(arg, JSON_OBJECT);
}

static bool on_start_array(void *arg)
{
    return add_container(arg, JSON_ARRAY);
}

static bool on_key(void *arg, const char *text, size_t length)
{
    struct builder *builder = arg;

    free(builder->key);
    builder->key = copy(text, length);
    return builder->key != NULL;
}

static bool on_end(void *arg)
{
    struct builder *builder = arg;

    builder->depth--;
    return true;
}

static const struct json_handler handler = {
    .null = on_null,
    .boolean = on_boolean,
    .number = on_number,
    .string = on_string,
    .start_object = on_start_object,
    .key = on_key,
    .end_object = on_end,
    .start_array = on_start_array,
    .end_array = on_end,
};

struct json_tree *json_tree_read(const char *text, size_t length, struct err *err)
{
    struct builder builder = {0};
    struct json_in *in = json_in_new(&handler, &builder);
    size_t offset = 0;
    int failed;

    if (in == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    failed = json_parse(in, text, length, &offset, err);
    json_in_free(&in);
    free(builder.key);
    if (failed)
        json_tree_free(&builder.root);
    return builder.root;
}

void json_tree_free(struct json_tree **tree)
{
    struct json_tree *node = *tree, *next;

    for (; node != NULL; node = next) {
        next = node->next;
        json_tree_free(&node->first); /* as deep as the text: bounded by DEPTH_MAX */
        free(node->key);
        free(node->text);
        free(node);
    }
    *tree = NULL;
}

const struct json_tree *json_member(const struct json_tree *tree, const char *key)
{
    const struct json_tree *member;

    if (tree == NULL || tree->kind != JSON_OBJECT)
        return NULL;
    for (member = tree->first; member != NULL; member = member->next)
        if (member->key != NULL && strcmp(member->key, key) == 0)
            return member;
    return NULL;
}

int64_t json_integer(const struct json_tree *tree, int64_t otherwise)
{
    char *end;
    int64_t value;

    if (tree == NULL || tree->kind != JSON_NUMBER)
        return otherwise;
    errno = 0;
    value = strtoimax(tree->text, &end, 10);
    return errno == 0 && *end == '\0' ? value : otherwise;
}

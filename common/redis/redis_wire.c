/*
 * redis_wire.c - the protocol: commands to bytes, bytes to replies.  The only file that sees
 * hiredis.
 *
 * Replies are read by hiredis' reader, which builds our own struct redis_reply through its object
 * functions: an array's items lie in one block, so nothing is converted or copied twice.  What
 * Redis sends is untrusted: sizes of arrays, their depth and all that is buffered are bounded here
 * (hiredis 0.14 bounds the depth, 1.x no more).
 *
 * Commands are written here and not by redisFormatCommandArgv, because a script call is kept in two
 * pieces (the name of the script, its arguments): after NOSCRIPT only the first is made anew,
 * and an envelope of some megabytes is never copied a second time.
 *
 * Pure: memory in, memory out.
 */
#include "common/redis/redis_wire.h"

#include <hiredis/hiredis.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX (1024 * 1024)
#define DEPTH_MAX 7 /* arrays within arrays: clear() descends once for each */

/* hiredis 1.0 made the count of items unsigned, and gave kinds of RESP3 functions of their own. */
#if HIREDIS_MAJOR >= 1
typedef size_t item_count;
#else
typedef int item_count;
#endif

struct wire_reader {
    redisReader *reader;
    size_t bytes_max, fed; /* fed: bytes since the last whole reply */
};

/* --- commands ------------------------------------------------------------------------------- */

static size_t argument_length(int i, const char *const *argv, const size_t *lengths)
{
    return lengths != NULL ? lengths[i] : strlen(argv[i]);
}

int wire_encode(struct wire_text *text, int announce, int argc, const char *const *argv,
                const size_t *lengths)
{
    size_t room = 32;
    char *to;

    for (int i = 0; i < argc; i++)
        room += argument_length(i, argv, lengths) + 32;
    text->length = 0;
    text->bytes = to = malloc(room);
    if (to == NULL)
        return -1;
    if (announce > 0)
        to += sprintf(to, "*%d\r\n", announce);
    for (int i = 0; i < argc; i++) {
        size_t length = argument_length(i, argv, lengths);

        to += sprintf(to, "$%zu\r\n", length);
        memcpy(to, argv[i], length);
        to += length;
        memcpy(to, "\r\n", 2);
        to += 2;
    }
    text->length = (size_t)(to - text->bytes);
    return 0;
}

void wire_free(struct wire_text *text)
{
    free(text->bytes);
    *text = (struct wire_text){NULL, 0};
}

/* --- replies -------------------------------------------------------------------------------- */

/* Where the reader's next object belongs: a slot of its parent's items, or a block of its own. */
static struct redis_reply *place(const redisReadTask *task)
{
    const struct redis_reply *parent;

    if (task->parent == NULL)
        return calloc(1, sizeof(struct redis_reply));
    parent = task->parent->obj;
    /* The items are ours, from make_array; the struct shows them as const to those who get it. */
    return (struct redis_reply *)(uintptr_t)&parent->item[task->idx];
}

static void *discard(const redisReadTask *task, struct redis_reply *reply)
{
    if (task->parent == NULL)
        free(reply);
    return NULL;
}

static void *make_text(const redisReadTask *task, char *bytes, size_t length)
{
    struct redis_reply *reply = place(task);
    char *text;

    if (reply == NULL)
        return NULL;
    text = malloc(length + 1);
    if (text == NULL)
        return discard(task, reply);
    memcpy(text, bytes, length);
    text[length] = '\0';
    reply->kind = task->type == REDIS_REPLY_ERROR    ? REDIS_ERROR
                  : task->type == REDIS_REPLY_STATUS ? REDIS_WORD
                                                     : REDIS_BYTES;
    reply->text = text;
    reply->length = length;
    return reply;
}

static bool too_deep(const redisReadTask *task)
{
    int depth = 0;

    while (task->parent != NULL && depth < DEPTH_MAX) {
        task = task->parent;
        depth++;
    }
    return task->parent != NULL;
}

static void *make_array(const redisReadTask *task, item_count items)
{
    size_t count = items > 0 ? (size_t)items : 0;
    struct redis_reply *reply;

    if (count > ITEMS_MAX || too_deep(task))
        return NULL;
    reply = place(task);
    if (reply == NULL)
        return NULL;
    reply->kind = REDIS_ARRAY;
    if (count == 0)
        return reply;
    reply->item = calloc(count, sizeof *reply->item);
    if (reply->item == NULL)
        return discard(task, reply);
    reply->items = count;
    return reply;
}

static void *make_number(const redisReadTask *task, long long number)
{
    struct redis_reply *reply = place(task);

    if (reply == NULL)
        return NULL;
    reply->kind = REDIS_NUMBER;
    reply->number = number;
    return reply;
}

static void *make_nil(const redisReadTask *task)
{
    struct redis_reply *reply = place(task);

    if (reply != NULL)
        reply->kind = REDIS_NIL;
    return reply;
}

#if HIREDIS_MAJOR >= 1
/* We never ask for RESP3.  Without these two, hiredis would hand out small numbers as pointers. */
static void *refuse_double(const redisReadTask *task, double number, char *bytes, size_t length)
{
    (void)task, (void)number, (void)bytes, (void)length;
    return NULL;
}

static void *refuse_bool(const redisReadTask *task, int yes)
{
    (void)task, (void)yes;
    return NULL;
}
#endif

static void clear(const struct redis_reply *reply)
{
    for (size_t i = 0; i < reply->items; i++)
        clear(&reply->item[i]);
    free((void *)(uintptr_t)reply->item);
    free((void *)(uintptr_t)reply->text);
}

static void free_object(void *object)
{
    if (object == NULL)
        return;
    clear(object);
    free(object);
}

void wire_reply_free(struct redis_reply **reply)
{
    free_object(*reply);
    *reply = NULL;
}

struct wire_reader *wire_reader_new(size_t bytes_max)
{
    /* hiredis wants a pointer to non-const and never writes there. */
    static const redisReplyObjectFunctions functions = {
        .createString = make_text,
        .createArray = make_array,
        .createInteger = make_number,
        .createNil = make_nil,
        .freeObject = free_object,
#if HIREDIS_MAJOR >= 1
        .createDouble = refuse_double,
        .createBool = refuse_bool,
#endif
    };
    struct wire_reader *reader = calloc(1, sizeof *reader);

    if (reader == NULL)
        return NULL;
    reader->bytes_max = bytes_max;
    reader->reader =
        redisReaderCreateWithFunctions((redisReplyObjectFunctions *)(uintptr_t)&functions);
    if (reader->reader == NULL) {
        free(reader);
        return NULL;
    }
    return reader;
}

void wire_reader_free(struct wire_reader **reader)
{
    if (*reader == NULL)
        return;
    redisReaderFree((*reader)->reader);
    free(*reader);
    *reader = NULL;
}

int wire_feed(struct wire_reader *reader, const void *bytes, size_t count, struct err *err)
{
    reader->fed += count;
    if (reader->fed > reader->bytes_max)
        return err_set(err, "a reply of Redis is larger than %zu bytes", reader->bytes_max);
    if (redisReaderFeed(reader->reader, bytes, count) != REDIS_OK)
        return err_set(err, "reply of Redis: %s", reader->reader->errstr);
    return 0;
}

int wire_reply(struct wire_reader *reader, struct redis_reply **reply, struct err *err)
{
    void *object = NULL;

    if (redisReaderGetReply(reader->reader, &object) != REDIS_OK &&
        reader->reader->err == REDIS_ERR_OOM)
        return err_set(err, "reply of Redis: larger, deeper or of another kind than asked for,"
                            " or no memory for it");
    if (reader->reader->err != 0)
        return err_set(err, "reply of Redis: %s", reader->reader->errstr);
    if (object == NULL)
        return 0;
    *reply = object;
    reader->fed = reader->reader->len - reader->reader->pos;
    return 1;
}

bool redis_said(const struct redis_reply *reply, const char *word)
{
    return reply != NULL && reply->kind == REDIS_ARRAY && reply->items > 0 &&
           reply->item[0].text != NULL && strcmp(reply->item[0].text, word) == 0;
}

int64_t redis_item_number(const struct redis_reply *reply, size_t index)
{
    const struct redis_reply *item;
    char *end;
    long long number;

    if (reply == NULL || index >= reply->items)
        return -1;
    item = &reply->item[index];
    if (item->kind == REDIS_NUMBER)
        return item->number;
    if (item->text == NULL || item->length == 0 || item->length > 18)
        return -1;
    number = strtoll(item->text, &end, 10);
    return *end == '\0' ? number : -1;
}

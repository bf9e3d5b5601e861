/*
 * queue.c - the flusher's words to Redis.  See queue.h.
 *
 * Every change is one script, fenced by the generation under which the elements were read.  If we die
 * between two of these calls, the queue still holds what was not published: the next flusher finds it
 * applied and publishes it.
 */
#include "workers/db_flusher/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_MOST_MS 86400000
#define RETIRED_MOST 1000 /* in one command */

/* Arguments of a script, all owned; a failed one sends nothing that could be misread: count 0. */
struct words {
    char **word;
    size_t used, room;
    bool failed;
};

static void say(struct words *words, const char *text)
{
    if (words->used == words->room) {
        size_t room = words->room ? 2 * words->room : 64;
        char **grown = realloc(words->word, room * sizeof *grown);

        if (!grown) {
            words->failed = true;
            return;
        }
        words->word = grown;
        words->room = room;
    }
    words->word[words->used] = strdup(text);
    if (words->word[words->used])
        words->used++;
    else
        words->failed = true;
}

static void say_number(struct words *words, long long number)
{
    char text[24];

    snprintf(text, sizeof text, "%lld", number);
    say(words, text);
}

static void run(struct queue *queue, enum redis_script script, struct words *words,
                redis_reply_fn *f, void *arg)
{
    if (words->failed)
        bug("out of memory for the words of a script");
    redis_script(queue->redis, script, (int)words->used, (const char *const *)words->word, NULL, f,
                 arg);
    for (size_t i = 0; i < words->used; i++)
        free(words->word[i]);
    free(words->word);
}

void queue_init(struct queue *queue, struct redis *redis, const struct settings *settings)
{
    const char *prefix = settings->redis_prefix;
    char random[REDIS_FRESH];

    redis_fresh(random);
    queue->redis = redis;
    snprintf(queue->queue, QUEUE_KEY, "%squeue:0", prefix);
    snprintf(queue->meta, QUEUE_KEY, "%smeta:0", prefix);
    snprintf(queue->hold, QUEUE_KEY, "%shold:0", prefix);
    snprintf(queue->applied, QUEUE_KEY, "%sapplied:0", prefix);
    snprintf(queue->aside, QUEUE_KEY, "%saside:0", prefix);
    snprintf(queue->lock, QUEUE_KEY, "%slock:0", prefix);
    snprintf(queue->audit, QUEUE_KEY, "%saudit:0", prefix);
    snprintf(queue->token, sizeof queue->token, "%s:%s", settings->instance, random);
}

void queue_peek(struct queue *queue, const struct queue_part *part, redis_reply_fn *f, void *arg)
{
    struct words words = {0};
    char fresh[REDIS_FRESH];

    redis_fresh(fresh);
    say(&words, queue->queue);
    say(&words, queue->meta);
    say(&words, fresh);
    say_number(&words, part->batches);
    say_number(&words, part->bytes);
    say_number(&words, part->first);
    say_number(&words, part->piece);
    run(queue, REDIS_peek, &words, f, arg);
}

void queue_holder(struct queue *queue, redis_reply_fn *f, void *arg)
{
    const char *argv[] = {"GET", queue->lock};

    redis_command(queue->redis, 2, argv, NULL, f, arg);
}

static void on_time(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct queue *queue = arg;

    (void)reason;
    queue->redis_ms = 0;
    if (reply != NULL && reply->kind == REDIS_ARRAY && reply->items == 2)
        queue->redis_ms = redis_item_number(reply, 0) * 1000 + redis_item_number(reply, 1) / 1000;
}

void queue_hold(struct queue *queue, redis_reply_fn *f, void *arg)
{
    const char *const time[] = {"TIME"}, *const words[] = {"HGET", queue->hold, "flush"};

    redis_command(queue->redis, 1, time, NULL, on_time, queue);
    redis_command(queue->redis, 3, words, NULL, f, arg);
}

/* "<ms of Redis' clock> <who>", as the script `hold` writes it; a day at most, whatever stands there. */
int64_t queue_hold_left(const struct queue *queue, const struct redis_reply *reply)
{
    char text[24] = "";
    int64_t left;

    if (reply == NULL || reply->kind == REDIS_ERROR || queue->redis_ms == 0)
        return -1;
    if (reply->kind != REDIS_BYTES)
        return 0;
    memcpy(text, reply->text, reply->length < sizeof text ? reply->length : sizeof text - 1);
    left = strtoll(text, NULL, 10) - queue->redis_ms;
    return left < 0 ? 0 : left > HOLD_MOST_MS ? HOLD_MOST_MS : left;
}

void queue_target(struct queue *queue, const char *install, redis_reply_fn *f, void *arg)
{
    struct words words = {0};

    say(&words, queue->meta);
    say(&words, install);
    run(queue, REDIS_target, &words, f, arg);
}

/* KEYS lock ARGV value ttl_ms (0: the script takes none) */
static struct words lock_words(const struct queue *queue, const char *key, int64_t ttl_ms)
{
    struct words words = {0};

    say(&words, key);
    say(&words, queue->token);
    if (ttl_ms > 0)
        say_number(&words, ttl_ms);
    return words;
}

void queue_lock(struct queue *queue, int64_t ttl_ms, redis_reply_fn *f, void *arg)
{
    struct words words = lock_words(queue, queue->lock, ttl_ms);

    run(queue, REDIS_lock, &words, f, arg);
}

void queue_renew(struct queue *queue, int64_t ttl_ms, redis_reply_fn *f, void *arg)
{
    struct words words = lock_words(queue, queue->lock, ttl_ms);

    run(queue, REDIS_renewlock, &words, f, arg);
}

void queue_audit(struct queue *queue, int64_t ttl_ms, redis_reply_fn *f, void *arg)
{
    struct words words = lock_words(queue, queue->audit, ttl_ms);

    run(queue, REDIS_lock, &words, f, arg);
}

void queue_unlock(struct queue *queue, redis_reply_fn *f, void *arg)
{
    struct words words = lock_words(queue, queue->lock, 0);

    run(queue, REDIS_unlock, &words, f, arg);
}

void queue_published(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg)
{
    const char **argv = calloc(load->epochs + 2, sizeof *argv);

    if (!argv)
        bug("out of memory for a command");
    argv[0] = "HMGET";
    argv[1] = queue->applied;
    for (size_t i = 0; i < load->epochs; i++)
        argv[2 + i] = load->epoch[i].epoch;
    redis_command(queue->redis, (int)load->epochs + 2, argv, NULL, f, arg);
    free(argv);
}

void queue_all_published(struct queue *queue, redis_reply_fn *f, void *arg)
{
    const char *argv[] = {"HGETALL", queue->applied};

    redis_command(queue->redis, 2, argv, NULL, f, arg);
}

bool queue_retire(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg)
{
    const char *argv[2 + RETIRED_MOST] = {"HDEL", queue->applied};
    int count = 2;

    for (size_t i = 0; i < load->epochs && count < 2 + RETIRED_MOST; i++)
        if (load->epoch[i].old)
            argv[count++] = load->epoch[i].epoch;
    if (count > 2)
        redis_command(queue->redis, count, argv, NULL, f, arg);
    return count > 2;
}

void queue_aside(struct queue *queue, const struct load *load, const char *sha1, redis_reply_fn *f,
                 void *arg)
{
    struct words words = {0};

    say(&words, queue->queue);
    say(&words, queue->meta);
    say(&words, queue->aside);
    say(&words, load->generation);
    say(&words, sha1);
    run(queue, REDIS_aside, &words, f, arg);
}

void queue_look_aside(struct queue *queue, int64_t index, redis_reply_fn *f, void *arg)
{
    char number[24];
    const char *argv[] = {"LINDEX", queue->aside, number};

    snprintf(number, sizeof number, "%lld", (long long)index);
    redis_command(queue->redis, 3, argv, NULL, f, arg);
}

/* Past the queue's bound if need be: one element at a time, and what is counted leaves again. */
void queue_put_back(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg)
{
    char fresh[REDIS_FRESH];
    const char *argv[] = {queue->queue, queue->meta, load->generation, fresh, "1e15",
                          (const char *)load->batch[0].data};
    const size_t lengths[] = {strlen(queue->queue), strlen(queue->meta), strlen(load->generation),
                        REDIS_FRESH - 1, 4, load->batch[0].bytes};

    redis_fresh(fresh);
    redis_script(queue->redis, REDIS_push, 6, argv, lengths, f, arg);
}

void queue_forget_aside(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg)
{
    const char *argv[] = {"LREM", queue->aside, "0", (const char *)load->batch[0].data};
    const size_t lengths[] = {4, strlen(queue->aside), 1, load->batch[0].bytes};

    redis_command(queue->redis, 4, argv, lengths, f, arg);
}

static void say_ranges(struct words *words, const struct load *load)
{
    say_number(words, (long long)load->epochs);
    for (size_t i = 0; i < load->epochs; i++) {
        say(words, load->epoch[i].epoch);
        say_number(words, load->epoch[i].version < 0 ? 0 : load->epoch[i].version);
        say(words, load->epoch[i].applied ? load->epoch[i].applied : "{}");
    }
}

static void say_keys(struct queue *queue, const struct load *load, struct words *words)
{
    say(words, queue->queue);
    say(words, queue->meta);
    say(words, queue->applied);
    say(words, load->generation);
}

void queue_publish(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg)
{
    struct words words = {0};

    say_keys(queue, load, &words);
    say_ranges(&words, load);
    for (size_t i = 0; i < load->batches; i++) {
        const struct load_batch *batch = &load->batch[i];
        char name[64];

        snprintf(name, sizeof name, "%s %llu", batch->identity.epoch,
                 (unsigned long long)batch->identity.seq);
        say(&words, batch->kind == BATCH_CORRUPT ? batch->sha1 : name);
    }
    run(queue, REDIS_publish, &words, f, arg);
}

void queue_rewrite(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg)
{
    struct words words = {0};
    char fresh[REDIS_FRESH];

    redis_fresh(fresh);
    say_keys(queue, load, &words);
    say(&words, fresh);
    say_ranges(&words, load);
    run(queue, REDIS_rewrite, &words, f, arg);
}

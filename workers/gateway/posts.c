/*
 * posts.c - payloads on their way to an aggregator, and the answers that say that they are durable.
 * See posts.h.
 *
 * Owns the channels to the aggregators and the table of what waits for them.  A payload goes to the aggregator
 * that its bytes choose, so that a repeat meets the window that has seen it; if that one does not serve, to
 * another.  What is on the way to one lane is bounded in bytes (its memory is not ours to fill), the rest
 * waits here in order.  An id names a place in the table, the life of the place, and our own life: an answer
 * to a former gateway, or to a client that has given up, finds nobody.
 * A place whose client has given up stays taken until its lane answers or dies: a disk that hangs fills the
 * table, and then everybody is refused at once.
 * If we die on any line, nobody was told that anything is durable that is not.
 */
#include "workers/gateway/posts.h"

#include "common/batch/batch.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define LANE_BYTES_MOST (32 * 1024 * 1024)
#define LANES_MOST 16
#define NOWHERE UINT32_MAX

struct id {
    uint64_t life;
    uint32_t place, turn;
};

enum post_state { POST_FREE, POST_QUEUED, POST_SENT };

struct post {
    enum post_state state;
    uint32_t turn; /* how often this place was taken */
    unsigned lane;
    const void *payload;
    size_t bytes;
    post_fn *done; /* NULL: nobody waits any more */
    void *arg;
    uint32_t next; /* in the queue, or of the free ones */
};

struct lane {
    struct bus_socket *socket;
    bool serves;
    size_t bytes; /* on the way, unanswered */
};

struct posts {
    struct harness *harness;
    const struct settings *settings;
    uint64_t life;
    struct lane lane[LANES_MOST];
    unsigned lanes;
    bool ending;
    struct post *table;
    uint32_t size, taken, free, first, last; /* first, last: of the queue */
};

static uint32_t place_of(const struct posts *posts, const struct post *post)
{
    return (uint32_t)(post - posts->table);
}

/* --- the table ---------------------------------------------------------------------------------------- */

static void give_back(struct posts *posts, struct post *post)
{
    post->state = POST_FREE;
    post->done = NULL;
    post->payload = NULL;
    post->turn++;
    post->next = posts->free;
    posts->free = place_of(posts, post);
    posts->taken--;
    stats_set(harness_stats(posts->harness), METRIC_http_in_flight, posts->taken);
}

static void finish(struct posts *posts, struct post *post, enum post_outcome outcome, const char *json, size_t bytes)
{
    post_fn *done = post->done;
    void *arg = post->arg;

    if (post->state == POST_SENT)
        posts->lane[post->lane].bytes -= post->bytes;
    give_back(posts, post);
    if (done != NULL)
        done(arg, outcome, json, bytes);
}

static struct post *take_place(struct posts *posts)
{
    struct post *post;

    if (posts->free == NOWHERE || posts->taken >= (uint64_t)posts->settings->http_max_in_flight)
        return NULL;
    post = &posts->table[posts->free];
    posts->free = post->next;
    posts->taken++;
    stats_set(harness_stats(posts->harness), METRIC_http_in_flight, posts->taken);
    return post;
}

/* --- sending ------------------------------------------------------------------------------------------ */

/* The lane that the bytes choose, or the next one that serves and has room; LANES_MOST: none now. */
static unsigned choose(const struct posts *posts, const struct post *post)
{
    unsigned wanted = crc32c(0, post->payload, post->bytes) % posts->lanes;

    for (unsigned i = 0; i < posts->lanes; i++) {
        unsigned at = (wanted + i) % posts->lanes;
        const struct lane *lane = &posts->lane[at];

        if (lane->serves && (lane->bytes == 0 || lane->bytes + post->bytes <= LANE_BYTES_MOST))
            return at;
    }
    return LANES_MOST;
}

static bool send_one(struct posts *posts, struct post *post)
{
    const struct id id = {posts->life, place_of(posts, post), post->turn};
    const struct bus_frame frames[] = {{"E1", 2}, {&id, sizeof id}, {post->payload, post->bytes}};
    unsigned lane = choose(posts, post);

    if (lane == LANES_MOST || bus_send(posts->lane[lane].socket, frames, COUNT_OF(frames)) != 0)
        return false;
    post->state = POST_SENT;
    post->lane = lane;
    post->payload = NULL;
    posts->lane[lane].bytes += post->bytes;
    stats_add(harness_stats(posts->harness), METRIC_http_posts_total, 1);
    return true;
}

/* As many of the queue as go. */
static void pump(struct posts *posts)
{
    while (posts->first != NOWHERE) {
        struct post *post = &posts->table[posts->first];
        uint32_t next = post->next;

        if (post->done == NULL)
            give_back(posts, post); /* its client has given up */
        else if (!send_one(posts, post))
            return;
        posts->first = next;
    }
    posts->last = NOWHERE;
}

struct post *post_send(struct posts *posts, const void *payload, size_t bytes, post_fn *done, void *arg)
{
    struct post *post = take_place(posts);

    if (post == NULL)
        return NULL;
    post->state = POST_QUEUED;
    post->payload = payload;
    post->bytes = bytes;
    post->done = done;
    post->arg = arg;
    post->next = NOWHERE;
    if (posts->last != NOWHERE)
        posts->table[posts->last].next = place_of(posts, post);
    else
        posts->first = place_of(posts, post);
    posts->last = place_of(posts, post);
    pump(posts);
    return post;
}

void post_forget(struct posts *posts, struct post *post)
{
    (void)posts;
    post->done = NULL;
}

/* --- answers ------------------------------------------------------------------------------------------ */

/* {"error": ..., "retry_after_ms": ...}: our own aggregator's text, and no text of a peer can hold a quote
 * that is not escaped. */
static bool for_now(const struct bus_frame *json)
{
    static const char mark[] = "\"retry_after_ms\":";

    return memmem(json->data, json->bytes, mark, sizeof mark - 1) != NULL;
}

static enum post_outcome outcome_of(const struct bus_frame *word, const struct bus_frame *json)
{
    if (word->bytes == 2 && memcmp(word->data, "A1", 2) == 0)
        return POST_DURABLE;
    if (word->bytes == 2 && memcmp(word->data, "A0", 2) == 0)
        return POST_NOTHING;
    return for_now(json) ? POST_LATER : POST_REFUSED;
}

static void on_answer(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    struct posts *posts = arg;
    struct post *post;
    struct id id;

    (void)socket;
    if (count != 3 || frames[1].bytes != sizeof id) {
        stats_add(harness_stats(posts->harness), METRIC_frames_malformed_total, 1);
        return;
    }
    memcpy(&id, frames[1].data, sizeof id);
    if (id.life != posts->life || id.place >= posts->size)
        return; /* a former gateway's */
    post = &posts->table[id.place];
    if (post->state == POST_SENT && post->turn == id.turn)
        finish(posts, post, outcome_of(&frames[0], &frames[2]), frames[2].data, frames[2].bytes);
}

/* Its process has gone: what it had of ours will not be answered. */
static void lose(struct posts *posts, unsigned lane)
{
    for (uint32_t i = 0; i < posts->size; i++) {
        struct post *post = &posts->table[i];

        if (post->state != POST_SENT || post->lane != lane)
            continue;
        stats_add(harness_stats(posts->harness), METRIC_http_posts_lost_total, 1);
        finish(posts, post, POST_LOST, "", 0);
    }
}

void posts_lane(struct posts *posts, unsigned lane, bool serves, bool lives)
{
    if (lane >= posts->lanes)
        return;
    posts->lane[lane].serves = serves;
    if (!lives)
        lose(posts, lane);
    pump(posts);
}

static bool somebody_serves(const struct posts *posts)
{
    for (unsigned lane = 0; lane < posts->lanes; lane++)
        if (posts->lane[lane].serves)
            return true;
    return false;
}

void posts_end(struct posts *posts)
{
    posts->ending = true;
}

static void lose_queue(struct posts *posts)
{
    while (posts->first != NOWHERE) {
        struct post *post = &posts->table[posts->first];

        posts->first = post->next;
        if (posts->first == NOWHERE)
            posts->last = NOWHERE;
        finish(posts, post, POST_LOST, "", 0);
    }
}

/* Before each sleep: an answer has made room, or a connection to an aggregator is there now. */
static bool look(void *arg)
{
    struct posts *posts = arg;

    pump(posts);
    if (posts->ending && !somebody_serves(posts))
        lose_queue(posts);
    return false;
}

/* --- opening ------------------------------------------------------------------------------------------ */

static int make_table(struct posts *posts, struct err *err)
{
    posts->size = (uint32_t)setting_by_name("http_max_in_flight")->most;
    posts->table = calloc(posts->size, sizeof *posts->table);
    if (posts->table == NULL)
        return err_set(err, "no memory");
    posts->first = posts->last = posts->free = NOWHERE;
    for (uint32_t i = posts->size; i-- > 0;) {
        posts->table[i].next = posts->free;
        posts->free = i;
    }
    return 0;
}

static int connect_lanes(struct posts *posts, struct bus *bus, struct err *err)
{
    posts->lanes = (unsigned)posts->settings->aggregator_processes;
    for (unsigned i = 0; i < posts->lanes; i++) {
        posts->lane[i].socket = bus_ask(bus, BUS_posts, i, on_answer, posts, err);
        if (posts->lane[i].socket == NULL)
            return -1;
    }
    return 0;
}

struct posts *posts_open(struct harness *harness, struct bus *bus, struct err *err)
{
    struct posts *posts = calloc(1, sizeof *posts);

    if (posts == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    posts->harness = harness;
    posts->settings = harness_settings(harness);
    randombytes_buf(&posts->life, sizeof posts->life);
    if (make_table(posts, err) != 0 || connect_lanes(posts, bus, err) != 0) {
        posts_close(&posts);
        return NULL;
    }
    harness_before_sleep(harness, look, posts);
    return posts;
}

void posts_close(struct posts **posts)
{
    if (*posts == NULL)
        return;
    free((*posts)->table);
    free(*posts);
    *posts = NULL;
}

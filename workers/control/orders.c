/*
 * orders.c - carries an operator's order to the supervisor and its answer back.  See orders.h.
 *
 * A place holds one order under way: who asked, and the answer as far as it has come.  Rows of one kind
 * become one array:
 *   {"workers": [{"worker", "state", "text"}],                           order_worker
 *    "settings": [{"setting", "outcome", "workers", "before", "after"}],  order_setting
 *    "settings": [{"name", "value", "apply", "workers"}],                 order_config
 *    "errors": ["..."],                                                   order_error
 *    "text": "..." or, where the status is no 200, "error": "..."}        order_done
 * The supervisor is on the same machine and answers at once; an answer that does not come is said to be
 * missing, and one that comes later finds its ticket gone.  While the operator waits (--wait) items (102)
 * {"progress": {"waited_s": 3}} say so each second.
 * If we die on any line the order may have been carried out: the asker's own timeout tells it to look.
 */
#include "workers/control/orders.h"

#include "common/base/attr.h"
#include "common/json/json_put.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 16
#define DEADLINE_MS 3000
#define PROGRESS_MS 1000
#define WAIT_MAX_S 3700 /* longer than any drain */

struct place {
    struct orders *orders;
    bool used;
    uint32_t ticket;
    struct route route;
    bool wait;              /* the operator waits: told so each second */
    unsigned waited_s;
    struct timer *deadline; /* or the next word of waiting */
    struct json_out *out;
    enum msg_kind rows; /* whose array is open; MSG_NONE: none */
};

struct orders {
    struct harness *harness;
    orders_fn *answer;
    void *arg;
    uint32_t ticket; /* the last one given out */
    struct place place[PLACES];
};

/* --- the answer ----------------------------------------------------------------------------------- */

static void finish(struct place *place, unsigned code, const char *text)
{
    const char *json;
    size_t length;

    timer_stop(place->deadline);
    if (place->rows != MSG_NONE)
        json_end(place->out);
    if (text[0] != '\0')
        json_put_text(place->out, code < 300 ? "text" : "error", text);
    json_end(place->out);
    json = json_text(place->out, &length);
    place->used = false;
    place->orders->answer(place->orders->arg, &place->route, (int)code, json, length);
}

/* A supervisor that died takes us with it, so who waits is told that somebody still does. */
static void say_progress(struct place *place)
{
    char json[64];
    int length = snprintf(json, sizeof json, "{\"progress\": {\"waited_s\": %u}}", place->waited_s);

    if (place->orders->answer(place->orders->arg, &place->route, 102, json, (size_t)length))
        timer_in_ms(place->deadline, PROGRESS_MS);
    else
        place->used = false; /* the order goes on without the asker */
}

static void on_deadline(void *arg)
{
    struct place *place = arg;

    if (place->wait && ++place->waited_s < WAIT_MAX_S)
        say_progress(place);
    else
        finish(place, 500, "the supervisor does not answer");
}

static void open_array(struct place *place, enum msg_kind kind, const char *key)
{
    if (place->rows == kind)
        return;
    if (place->rows != MSG_NONE)
        json_end(place->out);
    json_key(place->out, key);
    json_array(place->out);
    place->rows = kind;
}

static void add_worker(struct place *place, const struct msg_order_worker *row)
{
    open_array(place, MSG_order_worker, "workers");
    json_object(place->out);
    json_put_text(place->out, "worker", row->worker);
    json_put_text(place->out, "state", row->state);
    json_put_text(place->out, "text", row->text);
    json_end(place->out);
}

static void add_setting(struct place *place, const struct msg_order_setting *row)
{
    open_array(place, MSG_order_setting, "settings");
    json_object(place->out);
    json_put_text(place->out, "setting", row->setting);
    json_put_text(place->out, "outcome", row->outcome);
    json_put_text(place->out, "workers", row->workers);
    json_put_text(place->out, "before", row->before);
    json_put_text(place->out, "after", row->after);
    json_end(place->out);
}

static void add_config(struct place *place, const struct msg_order_config *row)
{
    open_array(place, MSG_order_config, "settings");
    json_object(place->out);
    json_put_text(place->out, "name", row->name);
    json_put_text(place->out, "value", row->value);
    json_put_text(place->out, "apply", row->apply);
    json_put_text(place->out, "workers", row->workers);
    json_end(place->out);
}

static void add_error(struct place *place, const struct msg_order_error *row)
{
    open_array(place, MSG_order_error, "errors");
    json_string(place->out, row->text);
}

static struct place *place_of(struct orders *orders, uint32_t ticket)
{
    for (size_t i = 0; i < PLACES; i++)
        if (orders->place[i].used && orders->place[i].ticket == ticket)
            return &orders->place[i];
    return NULL;
}

/* Every record of an answer begins with its ticket. */
static bool ticket_of(const struct msg *record, uint32_t *ticket)
{
    if (record->kind == MSG_order_worker)
        *ticket = record->order_worker.ticket;
    else if (record->kind == MSG_order_setting)
        *ticket = record->order_setting.ticket;
    else if (record->kind == MSG_order_config)
        *ticket = record->order_config.ticket;
    else if (record->kind == MSG_order_error)
        *ticket = record->order_error.ticket;
    else if (record->kind == MSG_order_done)
        *ticket = record->order_done.ticket;
    else
        return false;
    return true;
}

void orders_record(struct orders *orders, const struct msg *record)
{
    uint32_t ticket;
    struct place *place = ticket_of(record, &ticket) ? place_of(orders, ticket) : NULL;

    if (place == NULL)
        return;
    if (record->kind == MSG_order_worker)
        add_worker(place, &record->order_worker);
    else if (record->kind == MSG_order_setting)
        add_setting(place, &record->order_setting);
    else if (record->kind == MSG_order_config)
        add_config(place, &record->order_config);
    else if (record->kind == MSG_order_error)
        add_error(place, &record->order_error);
    else
        finish(place, record->order_done.code, record->order_done.text);
}

/* --- the question --------------------------------------------------------------------------------- */

static int keep_word(char *to, size_t size, const char *word, struct err *err)
{
    if (to[0] != '\0')
        return err_set(err, "what is \"%.100s\"?", word);
    if (word[0] == '\0' || strlen(word) >= size)
        return err_set(err, "an argument has 1 to %zu bytes", size - 1);
    memcpy(to, word, strlen(word) + 1);
    return 0;
}

int orders_words(struct msg_order *order, const struct request *request, struct err *err)
{
    for (size_t i = 0; i < request->count; i++) {
        const char *word = request->word[i];
        int outcome = 0;

        if (i == 0)
            outcome = keep_word(order->verb, sizeof order->verb, word, err);
        else if (strcmp(word, "--wait") == 0)
            order->wait = true;
        else if (strcmp(word, "--dry-run") == 0)
            order->dry_run = true;
        else if (order->target[0] == '\0')
            outcome = keep_word(order->target, sizeof order->target, word, err);
        else
            outcome = keep_word(order->argument, sizeof order->argument, word, err);
        if (outcome < 0)
            return -1;
    }
    return 0;
}

static struct place *free_place(struct orders *orders)
{
    for (size_t i = 0; i < PLACES; i++)
        if (!orders->place[i].used)
            return &orders->place[i];
    return NULL;
}

bool orders_ask(struct orders *orders, const struct route *route, const struct msg_order *order)
{
    struct place *place = free_place(orders);
    struct msg record = {.kind = MSG_order, .order = *order};

    if (place == NULL)
        return false;
    place->used = true;
    place->ticket = record.order.ticket = ++orders->ticket;
    place->route = *route;
    place->rows = MSG_NONE;
    json_clear(place->out);
    json_object(place->out);
    place->wait = order->wait;
    place->waited_s = 0;
    timer_in_ms(place->deadline, order->wait ? PROGRESS_MS : DEADLINE_MS);
    harness_report(orders->harness, &record);
    return true;
}

struct orders *orders_new(struct harness *harness, orders_fn *answer, void *arg, struct err *err)
{
    struct orders *orders = calloc(1, sizeof *orders);

    if (orders == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    orders->harness = harness;
    orders->answer = answer;
    orders->arg = arg;
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &orders->place[i];

        place->orders = orders;
        place->deadline = harness_timer(harness, on_deadline, place);
        place->out = json_out_new(false);
    }
    return orders;
}

void orders_free(struct orders **orders)
{
    if (*orders == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++) {
        harness_untimer(&(*orders)->place[i].deadline);
        json_out_free(&(*orders)->place[i].out);
    }
    free(*orders);
    *orders = NULL;
}

/*
 * poison.c - which events does PostgreSQL refuse?  See poison.h.
 *
 * The stack holds disjoint ranges, next one on top.  A range that goes in becomes good; a refused one
 * of one event is bad; a longer one is split.  Depth grows by one per halving, so 64 is enough for any
 * count; trials are bounded, because each costs a transaction while the queue waits.
 * Pure: dying here loses nothing, nothing was committed.
 */
#include "workers/db_flusher/poison.h"

#include <string.h>

static size_t log2_up(size_t count)
{
    size_t bits = 1;

    while (((size_t)1 << bits) < count)
        bits++;
    return bits;
}

void poison_begin(struct poison *poison, uint8_t *verdict, size_t count, size_t most_bad)
{
    *poison = (struct poison){.state = POISON_SYNTHETIC, .verdict = verdict, .count = count};
    poison->most_bad = most_bad;
    poison->most_trials = 2 * (most_bad + 1) * (log2_up(count) + 1) + 2;
    memset(verdict, VERDICT_UNKNOWN, count);
}

static void push(struct poison *poison, size_t from, size_t to)
{
    if (from < to)
        poison->stack[poison->depth++] = (struct range){from, to};
}

static void judge(struct poison *poison, struct range range, uint8_t verdict)
{
    memset(poison->verdict + range.from, verdict, range.to - range.from);
    if (verdict == VERDICT_BAD)
        poison->bad++;
}

static void split(struct poison *poison, struct range range)
{
    size_t middle = range.from + (range.to - range.from) / 2;

    push(poison, middle, range.to);
    push(poison, range.from, middle);
}

void poison_trial(struct poison *poison, bool refused)
{
    struct range range;

    if (poison->state == POISON_SYNTHETIC) {
        poison->state = refused || poison->count == 0 ? POISON_SCHEMA : POISON_TRY;
        split(poison, (struct range){0, poison->count}); /* the whole is known to be refused */
        return;
    }
    if (poison->state != POISON_TRY)
        return;
    range = poison->stack[--poison->depth];
    if (!refused)
        judge(poison, range, VERDICT_GOOD);
    else if (range.to - range.from == 1)
        judge(poison, range, VERDICT_BAD);
    else
        split(poison, range);
    if (poison->bad > poison->most_bad || ++poison->trials > poison->most_trials)
        poison->state = POISON_SCHEMA;
    else if (poison->depth == 0)
        poison->state = POISON_DONE;
}

bool poison_included(const struct poison *poison, size_t event)
{
    struct range range;

    if (poison->state != POISON_TRY)
        return poison->state == POISON_DONE && poison->verdict[event] != VERDICT_BAD;
    if (poison->verdict[event] == VERDICT_GOOD)
        return true;
    range = poison->stack[poison->depth - 1];
    return event >= range.from && event < range.to;
}

/*
 * redis_topology.c - what Redis says about other servers.  See redis_topology.h.
 *
 * Pure.  Every address that is found here will be connected to and greeted with our password, so it
 * passes node_make: the characters of names and addresses, a port that is one.  That is form, not
 * trust: whoever may speak for Redis may send us to a server of his own, as with every client.
 */
#include "common/redis/redis_topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- slots ---------------------------------------------------------------------------------- */

/* CRC16 as Redis has it: polynomial 0x1021, from 0, nothing reflected. */
static unsigned crc16(const char *bytes, size_t length)
{
    unsigned crc = 0;

    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned)(unsigned char)bytes[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc;
}

unsigned redis_slot(const char *key, size_t length)
{
    const char *open = memchr(key, '{', length);
    const char *close;

    if (open != NULL) {
        open++;
        close = memchr(open, '}', length - (size_t)(open - key));
        if (close != NULL && close > open)
            return crc16(open, (size_t)(close - open)) % SLOTS;
    }
    return crc16(key, length) % SLOTS;
}

/* --- redirects ------------------------------------------------------------------------------ */

/* "6347 10.0.0.2:7102": slot, host, port.  The last colon parts them: an IPv6 address has more. */
enum redirect_kind redirect_read(const struct redis_reply *reply, const struct node *asked,
                                 unsigned slot, struct node *to)
{
    enum redirect_kind kind;
    const char *text, *host, *colon;
    char *end;
    unsigned long named;

    if (reply == NULL || reply->kind != REDIS_ERROR)
        return REDIRECT_NOT;
    if (strncmp(reply->text, "MOVED ", 6) == 0)
        kind = REDIRECT_MOVED;
    else if (strncmp(reply->text, "ASK ", 4) == 0)
        kind = REDIRECT_ASK;
    else
        return REDIRECT_NOT;
    text = strchr(reply->text, ' ') + 1;
    named = strtoul(text, &end, 10);
    if (end == text || *end != ' ' || named != slot)
        return REDIRECT_NOT;
    host = end + 1;
    colon = strrchr(host, ':');
    if (colon == NULL)
        return REDIRECT_NOT;
    if (colon == host) /* "the same host, another port" */
        host = asked->host;
    if (node_make(to, host, host == asked->host ? strlen(host) : (size_t)(colon - host), colon + 1,
                  strlen(colon + 1)) != 0)
        return REDIRECT_NOT;
    return kind;
}

/* --- CLUSTER SLOTS -------------------------------------------------------------------------- */

/* [host, port, ...]; a host that is nil or empty is the one that was asked. */
static void add_node(const struct redis_reply *item, const struct node *asked, struct nodes *nodes)
{
    const char *host = asked->host;
    char port[8];
    struct node node;
    int64_t number = redis_item_number(item, 1);

    if (item->kind != REDIS_ARRAY || item->items < 2 || number < 1 || number > 65535)
        return;
    if (item->item[0].text != NULL && item->item[0].length > 0)
        host = item->item[0].text;
    snprintf(port, sizeof port, "%d", (int)number);
    if (node_make(&node, host, strlen(host), port, strlen(port)) == 0)
        nodes_add(nodes, &node);
}

/* [first, last, node, node...]; `ours`: only the range that has the slot, else only the others. */
static void add_range(const struct redis_reply *range, const struct node *asked, unsigned slot,
                      bool ours, struct nodes *nodes)
{
    int64_t first = redis_item_number(range, 0), last = redis_item_number(range, 1);
    bool has = first >= 0 && first <= (int64_t)slot && (int64_t)slot <= last;

    if (range->kind != REDIS_ARRAY || has != ours)
        return;
    for (size_t i = 2; i < range->items; i++)
        add_node(&range->item[i], asked, nodes);
}

void slots_read(const struct redis_reply *reply, const struct node *asked, unsigned slot,
                struct nodes *nodes)
{
    if (reply == NULL || reply->kind != REDIS_ARRAY)
        return;
    for (int others = 0; others < 2; others++)
        for (size_t i = 0; i < reply->items; i++)
            add_range(&reply->item[i], asked, slot, others == 0, nodes);
}

/* --- Sentinel ------------------------------------------------------------------------------- */

int master_read(const struct redis_reply *reply, struct node *master, struct err *err)
{
    const struct redis_reply *item = reply->item;

    if (reply->kind == REDIS_NIL || (reply->kind == REDIS_ARRAY && reply->items == 0))
        return err_set(err, "knows no master of that name");
    if (reply->kind == REDIS_ERROR)
        return err_set(err, "says: %.200s", reply->text);
    if (reply->kind != REDIS_ARRAY || reply->items != 2 || item[0].text == NULL ||
        item[1].text == NULL ||
        node_make(master, item[0].text, item[0].length, item[1].text, item[1].length) != 0)
        return err_set(err, "gave an answer that is no address");
    return 0;
}

enum redis_role role_read(const struct redis_reply *reply)
{
    if (reply == NULL || reply->kind != REDIS_ARRAY || reply->items == 0)
        return ROLE_UNKNOWN;
    return redis_said(reply, "master") ? ROLE_MASTER : ROLE_OTHER;
}

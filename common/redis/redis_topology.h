/*
 * redis_topology.h - what Redis says about other servers: redirects, slots, masters, roles.  Pure.
 *
 * All of it is untrusted: whatever arrives is taken apart into these few facts or refused.
 */
#ifndef SPENDD_REDIS_TOPOLOGY_H
#define SPENDD_REDIS_TOPOLOGY_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/nodes.h"
#include "common/redis/redis.h"

#include <stdbool.h>
#include <stddef.h>

#define SLOTS 16384

/* The hash slot of a key, by its {tag} where it has one. */
unsigned redis_slot(const char *key, size_t length);

enum redirect_kind { REDIRECT_NOT, REDIRECT_MOVED, REDIRECT_ASK };

/* Whether an error reply sends us elsewhere.  `asked`: who said it; its host stands for an empty
 * one.  A redirect to nowhere (host "?", a bad port, another slot than `slot`) is REDIRECT_NOT. */
enum redirect_kind redirect_read(const struct redis_reply *reply, const struct node *asked,
                                 unsigned slot, struct node *to);

/* The nodes of a CLUSTER SLOTS reply, those that serve `slot` first; what is no such reply adds
 * nothing. */
void slots_read(const struct redis_reply *reply, const struct node *asked, unsigned slot,
                struct nodes *nodes);

/* The answer to SENTINEL GET-MASTER-ADDR-BY-NAME. */
int master_read(const struct redis_reply *reply, struct node *master, struct err *err) MUST_CHECK;

enum redis_role { ROLE_UNKNOWN, ROLE_MASTER, ROLE_OTHER };

/* The answer to ROLE; UNKNOWN: it was refused, or is none. */
enum redis_role role_read(const struct redis_reply *reply);

#endif

/*
 * merge.h - what one event adds, and to whom: entities, and days by dimensions.
 * Pure.  The keys of the tallies are columns with a NUL between them, in index order:
 *   spend        u8 entity type | entity id
 *   spend_daily  day (4 bytes, big-endian, biased) | u8 entity type | entity id NUL api_key NUL ...
 */
#ifndef SPENDD_DB_FLUSHER_MERGE_H
#define SPENDD_DB_FLUSHER_MERGE_H

#include "common/base/attr.h"
#include "common/event/event.h"
#include "workers/db_flusher/tally.h"

/* In the order of their names: the order of the index. */
enum entity_type {
    ENTITY_agent,
    ENTITY_end_user,
    ENTITY_key,
    ENTITY_organization,
    ENTITY_tag,
    ENTITY_team,
    ENTITY_team_member,
    ENTITY_user,
    ENTITY_TYPES
};

const char *entity_name(unsigned type);

#define DAILY_KEY_COLUMNS 7 /* behind date and entity_type: entity_id, api_key, ... endpoint */

/* Adds to the entities whose bit (1 << enum entity_type) is in `types`.  Either tally may be NULL.
 * -1: out of memory. */
int merge_event(struct tally *entities, struct tally *days, const struct event *event,
                unsigned types) MUST_CHECK;

/* Reads the keys back. */
unsigned merge_entity(const unsigned char *key, size_t length, struct slice *id);
unsigned merge_day(const unsigned char *key, size_t length, day_t *day,
                   struct slice column[DAILY_KEY_COLUMNS]);

/* A JSON string, quotes included; `to` has room for six times its bytes and two.  Returns its length. */
size_t merge_json_text(struct slice text, char *to);

/* ["team","user"] as JSON, compact, non-ASCII as it is.  Returns its length, at most size. */
size_t merge_team_member(struct slice team, struct slice user, char *to, size_t size);

#endif

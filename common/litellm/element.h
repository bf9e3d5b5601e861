/*
 * element.h - an element of LiteLLM's lists, read into parts: each part is what one row of one table gains.
 *
 * Parts come one at a time and are numbered in the order in which they stand, so that reading the same
 * element again gives the same parts.  A part that cannot be counted comes too, with the reason: it goes to
 * the dead letters, the rest of its element counts.  What is no element at all comes as an error, before
 * any part.  Names and rules: LiteLLM's own (json.dumps of its queues).  Pure; allocates nothing.
 */
#ifndef SPENDD_LITELLM_ELEMENT_H
#define SPENDD_LITELLM_ELEMENT_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/event/event.h"
#include "common/json/json_scan.h"
#include "common/litellm/lists.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELEMENT_KEY_MAX 2500  /* bytes of all columns of an index together: what a B-tree takes in any case */
#define ELEMENT_TEXT_MAX 1024 /* of a text that is in no index */
#define ELEMENT_SCRATCH 32768 /* bytes of all texts of a part as they are written, escapes included */
#define ELEMENT_MONEY_SCALE 9 /* amounts are below 10^(18 - 9) USD: more is no amount of some seconds */

enum element_entity {
#define ENTITY(name, field) ELEMENT_##name,
#include "common/litellm/fields.def"
#undef ENTITY
    ELEMENT_ENTITIES
};

enum element_count {
#define COUNT(name) ELEMENT_##name,
#include "common/litellm/fields.def"
#undef COUNT
    ELEMENT_COUNTS
};

enum element_money {
#define MONEY(name) ELEMENT_##name,
#include "common/litellm/fields.def"
#undef MONEY
    ELEMENT_MONIES
};

enum element_text {
#define TEXT(name) ELEMENT_##name,
#include "common/litellm/fields.def"
#undef TEXT
    ELEMENT_TEXTS
};

/* Texts are valid UTF-8 without NUL; absent, null and "" are the same.  Borrowed for the call. */
struct element_part {
    enum litellm_list list;
    const char *bad;       /* why it cannot be counted; NULL: it can, and all below holds */
    enum element_entity entity; /* of the list spend */
    struct slice id;       /* entity; of a member its team; of a window the entity's id */
    struct slice second;   /* of a member its user; of a window the entity's type */
    struct slice text[ELEMENT_TEXTS];   /* daily; of a window: date is its start, model its duration */
    int64_t count[ELEMENT_COUNTS];      /* daily */
    struct slice money[ELEMENT_MONIES]; /* decimal, as JSON writes numbers; "0" where there was none */
    /* As it stands in the element: the field (list spend only), the key, the value. */
    struct json_span field, key, value;
};

/* false: no more. */
typedef bool element_part_fn(void *arg, const struct element_part *part);

/* -1 and err: it is no element, and no part was given. */
int element_read(enum litellm_list list, const char *bytes, size_t length, element_part_fn *part, void *arg,
                 struct err *err) MUST_CHECK;

/* The part alone, as an element of its list would hold it; into `to` if it has room.  Returns its length. */
size_t element_record(const struct element_part *part, char *to, size_t room);

#endif

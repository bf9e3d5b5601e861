/*
 * settings.h - the effective settings as one struct, made from settings.def.
 * The supervisor has all of them; a worker has its own, the others are zero.
 * The table and its text conversions know nothing of libconfig (that is config.h).
 */
#ifndef SPENDD_CONFIG_SETTINGS_H
#define SPENDD_CONFIG_SETTINGS_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config/models.def"

struct model_setting {
#define MODEL_INT(n, field, name, def, min, max, doc) int64_t field;
#define MODEL_TEXT(n, field, name, def, size, doc) char field[size];
#define MODEL_SECRET(n, field, name, def, size, doc) char field[size];
#define MODEL_CHOICE(n, field, name, def, words, doc) char field[24];
    MODEL_ROWS()
#undef MODEL_INT
#undef MODEL_TEXT
#undef MODEL_SECRET
#undef MODEL_CHOICE
};

struct settings {
#define INT(field, path, def, min, max, apply, readers, doc) int64_t field;
#define BOOL(field, path, def, apply, readers, doc) bool field;
#define TEXT(field, path, def, size, apply, readers, doc) char field[size];
#define SECRET(field, path, def, size, apply, readers, doc) char field[size];
#define CHOICE(field, path, def, words, apply, readers, doc) char field[24];
#define LIST(field, path, max, apply, readers, doc) struct model_setting field[max];
#include "common/config/settings.def"
#undef INT
#undef BOOL
#undef TEXT
#undef SECRET
#undef CHOICE
#undef LIST
    uint32_t from_environment; /* bit per row of environment.def: the supervisor took it from there */
};

enum setting_kind { SETTING_INT, SETTING_BOOL, SETTING_TEXT, SETTING_SECRET, SETTING_CHOICE };
enum setting_apply { APPLY_LIVE, APPLY_WORKER, APPLY_FULL };

struct setting {
    const char *name; /* the field's name: what crosses fd 3 */
    const char *path; /* the name in the file */
    enum setting_kind kind;
    enum setting_apply apply;
    uint32_t readers; /* bit 0: supervisor; bit 1 + row in roster.def: that worker */
    size_t offset, size;
    int64_t least, most, number; /* INT bounds and default; BOOL default */
    const char *text;            /* default of TEXT, SECRET, CHOICE */
    const char *words;           /* CHOICE */
    const char *doc;
    const char *list; /* path of the list whose field this is; NULL: it stands alone */
    unsigned place;   /* in the list */
};

extern const struct setting settings_table[];
extern const size_t settings_count;

/* All defaults, derived paths not yet filled in. */
void settings_defaults(struct settings *settings);

/* One value as text; checks type and bounds.  Text is what --print-config would print, unquoted. */
int settings_set(struct settings *settings, const struct setting *setting, const char *value,
                 struct err *err) MUST_CHECK;
void settings_get(const struct settings *settings, const struct setting *setting, char *value,
                  size_t size);

const struct setting *setting_by_name(const char *name); /* NULL: none */
const struct setting *setting_by_path(const char *path);

/* A field of a place in a list where nothing stands: not shown. */
bool setting_absent(const struct settings *settings, const struct setting *setting);

/* Does this worker (row in roster.def) receive it? */
bool setting_read_by(const struct setting *setting, unsigned worker);

#endif

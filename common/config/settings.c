/*
 * settings.c - the table of settings.def and the conversions between a value and its text.
 *
 * Pure: no file, no clock, no log, no libconfig.  The supervisor fills a struct settings from the file
 * (config.c), a worker from the records on fd 3 (the harness); both come through settings_set, so a
 * value that is out of bounds exists in neither.  If we die on any line nothing outside has changed.
 */
#include "common/config/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
#define WORKER(name, ...) ROW_##name,
#include "workers/roster.def"
#undef WORKER
    ROWS
};

enum {
    FOR_SUPERVISOR = 1,
#define WORKER(name, ...) FOR_##name = 1 << (1 + ROW_##name),
#include "workers/roster.def"
#undef WORKER
    FOR_ALL = (1 << (1 + ROWS)) - 1
};

_Static_assert(ROWS < 30, "readers is one word of bits");

#define PLACE(field) offsetof(struct settings, field), sizeof(((struct settings *)0)->field)

/* A field of the list: its path is its name on fd 3 too, and the list's row says how it is applied and who
 * reads it. */
#define MODEL_FIELD(n, field, named, as)                                                           \
    .name = "health.models[" #n "]." named, .path = "health.models[" #n "]." named, .kind = as,    \
    .apply = APPLY_LIVE, .readers = FOR_health_checker | FOR_SUPERVISOR,                           \
    .offset = offsetof(struct settings, health_models[n].field),                                   \
    .size = sizeof(((struct settings *)0)->health_models[n].field), .list = "health.models",       \
    .place = (n)
#define MODEL_INT(n, field, named, def, min, max, about)                                           \
    {MODEL_FIELD(n, field, named, SETTING_INT), .least = min, .most = max, .number = def, .doc = about},
#define MODEL_TEXT(n, field, named, def, bytes, about)                                             \
    {MODEL_FIELD(n, field, named, SETTING_TEXT), .text = def, .doc = about},
#define MODEL_SECRET(n, field, named, def, bytes, about)                                           \
    {MODEL_FIELD(n, field, named, SETTING_SECRET), .text = def, .doc = about},
#define MODEL_CHOICE(n, field, named, def, choice, about)                                          \
    {MODEL_FIELD(n, field, named, SETTING_CHOICE), .text = def, .words = choice, .doc = about},

const struct setting settings_table[] = {
#define INT(field, path, def, min, max, apply, readers, doc)                                       \
    {#field, path, SETTING_INT, APPLY_##apply, (readers) | FOR_SUPERVISOR, PLACE(field), min, max,  \
     def,    NULL, NULL,        doc, NULL, 0},
#define BOOL(field, path, def, apply, readers, doc)                                                \
    {#field, path, SETTING_BOOL, APPLY_##apply, (readers) | FOR_SUPERVISOR, PLACE(field), 0, 1,     \
     def,    NULL, NULL,         doc, NULL, 0},
#define TEXT(field, path, def, size, apply, readers, doc)                                          \
    {#field, path, SETTING_TEXT, APPLY_##apply, (readers) | FOR_SUPERVISOR, PLACE(field), 0, 0,     \
     0,      def,  NULL,         doc, NULL, 0},
#define SECRET(field, path, def, size, apply, readers, doc)                                        \
    {#field, path, SETTING_SECRET, APPLY_##apply, (readers) | FOR_SUPERVISOR, PLACE(field), 0, 0,   \
     0,      def,  NULL,           doc, NULL, 0},
#define CHOICE(field, path, def, words, apply, readers, doc)                                       \
    {#field, path, SETTING_CHOICE, APPLY_##apply, (readers) | FOR_SUPERVISOR, PLACE(field), 0, 0,   \
     0,      def,  words,          doc, NULL, 0},
#define LIST(field, path, max, apply, readers, doc) MODEL_PLACES
#include "common/config/settings.def"
#undef INT
#undef BOOL
#undef TEXT
#undef SECRET
#undef CHOICE
#undef LIST
};

const size_t settings_count = COUNT_OF(settings_table);

static void *place(struct settings *settings, const struct setting *setting)
{
    return (char *)settings + setting->offset;
}

static const void *place_const(const struct settings *settings, const struct setting *setting)
{
    return (const char *)settings + setting->offset;
}

void settings_defaults(struct settings *settings)
{
    memset(settings, 0, sizeof *settings);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        void *to = place(settings, setting);

        if (setting->kind == SETTING_INT)
            *(int64_t *)to = setting->number;
        else if (setting->kind == SETTING_BOOL)
            *(bool *)to = setting->number != 0;
        else
            snprintf(to, setting->size, "%s", setting->text);
    }
}

static int set_int(int64_t *to, const struct setting *setting, const char *value, struct err *err)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || (value[0] != '-' && (value[0] < '0' || value[0] > '9')))
        return err_set(err, "%s must be a whole number", setting->path);
    if (errno == ERANGE || number < setting->least || number > setting->most)
        return err_set(err, "%s = %s is out of range: %" PRId64 " to %" PRId64, setting->path, value,
                       setting->least, setting->most);
    *to = number;
    return 0;
}

static int set_bool(bool *to, const struct setting *setting, const char *value, struct err *err)
{
    bool yes = strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "false") != 0)
        return err_set(err, "%s must be true or false", setting->path);
    *to = yes;
    return 0;
}

/* Is `value` one of the words of "a|b|c"? */
static bool among(const char *words, const char *value)
{
    size_t length = strlen(value);

    for (const char *at = words; length > 0;) {
        size_t word = strcspn(at, "|");

        if (word == length && memcmp(at, value, length) == 0)
            return true;
        if (at[word] == '\0')
            return false;
        at += word + 1;
    }
    return false;
}

/* The text of a secret is never repeated in an error. */
static int set_text(char *to, const struct setting *setting, const char *value, struct err *err)
{
    size_t length = strlen(value);

    if (length >= setting->size)
        return err_set(err, "%s has %zu bytes, the most is %zu", setting->path, length,
                       setting->size - 1);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return err_set(err, "%s has a control character at byte %zu", setting->path, i);
    if (setting->kind == SETTING_CHOICE && !among(setting->words, value))
        return err_set(err, "%s = \"%s\" is not one of %s", setting->path, value, setting->words);
    memcpy(to, value, length + 1);
    return 0;
}

int settings_set(struct settings *settings, const struct setting *setting, const char *value,
                 struct err *err)
{
    void *to = place(settings, setting);

    switch (setting->kind) {
    case SETTING_INT:
        return set_int(to, setting, value, err);
    case SETTING_BOOL:
        return set_bool(to, setting, value, err);
    case SETTING_TEXT:
    case SETTING_SECRET:
    case SETTING_CHOICE:
        return set_text(to, setting, value, err);
    }
    bug("setting kind %d", (int)setting->kind);
}

void settings_get(const struct settings *settings, const struct setting *setting, char *value,
                  size_t size)
{
    const void *from = place_const(settings, setting);

    if (setting->kind == SETTING_INT)
        snprintf(value, size, "%" PRId64, *(const int64_t *)from);
    else if (setting->kind == SETTING_BOOL)
        snprintf(value, size, "%s", *(const bool *)from ? "true" : "false");
    else
        snprintf(value, size, "%s", (const char *)from);
}

const struct setting *setting_by_name(const char *name)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].name, name) == 0)
            return &settings_table[i];
    return NULL;
}

const struct setting *setting_by_path(const char *path)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].path, path) == 0)
            return &settings_table[i];
    return NULL;
}

bool setting_absent(const struct settings *settings, const struct setting *setting)
{
    return setting->list != NULL && settings->health_models[setting->place].name[0] == '\0';
}

bool setting_read_by(const struct setting *setting, unsigned worker)
{
    return (setting->readers >> (1 + worker) & 1) != 0;
}

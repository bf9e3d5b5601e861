/*
 * config_print.c - the effective settings as a file, secrets masked.  See config.h.
 *
 * Loading what is printed prints the same again.  A list is printed by place, absent places not at all;
 * what came from the environment is said in comments at the end.  Pure but for the stream that it is
 * given; if we die on any line nothing outside has changed.
 */
#include "common/config/config.h"

#include "common/config/mask.h"
#include "common/config/secret.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES 1100 /* longer than any field */

bool config_is_header(const struct setting *setting)
{
    return setting->list != NULL && strstr(setting->path, "].headers[") != NULL;
}

/* A URL is shown but for its password; a word may look like a URL or like a list of keywords (base64 ends in
 * '=') and is shown not at all. */
static bool is_address(const struct setting *setting)
{
    size_t length = strlen(setting->path);

    return length > 4 && strcmp(setting->path + length - 4, ".url") == 0;
}

/* Of a list's secrets: of a header its name stays, of an address all but its query. */
static void mask_of_list(const struct setting *setting, const char *value, char *text, size_t size)
{
    size_t keep;

    (is_address(setting) ? secret_mask : secret_hide)(value, text, size);
    if (secret_is_file(value))
        return;
    keep = is_address(setting) ? strcspn(text, "?") : strcspn(value, ":");
    if (is_address(setting) && text[keep] == '?')
        snprintf(text + keep, size - keep, "?***");
    else if (config_is_header(setting) && value[keep] == ':')
        snprintf(text, size, "%.*s: ***", (int)keep, value);
}

static void print_string(const char *value, FILE *to)
{
    fputc('"', to);
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', to);
        fputc(*value, to);
    }
    fputc('"', to);
}

void config_value(const struct settings *settings, const struct setting *setting, char *text,
                  size_t size)
{
    char value[VALUE_BYTES];

    settings_get(settings, setting, value, sizeof value);
    if (setting->kind == SETTING_SECRET && setting->list != NULL && value[0] != '\0')
        mask_of_list(setting, value, text, size);
    else if (setting->kind == SETTING_SECRET && is_address(setting))
        secret_mask(value, text, size);
    else if (setting->kind == SETTING_SECRET)
        secret_hide(value, text, size);
    else
        snprintf(text, size, "%s", value);
}

static void print_value(const struct settings *settings, const struct setting *setting, FILE *to)
{
    char value[VALUE_BYTES];
    long long number;

    config_value(settings, setting, value, sizeof value);
    switch (setting->kind) {
    case SETTING_INT:
        number = strtoll(value, NULL, 10);
        fprintf(to, "%s%s", value, number > INT32_MAX || number < INT32_MIN ? "L" : "");
        return;
    case SETTING_BOOL:
        fputs(value, to);
        return;
    case SETTING_SECRET:
    case SETTING_TEXT:
    case SETTING_CHOICE:
        print_string(value, to);
        return;
    }
}

/* --- lists: rows of one place follow each other, an array's elements too --------------------------- */

static const char *field_of(const struct setting *setting)
{
    return strchr(setting->path, ']') + 2;
}

/* The elements of an array in a place: those that are not empty. */
static size_t print_array(const struct settings *settings, size_t first, FILE *to)
{
    const struct setting *setting = &settings_table[first];
    const char *field = field_of(setting), *between = "";
    size_t bytes = strcspn(field, "["), i = first;
    char value[VALUE_BYTES];

    fprintf(to, " %.*s = [", (int)bytes, field);
    for (; i < settings_count && settings_table[i].list != NULL && settings_table[i].place == setting->place &&
           strncmp(field_of(&settings_table[i]), field, bytes + 1) == 0;
         i++) {
        settings_get(settings, &settings_table[i], value, sizeof value);
        if (value[0] == '\0')
            continue;
        fputs(between, to);
        print_value(settings, &settings_table[i], to);
        between = ", ";
    }
    fputs("];", to);
    return i;
}

/* From the list's first row; returns the row behind its last one. */
static size_t print_list(const struct settings *settings, size_t first, FILE *to)
{
    const char *list = settings_table[first].list;
    const char *name = strchr(list, '.') + 1, *between = "";
    size_t i = first;

    fprintf(to, "    %s = (", name);
    while (i < settings_count && settings_table[i].list == list) {
        const struct setting *setting = &settings_table[i];
        bool starts = i == first || settings_table[i - 1].place != setting->place;

        if (setting_absent(settings, setting)) {
            i++;
            continue;
        }
        if (starts)
            fprintf(to, "%s\n        {", between);
        if (strchr(field_of(setting), '[') != NULL) {
            i = print_array(settings, i, to);
        } else {
            fprintf(to, " %s = ", field_of(setting));
            print_value(settings, setting, to);
            fputc(';', to);
            i++;
        }
        if (i == settings_count || settings_table[i].list != list || settings_table[i].place != setting->place)
            fputs(" }", to);
        between = ",";
    }
    fputs(between[0] == ',' ? "\n    );\n" : ");\n", to);
    return i;
}

static void print_environment(const struct settings *settings, FILE *to)
{
    static const char *const rows[][2] = {
#define ENVIRONMENT(variable, path) {variable, path},
#include "common/config/environment.def"
#undef ENVIRONMENT
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if ((settings->from_environment >> i & 1) != 0)
            fprintf(to, "# %s came from the environment: %s\n", rows[i][1], rows[i][0]);
}

void config_print(const struct settings *settings, FILE *to)
{
    const char *group = "";
    size_t group_bytes = 0;

    for (size_t i = 0; i < settings_count;) {
        const struct setting *setting = &settings_table[i];
        const char *dot = strchr(setting->path, '.');
        size_t bytes = dot != NULL ? (size_t)(dot - setting->path) : 0;
        bool same = bytes == group_bytes && strncmp(setting->path, group, bytes) == 0;

        if (!same && group_bytes > 0)
            fputs("};\n", to);
        if (!same && bytes > 0)
            fprintf(to, "%.*s: {\n", (int)bytes, setting->path);
        if (setting->list != NULL) {
            i = print_list(settings, i, to);
        } else {
            fprintf(to, "%s%s = ", dot != NULL ? "    " : "", dot != NULL ? dot + 1 : setting->path);
            print_value(settings, setting, to);
            fputs(";\n", to);
            i++;
        }
        group = setting->path;
        group_bytes = bytes;
    }
    if (group_bytes > 0)
        fputs("};\n", to);
    print_environment(settings, to);
}

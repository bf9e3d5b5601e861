/*
 * config.c - the door to libconfig.  See config.h.
 *
 * Walks the parsed tree against the table of settings.def: every leaf is a row or an error, with the
 * nearest row's name.  Keeps the line of each setting until the relations were checked, so that those
 * errors have a place too.  Owns nothing beyond the call.  If we die on any line, the settings in use
 * elsewhere are as they were.
 */
#include "common/config/config.h"

#include "common/config/litellm_environment.h"
#include "common/config/nearest.h"
#include "common/config/relations.h"
#include "common/config/secret.h"
#include "common/config/widen.h"

#include <inttypes.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PATH_BYTES 128
#define CREDENTIAL "credential:"
#define VALUE_BYTES 1100 /* longer than any field: settings_set says what is too long */
#define LINE_BYTES 600
#define FILE_BYTES_MAX (1024 * 1024)

struct load {
    const char *path;
    struct settings *settings;
    unsigned *lines; /* of each row of the table; 0: not in the file */
    unsigned given, errors;
    config_say_fn *say;
    void *arg;
};

static void PRINTF_LIKE(4, 5)
    complain(struct load *load, const char *file, unsigned line, const char *format, ...)
{
    char text[LINE_BYTES];
    int used = line > 0 ? snprintf(text, sizeof text, "%s:%u: ", file, line)
                        : snprintf(text, sizeof text, "%s: ", file);
    va_list ap;

    va_start(ap, format);
    if (used >= 0 && (size_t)used < sizeof text)
        vsnprintf(text + used, sizeof text - (size_t)used, format, ap);
    va_end(ap);
    load->errors++;
    load->say(load->arg, text);
}

static void complain_at(struct load *load, const config_setting_t *at, const struct err *err)
{
    complain(load, load->path, config_setting_source_line(at), "%s", err->text);
}

/* --- one value ------------------------------------------------------------------------------------ */

/* credential:NAME, one of systemd's, is a file in $CREDENTIALS_DIRECTORY; workers are told its path. */
static int credential_path(const struct setting *setting, const char *name, char *path, struct err *err)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");

    if (directory == NULL)
        return err_set(err, "%s: credential:%s, but there is no CREDENTIALS_DIRECTORY in the environment "
                       "(LoadCredential= of the unit makes it)", setting->path, name);
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
        return err_set(err, "%s: \"%s\" is no name of a credential", setting->path, name);
    if (snprintf(path, VALUE_BYTES, "file:%s/%s", directory, name) >= VALUE_BYTES)
        return err_set(err, "%s: the path of credential:%s is too long", setting->path, name);
    return 0;
}

/* "Name: [word ]env:NAME" -> with the variable's value in place of the last part. */
static int resolve_header(const struct setting *setting, const char *given, char *value, struct err *err)
{
    const char *at = strstr(given, "env:");
    const char *env = getenv(at + 4);

    if (env == NULL)
        return err_set(err, "%s: %s is not in the environment", setting->path, at + 4);
    snprintf(value, VALUE_BYTES, "%.*s%s", (int)(at - given), given, env);
    return 0;
}

static bool header_with_env(const struct setting *setting, const char *given)
{
    const char *colon = strchr(given, ':'), *at = strstr(given, "env:");

    return config_is_header(setting) && at != NULL && colon != NULL && colon < at;
}

/* env:NAME is read here, by the only process that has an environment.  file:/path of a secret stays:
 * it is read again at each connect, but it must be readable now. */
static int resolve(const struct setting *setting, const char *given, char *value, struct err *err)
{
    char path[VALUE_BYTES];
    struct err why;
    const char *env;

    if (strncmp(given, "env:", 4) != 0 && header_with_env(setting, given))
        return resolve_header(setting, given, value, err);
    if (strncmp(given, CREDENTIAL, sizeof CREDENTIAL - 1) == 0) {
        if (credential_path(setting, given + sizeof CREDENTIAL - 1, path, err) < 0)
            return -1;
        given = path;
    } else if (strcmp(given, LITELLM_REDIS) == 0 || strcmp(given, LITELLM_DATABASE) == 0) {
        /* several variables: take_litellm, when it is known what else the file says */
    } else if (strncmp(given, "env:", 4) == 0) {
        env = getenv(given + 4);
        if (env == NULL)
            return err_set(err, "%s: %s is not in the environment", setting->path, given + 4);
        given = env;
    }
    if (secret_is_file(given) && secret_read(given, value, VALUE_BYTES, &why) < 0)
        return err_set(err, "%s: %s", setting->path, why.text);
    if (!secret_is_file(given) || setting->kind == SETTING_SECRET)
        snprintf(value, VALUE_BYTES, "%s", given);
    return 0;
}

static int set_string(struct load *load, const struct setting *setting, const config_setting_t *at,
                      struct err *err)
{
    char value[VALUE_BYTES];

    if (resolve(setting, config_setting_get_string(at), value, err) < 0)
        return -1;
    return settings_set(load->settings, setting, value, err);
}

static int set_number(struct load *load, const struct setting *setting, const config_setting_t *at,
                      struct err *err)
{
    char value[32];

    snprintf(value, sizeof value, "%lld", config_setting_get_int64(at));
    return settings_set(load->settings, setting, value, err);
}

static int wrong_type(const struct setting *setting, struct err *err)
{
    static const char *const wanted[] = {
        [SETTING_INT] = "a whole number",        [SETTING_BOOL] = "true or false",
        [SETTING_TEXT] = "a string in quotes",   [SETTING_SECRET] = "a string in quotes",
        [SETTING_CHOICE] = "a string in quotes",
    };

    return err_set(err, "%s must be %s", setting->path, wanted[setting->kind]);
}

static int set_leaf(struct load *load, const struct setting *setting, const config_setting_t *at,
                    struct err *err)
{
    bool number = setting->kind == SETTING_INT, yes_no = setting->kind == SETTING_BOOL;

    switch (config_setting_type(at)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return number ? set_number(load, setting, at, err) : wrong_type(setting, err);
    case CONFIG_TYPE_BOOL:
        if (!yes_no)
            return wrong_type(setting, err);
        return settings_set(load->settings, setting, config_setting_get_bool(at) ? "true" : "false",
                            err);
    case CONFIG_TYPE_STRING:
        return number || yes_no ? wrong_type(setting, err) : set_string(load, setting, at, err);
    default:
        return wrong_type(setting, err);
    }
}

/* --- the tree ------------------------------------------------------------------------------------- */

/* Is there a row under this path?  Then it is a group. */
static bool is_group(const char *path)
{
    size_t length = strlen(path);

    for (size_t i = 0; i < settings_count; i++)
        if (strncmp(settings_table[i].path, path, length) == 0 &&
            settings_table[i].path[length] == '.')
            return true;
    return false;
}

static void take_leaf(struct load *load, const char *path, const config_setting_t *at)
{
    const struct setting *setting = setting_by_path(path);
    struct err err;

    if (setting == NULL && is_group(path)) {
        err_set(&err, "%s is a group: write %s: { ... };", path, path);
        complain_at(load, at, &err);
        return;
    }
    if (setting == NULL) {
        err_set(&err, "unknown setting %s; the nearest is %s", path, nearest_setting(path));
        complain_at(load, at, &err);
        return;
    }
    load->given++;
    load->lines[setting - settings_table] = config_setting_source_line(at);
    if (set_leaf(load, setting, at, &err) < 0)
        complain_at(load, at, &err);
}

static bool is_list(const char *path)
{
    for (size_t i = 0; i < settings_count; i++)
        if (settings_table[i].list != NULL && strcmp(settings_table[i].list, path) == 0)
            return true;
    return false;
}

/* One group of a list: each of its fields is a row of the table, an array a row for each element. */
static void take_item(struct load *load, const char *item, const config_setting_t *group)
{
    char path[2 * PATH_BYTES], element[2 * PATH_BYTES + 16];
    int count = config_setting_length(group);

    for (int i = 0; i < count; i++) {
        const config_setting_t *at = config_setting_get_elem(group, (unsigned)i);
        int elements = config_setting_is_array(at) ? config_setting_length(at) : 0;

        snprintf(path, sizeof path, "%s.%s", item, config_setting_name(at));
        if (!config_setting_is_array(at))
            take_leaf(load, path, at);
        for (int j = 0; j < elements; j++) {
            snprintf(element, sizeof element, "%s[%d]", path, j);
            take_leaf(load, element, config_setting_get_elem(at, (unsigned)j));
        }
    }
}

static void take_list(struct load *load, const char *path, const config_setting_t *list)
{
    int count = config_setting_is_list(list) ? config_setting_length(list) : -1;
    char item[PATH_BYTES + 16], name[PATH_BYTES + 24];
    struct err err;

    if (count < 0) {
        err_set(&err, "%s is a list of groups: write %s = ( { name = \"...\"; ... }, ... );", path, path);
        complain_at(load, list, &err);
    }
    for (int i = 0; i < count; i++) {
        const config_setting_t *at = config_setting_get_elem(list, (unsigned)i);
        const struct setting *row;

        snprintf(item, sizeof item, "%s[%d]", path, i);
        snprintf(name, sizeof name, "%s.name", item);
        row = setting_by_path(name);
        if (row == NULL)
            err_set(&err, "%s has %d entries, the most is %d", path, count, i);
        else if (!config_setting_is_group(at))
            err_set(&err, "%s is no group: { name = \"...\"; ... }", item);
        else {
            take_item(load, item, at);
            if (load->lines[row - settings_table] != 0)
                continue;
            err_set(&err, "%s has no name", item);
        }
        complain_at(load, at, &err);
        if (row == NULL)
            return;
    }
}

/* Depth is two: no table row outside a list has a second dot, so a deeper group is unknown and not
 * entered. */
static void take_children(struct load *load, const char *prefix, const config_setting_t *group)
{
    int count = config_setting_length(group);
    char path[PATH_BYTES];

    for (int i = 0; i < count; i++) {
        const config_setting_t *at = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(at);

        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", name);
        if (config_setting_is_group(at) && is_group(path))
            take_children(load, path, at);
        else if (is_list(path))
            take_list(load, path, at);
        else
            take_leaf(load, path, at);
    }
}

/* --- the environment ------------------------------------------------------------------------------ */

/* Others write True, 1, yes. */
static const char *plain_word(const struct setting *setting, const char *value)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};

    for (size_t i = 0; setting->kind == SETTING_BOOL && i < COUNT_OF(yes); i++) {
        if (strcasecmp(value, yes[i]) == 0)
            return "true";
        if (strcasecmp(value, no[i]) == 0)
            return "false";
    }
    return value;
}

/* What the file does not say, a variable of environment.def may. */
static void take_environment(struct load *load)
{
    static const struct {
        const char *variable, *path;
    } rows[] = {
#define ENVIRONMENT(variable, path) {variable, path},
#include "common/config/environment.def"
#undef ENVIRONMENT
    };
    struct err err;

    _Static_assert(COUNT_OF(rows) <= 32, "struct settings has a bit for each");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct setting *setting = setting_by_path(rows[i].path);
        const char *value = getenv(rows[i].variable);

        if (setting == NULL)
            bug("environment.def: no setting %s", rows[i].path);
        if (value == NULL || value[0] == '\0' || load->lines[setting - settings_table] != 0)
            continue;
        if (settings_set(load->settings, setting, plain_word(setting, value), &err) < 0)
            complain(load, "environment", 0, "%s: %s", rows[i].variable, err.text);
        load->settings->from_environment |= (uint32_t)1 << i;
    }
}

static void relation_broken(void *arg, const char *path, const char *text)
{
    struct load *load = arg;
    const struct setting *setting = setting_by_path(path);

    complain(load, load->path, setting != NULL ? load->lines[setting - settings_table] : 0, "%s", text);
}

static const char *get_variable(void *arg, const char *variable)
{
    (void)arg;
    return getenv(variable);
}

/* What the file gives by its own name stands; but for the two that ask for the environment. */
static int set_from_variable(void *arg, const char *path, const char *value, struct err *err)
{
    struct load *load = arg;
    const struct setting *setting = setting_by_path(path);
    bool asks = strcmp(path, "redis.url") == 0 || strcmp(path, "database.url") == 0;

    if (!asks && load->lines[setting - settings_table] != 0)
        return 0;
    return settings_set(load->settings, setting, value, err);
}

/* redis.url = "env:REDIS_*" and database.url = "env:DATABASE_*": as LiteLLM reads its environment. */
static void take_litellm(struct load *load)
{
    struct litellm_environment environment = {get_variable, set_from_variable, load};
    struct err err;

    if (strcmp(load->settings->redis_url, LITELLM_REDIS) == 0 && litellm_redis(&environment, &err) < 0)
        relation_broken(load, "redis.url", err.text);
    if (strcmp(load->settings->database_url, LITELLM_DATABASE) == 0 &&
        litellm_database(&environment, &err) < 0)
        relation_broken(load, "database.url", err.text);
}

static void derive_and_relate(struct load *load)
{
    char host[97] = "";

    /* Cut rather than refused: 64 bytes is what Linux allows. */
    if (gethostname(host, sizeof host - 1) < 0 || host[0] == '\0')
        snprintf(host, sizeof host, "localhost");
    settings_derive(load->settings, host);
    settings_relations(load->settings, relation_broken, load);
}

/* The whole file with a NUL behind it, at most FILE_BYTES_MAX.  NULL: cannot be read. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = file != NULL ? malloc(FILE_BYTES_MAX + 1) : NULL;
    size_t bytes = text != NULL ? fread(text, 1, FILE_BYTES_MAX + 1, file) : 0;
    bool good = text != NULL && !ferror(file) && bytes <= FILE_BYTES_MAX;

    if (file != NULL)
        fclose(file);
    if (!good) {
        free(text);
        return NULL;
    }
    text[bytes] = '\0';
    return text;
}

/* One file only: what @include would bring in has not been widened. */
static int parse(struct load *load, config_t *config)
{
    char *text = read_file(load->path);
    char *wide = text != NULL ? config_widen(text) : NULL;
    bool good = false;

    if (wide == NULL)
        complain(load, load->path, 0, "cannot be read, or is larger than %d bytes", FILE_BYTES_MAX);
    else if (strncmp(wide, "@include", 8) == 0 || strstr(wide, "\n@include") != NULL)
        complain(load, load->path, 0, "@include is not supported");
    else if (config_read_string(config, wide) != CONFIG_TRUE)
        complain(load, load->path, (unsigned)config_error_line(config), "%s",
                 config_error_text(config));
    else
        good = true;
    free(text);
    free(wide);
    return good ? 0 : -1;
}

int config_load(const char *path, struct settings *settings, unsigned *given, config_say_fn *say,
                void *arg)
{
    unsigned *lines = calloc(settings_count, sizeof *lines);
    struct load load = {path, settings, lines, 0, 0, say, arg};
    config_t config;

    settings_defaults(settings);
    config_init(&config);
    if (lines == NULL)
        complain(&load, path, 0, "no memory");
    else if (parse(&load, &config) == 0)
        take_children(&load, "", config_root_setting(&config));
    if (load.errors == 0)
        take_environment(&load);
    if (load.errors == 0)
        take_litellm(&load);
    /* Relations between values that are wrong themselves would only confuse. */
    if (load.errors == 0)
        derive_and_relate(&load);
    config_destroy(&config);
    free(lines);
    if (given != NULL)
        *given = load.given;
    return load.errors == 0 ? 0 : -1;
}

/*
 * words.c - the arguments of a command, read.  See words.h.  Pure; owns nothing.
 */
#include "common/admin/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct words_option *find(const char *word, const struct words_option *options,
                                       size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(options[i].name, word) == 0)
            return &options[i];
    return NULL;
}

int words_read(size_t count, const char *const *words, const struct words_option *options,
               size_t option_count, const char **plain, size_t *plain_count, struct err *err)
{
    *plain_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct words_option *option = find(words[i], options, option_count);

        if (option == NULL && words[i][0] == '-')
            return err_set(err, "what is \"%.60s\"?", words[i]);
        if (option == NULL) {
            plain[(*plain_count)++] = words[i];
            continue;
        }
        if (option->flag != NULL ? *option->flag : *option->value != NULL)
            return err_set(err, "%s stands there twice", option->name);
        if (option->flag != NULL)
            *option->flag = true;
        else if (++i == count)
            return err_set(err, "%s needs a value", option->name);
        else
            *option->value = words[i];
    }
    return 0;
}

int words_number(const char *text, int64_t least, int64_t most, int64_t *number, struct err *err)
{
    bool digits = text[strspn(text, "-0123456789")] == '\0'; /* strtoll would skip blanks of any kind */
    char *end;

    errno = 0;
    *number = strtoll(text, &end, 10);
    if (!digits || errno != 0 || end == text || *end != '\0' || *number < least || *number > most)
        return err_set(err, "\"%.40s\" is no number from %lld to %lld", text, (long long)least,
                       (long long)most);
    return 0;
}

int duration_read(const char *text, int64_t *ms, struct err *err)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"", 1000}};
    size_t digits = strspn(text, "0123456789");

    for (size_t i = 0; digits > 0 && digits <= 12 && i < COUNT_OF(units); i++) {
        if (strcmp(text + digits, units[i].unit) != 0)
            continue;
        *ms = strtoll(text, NULL, 10);
        if (*ms > 0 && *ms <= DURATION_MOST_MS / units[i].ms) {
            *ms *= units[i].ms;
            return 0;
        }
    }
    return err_set(err, "\"%.40s\" is no time like 500ms, 30s, 5m, 2h or 7d, at most 366d", text);
}

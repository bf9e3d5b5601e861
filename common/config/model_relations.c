/*
 * model_relations.c - what a model of the list health.models must have, and how health.* stand to each
 * other.  See relations.h.  Pure: settings in, sentences out, and no sentence repeats a secret.  If we die on any
 * line nothing outside has changed.
 */
#include "common/config/relations.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COST_DIGITS 6      /* below 10^6 USD */
#define COST_DECIMALS 12

struct telling {
    relation_fn *say;
    void *arg;
    unsigned said, place;
};

/* `field`: of the model at telling->place. */
static void PRINTF_LIKE(3, 4) tell(struct telling *to, const char *field, const char *format, ...)
{
    char path[64], text[256];
    size_t used;
    va_list ap;

    snprintf(path, sizeof path, "health.models[%u].%s", to->place, field);
    used = (size_t)snprintf(text, sizeof text, "%s ", path);
    va_start(ap, format);
    vsnprintf(text + used, sizeof text - used, format, ap);
    va_end(ap);
    to->said++;
    to->say(to->arg, path, text);
}

/* "0.0012": what common/money reads, without sign and exponent. */
static bool good_cost(const char *text)
{
    size_t whole = strspn(text, "0123456789"), point = text[whole] == '.';
    size_t part = point ? strspn(text + whole + 1, "0123456789") : 0;

    return whole > 0 && whole <= COST_DIGITS && (!point || (part > 0 && part <= COST_DECIMALS)) &&
           text[whole + point + part] == '\0';
}

static bool good_header(const char *text)
{
    size_t name = strcspn(text, ":");

    return strncmp(text, "file:", 5) == 0 ||
           (name > 0 && text[name] == ':' && strcspn(text, " \"(),/;<=>?@[]\\{}") > name);
}

static void check_model(const struct model_setting *model, struct telling *to)
{
    const struct {
        const char *field, *text;
    } headers[] = {{"headers[0]", model->header_1}, {"headers[1]", model->header_2},
                   {"headers[2]", model->header_3}, {"headers[3]", model->header_4}};

    if (model->url[0] == '\0')
        tell(to, "name", "= \"%s\" has no url", model->name); /* which has no line */
    else if (strncmp(model->url, "http://", 7) != 0 && strncmp(model->url, "https://", 8) != 0 &&
             strncmp(model->url, "file:", 5) != 0)
        tell(to, "url", "must begin with http:// or https://");
    if (model->body[0] != '\0' && strcmp(model->method, "POST") != 0)
        tell(to, "body", "is sent with method = \"POST\" alone");
    if (!good_cost(model->cost))
        tell(to, "cost", "= \"%s\" is no decimal number below 10^%d with at most %d decimals", model->cost,
             COST_DIGITS, COST_DECIMALS);
    for (size_t i = 0; i < COUNT_OF(headers); i++)
        if (headers[i].text[0] != '\0' && !good_header(headers[i].text))
            tell(to, headers[i].field, "must be \"Name: value\"");
}

static void check_shared(const struct settings *s, struct telling *to)
{
    const char *path = "health.litellm_shared", *text = NULL;

    if (s->health_litellm_shared && !s->health_shared)
        text = "health.litellm_shared needs health.shared = true";
    else if (s->health_litellm_shared && s->redis_cluster_nodes[0] != '\0')
        text = "health.litellm_shared does not work on a Redis Cluster: LiteLLM's keys lie in other slots than ours";
    if (text == NULL)
        return;
    to->said++;
    to->say(to->arg, path, text);
}

unsigned model_relations(const struct settings *s, relation_fn *say, void *arg)
{
    struct telling to = {say, arg, 0, 0};

    check_shared(s, &to);
    for (unsigned i = 0; i < MODELS_MAX && s->health_models[i].name[0] != '\0'; i++) {
        to.place = i;
        check_model(&s->health_models[i], &to);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(s->health_models[i].name, s->health_models[j].name) == 0)
                tell(&to, "name", "= \"%s\" is the name of health.models[%u] too",
                     s->health_models[i].name, j);
    }
    return to.said;
}

/*
 * litellm_environment.c - LiteLLM's environment variables made into settings.  See litellm_environment.h.
 *
 * Reads them as LiteLLM does (its _redis.py and construct_database_url_from_env_vars): a whole URL wins over
 * its parts; nodes are JSON; true is "true", "1" or "yes".  What redis-py takes out of the query of a URL and
 * we have a setting for becomes that setting, the rest is about its own pool and is left out.  A login that is
 * not a password (cloud tokens) is refused by name, not half understood.
 * Pure: texts in, settings out.  If we die on any line nothing outside has changed.
 */
#include "common/config/litellm_environment.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define URL_BYTES 1100
#define NODES_BYTES 600
#define ITEM_BYTES 256

/* Of REDIS_<variable>, and of a URL's query, what is a setting of its own. */
static const struct {
    const char *variable, *parameter, *path;
} files[] = {
    {"REDIS_SSL_CA_CERTS", "ssl_ca_certs", "redis.tls_ca"},
    {"REDIS_SSL_CA_PATH", "ssl_ca_path", "redis.tls_ca"},
    {"REDIS_SSL_CERTFILE", "ssl_certfile", "redis.tls_cert"},
    {"REDIS_SSL_KEYFILE", "ssl_keyfile", "redis.tls_key"},
};

static const char *const foreign_logins[] = {"REDIS_GCP_SERVICE_ACCOUNT", "REDIS_AZURE_AD_TOKEN",
                                             "REDIS_AWS_IAM_AUTH"};

static const char *given(const struct litellm_environment *of, const char *variable)
{
    const char *value = of->get(of->arg, variable);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool is_true(const char *value)
{
    return value != NULL && (strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0 ||
                             strcasecmp(value, "yes") == 0);
}

/* --- texts -------------------------------------------------------------------------------------------- */

/* Appends; -1: no room. */
static int add(char *to, size_t size, const char *text)
{
    size_t used = strlen(to);
    int bytes = snprintf(to + used, size - used, "%s", text);

    return bytes >= 0 && (size_t)bytes < size - used ? 0 : -1;
}

/* The same, with everything escaped that is not plain. */
static int add_escaped(char *to, size_t size, const char *text)
{
    for (; *text != '\0'; text++) {
        char one[4] = {*text, '\0'};

        if (!isalnum((unsigned char)*text) && strchr("-._~", *text) == NULL)
            snprintf(one, sizeof one, "%%%02X", (unsigned)(unsigned char)*text);
        if (add(to, size, one) < 0)
            return -1;
    }
    return 0;
}

static int add_login(char *url, size_t size, const char *user, const char *password)
{
    if (user == NULL && password == NULL)
        return 0;
    if (user != NULL && add_escaped(url, size, user) < 0)
        return -1;
    if (password != NULL && (add(url, size, ":") < 0 || add_escaped(url, size, password) < 0))
        return -1;
    return add(url, size, "@");
}

/* An address of IPv6 is put into brackets. */
static int add_host(char *url, size_t size, const char *host)
{
    bool bare = strchr(host, ':') != NULL && host[0] != '[' && strchr(host, ':') != strrchr(host, ':');

    return (bare && add(url, size, "[") < 0) || add(url, size, host) < 0 || (bare && add(url, size, "]") < 0)
               ? -1
               : 0;
}

/* --- nodes: JSON, pairs of host and port ----------------------------------------------------------------- */

/* One JSON string without escapes, the quote at *at; moves behind it. */
static int take_string(const char **at, char item[ITEM_BYTES])
{
    size_t length = strcspn(++*at, "\"\\");

    if ((*at)[length] != '"' || length >= ITEM_BYTES)
        return -1;
    snprintf(item, ITEM_BYTES, "%.*s", (int)length, *at);
    *at += length + 1;
    return 0;
}

static int take_number(const char **at, char item[ITEM_BYTES])
{
    size_t length = strspn(*at, "0123456789");

    snprintf(item, ITEM_BYTES, "%.*s", (int)(length < 6 ? length : 6), *at);
    *at += length;
    return length > 0 && length < 6 ? 0 : -1;
}

struct node {
    char host[ITEM_BYTES], port[ITEM_BYTES];
};

static bool is_name(const char *item, const char *after)
{
    after += strspn(after, " \t\n");
    return *after == ':' && (strcmp(item, "host") == 0 || strcmp(item, "port") == 0);
}

/* What stands between the brackets of one node: ["host", 1] or {"host": "host", "port": 1}. */
static int take_node(const char **at, struct node *node)
{
    char item[ITEM_BYTES];

    memset(node, 0, sizeof *node);
    for (++*at; **at != '\0' && **at != ']' && **at != '}';) {
        if (strchr(" \t\n,:", **at) != NULL) {
            ++*at;
            continue;
        }
        if ((**at == '"' ? take_string(at, item) : take_number(at, item)) < 0)
            return -1;
        if (is_name(item, *at))
            continue;
        snprintf(item[strspn(item, "0123456789")] == '\0' ? node->port : node->host, ITEM_BYTES, "%s", item);
    }
    return *(*at)++ != '\0' && node->host[0] != '\0' && node->port[0] != '\0' ? 0 : -1;
}

static int parse_nodes(const char *json, char *list, size_t size)
{
    struct node node;
    const char *at = json + strspn(json, " \t\n");

    list[0] = '\0';
    if (*at++ != '[')
        return -1;
    for (at += strspn(at, " \t\n,"); *at == '[' || *at == '{'; at += strspn(at, " \t\n,"))
        if (take_node(&at, &node) < 0 || (list[0] != '\0' && add(list, size, ", ") < 0) ||
            add_host(list, size, node.host) < 0 || add(list, size, ":") < 0 || add(list, size, node.port) < 0)
            return -1;
    return *at == ']' && list[0] != '\0' ? 0 : -1;
}

static int set_nodes(const struct litellm_environment *of, const char *variable, const char *path,
                     struct err *err)
{
    const char *json = given(of, variable);
    char list[NODES_BYTES];

    if (json == NULL)
        return 0;
    if (parse_nodes(json, list, sizeof list) < 0)
        return err_set(err, "%s: not a JSON list of hosts and ports", variable);
    return of->set(of->arg, path, list, err);
}

/* --- Redis ------------------------------------------------------------------------------------------- */

static int set_if(const struct litellm_environment *of, const char *variable, const char *path, struct err *err)
{
    const char *value = given(of, variable);

    return value == NULL ? 0 : of->set(of->arg, path, value, err);
}

static int set_verify(const struct litellm_environment *of, const char *requirement, struct err *err)
{
    bool none = requirement != NULL && (strcasecmp(requirement, "none") == 0 ||
                                        strcasecmp(requirement, "CERT_NONE") == 0);

    return none ? of->set(of->arg, "redis.tls_verify", "false", err) : 0;
}

/* One pair of a URL's query: `db` stays, TLS becomes settings, the rest is redis-py's own. */
static int take_pair(const struct litellm_environment *of, char *url, const char *pair, struct err *err)
{
    const char *value = strchr(pair, '=');

    if (value == NULL)
        return 0;
    value++;
    if (strncmp(pair, "db=", 3) == 0)
        return add(url, URL_BYTES, "?") < 0 || add(url, URL_BYTES, pair) < 0
                   ? err_set(err, "REDIS_URL is too long")
                   : 0;
    if (strncmp(pair, "ssl_cert_reqs=", 14) == 0)
        return set_verify(of, value, err);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t length = strlen(files[i].parameter);

        if (strncmp(pair, files[i].parameter, length) == 0 && pair[length] == '=')
            return of->set(of->arg, files[i].path, value, err);
    }
    return 0;
}

static int set_whole_url(const struct litellm_environment *of, const char *given_url, struct err *err)
{
    char url[URL_BYTES] = "", pair[URL_BYTES];
    size_t length = strcspn(given_url, "?");
    const char *at = given_url + length;

    if (strlen(given_url) >= sizeof url)
        return err_set(err, "REDIS_URL is too long");
    snprintf(url, sizeof url, "%.*s", (int)length, given_url);
    while (*at != '\0') {
        at++;
        length = strcspn(at, "&");
        snprintf(pair, sizeof pair, "%.*s", (int)length, at);
        if (take_pair(of, url, pair, err) < 0)
            return -1;
        at += length;
    }
    return of->set(of->arg, "redis.url", url, err);
}

/* REDIS_HOST and its neighbours; with nodes the host stays empty, it is not used. */
static int set_parts(const struct litellm_environment *of, const char *host, struct err *err)
{
    const char *port = given(of, "REDIS_PORT"), *db = given(of, "REDIS_DB");
    char url[URL_BYTES] = "";
    bool good = add(url, sizeof url, is_true(given(of, "REDIS_SSL")) ? "rediss://" : "redis://") == 0 &&
                add_login(url, sizeof url, given(of, "REDIS_USERNAME"), given(of, "REDIS_PASSWORD")) == 0 &&
                add_host(url, sizeof url, host) == 0 && add(url, sizeof url, ":") == 0 &&
                add(url, sizeof url, port != NULL ? port : "6379") == 0 && add(url, sizeof url, "/") == 0 &&
                add(url, sizeof url, db != NULL ? db : "0") == 0;

    return good ? of->set(of->arg, "redis.url", url, err) : err_set(err, "REDIS_HOST and its neighbours are too long");
}

static int set_files(const struct litellm_environment *of, struct err *err)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (set_if(of, files[i].variable, files[i].path, err) < 0)
            return -1;
    return set_verify(of, given(of, "REDIS_SSL_CERT_REQS"), err);
}

static int set_many(const struct litellm_environment *of, struct err *err)
{
    return set_nodes(of, "REDIS_CLUSTER_NODES", "redis.cluster_nodes", err) < 0 ||
                   set_nodes(of, "REDIS_SENTINEL_NODES", "redis.sentinels", err) < 0 ||
                   set_if(of, "REDIS_SERVICE_NAME", "redis.sentinel_master", err) < 0 ||
                   set_if(of, "REDIS_SENTINEL_PASSWORD", "redis.sentinel_password", err) < 0
               ? -1
               : 0;
}

int litellm_redis(const struct litellm_environment *of, struct err *err)
{
    const char *url = given(of, "REDIS_URL"), *host = given(of, "REDIS_HOST");
    bool many = given(of, "REDIS_CLUSTER_NODES") != NULL || given(of, "REDIS_SENTINEL_NODES") != NULL;

    for (size_t i = 0; i < sizeof foreign_logins / sizeof foreign_logins[0]; i++) {
        const char *value = given(of, foreign_logins[i]);

        if (value != NULL && strcasecmp(value, "false") != 0)
            return err_set(err, "%s: logins by a cloud's tokens are not supported: redis.url = \"file:/...\" is "
                                "read again at each connect", foreign_logins[i]);
    }
    if (url == NULL && host == NULL && !many)
        return err_set(err, "neither REDIS_URL nor REDIS_HOST is in the environment");
    if (set_many(of, err) < 0 || set_files(of, err) < 0)
        return -1;
    return url != NULL ? set_whole_url(of, url, err) : set_parts(of, host != NULL ? host : "127.0.0.1", err);
}

/* --- PostgreSQL -------------------------------------------------------------------------------------- */

int litellm_database(const struct litellm_environment *of, struct err *err)
{
    const char *host = given(of, "DATABASE_HOST"), *user = given(of, "DATABASE_USERNAME");
    const char *name = given(of, "DATABASE_NAME"), *schema = given(of, "DATABASE_SCHEMA");
    char url[URL_BYTES] = "postgresql://";
    bool good;

    if (given(of, "DATABASE_URL") != NULL)
        return of->set(of->arg, "database.url", given(of, "DATABASE_URL"), err);
    if (host == NULL || user == NULL || name == NULL)
        return err_set(err, "neither DATABASE_URL nor DATABASE_HOST, DATABASE_USERNAME and DATABASE_NAME are "
                            "in the environment");
    good = add_login(url, sizeof url, user, given(of, "DATABASE_PASSWORD")) == 0 &&
           add(url, sizeof url, host) == 0 && add(url, sizeof url, "/") == 0 &&
           add_escaped(url, sizeof url, name) == 0 &&
           (schema == NULL || (add(url, sizeof url, "?schema=") == 0 && add_escaped(url, sizeof url, schema) == 0));
    return good ? of->set(of->arg, "database.url", url, err)
                : err_set(err, "DATABASE_HOST and its neighbours are too long");
}

/*
 * relations.c - how settings stand to each other.  See relations.h.
 *
 * Pure: settings in, sentences out.  Called after every row was checked for itself, so values are
 * within their bounds here.  If we die on any line nothing outside has changed.
 */
#include "common/config/relations.h"

#include "common/base/nodes.h"
#include "common/config/endpoint.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_IN_RUNTIME_DIR "/private/receipts.15.sock"
#define IPC "ipc://"
#define LOCALHOST "tcp://localhost:"
#define MIB (1024 * 1024)
#define CONNECTION_BYTES 65536 /* what libzmq holds for one that is idle (measured, 4.3.4) */

struct listener {
    relation_fn *say;
    void *arg;
    unsigned said;
};

static void PRINTF_LIKE(3, 4) tell(struct listener *listener, const char *path, const char *format, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    listener->said++;
    listener->say(listener->arg, path, text);
}

static void fill(char *field, size_t size, const char *before, const char *middle, const char *after)
{
    if (field[0] == '\0')
        snprintf(field, size, "%s%s%s", before, middle, after);
}

/* libzmq, which listens for the admin socket, knows addresses only. */
static void name_loopback(char *field, size_t size)
{
    char port[16];

    if (strncmp(field, LOCALHOST, strlen(LOCALHOST)) != 0)
        return;
    snprintf(port, sizeof port, "%.15s", field + strlen(LOCALHOST));
    snprintf(field, size, "tcp://127.0.0.1:%s", port);
}

void settings_derive(struct settings *s, const char *host_name)
{
    fill(s->instance, sizeof s->instance, "", host_name, "");
    fill(s->ingest_acked, sizeof s->ingest_acked, IPC, s->runtime_dir, "/ingest.sock");
    fill(s->ingest_unacked, sizeof s->ingest_unacked, IPC, s->runtime_dir, "/ingest-unacked.sock");
    fill(s->admin_listen, sizeof s->admin_listen, IPC, s->runtime_dir, "/admin.sock");
    name_loopback(s->admin_listen, sizeof s->admin_listen);
}

/* --- directories and endpoints -------------------------------------------------------------------- */

static void check_directories(const struct settings *s, struct listener *to)
{
    size_t room = SOCKET_PATH_MAX - strlen(LONGEST_IN_RUNTIME_DIR);

    if (s->runtime_dir[0] != '/')
        tell(to, "runtime_dir", "runtime_dir = \"%s\" must be an absolute path", s->runtime_dir);
    if (strlen(s->runtime_dir) > room)
        tell(to, "runtime_dir", "runtime_dir has %zu bytes, the most is %zu: the path of a socket ends at %d",
             strlen(s->runtime_dir), room, SOCKET_PATH_MAX);
    if (s->spool_dir[0] != '/')
        tell(to, "spool.dir", "spool.dir = \"%s\" must be an absolute path", s->spool_dir);
}

struct curve {
    const char *path; /* of the setting that an error is about */
    const char *certificate, *clients;
};

/* A certificate without clients lets nobody in, clients without a certificate are not asked: one alone is
 * a mistake.  True: CURVE is on. */
static bool check_curve(const struct curve *curve, struct listener *to)
{
    int group = (int)strcspn(curve->path, ".");

    if ((curve->certificate[0] == '\0') != (curve->clients[0] == '\0'))
        tell(to, curve->path, "%.*s.curve_certificate and %.*s.curve_clients are set together, or neither",
             group, curve->path, group, curve->path);
    if (curve->certificate[0] != '\0' && curve->certificate[0] != '/')
        tell(to, curve->path, "%.*s.curve_certificate = \"%s\" must be an absolute path", group, curve->path,
             curve->certificate);
    if (curve->clients[0] != '\0' && curve->clients[0] != '/')
        tell(to, curve->path, "%.*s.curve_clients = \"%s\" must be an absolute path", group, curve->path,
             curve->clients);
    return curve->certificate[0] != '\0';
}

/* `open`: who comes over loopback need not prove himself. */
static void check_listen(const char *path, const char *text, bool open, bool curve, struct listener *to)
{
    struct endpoint endpoint;
    struct err err;
    int group = (int)strcspn(path, ".");

    if (endpoint_read(text, &endpoint, &err) < 0)
        tell(to, path, "%s: %s", path, err.text);
    else if (endpoint_is_tcp(&endpoint) && !curve && !(open && endpoint.loopback))
        tell(to, path, "%s = \"%s\" %s: set %.*s.curve_certificate and %.*s.curve_clients "
             "(spendd --curve-keys makes them)", path, text,
             open ? "is reached from other machines and needs CURVE" : "needs CURVE, on loopback too",
             group, path, group, path);
}

/* false: it is off, or no address. */
static bool read_http(const char *path, const char *text, struct endpoint *endpoint, struct listener *to)
{
    struct err err;

    if (strcmp(text, "off") == 0)
        return false;
    if (endpoint_read_http(text, endpoint, &err) == 0)
        return true;
    tell(to, path, "%s: %s", path, err.text);
    return false;
}

static void check_http(const struct settings *s, struct listener *to)
{
    struct endpoint ingest, status;
    bool posts = read_http("http.ingest_listen", s->http_ingest_listen, &ingest, to);

    if (posts && s->http_tokens[0] == '\0' && !ingest.loopback)
        tell(to, "http.ingest_listen", "http.ingest_listen = \"%s\" is reached from other machines and needs "
             "a token: set http.tokens", s->http_ingest_listen);
    if (read_http("http.status_listen", s->http_status_listen, &status, to) && posts &&
        strcmp(s->http_ingest_listen, s->http_status_listen) == 0)
        tell(to, "http.status_listen", "http.status_listen is the same address as http.ingest_listen");
    if ((s->http_tls_certificate[0] == '\0') != (s->http_tls_key[0] == '\0'))
        tell(to, "http.tls_certificate", "http.tls_certificate and http.tls_key are set together, or neither");
    if (s->http_max_held_bytes < s->http_max_body_bytes)
        tell(to, "http.max_held_bytes", "http.max_held_bytes = %" PRId64 " is below http.max_body_bytes = %"
             PRId64 ": such a body would always be refused for now", s->http_max_held_bytes,
             s->http_max_body_bytes);
}

static void check_endpoints(const struct settings *s, struct listener *to)
{
    const struct curve ingest = {"ingest.curve_certificate", s->ingest_curve_certificate,
                                 s->ingest_curve_clients};
    const struct curve admin = {"admin.curve_certificate", s->admin_curve_certificate,
                                s->admin_curve_clients};
    bool proven = check_curve(&ingest, to);

    check_listen("ingest.acked", s->ingest_acked, true, proven, to);
    if (strcmp(s->ingest_unacked, "off") != 0)
        check_listen("ingest.unacked", s->ingest_unacked, true, proven, to);
    check_listen("admin.listen", s->admin_listen, false, check_curve(&admin, to), to);
    check_http(s, to);
    if (strcmp(s->ingest_acked, s->ingest_unacked) == 0)
        tell(to, "ingest.unacked", "ingest.unacked is the same endpoint as ingest.acked");
}

/* --- figures -------------------------------------------------------------------------------------- */

static void check_times(const struct settings *s, struct listener *to)
{
    if (s->supervisor_backoff_min_ms > s->supervisor_backoff_max_ms)
        tell(to, "supervisor.backoff_min_ms", "supervisor.backoff_min_ms = %" PRId64
             " is above supervisor.backoff_max_ms = %" PRId64,
             s->supervisor_backoff_min_ms, s->supervisor_backoff_max_ms);
    if (s->supervisor_beat_ms * 3 > s->supervisor_hang_ms)
        tell(to, "supervisor.beat_ms", "supervisor.beat_ms = %" PRId64
             " is above a third of supervisor.hang_ms = %" PRId64,
             s->supervisor_beat_ms, s->supervisor_hang_ms);
    if (s->lock_renew_ms * 3 > s->lock_ttl_ms)
        tell(to, "lock.renew_ms", "lock.renew_ms = %" PRId64 " is above a third of lock.ttl_ms = %" PRId64,
             s->lock_renew_ms, s->lock_ttl_ms);
    if (s->ingest_max_age_days >= s->spend_log_keep_days)
        tell(to, "ingest.max_age_days", "ingest.max_age_days = %" PRId64
             " must be smaller than spend_log.keep_days = %" PRId64
             ": an event must not outlive the log rows that tell whether it was counted",
             s->ingest_max_age_days, s->spend_log_keep_days);
}

/* What LiteLLM's layout needs to be told. */
static void check_litellm(const struct settings *s, struct listener *to)
{
    bool layout = strcmp(s->database_layout, "litellm") == 0, off = strcmp(s->litellm_events, "off") == 0;

    if (!layout && !off)
        tell(to, "litellm.events", "litellm.events = \"%s\" needs database.layout = \"litellm\"", s->litellm_events);
    if (layout && !s->dedupe_database && !off)
        tell(to, "dedupe.database", "dedupe.database = false with database.layout = \"litellm\": nothing would"
             " tell whether an event was counted");
}

static void check_sizes(const struct settings *s, struct listener *to)
{
    if (s->ingest_max_event_bytes > s->ingest_max_message_bytes)
        tell(to, "ingest.max_event_bytes", "ingest.max_event_bytes = %" PRId64
             " is above ingest.max_message_bytes = %" PRId64,
             s->ingest_max_event_bytes, s->ingest_max_message_bytes);
    if (s->seal_bytes > s->spool_max_bytes)
        tell(to, "seal.bytes", "seal.bytes = %" PRId64 " is above spool.max_bytes = %" PRId64,
             s->seal_bytes, s->spool_max_bytes);
}

/* What the window of remembered ids takes: an entry each, and places in a table of a power of two. */
static int64_t window_bytes(int64_t ids)
{
    int64_t places = 16;

    while (places < 2 * ids)
        places *= 2;
    return ids * 24 + places * 4;
}

/* An aggregator under RLIMIT_DATA: its window is taken whole at its start, so too large a one is a worker
 * that never starts; the rest is groups on their way to the disk, messages, and the stacks of threads. */
static void check_memory(const struct settings *s, struct listener *to)
{
    int64_t window = window_bytes(s->dedupe_ids);
    int64_t rest = 4 * (s->spool_commit_bytes + s->ingest_max_message_bytes) + 48 * MIB;
    int64_t connections = s->ingest_max_connections * CONNECTION_BYTES;
    int64_t needed = (window + connections + rest + MIB - 1) / MIB;

    if (needed > s->supervisor_data_limit_mb)
        tell(to, window > rest + connections ? "dedupe.ids" : "supervisor.data_limit_mb",
             "an aggregator needs %" PRId64 " MiB (dedupe.ids = %" PRId64 " takes %" PRId64
             " of them, ingest.max_connections = %" PRId64 " takes %" PRId64
             "), supervisor.data_limit_mb = %" PRId64 " allows less", needed, s->dedupe_ids,
             (window + MIB - 1) / MIB, s->ingest_max_connections, (connections + MIB - 1) / MIB,
             s->supervisor_data_limit_mb);
}

/* A flusher under RLIMIT_DATA: the load in flight and the one read ahead, each with its envelopes, what is
 * known of each event (an array that doubles), and for the first of them its sums; the answer that brings an
 * envelope lies in memory twice meanwhile.  Less than it needs would make every flush fail and be halved. */
static void check_flusher_memory(const struct settings *s, struct listener *to)
{
    int64_t loads = 7 * s->flush_bytes;
    int64_t needed = (loads + 2 * s->seal_bytes + 48 * MIB + MIB - 1) / MIB;

    if (needed > s->supervisor_data_limit_mb)
        tell(to, "flush.bytes", "the flusher needs %" PRId64 " MiB (flush.bytes = %" PRId64
             " takes seven times itself), supervisor.data_limit_mb = %" PRId64 " allows less", needed,
             s->flush_bytes, s->supervisor_data_limit_mb);
}

/* The gateway under RLIMIT_DATA: bodies, once more on their way to an aggregator, and its connections. */
static void check_gateway_memory(const struct settings *s, struct listener *to)
{
    int64_t connections = s->http_max_connections + s->http_max_status_connections;
    int64_t needed = (2 * s->http_max_held_bytes + connections * s->http_max_header_bytes + 48 * MIB +
                      MIB - 1) / MIB;

    if (strcmp(s->http_ingest_listen, "off") != 0 && needed > s->supervisor_data_limit_mb)
        tell(to, "http.max_held_bytes", "the gateway needs %" PRId64 " MiB (http.max_held_bytes = %" PRId64
             " twice, http.max_connections = %" PRId64 " times http.max_header_bytes), "
             "supervisor.data_limit_mb = %" PRId64 " allows less", needed, s->http_max_held_bytes,
             s->http_max_connections, s->supervisor_data_limit_mb);
}

/* Every key must land in one hash slot: the prefix carries a {tag} that is not empty. */
static void check_prefix(const struct settings *s, struct listener *to)
{
    const char *open = strchr(s->redis_prefix, '{');
    const char *close = open != NULL ? strchr(open, '}') : NULL;

    if (close == NULL || close == open + 1)
        tell(to, "redis.prefix", "redis.prefix = \"%s\" must contain a word in braces, such as {spendd}",
             s->redis_prefix);
}

/* --- how Redis is reached -------------------------------------------------------------------------- */

/* The number of the database that the URL names; 0 where it names none, or lies in a file. */
static long url_database(const char *url)
{
    const char *scheme = strstr(url, "://"), *query = strstr(url, "?db=");
    const char *slash = scheme != NULL ? strchr(scheme + 3, '/') : NULL;

    if (strncmp(url, "file:", 5) == 0 || scheme == NULL)
        return 0;
    if (query != NULL)
        return strtol(query + 4, NULL, 10);
    return slash != NULL ? strtol(slash + 1, NULL, 10) : 0;
}

static void check_nodes(const char *path, const char *text, struct listener *to)
{
    struct nodes nodes;
    struct err err;

    if (nodes_parse(text, "1", &nodes, &err) != 0)
        tell(to, path, "%s: %s", path, err.text);
    else if (text[0] != '\0' && nodes.count == 0)
        tell(to, path, "%s = \"%s\" names nobody", path, text);
}

static void check_tls(const struct settings *s, struct listener *to)
{
    if (s->redis_tls_key[0] != '\0' && s->redis_tls_cert[0] == '\0')
        tell(to, "redis.tls_key", "redis.tls_key without redis.tls_cert: a key alone proves nothing");
}

static void check_fleet(const struct settings *s, struct listener *to)
{
    bool sentinels = s->redis_sentinels[0] != '\0', cluster = s->redis_cluster_nodes[0] != '\0';

    check_nodes("redis.sentinels", s->redis_sentinels, to);
    check_nodes("redis.cluster_nodes", s->redis_cluster_nodes, to);
    if (sentinels && cluster)
        tell(to, "redis.sentinels", "redis.sentinels and redis.cluster_nodes exclude each other: a cluster"
             " fails over by itself");
    if (sentinels && s->redis_sentinel_master[0] == '\0')
        tell(to, "redis.sentinel_master", "redis.sentinel_master is empty: the Sentinels know the master"
             " by a name");
    if (s->redis_sentinel_user[0] != '\0' && s->redis_sentinel_password[0] == '\0')
        tell(to, "redis.sentinel_user", "redis.sentinel_user without redis.sentinel_password: a user logs in"
             " with one");
    if (cluster && url_database(s->redis_url) != 0)
        tell(to, "redis.url", "redis.url names database %ld: a cluster has only database 0",
             url_database(s->redis_url));
    if ((sentinels || cluster) && strncmp(s->redis_url, "unix:", 5) == 0)
        tell(to, "redis.url", "redis.url is a Unix socket: %s are reached by host and port, with"
             " redis://[user:password@]any-host/ for the login",
             cluster ? "the nodes of a cluster" : "what Sentinels name");
}

/* A claim lies in the slot of its list, and each list in another one: our connection to a cluster serves the
 * slot of our own queue alone. */
static void check_adopt(const struct settings *s, struct listener *to)
{
    if (!s->litellm_adopt)
        return;
    if (s->redis_cluster_nodes[0] != '\0')
        tell(to, "litellm.adopt", "litellm.adopt needs a single Redis, or Sentinels: on a cluster each of"
             " LiteLLM's lists lies on another node");
    if (strcmp(s->database_layout, "litellm") != 0)
        tell(to, "litellm.adopt", "litellm.adopt needs database.layout = \"litellm\": what pods push belongs"
             " into LiteLLM's own tables");
    if (strcmp(s->litellm_events, "full") == 0)
        tell(to, "litellm.adopt", "litellm.adopt with litellm.events = \"full\" counts twice: what pods push to"
             " the lists, and their events once more");
}

unsigned settings_relations(const struct settings *settings, relation_fn *say, void *arg)
{
    struct listener to = {say, arg, 0};

    check_directories(settings, &to);
    check_endpoints(settings, &to);
    check_times(settings, &to);
    check_sizes(settings, &to);
    check_litellm(settings, &to);
    check_memory(settings, &to);
    check_flusher_memory(settings, &to);
    check_gateway_memory(settings, &to);
    check_prefix(settings, &to);
    check_tls(settings, &to);
    check_fleet(settings, &to);
    check_adopt(settings, &to);
    return to.said + model_relations(settings, say, arg);
}

unsigned settings_narrowed(const struct settings *s, relation_fn *say, void *arg)
{
    struct listener to = {say, arg, 0};
    struct endpoint http;
    struct err err;

    if (!s->spend_log_enabled)
        tell(&to, "spend_log.enabled", "spend_log.enabled = false: no row per event is written");
    if (!s->dedupe_database)
        tell(&to, "dedupe.database", "dedupe.database = false: an event that is sent again after %" PRId64
             " s, or to another instance, is counted again", s->dedupe_seconds);
    if (!s->dedupe_database && s->aggregator_processes > 1)
        tell(&to, "aggregator.processes", "aggregator.processes = %" PRId64 " with dedupe.database = false: "
             "an event that is sent again over a new connection may reach another aggregator, and is "
             "counted again", s->aggregator_processes);
    if (strcmp(s->http_ingest_listen, "off") != 0 && s->http_tls_certificate[0] == '\0' &&
        (endpoint_read_http(s->http_ingest_listen, &http, &err) < 0 || !http.loopback))
        tell(&to, "http.tls_certificate", "http.ingest_listen = \"%s\" without http.tls_certificate: tokens and"
             " events are in clear on the network", s->http_ingest_listen);
    if (!s->redis_tls_verify)
        tell(&to, "redis.tls_verify", "redis.tls_verify = false: whoever answers is taken for Redis");
    if (s->spool_allow_volatile)
        tell(&to, "spool.allow_volatile", "spool.allow_volatile = true: on a volatile spool an acknowledged "
             "event is lost with the machine");
    return to.said;
}

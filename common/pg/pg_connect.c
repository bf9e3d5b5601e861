/*
 * pg_connect.c - the door opens: the URL read again, names resolved, every address tried in turn.
 *
 * Each address gets its share of what is left of the deadline: one that swallows packets must not eat
 * the time of one that answers.  libpq gets a single numeric address each time, so it never looks up a
 * name.  Where there is more than one address, only a writable server will do (target_session_attrs),
 * unless the URL says otherwise: a standby before the primary in the list is passed over.
 *
 * What a look-up found is good for KNOWN_MS, and only while all goes well: a connection closed for being
 * idle is opened again without asking, but after a failure of any kind the name is asked for again,
 * because a failover may have moved it.
 *
 * If we die on any line: a session without a transaction ends; nothing was asked yet.
 */
#include "common/pg/pg_inside.h"

#include "common/config/secret.h"
#include "common/harness/harness.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define URL_BYTES 4096
#define KNOWN_MS 30000

static void on_connecting(void *arg, short revents);
static void next_target(struct pg *pg);

/* libpq knows "system" from version 16 on; before it, the file that OpenSSL's own default is on the
 * systems we name. */
static const char *system_roots(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

    if (PQlibVersion() >= 160000)
        return "system";
    for (size_t i = 0; i < COUNT_OF(files); i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return files[0];
}

static int own_parameters(struct pg *pg)
{
    struct pg_parameters *p = &pg->parameters;
    const char *roots = pg_parameters_get(p, "sslrootcert");
    char user_timeout[24];

    snprintf(user_timeout, sizeof user_timeout, "%lld", (long long)pg->socket_timeout_ms);
    return (roots && strcmp(roots, "system") == 0 &&
            pg_parameters_set(p, "sslrootcert", system_roots(), 0)) ||
           pg_parameters_set(p, "keepalives", "1", 1) ||
           pg_parameters_set(p, "keepalives_idle", "15", 1) ||
           pg_parameters_set(p, "keepalives_interval", "5", 1) ||
           pg_parameters_set(p, "keepalives_count", "3", 1) ||
           pg_parameters_set(p, "tcp_user_timeout", user_timeout, 1) ||
           pg_parameters_set(p, "gssencmode", "disable", 1) || /* asking a KDC would block */
           pg_parameters_set(p, "client_encoding", "UTF8", 0) ||
           pg_parameters_set(p, "application_name", pg->application, 0);
}

static int load_parameters(struct pg *pg, struct err *err)
{
    char text[URL_BYTES];
    int rc;

    if (secret_read(pg->url, text, sizeof text, err))
        return -1;
    rc = pg_parameters_parse(&pg->parameters, text, pg->ignored, sizeof pg->ignored, err);
    explicit_bzero(text, sizeof text);
    if (rc)
        return -1;
    memcpy(pg->schema, pg->parameters.schema, sizeof pg->schema);
    return own_parameters(pg) ? err_set(err, "database.url: out of memory") : 0;
}

/* --- one address after the other -------------------------------------------------------------- */

/* Of several reasons the first that came from a server is told, else the last one. */
static void note_failure(struct pg *pg, const char *verbose)
{
    char line[REASON_BYTES], sqlstate[6];

    pg_refusal_parse(verbose, sqlstate, line, sizeof line);
    if (pg->sqlstate[0])
        return;
    memcpy(pg->sqlstate, sqlstate, sizeof sqlstate);
    pg_one_line(pg->reason, sizeof pg->reason, line[0] ? line : "connection lost");
}

static void target_failed(struct pg *pg, const char *verbose)
{
    note_failure(pg, verbose);
    pg_tls_let_go(pg);
    harness_unwatch(&pg->watch);
    PQfinish(pg->conn);
    pg->conn = NULL;
    pg->target++;
}

/* 0: on its way.  -1: failed at once. */
static int start_target(struct pg *pg)
{
    const struct pg_target *target = &pg->targets.target[pg->target];
    struct pg_parameters *p = &pg->parameters;
    size_t left = pg->targets.count - pg->target;

    if (pg_parameters_set(p, "host", target->host, 0) ||
        pg_parameters_set(p, "hostaddr", target->address, 0) ||
        pg_parameters_set(p, "port", target->port, 0) ||
        (pg->targets.count > 1 && pg_parameters_set(p, "target_session_attrs", "read-write", 1))) {
        target_failed(pg, "out of memory");
        return -1;
    }
    pg->conn = PQconnectStartParams((const char *const *)p->keyword, (const char *const *)p->value, 0);
    if (!pg->conn || PQstatus(pg->conn) == CONNECTION_BAD) {
        target_failed(pg, pg->conn ? PQerrorMessage(pg->conn) : "out of memory");
        return -1;
    }
    PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE); /* the only way to a failed connect's SQLSTATE */
    pg->state = CONNECTING;
    timer_in_ms(pg->deadline, mono_ms_between(mono_now(), pg->connect_by) / (int64_t)left);
    pg_watch(pg, POLLOUT, on_connecting);
    return 0;
}

static void next_target(struct pg *pg)
{
    while (pg->target < pg->targets.count)
        if (start_target(pg) == 0)
            return;
    pg_drop(pg);
    timer_in_ms(pg->deadline, 0); /* answered from there, with the reason noted */
}

static void connected(struct pg *pg)
{
    struct pg_answer answer = {
        .outcome = PG_OK, .refusal = PG_REFUSED_NOT, .affected = -1, .tag = "", .text = ""};

    PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    pg_tls_let_go(pg);
    if (PQsetnonblocking(pg->conn, 1) != 0) {
        pg_lost(pg, PQerrorMessage(pg->conn));
        return;
    }
    pg_parameters_clear(&pg->parameters);
    if (pg->known.count == 0)
        pg->known_until = mono_after_ms(mono_now(), KNOWN_MS);
    pg->known = pg->targets;
    pg->state = IDLE;
    pg_watch(pg, POLLIN, pg_on_socket);
    pg_give(pg, &answer);
}

static void poll_failed(struct pg *pg)
{
    const char *message = PQerrorMessage(pg->conn), *why = pg_tls_why(pg, message);
    char reason[2 * REASON_BYTES];

    if (why[0]) /* behind the first line, which alone is told */
        snprintf(reason, sizeof reason, "%.*s: %s", (int)strcspn(message, "\n"), message, why);
    else
        snprintf(reason, sizeof reason, "%s", message);
    target_failed(pg, reason);
    next_target(pg);
}

static void on_connecting(void *arg, short revents)
{
    struct pg *pg = arg;

    (void)revents;
    pg_tls_keep(pg);
    switch (PQconnectPoll(pg->conn)) {
    case PGRES_POLLING_READING:
        pg_watch(pg, POLLIN, on_connecting);
        break;
    case PGRES_POLLING_WRITING:
        pg_watch(pg, POLLOUT, on_connecting);
        break;
    case PGRES_POLLING_OK:
        connected(pg);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default:
        poll_failed(pg);
        break;
    }
}

static const char *phase(const struct pg *pg)
{
    switch ((int)PQstatus(pg->conn)) { /* newer versions of libpq have more of them */
    case CONNECTION_STARTED:
        return "connecting";
    case CONNECTION_SSL_STARTUP:
        return "in the TLS handshake";
    case CONNECTION_MADE:
    case CONNECTION_AWAITING_RESPONSE:
        return "logging in";
    default:
        return "waiting for the session to begin";
    }
}

void pg_connect_late(struct pg *pg)
{
    const struct pg_target *target = &pg->targets.target[pg->target];
    char reason[REASON_BYTES];

    if (pg->state == RESOLVING) {
        pg_lost(pg, "cannot resolve the host: deadline passed");
        return;
    }
    snprintf(reason, sizeof reason, "deadline passed while %s, %.100s %.60s", phase(pg), target->host,
             target->address);
    target_failed(pg, reason);
    next_target(pg);
}

/* --- where ------------------------------------------------------------------------------------- */

static void on_resolved(void *arg, short revents)
{
    struct pg *pg = arg;
    struct err err = {{0}};
    int rc = resolve_result(pg->resolve, &pg->targets, &err);

    (void)revents;
    harness_unwatch(&pg->watch);
    resolve_drop(&pg->resolve);
    if (rc)
        pg_lost(pg, err.text);
    else
        next_target(pg);
}

static void start_resolve(struct pg *pg)
{
    struct err err = {{0}};

    /* One that still hangs over these names is waited for again; one over other names is let go. */
    if (pg->resolve && !resolve_of(pg->resolve, &pg->sought))
        resolve_drop(&pg->resolve);
    if (!pg->resolve && !(pg->resolve = resolve_start(&pg->sought, &err))) {
        pg_lost_soon(pg, err.text);
        return;
    }
    pg->state = RESOLVING;
    pg->watch = harness_watch(pg->harness, resolve_fd(pg->resolve), POLLIN, on_resolved, pg);
}

static void find_targets(struct pg *pg)
{
    struct pg_targets sought;

    if (pg_targets_split(&sought, pg_parameters_get(&pg->parameters, "host"),
                         pg_parameters_get(&pg->parameters, "hostaddr"),
                         pg_parameters_get(&pg->parameters, "port"))) {
        pg_lost_soon(pg, "database.url: no host in it is usable");
        return;
    }
    if (!pg_targets_equal(&sought, &pg->sought) || mono_reached(mono_now(), pg->known_until))
        pg->known.count = 0;
    pg->sought = sought;
    pg->targets = pg_targets_have_names(&sought) ? pg->known : sought;
    if (pg->targets.count > 0)
        next_target(pg);
    else
        start_resolve(pg);
}

/* The URL's own connect_timeout, in seconds, where it is stricter than ours. */
static int64_t connect_ms(const struct pg *pg)
{
    const char *text = pg_parameters_get(&pg->parameters, "connect_timeout");
    long seconds = text ? strtol(text, NULL, 10) : 0;

    return seconds > 0 && seconds < pg->connect_ms / 1000 ? seconds * 1000 : pg->connect_ms;
}

void pg_connect(struct pg *pg, pg_answer_fn *answer, void *arg)
{
    struct err err = {{0}};

    if (pg->answer)
        bug("pg_connect while a question is open");
    pg_drop(pg);
    pg->answer = answer;
    pg->arg = arg;
    pg->reason[0] = pg->sqlstate[0] = '\0';
    pg->asked = mono_now();
    pg->target = 0;
    if (load_parameters(pg, &err)) {
        pg_lost_soon(pg, err.text);
        return;
    }
    pg->connect_by = mono_after_ms(pg->asked, connect_ms(pg));
    timer_at(pg->deadline, pg->connect_by);
    find_targets(pg);
}

/*
 * http_request.c - one request: from its first line, through its body, to its answer.  See http.h.
 *
 * What is wrong with a request is known from its headers; it is told when the body is over, and the body is
 * read and dropped meanwhile, within a bound: who sends it would not see an answer that comes before.
 * Only who asked first (Expect: 100-continue), or has more to send than the bound, is told at once.
 * A request that waits is suspended; libmicrohttpd does not look at its connection until it is answered, so a
 * client that has left is found out then.  Its deadline answers in any case.
 * If we die on any line there is no answer, and a producer posts again.
 */
#include "workers/gateway/http_parts.h"

#include "common/base/log.h"
#include "common/json/json_put.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct route routes[] = {
#define ROUTE(method, path, face, auth, name) {#method, path, FACE_##face, AUTH_##auth, handle_##name},
#include "workers/gateway/routes.def"
#undef ROUTE
};

static struct gateway *gateway_of(const struct request *request)
{
    return request->peer->http->gateway;
}

static struct stats_page *stats_of(const struct request *request)
{
    return harness_stats(gateway_of(request)->harness);
}

/* --- answering ---------------------------------------------------------------------------------------- */

void http_header(struct request *request, const char *name, const char *value)
{
    if (MHD_add_response_header(request->response, name, value) != MHD_YES)
        bug("no header %s", name);
}

static void add_headers(struct request *request, const char *type)
{
    const struct gateway *gateway = gateway_of(request);
    char seconds[24];

    http_header(request, "Content-Type", type);
    http_header(request, "Cache-Control", "no-store");
    http_header(request, "X-Content-Type-Options", "nosniff");
    if (request->status == 503) {
        snprintf(seconds, sizeof seconds, "%" PRId64, (gateway->settings->ingest_retry_after_ms + 999) / 1000);
        http_header(request, "Retry-After", seconds);
    }
    if (request->status == 401)
        http_header(request, "WWW-Authenticate", "Bearer");
    if (request->peer->http->quiet || gateway->leaving || request->late)
        http_header(request, "Connection", "close");
}

void http_answer(struct request *request, unsigned status, const char *type, const void *bytes, size_t size)
{
    if (request->answered)
        bug("a request was answered twice");
    request->response = MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY);
    if (request->response == NULL)
        bug("no memory for an answer of %zu bytes", size);
    request->answered = true;
    request->status = status;
    add_headers(request, type);
    body_free(&request->body, &gateway_of(request)->purse);
    if (request->suspended) {
        request->suspended = false;
        MHD_resume_connection(request->peer->connection);
        http_wake(request->peer->http);
    }
}

void http_refuse(struct request *request, unsigned status, const char *format, ...)
{
    struct gateway *gateway = gateway_of(request);
    char why[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    json_clear(gateway->out);
    json_object(gateway->out);
    json_put_text(gateway->out, "error", why);
    json_end(gateway->out);
    gateway_answer(gateway, request, status);
}

struct body *http_body(struct request *request)
{
    return &request->body;
}

void http_on_gone(struct request *request, void (*gone)(void *arg), void *arg)
{
    request->gone = gone;
    request->gone_arg = arg;
}

static enum metric outcome_of(unsigned status)
{
    switch (status) {
    case 200:
        return METRIC_http_ok_total;
    case 401:
        return METRIC_http_unauthorized_total;
    case 413:
        return METRIC_http_too_large_total;
    case 503:
        return METRIC_http_unavailable_total;
    default:
        return METRIC_http_invalid_total;
    }
}

static enum MHD_Result give(struct request *request, struct MHD_Connection *connection)
{
    enum MHD_Result result = MHD_queue_response(connection, request->status, request->response);

    MHD_destroy_response(request->response);
    request->response = NULL;
    request->counted = true;
    stats_add(stats_of(request), outcome_of(request->status), 1);
    return result;
}

/* --- what is wrong with it ---------------------------------------------------------------------------- */

static void PRINTF_LIKE(3, 4) judge(struct request *request, unsigned status, const char *format, ...)
{
    va_list ap;

    if (request->verdict != 0)
        return;
    request->verdict = status;
    va_start(ap, format);
    vsnprintf(request->why, sizeof request->why, format, ap);
    va_end(ap);
}

static void judge_body(struct request *request, enum body_outcome outcome)
{
    const struct settings *s = gateway_of(request)->settings;

    switch (outcome) {
    case BODY_OK:
        break;
    case BODY_TOO_LARGE:
        judge(request, 413, "the body is larger than http.max_body_bytes = %" PRId64 ", or unpacked than %" PRId64,
              s->http_max_body_bytes, s->http_max_inflated_bytes);
        break;
    case BODY_NO_ROOM:
        judge(request, 503, "too many bodies at once (http.max_held_bytes)");
        break;
    case BODY_BROKEN:
        judge(request, 400, "the body is not gzip, or ends within it");
        break;
    }
}

static void find_route(struct request *request, const char *method, const char *url)
{
    enum http_face face = request->peer->http->face;
    const char *allowed = NULL;

    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (routes[i].face != face || strcmp(routes[i].path, url) != 0)
            continue;
        if (strcmp(routes[i].method, method) == 0) {
            request->route = &routes[i];
            return;
        }
        allowed = routes[i].method;
    }
    if (allowed != NULL)
        judge(request, 405, "%s", strcmp(allowed, "GET") == 0 ? "GET, HEAD" : allowed);
    else
        judge(request, 404, "there is no such path here");
}

/* The media type alone, without its parameters. */
static bool is_type(const char *given, const char *type)
{
    size_t bytes = strcspn(given, "; \t");

    return bytes == strlen(type) && strncasecmp(given, type, bytes) == 0;
}

/* What a browser sends across origins without asking (forms, text/plain) is not among them. */
static bool type_taken(const char *given)
{
    static const char *const types[] = {"application/json", "application/x-ndjson", "application/ndjson",
                                        "application/jsonl", "application/jsonlines", "application/x-jsonlines"};

    if (given == NULL)
        return true;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (is_type(given, types[i]))
            return true;
    return false;
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

const char *http_accept(const struct request *request)
{
    return header(request->peer->connection, "Accept");
}

static void look_at_post(struct request *request, struct MHD_Connection *connection)
{
    struct gateway *gateway = gateway_of(request);
    const char *coding = header(connection, "Content-Encoding");
    const char *length = header(connection, "Content-Length");
    bool gzip = coding != NULL && (strcasecmp(coding, "gzip") == 0 || strcasecmp(coding, "x-gzip") == 0);

    if (request->verdict == 0 && !type_taken(header(connection, "Content-Type")))
        judge(request, 415, "Content-Type must be application/json or application/x-ndjson");
    if (coding != NULL && !gzip && strcasecmp(coding, "identity") != 0)
        judge(request, 415, "Content-Encoding must be gzip or identity");
    /* Without a token, a page in somebody's browser could post to loopback. */
    if (!gateway->tokens.wanted && header(connection, "Origin") != NULL)
        judge(request, 403, "a browser cannot post events without a token");
    if (length != NULL && strtoll(length, NULL, 10) > gateway->settings->http_max_body_bytes)
        judge_body(request, BODY_TOO_LARGE);
    if (gateway->draining)
        judge(request, 503, "spendd is stopping");
    if (request->verdict == 0)
        judge_body(request, body_begin(&request->body, &gateway->purse, gzip));
}

/* The headers are there. */
static void begin(struct request *request, struct MHD_Connection *connection, const char *method, const char *url)
{
    struct gateway *gateway = gateway_of(request);
    const struct tokens *tokens = gateway_tokens(gateway, request->peer->http->face);

    request->begun = true;
    find_route(request, method, url);
    if (request->route != NULL && request->route->auth == AUTH_TOKEN &&
        !tokens_admit(tokens, header(connection, "Authorization")))
        judge(request, 401, "no valid token: send Authorization: Bearer TOKEN");
    if (request->route != NULL && strcmp(request->route->method, "POST") == 0)
        look_at_post(request, connection);
}

/* Would the rest of its body be too much to read and drop? */
static bool tell_now(const struct request *request, struct MHD_Connection *connection)
{
    const char *length = header(connection, "Content-Length");

    if (request->verdict == 0)
        return false;
    return header(connection, "Expect") != NULL ||
           (length != NULL && strtoll(length, NULL, 10) > 2 * gateway_of(request)->settings->http_max_body_bytes);
}

/* --- libmicrohttpd's calls ---------------------------------------------------------------------------- */

void *request_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
    struct http *http = arg;
    struct request *request = calloc(1, sizeof *request);

    (void)uri;
    if (request == NULL)
        bug("no memory for a request");
    request->peer = peer_of(connection);
    request->peer->request = request;
    http->requests++;
    timer_in_ms(request->peer->deadline, http->gateway->settings->http_request_ms);
    return request;
}

static void refuse_verdict(struct request *request)
{
    if (request->verdict != 405) {
        http_refuse(request, request->verdict, "%s", request->why);
        return;
    }
    http_refuse(request, 405, "this path takes %s", request->why);
    http_header(request, "Allow", request->why);
}

/* A piece of the body.  MHD_NO: it is hung up on. */
static enum MHD_Result take(struct request *request, const char *data, size_t size)
{
    struct gateway *gateway = gateway_of(request);
    const struct settings *s = gateway->settings;
    const struct body_limits limits = {s->http_max_body_bytes, s->http_max_inflated_bytes};

    stats_add(stats_of(request), METRIC_http_body_bytes_total, (int64_t)size);
    if (request->verdict == 0) {
        judge_body(request, body_add(&request->body, &gateway->purse, &limits, data, size));
        if (request->verdict != 0)
            body_free(&request->body, &gateway->purse);
        return MHD_YES;
    }
    request->dropped += (int64_t)size;
    return request->dropped <= 2 * s->http_max_body_bytes ? MHD_YES : MHD_NO;
}

static void handle(struct request *request)
{
    struct gateway *gateway = gateway_of(request);

    request->whole = true;
    if (request->verdict == 0 && strcmp(request->route->method, "POST") == 0)
        judge_body(request, body_finish(&request->body, &gateway->purse));
    if (request->verdict != 0)
        refuse_verdict(request);
    else
        request->route->handle(gateway, request);
}

enum MHD_Result request_part(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, const char *data, size_t *size, void **context)
{
    struct request *request = *context;

    (void)arg;
    (void)version;
    if (!request->begun) {
        begin(request, connection, method, url);
        if (!tell_now(request, connection))
            return MHD_YES;
        refuse_verdict(request);
        return give(request, connection);
    }
    if (*size > 0) {
        size_t bytes = *size;

        *size = 0;
        return take(request, data, bytes);
    }
    if (!request->whole)
        handle(request);
    if (request->answered)
        return give(request, connection);
    request->suspended = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

void request_over(void *arg, struct MHD_Connection *connection, void **context,
                  enum MHD_RequestTerminationCode why)
{
    struct http *http = arg;
    struct request *request = *context;
    struct peer *peer;

    (void)connection;
    (void)why;
    if (request == NULL)
        return;
    peer = request->peer;
    if (request->gone != NULL)
        request->gone(request->gone_arg);
    if (!request->counted)
        stats_add(stats_of(request), request->late ? METRIC_http_late_total : METRIC_http_broken_total, 1);
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    body_free(&request->body, &http->gateway->purse);
    peer->request = NULL;
    http->requests--;
    timer_in_ms(peer->deadline, http->gateway->settings->http_keep_alive_ms);
    if (http->quiet)
        peer_hang_up(peer);
    free(request);
    *context = NULL;
}

/* --- its deadline ------------------------------------------------------------------------------------- */

/* libmicrohttpd takes no answer within a body; nothing of ours is on this connection yet. */
static void send_timeout(const struct peer *peer)
{
    static const char text[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    if (!peer->http->tls && send(peer->fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("http_late", "reason=\"its sender does not listen either\"");
}

void request_late(struct request *request)
{
    request->late = true;
    if (request->suspended) {
        if (request->gone != NULL)
            request->gone(request->gone_arg);
        request->gone = NULL;
        http_refuse(request, 503, "not durable in time: send it again, with the same event ids");
        /* The answer has its own time, and no more. */
        timer_in_ms(request->peer->deadline, gateway_of(request)->settings->http_keep_alive_ms);
        return;
    }
    if (!request->answered)
        send_timeout(request->peer);
    peer_hang_up(request->peer);
}

/*
 * http.h - one address that speaks HTTP (libmicrohttpd on its epoll descriptor, in our loop), and the
 * requests that come there.  A handler is a row of routes.def.
 */
#ifndef SPENDD_GATEWAY_HTTP_H
#define SPENDD_GATEWAY_HTTP_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "workers/gateway/body.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gateway;
struct request;

enum http_face { FACE_INGEST, FACE_STATUS };
enum http_auth { AUTH_OPEN, AUTH_TOKEN };

/* Called when the request is there as a whole.  Answers it (http_answer, http_refuse), now or later: then
 * it keeps the pointer, and http_gone tells it to forget it. */
typedef void route_fn(struct gateway *gateway, struct request *request);

struct route {
    const char *method, *path;
    enum http_face face;
    enum http_auth auth;
    route_fn *handle;
};

#define ROUTE(method, path, face, auth, name) route_fn handle_##name;
#include "workers/gateway/routes.def"
#undef ROUTE

#define HTTP_JSON "application/json"

/* Answers; the bytes are copied.  A request is answered once. */
void http_answer(struct request *request, unsigned status, const char *type, const void *bytes, size_t size);
/* {"error": "..."}; 503 says Retry-After. */
void http_refuse(struct request *request, unsigned status, const char *format, ...) PRINTF_LIKE(3, 4);
/* One more header of an answer that was just given. */
void http_header(struct request *request, const char *name, const char *value);

/* The types that the asker wants; NULL: it did not say. */
const char *http_accept(const struct request *request);
/* Its body, unpacked; it ends with a NUL that is not counted.  Empty: "". */
struct body *http_body(struct request *request);
/* http_answer may be called until the handler's `gone` was: the client's deadline has passed.  One at a
 * time: NULL takes it away again. */
void http_on_gone(struct request *request, void (*gone)(void *arg), void *arg);

struct http;

struct http_options {
    struct gateway *gateway;
    enum http_face face;
    int listener; /* inherited; stays open */
};

/* NULL: failed; *code is what to exit with. */
struct http *http_open(const struct http_options *options, int *code, struct err *err);
void http_close(struct http **http);

/* No new connections, and those without a request are closed; what is under way is answered, and then its
 * connection is closed. */
void http_quiesce(struct http *http);
/* No request is under way. */
bool http_idle(const struct http *http);
unsigned http_connections(const struct http *http);

#endif

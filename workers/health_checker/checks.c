/*
 * checks.c - a round of checks with libcurl's multi interface on our own loop.  See checks.h.
 *
 * libcurl says which descriptors and which time it waits for (socket and timer callbacks); the loop calls
 * it then, and it never waits itself: names are resolved in a thread of its own.  An endpoint is hostile
 * until proven otherwise: one deadline for the whole check, a bound on what it may send, headers included,
 * no redirects, certificates verified, no proxy, and a new connection each time, for what worked five minutes
 * ago on an old one says nothing.  The answer's body is counted and thrown away.
 * Every check that was begun is counted, with its cost, in our page (stats_named_add), those that are
 * broken off too: the provider has counted them.
 *
 * Owns the multi handle, its watches, and one easy handle per check that runs.  If we die on any line the
 * endpoints see a connection end; whoever takes the round over asks them again.
 */
#include "workers/health_checker/checks.h"

#include "common/base/clock.h"
#include "common/config/secret.h"
#include "common/harness/harness.h"
#include "common/money/money.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_BYTES_MAX (1024 * 1024)
#define HEADERS_MAX 4

struct check {
    struct checks *checks;
    unsigned model;
    CURL *easy;
    struct curl_slist *headers;
    size_t bytes; /* of the answer so far */
    mono_t since;
    char error[CURL_ERROR_SIZE];
};

_Static_assert(sizeof((struct result *)0)->model == sizeof((struct model_setting *)0)->name, "copied whole");

struct checks {
    struct harness *harness;
    checks_done_fn *done;
    void *arg;
    CURLM *multi;
    struct timer *timer; /* libcurl's */
    struct timer *next;  /* begins what there is room for, or ends the round */
    bool running;
    unsigned count, begun, ended;
    struct model_setting model[MODELS_MAX];
    struct result result[MODELS_MAX];
    struct check check[MODELS_MAX]; /* easy is NULL: not running */
};

/* --- libcurl and the loop ------------------------------------------------------------------------- */

static void take_ended(struct checks *checks);

static void on_timer(void *arg)
{
    struct checks *checks = arg;
    int left;

    curl_multi_socket_action(checks->multi, CURL_SOCKET_TIMEOUT, 0, &left);
    take_ended(checks);
}

struct socket {
    struct checks *checks;
    curl_socket_t fd;
    struct watch *watch;
};

static void on_socket(void *arg, short revents)
{
    struct socket *socket = arg;
    struct checks *checks = socket->checks;
    int what = ((revents & (POLLIN | POLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
               ((revents & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
               ((revents & POLLERR) != 0 ? CURL_CSELECT_ERR : 0);
    int left;

    /* `socket` may be freed within. */
    curl_multi_socket_action(checks->multi, socket->fd, what, &left);
    take_ended(checks);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
    struct checks *checks = arg;
    struct socket *socket = of_socket;
    short events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0));

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL)
            harness_unwatch(&socket->watch);
        free(socket);
        curl_multi_assign(checks->multi, fd, NULL);
        return 0;
    }
    if (socket != NULL) {
        watch_events(socket->watch, events);
        return 0;
    }
    socket = calloc(1, sizeof *socket);
    if (socket == NULL)
        return -1;
    *socket = (struct socket){checks, fd, NULL};
    socket->watch = harness_watch(checks->harness, fd, events, on_socket, socket);
    curl_multi_assign(checks->multi, fd, socket);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct checks *checks = arg;

    (void)multi;
    if (ms < 0)
        timer_stop(checks->timer);
    else
        timer_in_ms(checks->timer, ms); /* never from within: libcurl must not be called from here */
    return 0;
}

/* --- one check ------------------------------------------------------------------------------------ */

static size_t count_bytes(char *data, size_t size, size_t count, void *arg)
{
    struct check *check = arg;

    (void)data;
    check->bytes += size * count;
    return check->bytes <= ANSWER_BYTES_MAX ? size * count : 0;
}

static void count(const struct check *check, enum named figure, int64_t amount)
{
    stats_named_add(harness_stats(check->checks->harness), check->checks->model[check->model].name, figure,
                    amount);
}

/* The headers of the settings; what is a file is read now.  -1: `err`. */
static int take_headers(struct check *check, const struct model_setting *model, struct err *err)
{
    const char *const given[HEADERS_MAX] = {model->header_1, model->header_2, model->header_3, model->header_4};
    bool typed = false;
    char line[512];

    for (size_t i = 0; i < HEADERS_MAX; i++) {
        struct curl_slist *more;

        if (given[i][0] == '\0')
            continue;
        if (secret_read(given[i], line, sizeof line, err) < 0)
            return -1;
        typed = typed || strncasecmp(line, "Content-Type:", 13) == 0;
        more = curl_slist_append(check->headers, line);
        if (more == NULL)
            return err_set(err, "no memory");
        check->headers = more;
    }
    if (!typed && strcmp(model->method, "POST") == 0) {
        struct curl_slist *more = curl_slist_append(check->headers, "Content-Type: application/json");

        if (more == NULL)
            return err_set(err, "no memory");
        check->headers = more;
    }
    return 0;
}

static void set_bounds(CURL *easy, const struct model_setting *model)
{
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)model->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)model->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a look-up that hangs is not waited for */
#endif
}

static int set_request(struct check *check, const struct model_setting *model, struct err *err)
{
    CURL *easy = check->easy;
    char url[1024];

    if (secret_read(model->url, url, sizeof url, err) < 0 || take_headers(check, model, err) < 0)
        return -1;
    set_bounds(easy, model);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, check);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, check->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, count_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, check);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, count_bytes);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, check);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "spendd");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, check->headers);
    if (strcmp(model->method, "POST") == 0)
        curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, model->body);
    else if (strcmp(model->method, "HEAD") == 0)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK)
        return err_set(err, "the url cannot be used");
    return 0;
}

static void clean(struct check *check)
{
    if (check->easy != NULL) {
        curl_multi_remove_handle(check->checks->multi, check->easy);
        curl_easy_cleanup(check->easy);
    }
    curl_slist_free_all(check->headers);
    check->easy = NULL;
    check->headers = NULL;
}

/* It has an end: its result is written down and counted. */
static void end(struct check *check, int status, const char *error)
{
    struct checks *checks = check->checks;
    const struct model_setting *model = &checks->model[check->model];
    struct result *result = &checks->result[check->model];

    result->status = status;
    result->latency_ms = mono_ms_between(check->since, mono_now());
    result->healthy = error == NULL && status == model->expect_status;
    if (error != NULL)
        snprintf(result->error, sizeof result->error, "%s", error);
    else if (!result->healthy)
        snprintf(result->error, sizeof result->error, "status %d, %d was expected%s", status,
                 (int)model->expect_status, status >= 300 && status < 400 ? "; redirects are not followed" : "");
    if (!result->healthy)
        count(check, NAMED_FAILURES, 1);
    clean(check);
    checks->ended++;
    timer_in_ms(checks->next, 0);
}

static void begin(struct checks *checks, unsigned index)
{
    struct check *check = &checks->check[index];
    const struct model_setting *model = &checks->model[index];
    int64_t cost = 0;
    struct err err;

    *check = (struct check){.checks = checks, .model = index, .since = mono_now()};
    checks->result[index] = (struct result){.latency_ms = -1};
    memcpy(checks->result[index].model, model->name, sizeof checks->result[index].model);
    check->easy = curl_easy_init();
    if (check->easy == NULL) {
        end(check, 0, "no memory");
        return;
    }
    if (set_request(check, model, &err) < 0) {
        curl_easy_cleanup(check->easy);
        check->easy = NULL; /* it was never added to the multi handle */
        end(check, 0, err.text);
        return;
    }
    if (money_parse(model->cost, strlen(model->cost), &cost, &err) != 0)
        cost = 0; /* cannot be: model_relations.c */
    count(check, NAMED_CHECKS, 1);
    count(check, NAMED_COST_PICO, cost);
    curl_multi_add_handle(checks->multi, check->easy);
}

static void take_ended(struct checks *checks)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(checks->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        struct check *check = NULL;
        long status = 0;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&check);
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        if (code == CURLE_OK)
            end(check, (int)status, NULL);
        else if (check->bytes > ANSWER_BYTES_MAX)
            end(check, (int)status, "the answer is larger than 1 MiB");
        else
            end(check, (int)status, check->error[0] != '\0' ? check->error : curl_easy_strerror(code));
    }
}

/* --- the round ------------------------------------------------------------------------------------ */

static void on_next(void *arg)
{
    struct checks *checks = arg;
    unsigned most = (unsigned)harness_settings(checks->harness)->health_concurrency;

    if (!checks->running)
        return;
    while (checks->begun < checks->count && checks->begun - checks->ended < most)
        begin(checks, checks->begun++);
    if (checks->ended < checks->count)
        return;
    checks->running = false;
    checks->done(checks->arg, checks->result, checks->count);
}

void checks_start(struct checks *checks)
{
    const struct settings *settings = harness_settings(checks->harness);

    if (checks->running)
        return;
    memcpy(checks->model, settings->health_models, sizeof checks->model);
    checks->count = checks->begun = checks->ended = 0;
    while (checks->count < MODELS_MAX && checks->model[checks->count].name[0] != '\0')
        checks->count++;
    checks->running = true;
    timer_in_ms(checks->next, 0);
}

void checks_stop(struct checks *checks)
{
    checks->running = false;
    for (unsigned i = 0; i < checks->begun; i++)
        clean(&checks->check[i]);
    checks->begun = checks->ended = checks->count = 0;
}

struct checks *checks_new(struct harness *harness, checks_done_fn *done, void *arg, struct err *err)
{
    struct checks *checks = calloc(1, sizeof *checks);

    if (checks == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        err_set(err, "libcurl cannot be started");
        free(checks);
        return NULL;
    }
    *checks = (struct checks){.harness = harness, .done = done, .arg = arg, .multi = curl_multi_init()};
    if (checks->multi == NULL) {
        err_set(err, "no memory");
        curl_global_cleanup();
        free(checks);
        return NULL;
    }
    checks->timer = harness_timer(harness, on_timer, checks);
    checks->next = harness_timer(harness, on_next, checks);
    curl_multi_setopt(checks->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(checks->multi, CURLMOPT_SOCKETDATA, checks);
    curl_multi_setopt(checks->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(checks->multi, CURLMOPT_TIMERDATA, checks);
    return checks;
}

void checks_free(struct checks **checks)
{
    if (*checks == NULL)
        return;
    checks_stop(*checks);
    curl_multi_cleanup((*checks)->multi);
    harness_untimer(&(*checks)->timer);
    harness_untimer(&(*checks)->next);
    curl_global_cleanup();
    free(*checks);
    *checks = NULL;
}

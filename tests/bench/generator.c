/*
 * generator.c - the load generator, and the limits that need no daemon.
 *
 *   generator ingest ENDPOINT   events through the acked socket, `--window` messages in flight
 *   generator http HOST:PORT/PATH  the same over HTTP, `--window` connections; /nothing takes any status
 *   generator echo              the same messages and answers between a bare DEALER and a bare ROUTER
 *   generator parse             the same messages through the event reader, nothing else
 *   generator write FILE        the same bytes in pieces of 1 MiB, each followed by fdatasync
 * Options: --events N --per K --window W --rate R (events/s, 0: as fast as it goes) --keys N
 *          --run NAME (makes ids distinct) --lean (only a key and a spend) --lap N (ids begin at N)
 *          --uniform (the worst case: each key as likely as any other)
 *
 * Who spends: keys drawn with weight 1/rank, as in tests/lib/events.py; a key belongs to one user, one
 * team and one organization; models (6) by 1/rank; half of the events have one of 10 tags, by 1/rank.
 *
 * Messages are made before the clock starts.  One JSON object on standard output.  An answer that is
 * not an ack of all its events ends the run with an error: a figure with refusals in it is none.
 */
#include "common/event/read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#define EVENT_ROOM 640
#define PIECE (1 << 20)
#define ANSWER_WAIT_MS 20000
#define RETRY_PAUSE_MS 20

struct options {
    uint64_t events, per, window, rate, keys, lap;
    const char *run;
    bool lean, uniform;
};

struct messages {
    size_t count;
    char *bytes;      /* all of them, one behind the other */
    uint64_t *offset; /* count + 1 of them */
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(int who)
{
    struct rusage use;
    getrusage(who, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? zmq_strerror(errno) : "failed");
    exit(1);
}

/* --- messages -------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* A rank below n with a weight of nearly 1/(rank + 1): the inverse of its logarithmic sum. */
static uint64_t zipf(uint64_t n, uint64_t random)
{
    uint64_t rank = (uint64_t)exp((double)(random >> 11) / 0x1p53 * log((double)n + 1)) - 1;
    return rank < n ? rank : n - 1;
}

static int write_lean(char *to, const struct options *o, uint64_t n)
{
    uint64_t key = n % o->keys;
    return sprintf(to, "{\"request_id\":\"%s-%09llu\",\"spend\":\"0.%09llu\",\"api_key\":\"%016llx%016llx\"}",
                   o->run, (unsigned long long)n, (unsigned long long)(mix(n) % 1000000000),
                   (unsigned long long)mix(key), (unsigned long long)mix(~key));
}

static int write_event(char *to, const struct options *o, uint64_t n, const char *start)
{
    static const char *const models[] = {"gpt-4o", "gpt-4o-mini", "claude-3-5-sonnet-20241022",
                                         "gemini-2.0-flash", "o3-mini", "deepseek-chat"};
    uint64_t r = mix(n), key = o->uniform ? r % o->keys : zipf(o->keys, mix(r));
    char tags[32] = "";
    if (o->lean) return write_lean(to, o, n);
    if (o->uniform || r >> 63)
        sprintf(tags, ",\"tags\":[\"tag-%llu\"]",
                (unsigned long long)(o->uniform ? (r >> 32) % 20 : zipf(10, mix(r + 2))));
    return sprintf(
        to,
        "{\"request_id\":\"%s-%09llu\",\"spend\":0.%09llu,\"api_key\":\"%016llx%016llx\","
        "\"user_id\":\"user-%llu@example.com\",\"team_id\":\"team-%llu\",\"organization_id\":\"org-%llu\","
        "\"model\":\"%s\",\"custom_llm_provider\":\"openai\",\"endpoint\":\"/v1/chat/completions\","
        "\"call_type\":\"acompletion\",\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
        "\"start_time\":\"%s\"%s}",
        o->run, (unsigned long long)n, (unsigned long long)(r % 1000000000),
        (unsigned long long)mix(key), (unsigned long long)mix(~key),
        (unsigned long long)(key % 1000), (unsigned long long)(key % 50), (unsigned long long)(key % 5),
        models[o->uniform ? (r >> 8) % 4 : zipf(6, mix(r + 1))], (unsigned long long)(r % 8000),
        (unsigned long long)((r >> 20) % 1500), start, tags);
}

static struct messages make_messages(const struct options *o)
{
    struct messages m = {.count = (size_t)((o->events + o->per - 1) / o->per)};
    char start[40];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%S.123456Z", &tm);
    m.bytes = malloc(o->events * EVENT_ROOM + m.count * 2 + 1);
    m.offset = malloc((m.count + 1) * sizeof *m.offset);
    if (!m.bytes || !m.offset) die("memory");
    char *at = m.bytes;
    uint64_t n = 0;
    for (size_t i = 0; i < m.count; i++) {
        m.offset[i] = (uint64_t)(at - m.bytes);
        if (o->per > 1) *at++ = '[';
        for (uint64_t k = 0; k < o->per && n < o->events; k++, n++) {
            if (k) *at++ = ',';
            at += write_event(at, o, o->lap + n, start);
        }
        if (o->per > 1) *at++ = ']';
    }
    m.offset[m.count] = (uint64_t)(at - m.bytes);
    return m;
}

/* --- DEALER ---------------------------------------------------------------------------------------- */

struct dealer {
    void *context, *socket;
    const struct options *options;
    const struct messages *messages;
    double *sent, *latency; /* by message */
    uint64_t next, answered, refused_for_now, accepted;
};

static bool send_message(struct dealer *d, uint64_t i)
{
    const struct messages *m = d->messages;
    size_t bytes = m->offset[i + 1] - m->offset[i];
    if (zmq_send(d->socket, "E1", 2, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return false;
    if (zmq_send(d->socket, &i, sizeof i, ZMQ_SNDMORE) < 0 ||
        zmq_send(d->socket, m->bytes + m->offset[i], bytes, 0) < 0)
        die("send");
    if (d->sent[i] == 0) d->sent[i] = seconds_now();
    return true;
}

static void take_answer(struct dealer *d)
{
    char kind[8], json[4096];
    uint64_t i = 0;
    int kind_bytes = zmq_recv(d->socket, kind, sizeof kind, ZMQ_DONTWAIT);
    if (kind_bytes < 0) return;
    if (zmq_recv(d->socket, &i, sizeof i, 0) != sizeof i || i >= d->messages->count) die("answer");
    int bytes = zmq_recv(d->socket, json, sizeof json - 1, 0);
    if (bytes < 0 || bytes >= (int)sizeof json) die("answer");
    json[bytes] = '\0';
    if (kind_bytes == 2 && memcmp(kind, "N1", 2) == 0 && strstr(json, "retry_after_ms")) {
        d->refused_for_now++;
        zmq_poll(NULL, 0, RETRY_PAUSE_MS); /* it was asked to wait */
        while (!send_message(d, i)) zmq_poll(NULL, 0, 1);
        return;
    }
    if (kind_bytes != 2 || memcmp(kind, "A1", 2) != 0 || strstr(json, "\"rejected\":[{") != NULL) {
        fprintf(stderr, "load: refused: %s\n", json);
        exit(1);
    }
    d->latency[i] = seconds_now() - d->sent[i];
    const char *accepted = strstr(json, "\"accepted\":");
    if (accepted) d->accepted += strtoull(accepted + 11, NULL, 10);
    d->answered++;
}

static void exchange(struct dealer *d)
{
    const struct options *o = d->options;
    double start = seconds_now(), last = start;
    while (d->answered < d->messages->count) {
        bool full = false;
        while (d->next < d->messages->count && d->next - d->answered < o->window && !full) {
            double due = o->rate ? start + (double)(d->next * o->per) / (double)o->rate : 0;
            if (o->rate && seconds_now() < due) break;
            full = !send_message(d, d->next);
            d->next += !full;
        }
        zmq_pollitem_t item = {d->socket, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, o->rate ? 1 : 1000) < 0) die("poll");
        uint64_t before = d->answered;
        for (int n = 0; item.revents && n < 256; n++) {
            uint64_t was = d->answered;
            take_answer(d);
            if (d->answered == was) break;
        }
        if (d->answered != before) last = seconds_now();
        errno = 0;
        if ((seconds_now() - last) * 1000 > ANSWER_WAIT_MS) die("no answer for too long");
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const struct dealer *d, double seconds, double cpu)
{
    size_t n = d->messages->count;
    qsort(d->latency, n, sizeof *d->latency, compare);
    printf("{\"events\": %llu, \"accepted\": %llu, \"messages\": %zu, \"bytes\": %llu, \"seconds\": %.6f, "
           "\"per_second\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
           "\"backpressure\": %llu, \"client_cpu\": %.3f}\n",
           (unsigned long long)d->options->events, (unsigned long long)d->accepted, n,
           (unsigned long long)d->messages->offset[n], seconds, (double)d->options->events / seconds,
           d->latency[n / 2] * 1e3, d->latency[n * 99 / 100] * 1e3, d->latency[n - 1] * 1e3,
           (unsigned long long)d->refused_for_now, cpu);
}

static void run_dealer(const char *endpoint, const struct options *o, const struct messages *m)
{
    struct dealer d = {.context = zmq_ctx_new(), .options = o, .messages = m};
    int hwm = (int)(o->window * 2 + 16), linger = 0;
    d.socket = zmq_socket(d.context, ZMQ_DEALER);
    d.sent = calloc(m->count, sizeof *d.sent);
    d.latency = calloc(m->count, sizeof *d.latency);
    if (!d.socket || !d.sent || !d.latency) die("socket");
    zmq_setsockopt(d.socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(d.socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(d.socket, ZMQ_LINGER, &linger, sizeof linger);
    if (zmq_connect(d.socket, endpoint) < 0) die(endpoint);
    double cpu = cpu_seconds(RUSAGE_SELF), start = seconds_now();
    exchange(&d);
    report(&d, seconds_now() - start, cpu_seconds(RUSAGE_SELF) - cpu);
    free(d.sent);
    free(d.latency);
    zmq_close(d.socket);
    zmq_ctx_term(d.context);
}

/* --- the same messages over HTTP: `--window` connections that are kept, one request under way on each ---- */

struct caller {
    int fd;
    uint64_t message;
    size_t got;
    char answer[8192];
};

struct web {
    struct dealer figures; /* what is counted is the same */
    struct caller *callers;
    struct pollfd *polled;
    const char *path;
    char host[64];
    bool any_status; /* the limit: a path that is not there */
};

static int web_connect(const char *host)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    const char *colon = strchr(host, ':');
    char address[32];
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address, sizeof address, "%.*s", colon ? (int)(colon - host) : 0, host);
    to.sin_port = htons(colon ? (uint16_t)atoi(colon + 1) : 0);
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1) die(host);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die(host);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void web_send(struct web *w, struct caller *c)
{
    struct dealer *d = &w->figures;
    const struct messages *m = d->messages;
    char head[300];
    c->message = d->next++;
    c->got = 0;
    uint64_t from = m->offset[c->message];
    struct iovec parts[2] = {{head, 0}, {m->bytes + from, m->offset[c->message + 1] - from}};
    parts[0].iov_len = (size_t)snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: %s\r\n"
                                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                        w->path, w->host, parts[1].iov_len);
    d->sent[c->message] = seconds_now();
    if (writev(c->fd, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len)) die("writev");
}

/* true: its answer is whole. */
static bool web_read(struct web *w, struct caller *c)
{
    struct dealer *d = &w->figures;
    ssize_t got = read(c->fd, c->answer + c->got, sizeof c->answer - 1 - c->got);
    if (got <= 0) die("answer");
    c->got += (size_t)got;
    c->answer[c->got] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "Content-Length: ");
    if (!end || !length || c->got < (size_t)(end + 4 - c->answer) + strtoull(length + 16, NULL, 10)) return false;
    if (!w->any_status && strncmp(c->answer + 8, " 200 ", 5) != 0) {
        fprintf(stderr, "load: refused: %s\n", c->answer);
        exit(1);
    }
    const char *accepted = strstr(end, "\"accepted\":");
    if (accepted) d->accepted += strtoull(accepted + 11, NULL, 10);
    d->latency[c->message] = seconds_now() - d->sent[c->message];
    d->answered++;
    return true;
}

static void run_http(const char *where, const struct options *o, const struct messages *m)
{
    struct web w = {.figures = {.options = o, .messages = m}, .path = strchr(where, '/')};
    struct dealer *d = &w.figures;
    uint64_t count = o->window < m->count ? o->window : m->count;
    if (!w.path) die(where);
    snprintf(w.host, sizeof w.host, "%.*s", (int)(w.path - where), where);
    w.any_status = strcmp(w.path, "/nothing") == 0;
    d->sent = calloc(m->count, sizeof *d->sent);
    d->latency = calloc(m->count, sizeof *d->latency);
    w.callers = calloc(count, sizeof *w.callers);
    w.polled = calloc(count, sizeof *w.polled);
    if (!d->sent || !d->latency || !w.callers || !w.polled) die("memory");
    for (uint64_t i = 0; i < count; i++)
        w.polled[i] = (struct pollfd){w.callers[i].fd = web_connect(w.host), POLLIN, 0};
    double cpu = cpu_seconds(RUSAGE_SELF), start = seconds_now();
    for (uint64_t i = 0; i < count; i++) web_send(&w, &w.callers[i]);
    while (d->answered < m->count) {
        if (poll(w.polled, count, ANSWER_WAIT_MS) <= 0) die("no answer for too long");
        for (uint64_t i = 0; i < count; i++)
            if (w.polled[i].revents && web_read(&w, &w.callers[i]) && d->next < m->count) web_send(&w, &w.callers[i]);
    }
    report(d, seconds_now() - start, cpu_seconds(RUSAGE_SELF) - cpu);
}

/* --- limits ---------------------------------------------------------------------------------------- */

/* A ROUTER that answers every message with an ack's frames, and does nothing else. */
static void echo_server(const char *endpoint, uint64_t per)
{
    void *context = zmq_ctx_new(), *router = zmq_socket(context, ZMQ_ROUTER);
    int hwm = 100000;
    char answer[96], who[64], kind[8], id[64];
    zmq_setsockopt(router, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(router, ZMQ_SNDHWM, &hwm, sizeof hwm);
    if (zmq_bind(router, endpoint) < 0) die(endpoint);
    int bytes = snprintf(answer, sizeof answer, "{\"accepted\":%llu,\"duplicate\":0,\"rejected\":[]}",
                         (unsigned long long)per);
    for (;;) {
        zmq_msg_t payload;
        int n = zmq_recv(router, who, sizeof who, 0);
        int k = zmq_recv(router, kind, sizeof kind, 0);
        int i = zmq_recv(router, id, sizeof id, 0);
        zmq_msg_init(&payload);
        if (n < 0 || k < 0 || i < 0 || zmq_msg_recv(&payload, router, 0) < 0) _exit(0);
        zmq_msg_close(&payload);
        zmq_send(router, who, (size_t)n, ZMQ_SNDMORE);
        zmq_send(router, "A1", 2, ZMQ_SNDMORE);
        zmq_send(router, id, (size_t)i, ZMQ_SNDMORE);
        zmq_send(router, answer, (size_t)bytes, 0);
    }
}

static void run_echo(const struct options *o, const struct messages *m)
{
    char path[64], endpoint[80];
    snprintf(path, sizeof path, "/tmp/spendd-echo-%d.sock", (int)getpid());
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    pid_t child = fork(); /* before any context exists */
    if (child < 0) die("fork");
    if (child == 0) echo_server(endpoint, o->per);
    run_dealer(endpoint, o, m);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    unlink(path);
}

static void count_event(void *arg, uint32_t index, const struct event *event)
{
    (void)index, (void)event;
    (*(uint64_t *)arg)++;
}

static void count_refused(void *arg, uint32_t index, const char *reason, const char *bytes, size_t n)
{
    (void)arg, (void)index, (void)bytes, (void)n;
    fprintf(stderr, "load: refused: %s\n", reason);
    exit(1);
}

static void start_over(void *arg) { *(uint64_t *)arg = 0; }

static void run_parse(const struct options *o, const struct messages *m)
{
    struct event_rules rules = {.max_event_bytes = 65536, .max_age_days = 60};
    struct event_reader *reader = event_reader_new(&rules);
    uint64_t count = 0;
    struct event_sink sink = {&count, count_event, count_refused, start_over};
    struct err err = {{0}};
    double start = seconds_now();
    for (size_t i = 0; i < m->count; i++)
        if (event_read(reader, m->bytes + m->offset[i], m->offset[i + 1] - m->offset[i], wall_now(),
                       &sink, &err) < 0)
            die(err.text);
    double seconds = seconds_now() - start;
    if (count != o->events) die("count");
    printf("{\"events\": %llu, \"seconds\": %.6f, \"per_second\": %.0f}\n",
           (unsigned long long)count, seconds, (double)count / seconds);
    event_reader_free(&reader);
}

static void run_write(const char *path, const struct options *o, const struct messages *m)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t bytes = m->offset[m->count], at = 0;
    if (fd < 0) die(path);
    double start = seconds_now();
    while (at < bytes) {
        size_t piece = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        if (write(fd, m->bytes + at, piece) != (ssize_t)piece || fdatasync(fd) < 0) die(path);
        at += piece;
    }
    double seconds = seconds_now() - start;
    printf("{\"events\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"per_second\": %.0f}\n",
           (unsigned long long)o->events, (unsigned long long)bytes, seconds,
           (double)o->events / seconds);
    close(fd);
    unlink(path);
}

static void read_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"events", 1, NULL, 'e'}, {"per", 1, NULL, 'p'},  {"window", 1, NULL, 'w'}, {"rate", 1, NULL, 'r'},
        {"keys", 1, NULL, 'k'},   {"run", 1, NULL, 'n'},  {"lean", 0, NULL, 'l'},   {"lap", 1, NULL, 'a'},
        {"uniform", 0, NULL, 'u'},
        {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;
        if (c == 'e') o->events = number;
        else if (c == 'p') o->per = number ? number : 1;
        else if (c == 'w') o->window = number ? number : 1;
        else if (c == 'r') o->rate = number;
        else if (c == 'k') o->keys = number ? number : 1;
        else if (c == 'a') o->lap = number;
        else if (c == 'n') o->run = optarg;
        else if (c == 'l') o->lean = true;
        else if (c == 'u') o->uniform = true;
        else exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.events = 100000, .per = 1, .window = 2000, .keys = 5000, .run = "load"};
    read_options(argc, argv, &o);
    const char *what = optind < argc ? argv[optind] : "";
    const char *where = optind + 1 < argc ? argv[optind + 1] : NULL;
    if (!o.events) return 2;
    struct messages m = make_messages(&o);
    if (strcmp(what, "ingest") == 0 && where) run_dealer(where, &o, &m);
    else if (strcmp(what, "http") == 0 && where) run_http(where, &o, &m);
    else if (strcmp(what, "echo") == 0) run_echo(&o, &m);
    else if (strcmp(what, "parse") == 0) run_parse(&o, &m);
    else if (strcmp(what, "write") == 0 && where) run_write(where, &o, &m);
    else return 2;
    free(m.bytes);
    free(m.offset);
    return 0;
}

/*
 * news.h - how the workers and the stores are, as far as it has come to us: the supervisor's snapshot, asked for each
 * second and whenever something changes, and the health checker's document.
 */
#ifndef SPENDD_GATEWAY_NEWS_H
#define SPENDD_GATEWAY_NEWS_H

#include "common/base/err.h"
#include "common/bus/bus.h"
#include "common/harness/harness.h"
#include "common/harness/roster.h"

struct news_worker {
    struct msg_snapshot_row row;
    int64_t error_ms; /* wall time of the last error; 0: none since we started */
    char error[200];
};

struct news {
    struct harness *harness;
    struct timer *ask;
    uint32_t ticket;
    unsigned count, coming;
    struct news_worker worker[ROSTER_SLOTS_MAX];
    struct msg_snapshot_row next[ROSTER_SLOTS_MAX]; /* of the snapshot that is coming */
    struct msg_snapshot_end whole;
    bool known;      /* a snapshot was heard */
    mono_t heard_at; /* when */
    int64_t gate_ms; /* wall time of the database gate's last move that we saw; 0: none */
    char *report;    /* the health checker's document; NULL: none has come */
    size_t report_bytes;
    bool draining;
    void (*changed)(void *arg); /* a snapshot is here */
    void *arg;
};

struct news *news_open(struct harness *harness, void (*changed)(void *arg), void *arg);
void news_close(struct news **news);
void news_record(struct news *news, const struct msg *record);
void news_report(struct news *news, const char *json, size_t bytes);

/* Can an event be made durable now?  NULL: yes; else why not, in `text` or constant. */
const char *news_unready(const struct news *news, mono_t now, char *text, size_t size);
/* Does the supervisor answer? */
bool news_alive(const struct news *news, mono_t now);

#endif

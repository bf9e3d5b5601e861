/*
 * flush_parts.h - struct flush, shared by the steps and by what makes their rows: rows.c, sums.c.
 */
#ifndef SPENDD_DB_FLUSHER_FLUSH_PARTS_H
#define SPENDD_DB_FLUSHER_FLUSH_PARTS_H

#include "workers/db_flusher/flush.h"

struct flush {
    struct pg *pg;
    const struct settings *settings;
    const struct layout *layout;
    const struct schema *schema;
    struct flush_ask ask;
    struct flush_report report;
    size_t step;
    bool deep;            /* the other arbiter or the dead letters may know some of these events */
    int64_t log_rows, id_rows, seen_rows, dead_rows; /* sent up */
    bool short_log;       /* fewer went in than came */
    struct sums own, *sums; /* made from events; those that go up: these, or the asker's */
    unsigned table;       /* of a step that is done for each table of the layout */
    int64_t sums_sent[LAYOUT_TABLES], logs_sent, logs_in; /* rows of a log that is not ours */
    bool piecewise;       /* too many sums to hold at once: made piece by piece while they go up */
    unsigned piece;       /* the next one */
    struct text sql, epochs, ranges, counts;
    struct text rows;     /* of the COPY under way */
    size_t given, at;     /* bytes of `rows` handed out; next row to make */
    bool ended, closed;   /* all rows are made; the end behind them too */
    bool (*row)(struct flush *flush); /* adds rows; false: that was all */
    uint32_t *order;      /* of the events that go in, by the log's key */
    size_t ordered, order_room;
    int64_t sent_rows;    /* of the COPY under way */
    flush_fn *done;
    void *arg;
};

/* rows.c */
int rows_order(struct flush *flush) MUST_CHECK;              /* fills `order`; -1: no memory */
void rows_decode(const struct load_event *from, struct event *event);
bool rows_log(struct flush *flush);
bool rows_ids(struct flush *flush);
bool rows_dead(struct flush *flush);
bool rows_logs(struct flush *flush); /* of a log that is not ours */
bool rows_begin(struct flush *flush); /* false: there are none */
size_t rows_give(void *flush, char *to, size_t room); /* pg_copy_fn */

/* sums.c */
int sums_make(struct flush *flush) MUST_CHECK; /* -1: no memory */
bool sums_row(struct flush *flush);

extern const char rows_log_columns[];

#endif

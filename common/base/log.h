/*
 * log.h - one line per fact on standard error, as log.format says:
 *   text    2026-11-21T04:15:00.123456Z info aggregator/3 segment_sealed epoch=... seq=12 records=512
 *   logfmt  ts=2026-11-21T04:15:00.123456Z level=info process=aggregator life=3 event=segment_sealed ...
 *   json    {"ts":"...","level":"info","process":"aggregator","life":3,"event":"segment_sealed","seq":12}
 *
 * error = a human must act; warn = degraded; info = a state changed; debug = off by default.
 * Nothing above debug is logged per message.  A value from outside cannot end its value, its line or its
 * JSON: it is escaped; a password in a URL in it is masked.  A record is one line, at most 4,096 bytes,
 * written with one write().  errno is kept.  The journal is told the severity as well.
 * A message (a call site) is written log.burst times in ten seconds; how many more there were is told by
 * a line `log_suppressed message=EVENT count=N` behind them.
 */
#ifndef SPENDD_BASE_LOG_H
#define SPENDD_BASE_LOG_H

#include "common/base/attr.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Name and generation stand in every line.  `name` is copied. */
void log_init(const char *name, unsigned generation);
void log_set_level(enum log_level level);

/* `word` is "text", "logfmt" or "json"; another one changes nothing.  burst 0: no limit. */
void log_set_format(const char *word);
void log_set_burst(unsigned burst);

/* The process leaves: what was suppressed is told now. */
void log_leave(void);

/* "error", "warn", "info", "debug" -> level; -1 if it is none of them. */
int log_level_from(const char *word) MUST_CHECK;

/* `event` is a snake_case word; the rest is "key=value key=\"value with spaces\"", literally: keys and
 * quotes are read from the format.  Keys are not ts, level, process, life, event. */
void log_error(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_warn(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_info(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_debug(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);

#endif

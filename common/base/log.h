/*
 * log.h - one line per fact on standard error:
 *   2026-11-21T04:15:00.123456Z info aggregator/3 segment_sealed epoch=... seq=12 records=512
 *
 * error = a human must act; warn = degraded; info = a state changed; debug = off by default.
 * Nothing above debug is logged per message.  Never a secret.  A line is cut at 1,024 bytes, written
 * with one write(), and control characters in it are escaped.  errno is kept.
 */
#ifndef SPENDD_BASE_LOG_H
#define SPENDD_BASE_LOG_H

#include "common/base/attr.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Name and generation stand in every line.  `name` is copied. */
void log_init(const char *name, unsigned generation);
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug" -> level; -1 if it is none of them. */
int log_level_from(const char *word) MUST_CHECK;

/* `event` is a snake_case word; the rest is "key=value key=value". */
void log_error(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_warn(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_info(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_debug(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);

#endif

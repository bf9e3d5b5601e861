/*
 * line.h - one end of fd 3: a SOCK_SEQPACKET pair that carries messages.def, one message a packet.
 * Never blocks.  What the socket does not take now is kept, bounded; the owner watches for POLLOUT
 * while line_waiting and calls line_flush.
 */
#ifndef SPENDD_MSG_LINE_H
#define SPENDD_MSG_LINE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/msg/msg.h"

#include <stdbool.h>

#define LINE_BACKLOG_MAX 1024 /* records kept while the other end does not read: all settings fit */

struct line;

/* Takes over the descriptor and makes it non-blocking.  NULL: no memory. */
struct line *line_new(int fd);
void line_free(struct line **line); /* closes */
int line_fd(const struct line *line);

/* 0: sent or kept.  -1: the backlog is full or the other end is gone; the record is dropped. */
int line_send(struct line *line, const struct msg *record) MUST_CHECK;
bool line_waiting(const struct line *line);
void line_flush(struct line *line);

enum line_outcome { LINE_RECORD, LINE_EMPTY, LINE_CLOSED, LINE_BAD };

/* LINE_BAD: a packet that is no message, with why in err; the line stays usable. */
enum line_outcome line_receive(struct line *line, struct msg *record, struct err *err) MUST_CHECK;

#endif

/*
 * line.c - one end of fd 3.  See line.h.
 *
 * Owns the descriptor and a bounded list of encoded records that the socket did not take.  Order is
 * kept: while one waits, later ones wait behind it.  A record is one packet, so a reader never sees
 * half of one: if we die on any line the other end reads whole records and then end of file.
 */
#include "common/msg/line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct packet {
    struct packet *next;
    size_t bytes;
    unsigned char data[];
};

struct line {
    int fd;
    struct packet *first, *last;
    unsigned waiting;
};

struct line *line_new(int fd)
{
    struct line *line = calloc(1, sizeof *line);
    int flags = fcntl(fd, F_GETFL);

    if (line == NULL)
        return NULL;
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    line->fd = fd;
    return line;
}

static void drop_first(struct line *line)
{
    struct packet *packet = line->first;

    line->first = packet->next;
    if (line->first == NULL)
        line->last = NULL;
    line->waiting--;
    free(packet);
}

void line_free(struct line **line)
{
    if (*line == NULL)
        return;
    while ((*line)->first != NULL)
        drop_first(*line);
    close((*line)->fd);
    free(*line);
    *line = NULL;
}

int line_fd(const struct line *line)
{
    return line->fd;
}

/* 1 taken, 0 not now, -1 the other end is gone. */
static int try_send(struct line *line, const void *data, size_t bytes)
{
    ssize_t sent = send(line->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent >= 0)
        return 1;
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : -1;
}

static int keep(struct line *line, const void *data, size_t bytes)
{
    struct packet *packet;

    if (line->waiting >= LINE_BACKLOG_MAX)
        return -1;
    packet = malloc(sizeof *packet + bytes);
    if (packet == NULL)
        return -1;
    packet->next = NULL;
    packet->bytes = bytes;
    memcpy(packet->data, data, bytes);
    if (line->last != NULL)
        line->last->next = packet;
    else
        line->first = packet;
    line->last = packet;
    line->waiting++;
    return 0;
}

int line_send(struct line *line, const struct msg *record)
{
    unsigned char data[MSG_BYTES_MAX];
    size_t bytes = msg_encode(record, data);
    int taken;

    line_flush(line);
    taken = line->first == NULL ? try_send(line, data, bytes) : 0;
    if (taken != 0)
        return taken > 0 ? 0 : -1;
    return keep(line, data, bytes);
}

bool line_waiting(const struct line *line)
{
    return line->first != NULL;
}

void line_flush(struct line *line)
{
    while (line->first != NULL) {
        int taken = try_send(line, line->first->data, line->first->bytes);

        if (taken == 0)
            return;
        drop_first(line); /* sent, or nobody is left to read it */
    }
}

enum line_outcome line_receive(struct line *line, struct msg *record, struct err *err)
{
    unsigned char data[MSG_BYTES_MAX + 1];
    ssize_t bytes = recv(line->fd, data, sizeof data, MSG_DONTWAIT);

    if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
        return LINE_EMPTY;
    if (bytes <= 0)
        return LINE_CLOSED; /* a record is never empty: zero is end of file */
    return msg_decode(record, data, (size_t)bytes, err) == 0 ? LINE_RECORD : LINE_BAD;
}

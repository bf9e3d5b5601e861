/*
 * redis_tls.h - TLS over a socket that is already connected.  The door to OpenSSL; only redis_link.c
 * includes this.
 */
#ifndef SPENDD_REDIS_TLS_H
#define SPENDD_REDIS_TLS_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/redis/redis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls;

/* Reads authorities, certificate and key (so a rotated file serves the next connect) and prepares the
 * handshake; `host` is whom the certificate must name unless the options say another name.  The
 * descriptor stays the caller's.  NULL: err, and why in *refused. */
struct tls *tls_open(int fd, const struct redis_tls *options, const char *host,
                     enum redis_refusal *refused, struct err *err);
void tls_close(struct tls **tls); /* says goodbye if the socket takes it now */

/* What failed, after -1 of the functions below. */
enum redis_refusal tls_refused(const struct tls *tls);

int tls_handshake(struct tls *tls, struct err *err) MUST_CHECK; /* 1: done; 0: not yet; -1: failed */

/* Bytes moved; 0: not now; -1: the connection is over. */
int64_t tls_read(struct tls *tls, void *to, size_t size, struct err *err) MUST_CHECK;
int64_t tls_write(struct tls *tls, const void *from, size_t size, struct err *err) MUST_CHECK;

/* Which events of the socket are waited for, given whether there is something to write. */
short tls_events(const struct tls *tls, bool to_write);

/* Decrypted bytes that wait in memory: no event will tell of them. */
bool tls_pending(const struct tls *tls);

#endif

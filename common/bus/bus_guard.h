/*
 * bus_guard.h - CURVE: who may speak over tcp.  One guard for a process.
 *
 * Every tcp:// address that is bound after bus_guard proves itself with the certificate and lets in the
 * clients whose public keys lie in the directory; ipc:// is the file mode's business.  The directory is read
 * again when it has changed, seen at each connection, and by bus_guard_reload.
 *
 * A client whose key is taken away is not served any more: at the next reading no new connection is let
 * in, and what comes over an old one is dropped and counted, without an answer - so its sender keeps
 * the events and repeats them, and is served when its key is back.  The connection itself stays, with nothing
 * to be had over it, until it or the worker ends: libzmq cannot close one.
 */
#ifndef SPENDD_BUS_GUARD_H
#define SPENDD_BUS_GUARD_H

#include "common/bus/bus.h"
#include "common/curve/certificate.h"

/* What an operator wants to know, as a log line: `event` a word, `text` its value.  At most one of a kind
 * in a second.  `bad`: somebody was turned away, or the directory cannot be read. */
typedef void bus_guard_fn(void *arg, bool bad, const char *event, const char *text);

struct bus_guard {
    const char *certificate; /* file with the secret key */
    const char *clients;     /* directory */
    bus_guard_fn *tell;
    void *arg;
};

/* Before the first bus_bind of a tcp:// address.  -1: the files are not as they must be. */
int bus_guard(struct bus *bus, const struct bus_guard *options, struct err *err) MUST_CHECK;

/* Reads the directory again, whatever its time says: a file may have been changed in its place. */
void bus_guard_reload(struct bus *bus);

/* A new key pair. */
int bus_guard_keys(struct certificate *certificate, struct err *err) MUST_CHECK;

#endif

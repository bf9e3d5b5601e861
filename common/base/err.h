/*
 * err.h - why something failed, in one short text.
 *
 * Doors and pure files fill a struct err and return -1 (or NULL, or an enum); they never log and
 * never exit.  The caller that decides what to do logs it, once.  A text says what failed and, where
 * it can, what to do; it never holds a secret.
 */
#ifndef SPENDD_BASE_ERR_H
#define SPENDD_BASE_ERR_H

#include "common/base/attr.h"

struct err {
    char text[320];
};

/* Sets the text.  Returns -1 always, so that `return err_set(...)` reads well.  errno is kept. */
int err_set(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* The same with ": " and strerror(errno) behind it. */
int err_errno(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* We are wrong: says where on standard error and aborts (core dump, supervisor restarts us). */
#define bug(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
void bug_at(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4) NORETURN;

#endif

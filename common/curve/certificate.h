/*
 * certificate.h - a CURVE key pair in a file, in the form that czmq's zcert and pyzmq's zmq.auth write:
 *
 *   curve
 *       public-key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
 *       secret-key = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"     (not in a public file)
 *
 * Keys are Z85 text, 40 characters for 32 bytes.  Here only text is handled; what a key means is libzmq's.
 */
#ifndef SPENDD_CURVE_CERTIFICATE_H
#define SPENDD_CURVE_CERTIFICATE_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>

#define CURVE_KEY_TEXT 41 /* with its NUL */

struct certificate {
    char public_key[CURVE_KEY_TEXT];
    char secret_key[CURVE_KEY_TEXT]; /* "" in a public one */
};

/* Reads a file.  Blocks as small files do.  -1: none, or no public key in it. */
int certificate_read(const char *path, struct certificate *certificate, struct err *err) MUST_CHECK;

/* The same, and it must hold the secret key and be closed to everybody but its owner. */
int certificate_read_secret(const char *path, struct certificate *certificate, struct err *err) MUST_CHECK;

/* Makes a file that must not exist: mode 0600 with the secret key, 0644 without. */
int certificate_write(const char *path, const struct certificate *certificate, bool secret,
                      struct err *err) MUST_CHECK;

#endif

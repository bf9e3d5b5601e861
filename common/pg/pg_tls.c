/*
 * pg_tls.c - why the server's certificate was not good enough.
 *
 * libpq says "certificate verify failed" and frees what knows more.  So we keep a reference to its TLS
 * session while it connects, and ask that.  Nothing is read or written through it, and it is let go
 * before the connection is.  If we die on any line nothing outside has changed.
 */
#include "common/pg/pg_inside.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <string.h>

void pg_tls_keep(struct pg *pg)
{
    SSL *ssl = PQsslStruct(pg->conn, "OpenSSL"); /* NULL: no TLS, or not yet, or another library */

    if (ssl == NULL || ssl == pg->tls)
        return;
    pg_tls_let_go(pg); /* sslmode=prefer and the like begin anew */
    if (SSL_up_ref(ssl) == 1)
        pg->tls = ssl;
}

const char *pg_tls_why(const struct pg *pg, const char *message)
{
    long result = pg->tls ? SSL_get_verify_result(pg->tls) : X509_V_OK;

    if (result == X509_V_OK || !strstr(message, "certificate verify failed"))
        return "";
    return X509_verify_cert_error_string(result);
}

void pg_tls_let_go(struct pg *pg)
{
    SSL_free(pg->tls); /* NULL is nothing */
    pg->tls = NULL;
}

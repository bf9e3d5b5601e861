/*
 * redis_tls.c - TLS over a connected, non-blocking socket, by OpenSSL.
 *
 * Owns a context and a session for one connection and nothing that outlives it: authorities,
 * certificate and key are read at each connect, so rotated files need no restart.  The server's name and
 * chain are verified unless redis.tls_verify is off; TLS 1.2 is the least.
 *
 * Either direction may wait for either event (a key update makes a read wait until it may write), so
 * what each waits for is remembered and tls_events turns it into poll's words.  A write that could not be
 * finished is repeated with the same bytes, or more behind them: the caller's queue gives it that.
 *
 * Every failure is a row of refusals.def.  OpenSSL's error queue is emptied before each call: what is
 * read from it afterwards belongs to that call.  If we die on any line the peer sees a connection cut;
 * what was written may or may not arrive, as everywhere in this room.
 */
#include "common/redis/redis_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum want { WANT_NOTHING, WANT_READ, WANT_WRITE };

struct tls {
    SSL_CTX *context;
    SSL *session;
    enum want handshake, read, write; /* what each of them waits for */
    bool verify, up, over; /* up: shaken hands; over: OpenSSL wants no more calls */
    enum redis_refusal refused;
};

/* --- setting up ----------------------------------------------------------------------------- */

static int err_tls(struct err *err, const char *what, const char *of)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return err_set(err, "%s%s%s: %s", what, of[0] != '\0' ? " " : "", of,
                   reason != NULL ? reason : "unknown reason");
}

static int load_authorities(SSL_CTX *context, const char *ca, struct err *err)
{
    struct stat st;
    bool directory;

    if (ca[0] == '\0')
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? 0
                   : err_tls(err, "the system's certificate authorities", "");
    if (stat(ca, &st) != 0)
        return err_errno(err, "redis.tls_ca %s", ca);
    directory = S_ISDIR(st.st_mode);
    if (SSL_CTX_load_verify_locations(context, directory ? NULL : ca, directory ? ca : NULL) != 1)
        return err_tls(err, "redis.tls_ca", ca);
    return 0;
}

static int load_identity(SSL_CTX *context, const struct redis_tls *options, struct err *err)
{
    const char *key = options->key[0] != '\0' ? options->key : options->cert;

    if (options->cert[0] == '\0')
        return 0;
    if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
        return err_tls(err, "redis.tls_cert", options->cert);
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return err_tls(err, "redis.tls_key", key);
    return 0;
}

static int no_passphrase(char *to, int size, int writing, void *arg)
{
    (void)to, (void)size, (void)writing, (void)arg;
    return 0; /* a key with a passphrase is refused: nobody is there to type it */
}

static int make_context(struct tls *tls, const struct redis_tls *options, struct err *err)
{
    tls->context = SSL_CTX_new(TLS_client_method());
    if (tls->context == NULL)
        return err_tls(err, "no TLS context", "");
    SSL_CTX_set_default_passwd_cb(tls->context, no_passphrase);
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
    /* A reply says how long it is: an end without goodbye is an end like another. */
    SSL_CTX_set_options(tls->context, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
    if (!options->verify)
        return load_identity(tls->context, options, err);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    if (load_authorities(tls->context, options->ca, err) != 0)
        return -1;
    return load_identity(tls->context, options, err);
}

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Whom the certificate must name; a name, never an address, is also sent (SNI). */
static int expect_name(struct tls *tls, const char *host, struct err *err)
{
    bool address = is_address(host);
    bool set;

    if (!address && SSL_set_tlsext_host_name(tls->session, host) != 1)
        return err_tls(err, "the server's name cannot be sent:", host);
    if (address)
        set = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->session), host) == 1;
    else
        set = SSL_set1_host(tls->session, host) == 1;
    return set ? 0 : err_tls(err, "the server's name cannot be verified:", host);
}

struct tls *tls_open(int fd, const struct redis_tls *options, const char *host,
                     enum redis_refusal *refused, struct err *err)
{
    struct tls *tls = calloc(1, sizeof *tls);

    *refused = REDIS_REFUSED_resources;
    if (tls == NULL) {
        err_set(err, "no memory for TLS");
        return NULL;
    }
    tls->verify = options->verify;
    ERR_clear_error();
    *refused = REDIS_REFUSED_tls_setup;
    if (make_context(tls, options, err) != 0) {
        tls_close(&tls);
        return NULL;
    }
    tls->session = SSL_new(tls->context);
    if (tls->session == NULL || SSL_set_fd(tls->session, fd) != 1) {
        err_tls(err, "no TLS session", "");
        *refused = REDIS_REFUSED_resources;
        tls_close(&tls);
        return NULL;
    }
    if (expect_name(tls, options->name[0] != '\0' ? options->name : host, err) != 0) {
        tls_close(&tls);
        return NULL;
    }
    SSL_set_connect_state(tls->session);
    return tls;
}

void tls_close(struct tls **tls)
{
    if (*tls == NULL)
        return;
    ERR_clear_error();
    if ((*tls)->up && !(*tls)->over)
        SSL_shutdown((*tls)->session); /* whether it could be sent is no matter now */
    SSL_free((*tls)->session);
    SSL_CTX_free((*tls)->context);
    ERR_clear_error();
    free(*tls);
    *tls = NULL;
}

enum redis_refusal tls_refused(const struct tls *tls)
{
    return tls->refused;
}

/* --- what went wrong ------------------------------------------------------------------------ */

static enum redis_refusal of_certificate(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return REDIS_REFUSED_tls_expired;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return REDIS_REFUSED_tls_name;
    default:
        return REDIS_REFUSED_tls_ca;
    }
}

/* Before the server's first record was understood, nonsense means that it does not speak TLS. */
static enum redis_refusal of_reason(const struct tls *tls, int reason)
{
    if (reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
        return REDIS_REFUSED_tls_refused; /* an alert: the peer's word, not ours */
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
        return tls->up ? REDIS_REFUSED_tls_other : REDIS_REFUSED_tls_plain;
    default:
        return REDIS_REFUSED_tls_other;
    }
}

static int failed(struct tls *tls, const char *what, struct err *err)
{
    unsigned long code = ERR_peek_error();
    long certificate = SSL_get_verify_result(tls->session);
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    tls->over = true;
    if (tls->verify && !tls->up && certificate != X509_V_OK) {
        tls->refused = of_certificate(certificate);
        return err_set(err, "TLS: the certificate of Redis was refused: %s",
                       X509_verify_cert_error_string(certificate));
    }
    tls->refused = of_reason(tls, ERR_GET_REASON(code));
    return err_set(err, "TLS: %s: %s", what, reason != NULL ? reason : "unknown reason");
}

/* The other side, or the network, ended it. */
static int cut(struct tls *tls, int error, struct err *err)
{
    ERR_clear_error();
    tls->over = true;
    tls->refused = tls->up ? REDIS_REFUSED_closed : REDIS_REFUSED_tls_cut;
    if (error != 0) {
        errno = error;
        return err_errno(err, tls->up ? "the connection to Redis" : "TLS: the handshake");
    }
    return err_set(err, tls->up ? "Redis closed the connection"
                                : "TLS: Redis closed the connection during the handshake");
}

/* After a call that moved nothing: 0 and what it waits for, or -1. */
static int judge(struct tls *tls, int result, enum want *want, const char *what, struct err *err)
{
    int error = errno;

    switch (SSL_get_error(tls->session, result)) {
    case SSL_ERROR_WANT_READ:
        *want = WANT_READ;
        return 0;
    case SSL_ERROR_WANT_WRITE:
        *want = WANT_WRITE;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return cut(tls, 0, err);
    case SSL_ERROR_SYSCALL:
        return cut(tls, error, err);
    default:
        return failed(tls, what, err);
    }
}

/* --- moving --------------------------------------------------------------------------------- */

static void begin(enum want *want)
{
    *want = WANT_NOTHING;
    ERR_clear_error();
    errno = 0;
}

int tls_handshake(struct tls *tls, struct err *err)
{
    int result;

    begin(&tls->handshake);
    result = SSL_do_handshake(tls->session);
    if (result == 1) {
        tls->up = true;
        return 1;
    }
    return judge(tls, result, &tls->handshake, "the handshake failed", err);
}

static int at_most(size_t size)
{
    return size > INT_MAX ? INT_MAX : (int)size;
}

int64_t tls_read(struct tls *tls, void *to, size_t size, struct err *err)
{
    int got;

    begin(&tls->read);
    got = SSL_read(tls->session, to, at_most(size));
    return got > 0 ? got : judge(tls, got, &tls->read, "cannot read from Redis", err);
}

int64_t tls_write(struct tls *tls, const void *from, size_t size, struct err *err)
{
    int sent;

    begin(&tls->write);
    sent = SSL_write(tls->session, from, at_most(size));
    return sent > 0 ? sent : judge(tls, sent, &tls->write, "cannot write to Redis", err);
}

short tls_events(const struct tls *tls, bool to_write)
{
    bool out;

    if (!tls->up)
        return tls->handshake == WANT_WRITE ? POLLOUT : POLLIN;
    out = tls->read == WANT_WRITE || (to_write && tls->write != WANT_READ);
    return out ? POLLIN | POLLOUT : POLLIN;
}

bool tls_pending(const struct tls *tls)
{
    return SSL_pending(tls->session) > 0;
}

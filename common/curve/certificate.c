/*
 * certificate.c - a CURVE key pair in a file.  See certificate.h.
 *
 * Reads any file of the form leniently (sections and other names are passed over), and a key strictly: 40
 * characters of Z85.  A secret that others may read is no secret: refused, not warned of.  If we die while
 * writing, a file is there that cannot be read as a certificate, and must be removed by hand.
 */
#include "common/curve/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX 4096
#define Z85                                                                                        \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

/* The value of `name = "..."` on a line of its own.  1: found, 0: not there, -1: not a key. */
static int find_key(const char *text, const char *name, char key[CURVE_KEY_TEXT])
{
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += strspn(line, "\n\r\t ");
        if (strncmp(line, name, strlen(name)) != 0)
            continue;
        line += strlen(name);
        line += strspn(line, "\t ");
        if (line[0] != '=')
            continue;
        line++;
        line += strspn(line, "\t ");
        if (line[0] != '"' || strspn(line + 1, Z85) != CURVE_KEY_TEXT - 1 ||
            line[CURVE_KEY_TEXT] != '"')
            return -1;
        memcpy(key, line + 1, CURVE_KEY_TEXT - 1);
        key[CURVE_KEY_TEXT - 1] = '\0';
        return 1;
    }
    return 0;
}

static int read_text(int fd, const char *path, char text[FILE_BYTES_MAX], struct err *err)
{
    ssize_t bytes = read(fd, text, FILE_BYTES_MAX);

    if (bytes < 0)
        return err_errno(err, "%s", path);
    if (bytes == FILE_BYTES_MAX)
        return err_set(err, "%s is larger than a certificate", path);
    text[bytes] = '\0';
    return 0;
}

static int read_open(int fd, const char *path, struct certificate *certificate, struct err *err)
{
    char text[FILE_BYTES_MAX];
    int secret;

    memset(certificate, 0, sizeof *certificate);
    if (read_text(fd, path, text, err) < 0)
        return -1;
    secret = find_key(text, "secret-key", certificate->secret_key);
    if (secret < 0 || find_key(text, "public-key", certificate->public_key) != 1)
        secret = err_set(err, "%s is no CURVE certificate (spendd --curve-keys makes one)", path);
    explicit_bzero(text, sizeof text);
    return secret < 0 ? -1 : 0;
}

int certificate_read(const char *path, struct certificate *certificate, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), result;

    if (fd < 0)
        return err_errno(err, "%s", path);
    result = read_open(fd, path, certificate, err);
    close(fd);
    return result;
}

int certificate_read_secret(const char *path, struct certificate *certificate, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), result = -1;
    struct stat st;

    if (fd < 0)
        return err_errno(err, "%s", path);
    if (fstat(fd, &st) < 0)
        err_errno(err, "%s", path);
    else if ((st.st_mode & 077) != 0)
        err_set(err, "%s holds a secret key and has mode %04o: others may read it (chmod 0600)", path,
                (unsigned)st.st_mode & 07777);
    else
        result = read_open(fd, path, certificate, err);
    close(fd);
    if (result == 0 && certificate->secret_key[0] == '\0')
        return err_set(err, "%s has no secret key: it is the public part", path);
    return result;
}

int certificate_write(const char *path, const struct certificate *certificate, bool secret,
                      struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, secret ? 0600 : 0644);
    bool good;

    if (fd < 0)
        return err_errno(err, "%s", path);
    good = dprintf(fd, "#   CURVE key pair, %s\nmetadata\ncurve\n    public-key = \"%s\"\n",
                   secret ? "secret: mode 0600, on one machine alone" : "public part",
                   certificate->public_key) > 0;
    if (good && secret)
        good = dprintf(fd, "    secret-key = \"%s\"\n", certificate->secret_key) > 0;
    good = good && fsync(fd) == 0;
    if (!good)
        err_errno(err, "%s", path);
    close(fd);
    return good ? 0 : -1;
}

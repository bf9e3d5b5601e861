/*
 * secret.c - reads `file:/path` where a setting is a secret.  See secret.h.
 * Owns nothing beyond the call.  If we die on any line nothing outside has changed.
 */
#include "common/config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "file:"

bool secret_is_file(const char *value)
{
    return strncmp(value, PREFIX, sizeof PREFIX - 1) == 0;
}

static int read_file(const char *path, char *to, size_t size, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t got;

    if (fd < 0)
        return err_errno(err, "secret %s", path);
    got = read(fd, to, size);
    if (got < 0)
        err_errno(err, "secret %s", path);
    close(fd);
    if (got < 0)
        return -1;
    while (got > 0 && (to[got - 1] == '\n' || to[got - 1] == '\r'))
        got--;
    if ((size_t)got >= size)
        return err_set(err, "secret %s is longer than %zu bytes", path, size - 1);
    if (got == 0)
        return err_set(err, "secret %s is empty", path);
    if (memchr(to, '\0', (size_t)got) != NULL || memchr(to, '\n', (size_t)got) != NULL)
        return err_set(err, "secret %s has more than one line", path);
    to[got] = '\0';
    return 0;
}

int secret_read(const char *value, char *to, size_t size, struct err *err)
{
    size_t length = strlen(value);

    if (secret_is_file(value))
        return read_file(value + sizeof PREFIX - 1, to, size, err);
    if (length >= size)
        return err_set(err, "secret is longer than %zu bytes", size - 1);
    memcpy(to, value, length + 1);
    return 0;
}

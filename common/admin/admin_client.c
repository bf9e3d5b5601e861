/*
 * admin_client.c - the asking side of the admin socket.  See admin_client.h.
 *
 * ZeroMQ connects to nothing and waits for ever without a word, so a Unix socket is knocked at
 * first: that tells "no such file", "nobody listens" and "permission denied" apart, which a timeout
 * cannot. Blocks; for command-line tools.  Owns nothing beyond the call.
 */
#include "common/admin/admin_client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IPC "ipc://"

struct conversation {
    admin_answer_fn *answer;
    void *arg;
    bool malformed;
};

static int explain(const char *path, struct err *err)
{
    switch (errno) {
    case ENOENT:
        return err_set(err,
                       "%s does not exist: spendd does not run, or its runtime_dir is another "
                       "(--runtime-dir DIR)",
                       path);
    case ECONNREFUSED:
        return err_set(err, "nobody listens at %s: spendd was killed, or is just starting", path);
    case EACCES:
        return err_set(err, "%s: permission denied: be root or a member of its group", path);
    default:
        return err_errno(err, "%s", path);
    }
}

/* Is there somebody behind this Unix socket? */
static int knock(const char *endpoint, struct err *err)
{
    const char *path = endpoint + strlen(IPC);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, result = 0;

    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, "%s: longer than a socket path may be (%zu bytes)", path,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, "socket");
    /* EAGAIN: somebody is there and has a long queue. */
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 && errno != EAGAIN)
        result = explain(path, err);
    close(fd);
    return result;
}

static int status_of(const struct bus_frame *frame)
{
    char text[4] = "";

    if (frame->bytes != 3)
        return -1;
    memcpy(text, frame->data, 3);
    if (strspn(text, "0123456789") != 3)
        return -1;
    return atoi(text);
}

static bool on_answer(void *arg, const struct bus_frame *frames, size_t count)
{
    struct conversation *talk = arg;
    int status = count == 2 ? status_of(&frames[0]) : -1;

    if (status < 0) {
        talk->malformed = true;
        return false;
    }
    talk->answer(talk->arg, status, frames[1].data, frames[1].bytes);
    return status == 102;
}

int admin_ask(const struct bus_peer *peer, const char *const *words, size_t count, int64_t timeout_ms,
              admin_answer_fn *answer, void *arg, struct err *err)
{
    struct bus_frame frames[1 + ADMIN_WORDS_MAX] = {{ADMIN_PROTOCOL, strlen(ADMIN_PROTOCOL)}};
    struct conversation talk = {.answer = answer, .arg = arg};

    if (count == 0 || count > ADMIN_WORDS_MAX)
        return err_set(err, "a command has 1 to %d words", ADMIN_WORDS_MAX);
    if (strncmp(peer->endpoint, IPC, strlen(IPC)) == 0 && knock(peer->endpoint, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        frames[1 + i] = (struct bus_frame){words[i], strlen(words[i])};
    if (bus_request(peer, frames, 1 + count, timeout_ms, on_answer, &talk, err) != 0)
        return -1;
    if (talk.malformed)
        return err_set(err, "%s: the answer is not in the protocol " ADMIN_PROTOCOL, peer->endpoint);
    return 0;
}

/*
 * faults.c - a preloaded library under an aggregator: slow or failing disks, told by files.
 *
 * SPENDD_FAULTS names a directory.  While it holds the file
 *   slow-sync    fdatasync and fsync take 300 ms longer
 *   fail-sync    fdatasync fails with EIO (once per file `fail-sync`: it is removed by the failure)
 *   full         write, pwrite and writev to a regular file fail with ENOSPC
 *   short        the same calls write half of what they were given, once (removed by it)
 *   budget       the same calls fail with ENOSPC when the bytes that its text grants are used up, the last
 *                one after a short write
 *   fail-nth     its text is a number n: the n-th sync from now on, of a file or a directory, fails with EIO
 *   fail-dirsync fsync of a directory fails with EIO (once)
 *   fail-rename  renameat fails with EIO
 *   fail-open    openat that would make a file fails with EMFILE
 *   die-rename   renameat does its work and kills the process (once)
 *   journal      names each rename that no sync of a directory has followed, oldest first: what a loss of
 *                power may undo (Faults.lose_power undoes it)
 * Only calls on regular files are touched: sockets and pipes go through.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int told(const char *name, int take)
{
    char path[512];
    const char *directory = getenv("SPENDD_FAULTS");

    if (directory == NULL)
        return 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return take ? unlink(path) == 0 : access(path, F_OK) == 0;
}

static int regular(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* The number in the file `name` before `take` was taken from it; -1: no such file.  At 0 it stays. */
static long number(const char *name, long take)
{
    char path[512], text[32] = "";
    const char *directory = getenv("SPENDD_FAULTS");
    long had = -1;
    int fd, length;

    if (directory == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (read(fd, text, sizeof text - 1) > 0)
        had = atol(text);
    length = snprintf(text, sizeof text, "%-20ld", had > take ? had - take : 0);
    syscall(SYS_pwrite64, fd, text, (size_t)length, (off_t)0);
    close(fd);
    return had;
}

static int failed(int error)
{
    errno = error;
    return -1;
}

static int sync_fault(int whole_file)
{
    const struct timespec delay = {0, 300 * 1000 * 1000};
    long nth = number("fail-nth", 1);

    if (told("slow-sync", 0) && whole_file)
        nanosleep(&delay, NULL);
    if (nth == 1 && told("fail-nth", 1))
        return failed(EIO);
    if (whole_file ? told("fail-sync", 1) : told("fail-dirsync", 1))
        return failed(EIO);
    return 0;
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    return sync_fault(1) != 0 ? -1 : real(fd);
}

/* The journal, open for appending; -1: none is kept. */
static int journal(int flags)
{
    char path[512];
    const char *directory = getenv("SPENDD_FAULTS");

    if (directory == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/journal", directory);
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC | flags, 0);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = sync_fault(regular(fd)) != 0 ? -1 : real(fd);

    if (result == 0 && !regular(fd))
        close(journal(O_TRUNC));
    return result;
}

/* How many of `bytes` may be written; -1: ENOSPC. */
static ssize_t granted(int fd, size_t bytes)
{
    long budget;

    if (!regular(fd))
        return (ssize_t)bytes;
    if (told("full", 0))
        return failed(ENOSPC);
    budget = number("budget", (long)bytes);
    if (budget == 0)
        return failed(ENOSPC);
    if (budget > 0 && (size_t)budget < bytes)
        return budget;
    return (ssize_t)(bytes > 1 && told("short", 1) ? bytes / 2 : bytes);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    ssize_t may = granted(fd, bytes);

    return may < 0 ? -1 : real(fd, data, (size_t)may);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    ssize_t may = granted(fd, bytes);

    return may < 0 ? -1 : real(fd, data, (size_t)may, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) __attribute__((alias("pwrite")));

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t (*real)(int, const struct iovec *, int) =
        (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    size_t bytes = 0;
    ssize_t may;

    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    may = granted(fd, bytes);
    if (may < 0)
        return -1;
    if ((size_t)may == bytes)
        return real(fd, parts, count);
    if ((size_t)may > parts[0].iov_len)
        may = (ssize_t)parts[0].iov_len;
    return (ssize_t)syscall(SYS_write, fd, parts[0].iov_base, (size_t)may);
}

/* "<directory>/<name>", the directory known by its descriptor. */
static void full_path(int directory, const char *name, char *path, size_t size)
{
    char link[64];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    length = readlink(link, path, size - 1);
    if (length < 0)
        length = 0;
    snprintf(path + length, size - (size_t)length, "/%s", name);
}

static void note_rename(int from, const char *old, int to, const char *new)
{
    char before[512], after[512], line[1040];
    int fd = journal(O_APPEND);

    if (fd < 0)
        return;
    full_path(from, old, before, sizeof before);
    full_path(to, new, after, sizeof after);
    snprintf(line, sizeof line, "%s\t%s\n", before, after);
    syscall(SYS_write, fd, line, strlen(line));
    close(fd);
}

int renameat(int from, const char *old, int to, const char *new)
{
    int (*real)(int, const char *, int, const char *) =
        (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
    int result = told("fail-rename", 0) ? failed(EIO) : real(from, old, to, new);

    if (result == 0)
        note_rename(from, old, to, new);
    if (result == 0 && told("die-rename", 1))
        raise(SIGKILL);
    return result;
}

int openat(int directory, const char *path, int flags, ...)
{
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    mode_t mode = 0;
    va_list ap;

    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
        if (told("fail-open", 0))
            return failed(EMFILE);
    }
    return real(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));

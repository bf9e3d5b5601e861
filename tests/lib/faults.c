/*
 * faults.c - a preloaded library under an aggregator: slow or failing disks, told by files.
 *
 * SPENDD_FAULTS names a directory.  While it holds the file
 *   slow-sync    fdatasync and fsync take 300 ms longer
 *   fail-sync    fdatasync fails with EIO (once per file `fail-sync`: it is removed by the failure)
 *   full         write, pwrite and writev to a regular file fail with ENOSPC
 *   short        the same calls write half of what they were given, once (removed by it)
 * Only calls on regular files are touched: sockets and pipes go through.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

static int sync_fault(void)
{
    const struct timespec delay = {0, 300 * 1000 * 1000};

    if (told("slow-sync", 0))
        nanosleep(&delay, NULL);
    if (!told("fail-sync", 1))
        return 0;
    errno = EIO;
    return -1;
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    return sync_fault() != 0 ? -1 : real(fd);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

    return regular(fd) && sync_fault() != 0 ? -1 : real(fd);
}

/* 0: go on; -1: ENOSPC; 1: half of it. */
static int write_fault(int fd, size_t bytes)
{
    if (!regular(fd))
        return 0;
    if (told("full", 0)) {
        errno = ENOSPC;
        return -1;
    }
    return bytes > 1 && told("short", 1);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    int fault = write_fault(fd, bytes);

    return fault < 0 ? -1 : real(fd, data, fault ? bytes / 2 : bytes);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    int fault = write_fault(fd, bytes);

    return fault < 0 ? -1 : real(fd, data, fault ? bytes / 2 : bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) __attribute__((alias("pwrite")));

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t (*real)(int, const struct iovec *, int) =
        (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    int fault = write_fault(fd, 2);

    return fault < 0 ? -1 : fault ? write(fd, parts[0].iov_base, parts[0].iov_len / 2) : real(fd, parts, count);
}

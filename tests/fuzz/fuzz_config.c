/*
 * fuzz_config.c - the configuration file.  A file that is accepted prints as a file; one that is not
 * says why; nothing else happens.
 * libs: libconfig
 */
#include "common/config/config.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* libconfig's own scanner forgets some of its blocks where a file is broken (seen with 1.5): not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libconfig.so\n"; }

static void heard(void *arg, const char *line)
{
    fuzz_claim(line[0] != '\0');
    (*(unsigned *)arg)++;
}

static void print_it(const struct settings *settings)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    fuzz_claim(to);
    config_print(settings, to);
    fclose(to);
    fuzz_claim(bytes > 0);
    free(text);
}

static void run(const unsigned char *input, size_t bytes)
{
    /* "@include" would read this machine's files and so depend on it. */
    if (memmem(input, bytes, "@include", 8)) return;
    int fd = memfd_create("fuzz-config", MFD_CLOEXEC);
    fuzz_claim(fd >= 0 && write(fd, input, bytes) == (ssize_t)bytes);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct settings settings;
    unsigned said = 0, given = 0;
    if (config_load(path, &settings, &given, heard, &said) < 0)
        fuzz_claim(said > 0);
    else
        print_it(&settings);
    close(fd);
}

static const char *const samples[] = {
    "runtime_dir = \"/tmp/x\";\nlog: { level = \"debug\"; };\nseal: { ms = 250; events = 10L; };\n",
    "database: { url = \"postgresql://u@h/d\"; schema = \"s\"; migrate = false; };\n"
    "redis: { url = \"redis://h:1/0\"; prefix = \"{x}:\"; queue_bytes = 0x100000; };\n",
    "# comment\nspool = { dir = \"/x\"; allow_volatile = true; keep_applied_s = 5; }\nlock: { ttl_ms = 900; "
    "renew_ms = 300; };\nspend_log: { enabled = true; keep_days = 90; };\n",
    "sael: { ms = 1; };\nlog: { level = \"loud\"; };\n"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= sizeof samples / sizeof samples[0] || room < 1024) return 0;
    memcpy(to, samples[index], strlen(samples[index]));
    return strlen(samples[index]);
}

static const char *const words[] = {"{", "}", ";", "=", ":", "(", ")", "[", "]", "\"", "//", "/*", "*/", "#",
                                    "env:HOME", "env:", "file:/nonexistent", "true", "1e99", "-1", "0x",
                                    "99999999999999999999L", "\\", "redis", "database", NULL};

const struct fuzz_target fuzz_target = {"config", seed, run, words};

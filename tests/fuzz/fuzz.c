/*
 * fuzz.c - main() of every fuzz driver: seeds, seeded mutations, and the input that broke it.
 *
 *   fuzz_NAME [seconds [seed]]      mutated inputs for that long (default 10 s, seed 1)
 *   fuzz_NAME FILE...               only these inputs: what an earlier run kept
 *
 * Each input lies in a block of exactly its size, so that AddressSanitizer sees one byte too many.
 * A pool begins as the seeds and changes slowly: a mutant replaces a random member now and then, so
 * that mutations pile up; the seeds themselves are drawn again half of the time.
 * The same seed makes the same inputs in the same order; only how many fit into the time differs.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POOL 64
#define SEEDS_MAX 64
#define CHECK_CLOCK_EVERY 256

struct input {
    size_t bytes;
    unsigned char data[FUZZ_INPUT_MAX];
};

struct run {
    uint64_t random;
    unsigned seeds, pool;
    struct input seed[SEEDS_MAX], member[POOL], work;
};

/* The only file-scope state: what a signal handler must find. */
static const unsigned char *current;
static size_t current_bytes;

static void keep_current(void)
{
    char path[128];
    snprintf(path, sizeof path, "fuzz-%s.broken", fuzz_target.name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || !current) return;
    ssize_t wrote = write(fd, current, current_bytes);
    close(fd);
    fprintf(stderr, "fuzz %s: %zd bytes kept in %s; run it again with that file\n",
            fuzz_target.name, wrote, path);
}

void fuzz_broken(const char *file, int line, const char *claim)
{
    fprintf(stderr, "fuzz %s: %s:%d: does not hold: %s\n", fuzz_target.name, file, line, claim);
    abort();
}

static void on_abort(int number)
{
    keep_current();
    signal(number, SIG_DFL);
    raise(number);
}

/* There in sanitized builds only. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static uint64_t draw(struct run *run, uint64_t below)
{
    uint64_t z = (run->random += 0x9e3779b97f4a7c15ULL); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    z ^= z >> 31;
    return below ? z % below : 0;
}

static void cut(struct input *in, size_t at, size_t bytes)
{
    memmove(in->data + at, in->data + at + bytes, in->bytes - at - bytes);
    in->bytes -= bytes;
}

static void put(struct input *in, size_t at, const void *from, size_t bytes)
{
    if (bytes > FUZZ_INPUT_MAX - in->bytes) return;
    memmove(in->data + at + bytes, in->data + at, in->bytes - at);
    memcpy(in->data + at, from, bytes);
    in->bytes += bytes;
}

static void put_word(struct run *run, struct input *in, size_t at)
{
    unsigned count = 0;
    while (fuzz_target.words && fuzz_target.words[count]) count++;
    if (!count) return;
    const char *word = fuzz_target.words[draw(run, count)];
    put(in, at, word, strlen(word));
}

/* An integer of 1, 2, 4 or 8 bytes becomes one of those that break arithmetic. */
static void set_number(struct run *run, struct input *in, size_t at)
{
    static const uint64_t edges[] = {0, 1, 127, 128, 255, 256, 32767, 65535, 65536, 0x7fffffff,
                                     0x80000000, 0xffffffff, 0x7fffffffffffffff,
                                     0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffff0};
    uint64_t value = edges[draw(run, sizeof edges / sizeof edges[0])];
    size_t bytes = (size_t)1 << draw(run, 4);
    if (at + bytes > in->bytes) return;
    memcpy(in->data + at, &value, bytes);
}

static void mutate(struct run *run, struct input *in)
{
    size_t at = (size_t)draw(run, in->bytes + 1);
    size_t left = in->bytes - at;
    size_t some = left ? (size_t)draw(run, left < 64 ? left : 64) + 1 : 0;
    const struct input *other = &run->member[draw(run, run->pool)];
    switch (draw(run, 9)) {
    case 0: if (left) in->data[at] ^= (unsigned char)(1u << draw(run, 8)); break;
    case 1: if (left) in->data[at] = (unsigned char)draw(run, 256); break;
    case 2: if (some) cut(in, at, some); break;
    case 3: in->bytes = at; break;
    case 4: if (left) set_number(run, in, at); break;
    case 5: put_word(run, in, at); break;
    case 6: { /* a piece of itself once more */
        unsigned char piece[64];
        memcpy(piece, in->data + at, some);
        put(in, (size_t)draw(run, in->bytes + 1), piece, some);
        break;
    }
    case 7: /* the rest of another */
        if (at < other->bytes) {
            in->bytes = at;
            put(in, at, other->data + at, other->bytes - at);
        }
        break;
    default: { /* a byte, many times: depth, length */
        unsigned char many[512];
        size_t count = (size_t)draw(run, sizeof many) + 1;
        memset(many, left ? in->data[at] : (int)draw(run, 256), count);
        put(in, at, many, count);
    }
    }
}

static void try_one(const unsigned char *data, size_t bytes)
{
    unsigned char *exact = malloc(bytes ? bytes : 1);
    if (!exact) abort();
    if (bytes) memcpy(exact, data, bytes);
    current = exact;
    current_bytes = bytes;
    fuzz_target.run(exact, bytes);
    current = NULL;
    free(exact);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_pool(struct run *run)
{
    for (; run->seeds < SEEDS_MAX; run->seeds++) {
        struct input *seed = &run->seed[run->seeds];
        seed->bytes = fuzz_target.seed(run->seeds, seed->data, FUZZ_INPUT_MAX);
        if (!seed->bytes) break;
        try_one(seed->data, seed->bytes);
    }
    if (!run->seeds) fuzz_broken(__FILE__, __LINE__, "there are seeds");
    for (run->pool = 0; run->pool < POOL; run->pool++)
        run->member[run->pool] = run->seed[run->pool % run->seeds];
}

static uint64_t fuzz_for(struct run *run, double seconds)
{
    double end = seconds_now() + seconds;
    uint64_t tried = 0;
    do {
        for (int i = 0; i < CHECK_CLOCK_EVERY; i++, tried++) {
            uint64_t which = draw(run, 2);
            const struct input *from =
                which ? &run->seed[draw(run, run->seeds)] : &run->member[draw(run, run->pool)];
            run->work.bytes = from->bytes;
            memcpy(run->work.data, from->data, from->bytes);
            for (uint64_t n = draw(run, 6) + 1; n > 0; n--) mutate(run, &run->work);
            try_one(run->work.data, run->work.bytes);
            if (draw(run, 16) == 0) {
                struct input *to = &run->member[draw(run, run->pool)];
                to->bytes = run->work.bytes;
                memcpy(to->data, run->work.data, run->work.bytes);
            }
        }
    } while (seconds_now() < end);
    return tried;
}

static int again(char **paths, int count)
{
    struct input *in = malloc(sizeof *in);
    if (!in) return 2;
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        if (!file) { perror(paths[i]); free(in); return 2; }
        in->bytes = fread(in->data, 1, sizeof in->data, file);
        fclose(file);
        try_one(in->data, in->bytes);
        printf("fuzz %s: %s survived\n", fuzz_target.name, paths[i]);
    }
    free(in);
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_current);
    char *end = NULL;
    double seconds = argc > 1 ? strtod(argv[1], &end) : 10;
    if (end && *end) return again(argv + 1, argc - 1);
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct run *run = calloc(1, sizeof *run);
    if (!run) return 2;
    run->random = seed;
    make_pool(run);
    uint64_t tried = fuzz_for(run, seconds);
    printf("fuzz %-10s survived %llu inputs (%u seeds, seed %llu)\n", fuzz_target.name,
           (unsigned long long)tried, run->seeds, (unsigned long long)seed);
    free(run);
    return 0;
}

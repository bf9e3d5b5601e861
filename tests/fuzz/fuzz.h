/*
 * fuzz.h - one door for all fuzz drivers: a driver is a table of seeds and one function that must
 * survive every input.  fuzz.c owns main(), the mutations, and keeping the input that broke it.
 */
#ifndef SPENDD_TESTS_FUZZ_H
#define SPENDD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_INPUT_MAX 65536

struct fuzz_target {
    const char *name;
    /* Writes seed number `index` and returns its length; real encoders make them, so that they do
     * not grow old.  0: there are no more. */
    size_t (*seed)(unsigned index, unsigned char *to, size_t room);
    /* Must return, whatever it is given, and may check more with fuzz_claim. */
    void (*run)(const unsigned char *input, size_t bytes);
    /* Words that mutations put in (NULL-ended), or NULL. */
    const char *const *words;
};

extern const struct fuzz_target fuzz_target;

/* A property that did not hold: keeps the input and aborts. */
#define fuzz_claim(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) fuzz_broken(__FILE__, __LINE__, #condition);                             \
    } while (0)
void fuzz_broken(const char *file, int line, const char *claim) __attribute__((noreturn));

#endif

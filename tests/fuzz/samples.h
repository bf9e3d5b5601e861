/*
 * samples.h - events as seeds for the drivers whose input holds some: made by the real encoder.
 */
#ifndef SPENDD_TESTS_FUZZ_SAMPLES_H
#define SPENDD_TESTS_FUZZ_SAMPLES_H

#include <stddef.h>

#define SAMPLES 6

/* JSON text of sample number `index`, below SAMPLES. */
const char *sample_json(unsigned index);
/* The payload of a record (kind and body) that holds it.  Returns its length. */
size_t sample_record(unsigned index, unsigned char *to, size_t room);

#endif

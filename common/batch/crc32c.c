/*
 * crc32c.c - CRC-32C (Castagnoli), with the processor's own instruction where there is one.
 *
 * The hardware paths are compiled by function attribute, so that one binary runs on every machine of
 * its architecture and looks once which it has.  The software path works on the table of the
 * reflected polynomial, made at compile time by macro: no initialisation, no mutable state.
 */
#include "common/batch/batch.h"

#include <string.h>

#if defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#include <asm/hwcap.h>
#endif

#define POLYNOMIAL 0x82f63b78u

/* One byte's remainder, eight shifts unrolled by the preprocessor. */
#define STEP(c) (((c) >> 1) ^ (((c)&1u) ? POLYNOMIAL : 0u))
#define STEP2(c) STEP(STEP(c))
#define NIBBLE(n) STEP2(STEP2((uint32_t)(n)))

/* Sixteen rows: the remainders of a half byte. */
static const uint32_t remainders[16] = {
    NIBBLE(0), NIBBLE(1), NIBBLE(2),  NIBBLE(3),  NIBBLE(4),  NIBBLE(5),  NIBBLE(6),  NIBBLE(7),
    NIBBLE(8), NIBBLE(9), NIBBLE(10), NIBBLE(11), NIBBLE(12), NIBBLE(13), NIBBLE(14), NIBBLE(15),
};

static uint32_t crc_software(uint32_t crc, const unsigned char *at, size_t bytes)
{
    while (bytes-- > 0) {
        crc ^= *at++;
        crc = (crc >> 4) ^ remainders[crc & 15];
        crc = (crc >> 4) ^ remainders[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const unsigned char *at,
                                                               size_t bytes)
{
    uint64_t wide = crc, word;

    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(&word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    while (bytes-- > 0)
        crc = __builtin_ia32_crc32qi(crc, *at++);
    return crc;
}

static bool hardware(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t crc_hardware(uint32_t crc, const unsigned char *at,
                                                             size_t bytes)
{
    uint64_t word;

    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(&word, at, 8);
        crc = __crc32cd(crc, word);
    }
    while (bytes-- > 0)
        crc = __crc32cb(crc, *at++);
    return crc;
}

static bool hardware(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#else
#define crc_hardware crc_software
static bool hardware(void)
{
    return false;
}
#endif

uint32_t crc32c_software(uint32_t crc, const void *data, size_t bytes)
{
    return ~crc_software(~crc, data, bytes);
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return ~(hardware() ? crc_hardware(~crc, data, bytes) : crc_software(~crc, data, bytes));
}

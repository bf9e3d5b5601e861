/*
 * test_batch.c - checksum vectors, records, headers, envelopes: what is written is read back, and
 * every truncation and every changed byte is noticed.
 *
 * links: common/batch/crc32c.c common/batch/record.c common/batch/envelope.c common/base/err.c
 * libs:
 */
#include "common/batch/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define EPOCH "01977f3e-8a00-7cc1-8000-0123456789ab"

static void checksum_vectors(void **state)
{
    static const struct {
        const char *name;
        int from, step;
        uint32_t crc;
    } rfc3720[] = {
        {"zeros", 0, 0, 0x8a9136aau},
        {"ones", 0xff, 0, 0x62a8ab43u},
        {"rising", 0, 1, 0x46dd794eu},
        {"falling", 31, -1, 0x113fdb5cu},
    };
    unsigned char bytes[32];

    (void)state;
    for (size_t row = 0; row < COUNT_OF(rfc3720); row++) {
        for (int i = 0; i < 32; i++)
            bytes[i] = (unsigned char)(rfc3720[row].from + i * rfc3720[row].step);
        assert_int_equal(crc32c(0, bytes, 32), rfc3720[row].crc);
        assert_int_equal(crc32c_software(0, bytes, 32), rfc3720[row].crc);
        for (size_t cut = 0; cut <= 32; cut++)
            assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, 32 - cut),
                             rfc3720[row].crc);
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c_software(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(0, "", 0), 0);
}

/* Three records behind each other; returns their bytes. */
static size_t some_records(unsigned char *to)
{
    static const char *const payloads[] = {"a", "hello world", "\x02zzz"};
    size_t used = 0;

    for (size_t i = 0; i < COUNT_OF(payloads); i++) {
        size_t length = strlen(payloads[i]);

        memcpy(to + used + RECORD_HEADER_BYTES, payloads[i], length);
        record_frame(to + used, length);
        used += RECORD_HEADER_BYTES + length;
    }
    return used;
}

static size_t count_records(const unsigned char *data, size_t bytes, enum record_next *last)
{
    const unsigned char *payload;
    size_t offset = 0, payload_bytes, count = 0;

    while ((*last = record_next(data, bytes, &offset, &payload, &payload_bytes)) == RECORD_OK)
        count++;
    return count;
}

static void records_torn_anywhere(void **state)
{
    unsigned char data[128];
    size_t bytes = some_records(data);
    enum record_next last;

    (void)state;
    assert_int_equal(count_records(data, bytes, &last), 3);
    assert_int_equal(last, RECORD_END);
    for (size_t cut = 0; cut < bytes; cut++) {
        size_t whole = count_records(data, cut, &last);
        bool boundary = cut == 0 || cut == 9 || cut == 28;

        assert_int_equal(whole, cut < 9 ? 0 : cut < 28 ? 1 : 2);
        assert_int_equal(last, boundary ? RECORD_END : RECORD_TORN);
    }
    for (size_t i = 0; i < bytes; i++) {
        data[i] ^= 0x40;
        count_records(data, bytes, &last);
        assert_int_equal(last, RECORD_TORN);
        data[i] ^= 0x40;
    }
}

static void header(void **state)
{
    unsigned char data[SEGMENT_HEADER_BYTES];
    uint32_t shards;
    struct err err;

    (void)state;
    segment_header(data, 7);
    assert_int_equal(segment_header_check(data, sizeof data, &shards, &err), 0);
    assert_int_equal(shards, 7);
    for (size_t i = 0; i < sizeof data; i++) {
        assert_int_equal(segment_header_check(data, i, &shards, &err), -1);
        data[i] ^= 1;
        assert_int_equal(segment_header_check(data, sizeof data, &shards, &err), -1);
        data[i] ^= 1;
    }
}

static size_t some_envelope(unsigned char *to, size_t *line_bytes)
{
    struct envelope envelope = {.identity = {EPOCH, 0, 12}, .records = 3};
    unsigned char body[128];

    envelope.body_bytes = some_records(body);
    envelope.crc = crc32c(0, body, envelope.body_bytes);
    *line_bytes = envelope_line(&envelope, (char *)to);
    memcpy(to + *line_bytes, body, envelope.body_bytes);
    return *line_bytes + envelope.body_bytes;
}

static void envelope_round_trip(void **state)
{
    unsigned char data[512];
    size_t line, bytes = some_envelope(data, &line);
    struct envelope envelope;
    struct err err;
    struct identity other = {EPOCH, 0, 12};

    (void)state;
    assert_int_equal(envelope_read(data, bytes, &envelope, &err), ENVELOPE_OK);
    assert_int_equal(envelope.records, 3);
    assert_true(identity_equal(&envelope.identity, &other));
    other.seq++;
    assert_false(identity_equal(&envelope.identity, &other));
    for (size_t cut = 0; cut < bytes; cut++)
        assert_int_not_equal(envelope_read(data, cut, &envelope, &err), ENVELOPE_OK);
    for (size_t i = line; i < bytes; i++) {
        data[i] ^= 1;
        assert_int_equal(envelope_read(data, bytes, &envelope, &err), ENVELOPE_CORRUPT);
        data[i] ^= 1;
    }
    data[bytes] = 'x';
    assert_int_equal(envelope_read(data, bytes + 1, &envelope, &err), ENVELOPE_CORRUPT);
}

static void envelope_lines(void **state)
{
    static const struct {
        const char *text;
        enum envelope_read read;
    } rows[] = {
        {"spendd1 " EPOCH " 0 1 0 00000000\n", ENVELOPE_OK},
        {"spendd1 " EPOCH " 0 9223372036854775806 0 00000000\n", ENVELOPE_OK},
        {"spendd1 " EPOCH " 0 9223372036854775807 0 00000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0 0 0 00000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0 01 0 00000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 4294967296 1 0 00000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0  1 0 00000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0 1 1 00000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0 1 0 0000000\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0 1 0 0000000G\n", ENVELOPE_CORRUPT},
        {"spendd1 " EPOCH " 0 1 0 00000000 \n", ENVELOPE_CORRUPT},
        {"spendd1 01977F3E-8a00-7cc1-8000-0123456789ab 0 1 0 00000000\n", ENVELOPE_CORRUPT},
        {"spendd2 whatever comes\n", ENVELOPE_NEWER},
        {"spendd10 " EPOCH " 0 1 0 00000000\n", ENVELOPE_NEWER},
        {"spenddx " EPOCH " 0 1 0 00000000\n", ENVELOPE_CORRUPT},
        {"hello", ENVELOPE_CORRUPT},
        {"", ENVELOPE_CORRUPT},
    };
    struct envelope envelope;
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (envelope_read((const unsigned char *)rows[i].text, strlen(rows[i].text), &envelope,
                          &err) != rows[i].read)
            fail_msg("row %zu: %s", i, rows[i].text);
}

static void dead_records(void **state)
{
    unsigned char body[32];
    size_t bytes = record_dead_write(body, "no", 2, "xyz", 3), a, b;
    const char *reason;
    const unsigned char *refused;

    (void)state;
    assert_int_equal(record_dead(body, bytes, &reason, &a, &refused, &b), 0);
    assert_int_equal(a, 2);
    assert_memory_equal(reason, "no", 2);
    assert_int_equal(b, 3);
    assert_memory_equal(refused, "xyz", 3);
    assert_int_equal(record_dead(body, 3, &reason, &a, &refused, &b), -1);
    assert_int_equal(record_dead(body, 1, &reason, &a, &refused, &b), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_vectors), cmocka_unit_test(records_torn_anywhere),
        cmocka_unit_test(header),           cmocka_unit_test(envelope_round_trip),
        cmocka_unit_test(envelope_lines),   cmocka_unit_test(dead_records),
    };

    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}

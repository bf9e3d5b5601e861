/*
 * samples.c - see samples.h.  Each sample is read by the real reader and written by the real encoder.
 */
#include "tests/fuzz/samples.h"

#include "common/batch/batch.h"
#include "common/event/read.h"

#include <stdlib.h>

static const char *const samples[SAMPLES] = {
    "{\"request_id\":\"r1\",\"spend\":0.1}",
    "{\"request_id\":\"chatcmpl-9x\",\"event_id\":\"e-2\",\"spend\":\"0.000000000001\","
    "\"api_key\":\"sk-1234567890abcdef\",\"user_id\":\"u1\",\"end_user\":\"customer\","
    "\"team_id\":\"t1\",\"organization_id\":\"o\",\"agent_id\":\"a\",\"tags\":[\"b\",\"a\",\"b\"],"
    "\"model\":\"gpt-4o\",\"model_group\":\"gpt\",\"custom_llm_provider\":\"openai\","
    "\"mcp_namespaced_tool_name\":\"x/y\",\"endpoint\":\"/v1/chat/completions\","
    "\"call_type\":\"acompletion\",\"prompt_tokens\":1200,\"completion_tokens\":34,"
    "\"cache_read_input_tokens\":7,\"cache_creation_input_tokens\":0,\"status\":\"failure\","
    "\"cache_hit\":true,\"session_id\":\"s\",\"api_base\":\"http://x\","
    "\"requester_ip_address\":\"10.0.0.1\",\"metadata\":{\"a\":[1,2,{\"b\":null}]}}",
    "{\"request_id\":\"\\u00e9\\ud83d\\ude00\",\"spend\":-1.5e-3,\"start_time\":\"2026-11-20T23:59:59.5Z\","
    "\"end_time\":1795305600.25,\"tags\":[],\"unknown\":[[[[]]]]}",
    "[{\"request_id\":\"a\",\"spend\":1},{\"request_id\":\"b\"},{\"spend\":2},7,"
    "{\"request_id\":\"c\",\"spend\":1E-7,\"start_time\":null}]",
    "{\"request_id\":\"n1\",\"spend\":1}\n{\"request_id\":\"n2\",\"spend\":2}\n\n{broken\n",
    "{\"request_id\":\"long\",\"spend\":999999.999999999999,\"tags\":[\"1\",\"2\",\"3\",\"4\",\"5\"],"
    "\"model\":\"mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm\"}"};

const char *sample_json(unsigned index) { return samples[index]; }

struct into {
    unsigned char *to;
    size_t room, bytes;
};

static void take(void *arg, uint32_t index, const struct event *event)
{
    struct into *into = arg;
    (void)index;
    size_t bytes = 1 + event_encoded_bytes(event);
    if (bytes > into->room || into->bytes) return;
    into->to[0] = RECORD_EVENT;
    into->bytes = 1 + event_encode(event, into->to + 1);
}

static void ignore_refused(void *arg, uint32_t index, const char *reason, const char *bytes,
                           size_t length)
{
    (void)arg, (void)index, (void)reason, (void)bytes, (void)length;
}

static void start_over(void *arg) { ((struct into *)arg)->bytes = 0; }

size_t sample_record(unsigned index, unsigned char *to, size_t room)
{
    struct event_rules rules = {.max_event_bytes = 65536, .max_age_days = 3650};
    struct into into = {.to = to, .room = room};
    struct event_sink sink = {&into, take, ignore_refused, start_over};
    struct event_reader *reader = event_reader_new(&rules);
    struct err err;
    if (!reader) abort();
    size_t length = 0;
    while (samples[index][length]) length++;
    wall_t now = {1795305600000000};
    if (event_read(reader, samples[index], length, now, &sink, &err) < 0) into.bytes = 0;
    event_reader_free(&reader);
    return into.bytes;
}

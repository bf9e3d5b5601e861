/*
 * fuzz_payload.c - what somebody posts as LiteLLM's callback: the parts are messages that an aggregator can read, each
 * within its bound, and of no element a neighbour suffers.  What is refused is refused for what LiteLLM itself
 * writes (money, times), never for a text that a client of it may choose.
 * links: workers/gateway/litellm_payload.c workers/gateway/litellm_event.c workers/gateway/litellm_mend.c
 * libs: yajl libsodium
 */
#include "common/event/read.h"
#include "tests/fuzz/fuzz.h"
#include "workers/gateway/litellm_payload.h"

#include <stdlib.h>
#include <string.h>

#define PART_BYTES 20000
#define EVENT_BYTES 65536

struct seen {
    uint32_t events;
};

static void accepted(void *arg, uint32_t index, const struct event *event)
{
    struct seen *seen = arg;

    (void)index;
    fuzz_claim(event_key(event).length > 0);
    seen->events++;
}

static void refused(void *arg, uint32_t index, const char *reason, const char *bytes, size_t length)
{
    static const char *const by[] = {"not an object", "spend:", "start_time:", "end_time:",
                                     "request_id:"};
    struct seen *seen = arg;
    bool known = false;

    (void)index;
    (void)bytes;
    (void)length;
    for (size_t i = 0; i < COUNT_OF(by); i++)
        known = known || strncmp(reason, by[i], strlen(by[i])) == 0;
    if (!known)
        fuzz_broken(__FILE__, __LINE__, reason);
    seen->events++;
}

static void start_over(void *arg)
{
    *(struct seen *)arg = (struct seen){0};
}

static void look(const struct litellm_parts *parts)
{
    static struct event_reader *reader;
    struct event_rules rules = {.max_event_bytes = EVENT_BYTES, .max_age_days = 3650};
    struct seen seen = {0};
    struct event_sink sink = {&seen, accepted, refused, start_over};
    struct err err = {{0}};
    uint32_t before = 0;

    if (reader == NULL)
        reader = event_reader_new(&rules);
    fuzz_claim(reader && parts->count > 0);
    for (size_t i = 0; i < parts->count; i++) {
        const struct litellm_part *part = &parts->part[i];

        seen = (struct seen){0};
        fuzz_claim(part->first == before);
        fuzz_claim(event_read(reader, part->text, part->bytes, (wall_t){1795305600000000}, &sink, &err) >= 0 ||
                   (part->bytes == 2 && parts->count == 1)); /* [] */
        fuzz_claim(part->bytes <= PART_BYTES || seen.events == 1);
        before += seen.events;
    }
}

static void run(const unsigned char *input, size_t bytes)
{
    struct litellm_parts parts = {0};
    struct err err = {{0}};
    char *text = malloc(bytes + 1);

    fuzz_claim(text);
    if (bytes > 0)
        memcpy(text, input, bytes);
    text[bytes] = '\0';
    if (litellm_payload_read(text, bytes, PART_BYTES, &parts, &err) == 0) {
        look(&parts);
        litellm_parts_free(&parts);
    } else {
        fuzz_claim(err.text[0] != '\0' && parts.count == 0);
    }
    free(text);
}

#define PAYLOAD(id) \
    "{\"id\": \"" id "\", \"litellm_call_id\": \"c\", \"response_cost\": 1.5e-05, \"status\": \"success\", " \
    "\"startTime\": 1795305000.25, \"endTime\": 1795305001.5, \"prompt_tokens\": 11, \"model\": \"gpt-4o\", " \
    "\"metadata\": {\"user_api_key_hash\": \"h\", \"user_api_key_team_id\": null, \"usage_object\": " \
    "{\"cache_creation_input_tokens\": 3, \"prompt_tokens_details\": {\"cached_tokens\": 5}}}, " \
    "\"request_tags\": [\"a\", \"\", 5, [\"no\"]], \"end_user\": \"\\u00e9\\ud83d\\ude00\", \"cache_hit\": true, " \
    "\"messages\": [{\"role\": \"user\", \"content\": \"\\ud800\"}], \"x\": [NaN, -Infinity]}"

static const char *const samples[] = {
    PAYLOAD("one"), "[" PAYLOAD("a") ", " PAYLOAD("b") ", null, 5, [1], true]", PAYLOAD("l1") "\n" PAYLOAD("l2") "\n",
    "[{\"id\": \"" "\\u0000\\n" "\", \"response_cost\": null, \"end_user\": \"x\\u007f\"}]",
    "{\"metadata\": {\"mcp_tool_call_metadata\": {\"namespaced_tool_name\": \"srv/tool\"}}, \"trace_id\": \"t\"}"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    size_t length;

    if (index >= COUNT_OF(samples))
        return 0;
    length = strlen(samples[index]);
    fuzz_claim(length <= room);
    memcpy(to, samples[index], length);
    return length;
}

static const char *const words[] = {"{", "}", "[", "]", ",", ":", "\"", "\n", "\\u0000", "\\ud800", "\\udc00",
                                    "\\", "NaN", "-Infinity", "null", "true", "1e308", "-1", "\"response_cost\": ",
                                    "\"startTime\": ", "\"request_tags\": [", "\"metadata\": {", "metadata.", "\xff",
                                    "\xf0\x9f\x98\x80", NULL};

const struct fuzz_target fuzz_target = {"payload", seed, run, words};

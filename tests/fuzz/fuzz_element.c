/*
 * fuzz_element.c - elements of LiteLLM's lists: what is no element gives no part; the same element gives the
 * same parts; what is kept of a bad part is an element of its list that holds that one part and nothing else.
 * The first byte of the input says which list.
 */
#include "common/base/utf8.h"
#include "common/litellm/element.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    size_t parts, bad;
    bool records; /* look at what is kept of the bad ones */
};

static bool take(void *arg, const struct element_part *part);

static void check_record(const struct element_part *part)
{
    size_t length = element_record(part, NULL, 0);
    struct seen again = {.records = false};
    char *text = malloc(length);
    struct err err;

    fuzz_claim(text && element_record(part, text, length) == length);
    fuzz_claim(element_read(part->list, text, length, take, &again, &err) == 0);
    fuzz_claim(again.parts == 1 && again.bad == 1);
    free(text);
}

static bool take(void *arg, const struct element_part *part)
{
    struct seen *seen = arg;

    seen->parts++;
    if (part->bad != NULL) {
        seen->bad++;
        if (seen->records) check_record(part);
        return true;
    }
    fuzz_claim(part->id.length == 0 || utf8_clean(part->id.data, part->id.length));
    fuzz_claim(part->id.length + part->second.length <= ELEMENT_KEY_MAX);
    for (int i = 0; i < ELEMENT_TEXTS; i++)
        fuzz_claim(part->text[i].length == 0 || utf8_clean(part->text[i].data, part->text[i].length));
    for (int i = 0; i < ELEMENT_MONIES; i++)
        fuzz_claim(part->money[i].length > 0);
    return true;
}

static void run(const unsigned char *input, size_t bytes)
{
    struct seen seen = {.records = true}, again = {.records = false};
    struct err err = {{0}};
    enum litellm_list list;

    if (bytes == 0) return;
    list = (enum litellm_list)(input[0] % LITELLM_LISTS);
    char *text = malloc(bytes); /* its very end is the element's */
    fuzz_claim(text);
    memcpy(text, input + 1, bytes - 1);
    if (element_read(list, text, bytes - 1, take, &seen, &err) != 0) {
        fuzz_claim(seen.parts == 0 && err.text[0] != '\0');
    } else {
        fuzz_claim(element_read(list, text, bytes - 1, take, &again, &err) == 0);
        fuzz_claim(seen.parts == again.parts && seen.bad == again.bad);
    }
    free(text);
}

static const char *const samples[] = {
    "\0{\"user_list_transactions\": {\"u\\u00e9\\ud83d\\ude00\": 1.5e-06, \"v\": NaN}, "
    "\"end_user_list_transactions\": {}, "
    "\"team_member_list_transactions\": {\"team_id::t::user_id::u\": 0.25}, \"tag_list_transactions\": null, "
    "\"newer\": {\"a\": [1, {\"b\": -Infinity}]}, \"key_list_transactions\": \"MaxDepthExceeded\"}",
    "\1{\"u_2026-11-01_k_m_None_\": {\"user_id\": \"u\", \"date\": \"2026-11-01\", \"api_key\": \"k\", "
    "\"model\": \"m\", "
    "\"custom_llm_provider\": null, \"spend\": 0.5, \"prompt_tokens\": 12, \"api_requests\": 1, "
    "\"more\": [[]]}, \"x\": 3}",
    "\4{\"t\": {\"tag\": \"User-Agent: \\ud800\", \"date\": \"2026-11-01\", \"api_key\": \"\", \"request_id\": \"r\", "
    "\"spend\": Infinity}}",
    "\7[{\"entity_type\": \"key\", \"entity_id\": \"e\", \"window_duration\": \"30d\", \"window_start\": "
    "\"2026-08-01T00:00:00.000000\", \"spend\": 0.5, \"request_ids\": [\"a\"]}, 7]"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    size_t length;

    if (index >= sizeof samples / sizeof samples[0] || room < 1024) return 0;
    length = 1 + strlen(samples[index] + 1);
    memcpy(to, samples[index], length);
    return length;
}

static const char *const words[] = {"{", "}", "[", "]", ",", ":", "\"", "\\u0000", "\\ud83d", "\\ude00",
                                    "\\", "NaN", "-Infinity",
                                    "null", "1e308", "-0.0", "9999999999", "team_id::", "::user_id::", "\"spend\": ",
                                    "\"date\": ", "2026-11-01", "user_list_transactions", "\xff",
                                    "\xf0\x9f\x98\x80", NULL};

const struct fuzz_target fuzz_target = {"element", seed, run, words};

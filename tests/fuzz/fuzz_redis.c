/*
 * fuzz_redis.c - what a Redis, a Sentinel or somebody in their place answers: replies of any shape, and
 * what is read from them about other servers.  An address that is accepted must be one that we would
 * write in the configuration, and must be read from there as the same.
 * libs: hiredis
 */
#include "common/redis/redis_topology.h"
#include "common/redis/redis_wire.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static const struct node asked = {"asked", "7000"};

static void claim_address(const struct node *node)
{
    char text[NODE_TEXT];
    struct nodes nodes;
    struct err err;

    node_text(node, text, sizeof text);
    fuzz_claim(nodes_parse(text, "1", &nodes, &err) == 0);
    fuzz_claim(nodes.count == 1 && node_same(&nodes.node[0], node));
}

static void look(const struct redis_reply *reply)
{
    struct nodes nodes = {.count = 0};
    struct node node;
    struct err err = {{0}};

    if (redirect_read(reply, &asked, 6347, &node) != REDIRECT_NOT)
        claim_address(&node);
    slots_read(reply, &asked, 6347, &nodes);
    fuzz_claim(nodes.count <= NODES_MAX);
    for (size_t i = 0; i < nodes.count; i++)
        claim_address(&nodes.node[i]);
    if (master_read(reply, &node, &err) == 0)
        claim_address(&node);
    else
        fuzz_claim(err.text[0] != '\0');
    fuzz_claim(role_read(reply) <= ROLE_OTHER);
}

static void as_text(const unsigned char *input, size_t bytes)
{
    char *text = malloc(bytes + 1);
    struct nodes nodes;
    struct err err = {{0}};

    fuzz_claim(text);
    if (bytes > 0)
        memcpy(text, input, bytes);
    text[bytes] = '\0';
    if (nodes_parse(text, "6379", &nodes, &err) != 0)
        fuzz_claim(err.text[0] != '\0');
    else
        for (size_t i = 0; i < nodes.count; i++)
            claim_address(&nodes.node[i]);
    fuzz_claim(redis_slot(text, bytes) < SLOTS);
    free(text);
}

static void run(const unsigned char *input, size_t bytes)
{
    struct wire_reader *reader = wire_reader_new(64 * 1024);
    struct redis_reply *reply;
    struct err err = {{0}};

    as_text(input, bytes);
    fuzz_claim(reader);
    if (wire_feed(reader, input, bytes, &err) == 0) {
        while (wire_reply(reader, &reply, &err) == 1) {
            look(reply);
            wire_reply_free(&reply);
        }
    }
    wire_reader_free(&reader);
}

static const char *const samples[] = {
    "-MOVED 6347 10.0.0.2:7102\r\n", "-ASK 6347 fd00::2:7102\r\n", "-MOVED 6347 :1\r\n",
    "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    "*1\r\n*4\r\n:0\r\n:16383\r\n*3\r\n$1\r\nm\r\n:1\r\n$2\r\nid\r\n*3\r\n$-1\r\n:2\r\n$2\r\nid\r\n",
    "10.0.0.1:26379, sentinel.example, [fe80::1%eth0]:26380"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= sizeof samples / sizeof samples[0] || room < 256)
        return 0;
    memcpy(to, samples[index], strlen(samples[index]));
    return strlen(samples[index]);
}

static const char *const words[] = {"-MOVED ", "-ASK ", "6347", "*2\r\n", "*-1\r\n", "$-1\r\n", "$0\r\n\r\n", ":0\r\n",
                                    ":16383\r\n", ":65536\r\n", "[", "]", ":", "?", ",", "%", "::", "\r\n",
                                    "*1000000000\r\n", "$1000000000\r\n", "*3\r\n", NULL};

const struct fuzz_target fuzz_target = {"redis", seed, run, words};

/*
 * test_redis_topology.c - what Redis says about other servers, and where that leads: slots, redirects,
 * CLUSTER SLOTS, Sentinels' answers, hostile ones among them; whom a cluster's client tries next.
 * links: common/redis/redis_topology.c common/redis/redis_cluster.c common/redis/redis_wire.c common/base/nodes.c common/base/err.c
 * libs: hiredis
 */
#include "common/redis/redis_topology.h"

#include "common/redis/redis_cluster.h"
#include "common/redis/redis_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct node asked = {"asked", "7000"};

/* A reply as it comes over the wire. */
static struct redis_reply *reply_of(const char *text)
{
    struct wire_reader *reader = wire_reader_new(1024 * 1024);
    struct redis_reply *reply = NULL;
    struct err err;

    assert_int_equal(wire_feed(reader, text, strlen(text), &err), 0);
    if (wire_reply(reader, &reply, &err) != 1)
        fail_msg("no reply: %s", text);
    wire_reader_free(&reader);
    return reply;
}

/* "host:port host:port" */
static void show(const struct nodes *nodes, char *text, size_t size)
{
    char one[NODE_TEXT];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < nodes->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? " " : "",
                                 node_text(&nodes->node[i], one, sizeof one));
}

static void lists_of_nodes(void **state)
{
    static const struct {
        const char *text, *wanted; /* NULL: refused */
    } row[] = {
        {"", ""},
        {" , ,", ""},
        {"h", "h:9"},
        {"h:1", "h:1"},
        {" a:1,b:2 ,\tc ", "a:1 b:2 c:9"},
        {"a:1, a:1, a", "a:1 a:9"},
        {"[::1]:7, [fe80::1%eth0]", "[::1]:7 [fe80::1%eth0]:9"},
        {"::1:7", NULL},
        {"[::1", NULL},
        {"[::1]7", NULL},
        {"[]:7", NULL},
        {":7", NULL},
        {"a:", NULL},
        {"a:0", NULL},
        {"a:65536", NULL},
        {"a:-1", NULL},
        {"a:7x", NULL},
        {"redis://a:7", NULL},
        {"user@a:7", NULL},
        {"a:7/0", NULL},
        {"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "1:9 2:9 3:9 4:9 5:9 6:9 7:9 8:9 9:9 10:9 11:9 12:9"
                                                  " 13:9 14:9 15:9 16:9"},
        {"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", NULL},
    };
    struct nodes nodes;
    struct err err;
    char text[512], longest[600];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        int result = nodes_parse(row[i].text, "9", &nodes, &err);

        if ((result == 0) != (row[i].wanted != NULL))
            fail_msg("\"%s\": %s", row[i].text, result == 0 ? "accepted" : err.text);
        if (result != 0)
            continue;
        show(&nodes, text, sizeof text);
        assert_string_equal(text, row[i].wanted);
    }
    memset(longest, 'a', sizeof longest);
    longest[NODE_HOST - 1] = '\0';
    assert_int_equal(nodes_parse(longest, "9", &nodes, &err), 0);
    longest[NODE_HOST - 1] = 'a';
    longest[NODE_HOST] = '\0';
    assert_int_equal(nodes_parse(longest, "9", &nodes, &err), -1);
}

/* The figures are Redis' own (CLUSTER KEYSLOT). */
static void slots_of_keys(void **state)
{
    static const struct {
        const char *key;
        unsigned slot;
    } row[] = {
        {"", 0},
        {"foo", 12182},
        {"123456789", 12739},
        {"{spendd}:queue:0", 6347},
        {"{spendd}:", 6347},
        {"spendd", 6347},
        {"x{spendd}y{other}", 6347},
        {"{}foo", 9500},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"{foo", 13308},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++)
        if (redis_slot(row[i].key, strlen(row[i].key)) != row[i].slot)
            fail_msg("%s: %u, not %u", row[i].key, redis_slot(row[i].key, strlen(row[i].key)),
                     row[i].slot);
}

static void redirects(void **state)
{
    static const struct {
        const char *text;
        enum redirect_kind kind;
        const char *host, *port;
    } row[] = {
        {"-MOVED 6347 10.0.0.2:7102\r\n", REDIRECT_MOVED, "10.0.0.2", "7102"},
        {"-ASK 6347 10.0.0.2:7102\r\n", REDIRECT_ASK, "10.0.0.2", "7102"},
        {"-MOVED 6347 node.example:7102\r\n", REDIRECT_MOVED, "node.example", "7102"},
        {"-MOVED 6347 fd00::2:7102\r\n", REDIRECT_MOVED, "fd00::2", "7102"},
        {"-MOVED 6347 :7102\r\n", REDIRECT_MOVED, "asked", "7102"},
        {"-MOVED 6348 10.0.0.2:7102\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347 ?:7102\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347 10.0.0.2:0\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347 10.0.0.2:99999\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347 10.0.0.2:71 02\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347 10.0.0.2\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347 a b:7102\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 6347\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED \r\n", REDIRECT_NOT, "", ""},
        {"-MOVED -6347 a:1\r\n", REDIRECT_NOT, "", ""},
        {"-MOVED 99999999999999999999 a:1\r\n", REDIRECT_NOT, "", ""},
        {"-MOVEDX 6347 a:1\r\n", REDIRECT_NOT, "", ""},
        {"-TRYAGAIN Multiple keys request\r\n", REDIRECT_NOT, "", ""},
        {"+MOVED 6347 10.0.0.2:7102\r\n", REDIRECT_NOT, "", ""},
        {"$25\r\nMOVED 6347 10.0.0.2:7102 \r\n", REDIRECT_NOT, "", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct redis_reply *reply = reply_of(row[i].text);
        struct node to;

        if (redirect_read(reply, &asked, 6347, &to) != row[i].kind)
            fail_msg("%s", row[i].text);
        if (row[i].kind != REDIRECT_NOT) {
            assert_string_equal(to.host, row[i].host);
            assert_string_equal(to.port, row[i].port);
        }
        wire_reply_free(&reply);
    }
    assert_int_equal(redirect_read(NULL, &asked, 6347, NULL), REDIRECT_NOT);
}

#define RANGE(first, last, host, port) "*3\r\n:" first "\r\n:" last "\r\n*2\r\n$1\r\n" host "\r\n:" port "\r\n"

static void slots_replies(void **state)
{
    static const struct {
        const char *text, *wanted;
    } row[] = {
        {"*0\r\n", ""},
        {"-ERR This instance has cluster support disabled\r\n", ""},
        {"*3\r\n" RANGE("0", "99", "a", "1") RANGE("100", "199", "b", "2") RANGE("200", "16383", "c", "3"),
         "b:2 a:1 c:3"},
        {"*1\r\n*4\r\n:0\r\n:16383\r\n*3\r\n$1\r\nm\r\n:1\r\n$2\r\nid\r\n*3\r\n$1\r\nr\r\n:2\r\n$2\r\nid\r\n",
         "m:1 r:2"},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:1\r\n", "asked:1"},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:1\r\n", "asked:1"},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\n?\r\n:1\r\n", ""},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\na\r\n:0\r\n", ""},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\na\r\n:65536\r\n", ""},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*1\r\n$1\r\na\r\n", ""},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n$1\r\na\r\n", ""},
        {"*1\r\n*2\r\n:0\r\n:16383\r\n", ""},
        {"*1\r\n*0\r\n", ""},
        {"*2\r\n:5\r\n" RANGE("0", "16383", "a", "1"), "a:1"},
        {"*1\r\n*3\r\n$1\r\nx\r\n$1\r\ny\r\n*2\r\n$1\r\na\r\n:1\r\n", "a:1"}, /* whose slots: nobody knows */
        {"+OK\r\n", ""},
    };
    struct redis_reply *reply;
    struct nodes nodes;
    char text[512], many[8192];
    size_t used;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        nodes.count = 0;
        reply = reply_of(row[i].text);
        slots_read(reply, &asked, 150, &nodes);
        show(&nodes, text, sizeof text);
        if (strcmp(text, row[i].wanted) != 0)
            fail_msg("%s: %s", row[i].text, text);
        wire_reply_free(&reply);
    }
    used = (size_t)sprintf(many, "*100\r\n");
    for (int i = 0; i < 100; i++)
        used += (size_t)sprintf(many + used, "*3\r\n:%d\r\n:%d\r\n*2\r\n$1\r\nh\r\n:%d\r\n", i * 100,
                                i * 100 + 99, 1000 + i);
    nodes.count = 0;
    reply = reply_of(many);
    slots_read(reply, &asked, 9950, &nodes); /* the last of them all: first, and none is too much */
    assert_int_equal(nodes.count, NODES_MAX);
    assert_string_equal(nodes.node[0].port, "1099");
    wire_reply_free(&reply);
}

static void masters(void **state)
{
    static const struct {
        const char *text, *said; /* said: NULL: an address */
    } row[] = {
        {"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n", NULL},
        {"*-1\r\n", "knows no master of that name"},
        {"$-1\r\n", "knows no master of that name"},
        {"*0\r\n", "knows no master of that name"},
        {"-NOAUTH Authentication required.\r\n", "says: NOAUTH Authentication required."},
        {"-IDONTKNOW I have not enough\r\n", "says: IDONTKNOW I have not enough"},
        {"*1\r\n$8\r\n10.0.0.1\r\n", "gave an answer that is no address"},
        {"*3\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n2\r\n", "gave an answer that is no address"},
        {"*2\r\n$1\r\na\r\n:6379\r\n", "gave an answer that is no address"},
        {"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", "gave an answer that is no address"},
        {"*2\r\n$3\r\na b\r\n$4\r\n6379\r\n", "gave an answer that is no address"},
        {"*2\r\n$1\r\na\r\n$5\r\n99999\r\n", "gave an answer that is no address"},
        {"*2\r\n$1\r\na\r\n$6\r\n6379\r\n\r\n", "gave an answer that is no address"},
        {"*2\r\n*1\r\n:1\r\n$4\r\n6379\r\n", "gave an answer that is no address"},
        {"+PONG\r\n", "gave an answer that is no address"},
        {":1\r\n", "gave an answer that is no address"},
    };
    struct node master;
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct redis_reply *reply = reply_of(row[i].text);
        int result = master_read(reply, &master, &err);

        if ((result == 0) != (row[i].said == NULL) || (result != 0 && strcmp(err.text, row[i].said) != 0))
            fail_msg("%s: %s", row[i].text, result == 0 ? "accepted" : err.text);
        wire_reply_free(&reply);
    }
}

static void roles(void **state)
{
    static const struct {
        const char *text;
        enum redis_role role;
    } row[] = {
        {"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", ROLE_MASTER},
        {"*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$9\r\nconnected\r\n:0\r\n", ROLE_OTHER},
        {"*2\r\n$8\r\nsentinel\r\n*0\r\n", ROLE_OTHER},
        {"*1\r\n:5\r\n", ROLE_OTHER},
        {"*0\r\n", ROLE_UNKNOWN},
        {"-NOPERM this user has no permissions\r\n", ROLE_UNKNOWN},
        {"+master\r\n", ROLE_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct redis_reply *reply = reply_of(row[i].text);

        if (role_read(reply) != row[i].role)
            fail_msg("%s", row[i].text);
        wire_reply_free(&reply);
    }
    assert_int_equal(role_read(NULL), ROLE_UNKNOWN);
}

/* --- whom to try next ------------------------------------------------------------------------- */

static struct cluster cluster_of(const char *start, const char *learnt, const char *owner)
{
    struct cluster cluster = {.tried = 0};
    struct nodes one;
    struct err err;

    assert_int_equal(nodes_parse(start, "9", &cluster.start, &err), 0);
    assert_int_equal(nodes_parse(learnt, "9", &cluster.learnt, &err), 0);
    assert_int_equal(nodes_parse(owner, "9", &one, &err), 0);
    if (one.count > 0)
        cluster.owner = one.node[0];
    return cluster;
}

/* A history: f failed, k found, and a capital letter: moved to the node of that name (as x, y...).
 * Shown: the target before each step; '.' after a step that says: pause. */
static void play(const char *start, const char *learnt, const char *owner, const char *history,
                 const char *wanted)
{
    struct cluster cluster = cluster_of(start, learnt, owner);
    char seen[256];
    size_t used = 0;

    for (const char *step = history; *step != '\0'; step++) {
        struct node at = *cluster_target(&cluster), to = {{0}, "9"};
        bool at_once = true;

        seen[used++] = at.host[0];
        if (*step == 'f') {
            at_once = cluster_failed(&cluster);
        } else if (*step == 'k') {
            cluster_found(&cluster, &at);
        } else {
            to.host[0] = (char)(*step - 'A' + 'a');
            at_once = cluster_moved(&cluster, &to);
        }
        if (!at_once)
            seen[used++] = '.';
    }
    seen[used] = '\0';
    if (strcmp(seen, wanted) != 0)
        fail_msg("%s | %s | %s: %s gives %s, not %s", start, learnt, owner, history, seen, wanted);
}

static void targets(void **state)
{
    (void)state;
    play("a", "", "", "fff", "a.a.a.");
    play("a,b,c", "", "", "ffff", "abc.a");
    play("a,b,c", "", "", "Bk", "ab");          /* a says b: b it is */
    play("a,b,c", "", "", "fCk", "abc");        /* a is dead, b says c */
    play("a,b,c", "", "b", "fff", "bac.");      /* the owner first, and once */
    play("a,b", "c,d,b", "b", "fffff", "bcda.b");
    play("a,b", "c", "", "BfBff", "cbab.b");   /* the owner is dead: the others say so again, then a pause */
    play("a,b", "", "b", "Xk", "bx");           /* a slot that moved */
    play("a,b", "", "b", "XfAk", "bxaa");       /* ... to a node that cannot be reached; a has it by now */
    play("a,b", "", "", "BABABAB", "ababab.a"); /* two that send us to each other: not for ever */
    play("a", "", "", "XYXYXYX", "axyxyx.y");
    play("a", "", "a", "AAAAAA", "aaaaaa.");    /* one that sends us to itself */
    play("a,b", "", "b", "kXkYkZk", "bbxxyyz");   /* found in between: the count begins again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_nodes), cmocka_unit_test(slots_of_keys), cmocka_unit_test(redirects),
        cmocka_unit_test(slots_replies),  cmocka_unit_test(masters),       cmocka_unit_test(roles),
        cmocka_unit_test(targets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

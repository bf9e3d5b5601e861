"""Each script of common/redis/scripts.def against a real Redis: what is taken, what is refused, and every way in
which state gets lost."""
import ast
import hashlib
import os
import re
import subprocess

import pytest
import redis

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
EPOCH = "01234567-89ab-7def-8123-456789abcdef"
Q, M, A, ASIDE, LOCK = ("{s}:" + name for name in ("queue:0", "meta:0", "applied:0", "aside:0", "lock:0"))
CHECK, ROUND, PODS = ("{s}:" + name for name in ("health:lock", "health:round", "health_check_results"))
MOST = 1 << 20


def read_scripts():
    """The table as the compiler sees it: name -> (keys, runs while full, text)."""
    source = '#define SCRIPT(name, keys, oom, lua) @@ name keys oom lua\n#include "common/redis/scripts.def"\n'
    text = subprocess.run(["cc", "-E", "-P", "-I", ROOT, "-x", "c", "-"], input=source, text=True, check=True,
                          stdout=subprocess.PIPE).stdout
    table = {}
    for row in text.split("@@")[1:]:
        name, keys, oom = row.split(None, 3)[:3]
        lua = "".join(ast.literal_eval(piece) for piece in re.findall(r'"(?:[^"\\]|\\.)*"', row))
        table[name] = (int(keys), oom == "ALLOW_OOM", lua)
    return table


SCRIPTS = read_scripts()


def words(reply):
    return [item.decode() if isinstance(item, bytes) else item for item in reply]


class Queue:
    def __init__(self, client):
        self.client = client
        self.fresh = 0

    def run(self, name, *argv):
        keys, oom, lua = SCRIPTS[name]
        head = "#!lua flags=allow-oom\n" if oom else "#!lua\n"
        return words(self.client.eval(head + lua, keys, *argv))

    def new(self):
        self.fresh += 1
        return "g%d" % self.fresh

    def look(self, *epochs):
        return self.run("look", Q, M, A, self.new(), *epochs)

    def push(self, generation, envelope, most=MOST):
        return self.run("push", Q, M, generation, self.new(), most, envelope)

    def publish(self, generation, applied, *named):
        flat = [part for row in applied for part in row]
        return self.run("publish", Q, M, A, generation, len(applied), *flat, *named)


@pytest.fixture
def server(place):
    made = place.redis()
    made.start()
    yield made
    made.close()


@pytest.fixture
def queue(server):
    return Queue(server.client())


def envelope(seq, epoch=EPOCH, body="x"):
    return "spendd1 %s 0 %d 1 00000000\n%s" % (epoch, seq, body)


def filled(queue, count=3):
    generation = queue.look()[1]
    for seq in range(1, count + 1):
        assert queue.push(generation, envelope(seq))[:3] == ["ok", generation, seq]
    return generation


def test_every_script_is_read():
    assert {"push", "look", "renew", "peek", "publish", "rewrite", "aside", "lock"} <= set(SCRIPTS)
    assert [name for name, row in SCRIPTS.items() if not row[1]] == ["push"]


def test_push_counts_and_refuses(queue):
    generation = filled(queue)
    size = len(envelope(1))
    assert queue.look() == ["ok", generation, 3, 0, 3 * size, 3]
    assert queue.push("other", envelope(4)) == ["generation", generation]
    assert queue.push(generation, envelope(4), 4 * size - 1) == ["full", generation, 3 * size]
    assert queue.push(generation, envelope(4), 4 * size)[0] == "ok"


def test_one_batch_goes_into_an_empty_queue_whatever_its_size(queue):
    generation = queue.look()[1]
    assert queue.push(generation, envelope(1, body="y" * 500), 100)[0] == "ok"


@pytest.mark.parametrize("loss", [
    lambda c: c.delete(Q), lambda c: c.flushall(), lambda c: c.delete(M), lambda c: c.hdel(M, "generation"),
    lambda c: c.hdel(M, "pushed"), lambda c: c.hdel(M, "popped"), lambda c: c.hdel(M, "bytes"), lambda c: c.lpop(Q),
    lambda c: c.rpush(Q, "foreign"), lambda c: c.hset(M, "pushed", "x"), lambda c: c.hset(M, "generation", "g" * 64)],
    ids="list all meta generation pushed popped bytes pop foreign garbled long".split())
def test_lost_state_begins_a_generation(queue, loss):
    generation = filled(queue)
    loss(queue.client)
    # Whoever comes first notices, a push too; what is left is dropped, and the spools have it.
    answer = queue.push(generation, envelope(4))
    assert answer[0] == "generation" and answer[1] != generation
    assert queue.look() == ["ok", answer[1], 0, 0, 0, 0]
    assert queue.push(answer[1], envelope(1))[:3] == ["ok", answer[1], 1]


def test_publish_removes_by_identity_from_the_head_only(queue):
    generation = filled(queue, 4)
    first, second, fourth = ("%s %d" % (EPOCH, seq) for seq in (1, 2, 4))
    assert queue.publish(generation, [(EPOCH, 5, "{[1,3),[4,5)}")], first, second, fourth) == ["ok", 2]
    assert queue.look(EPOCH) == ["ok", generation, 4, 2, 2 * len(envelope(1)), 2, "5 {[1,3),[4,5)}"]
    assert queue.publish(generation, [], fourth) == ["ok", 0]  # not its turn: 3 stands before it
    assert queue.publish("other", [(EPOCH, 9, "{[1,99)}")], fourth) == ["generation", generation]
    assert queue.look(EPOCH)[6] == "5 {[1,3),[4,5)}"


def test_publish_takes_copies_and_what_cannot_be_read(queue):
    generation = queue.look()[1]
    for text in (envelope(1), envelope(1), "garbage", envelope(2), envelope(2)):
        queue.push(generation, text)
    first, garbage, second = EPOCH + " 1", hashlib.sha1(b"garbage").hexdigest(), EPOCH + " 2"
    assert queue.publish(generation, [], first, first, garbage) == ["ok", 3]
    assert queue.client.lrange(Q, 0, -1) == [envelope(2).encode()] * 2
    assert queue.publish(generation, [], second) == ["ok", 1]  # no more than names: the copy is the next flush's
    assert queue.client.lrange(Q, 0, -1) == [envelope(2).encode()]
    assert queue.look()[5] == 1


def test_an_older_version_never_replaces_a_newer_one(queue):
    generation = filled(queue)
    queue.publish(generation, [(EPOCH, 10, "{[1,4)}")])
    queue.publish(generation, [(EPOCH, 9, "{[1,2)}")])
    assert queue.look(EPOCH)[6] == "10 {[1,4)}"


def test_rewrite_goes_back_under_a_new_generation(queue):
    generation = filled(queue)
    queue.publish(generation, [(EPOCH, 10, "{[1,4)}")])
    assert queue.run("rewrite", Q, M, A, "other", "r", 1, EPOCH, 3, "{[1,2)}") == ["generation", generation]
    assert queue.run("rewrite", Q, M, A, generation, "r", 1, EPOCH, 3, "{[1,2)}") == ["ok", "r"]
    assert queue.look(EPOCH)[1] == "r" and queue.look(EPOCH)[6] == "3 {[1,2)}"


def test_renew_once(queue):
    generation = filled(queue)
    assert queue.run("renew", Q, M, generation, "n1") == ["ok", "n1"]
    assert queue.run("renew", Q, M, generation, "n2") == ["ok", "n1"]  # somebody has
    assert queue.push(generation, envelope(9)) == ["generation", "n1"]


def test_peek_is_bounded_and_takes_nothing(queue):
    generation = filled(queue, 5)
    size = len(envelope(1))
    assert queue.run("peek", Q, M, "f", 2, MOST)[5:] == [envelope(1), envelope(2)]
    assert queue.run("peek", Q, M, "f", 9, 3 * size)[5:] == [envelope(seq) for seq in (1, 2, 3)]
    assert queue.run("peek", Q, M, "f", 9, 1)[5:] == [envelope(1)]  # one, however large
    assert queue.look()[1:4] == [generation, 5, 0]


def test_aside_moves_the_head_it_was_told(queue):
    generation = filled(queue, 2)
    sha = hashlib.sha1(envelope(1).encode()).hexdigest()
    assert queue.run("aside", Q, M, ASIDE, "other", sha) == ["generation", generation]
    assert queue.run("aside", Q, M, ASIDE, generation, "0" * 40) == ["gone"]
    assert queue.run("aside", Q, M, ASIDE, generation, sha) == ["ok"]
    assert queue.client.lrange(ASIDE, 0, -1) == [envelope(1).encode()]
    assert queue.look()[:4] == ["ok", generation, 2, 1]


def test_lock_belongs_to_its_value(queue):
    assert queue.run("lock", LOCK, "me", 10000) == ["ok"]
    assert queue.run("lock", LOCK, "me", 10000) == ["ok"]
    assert queue.run("lock", LOCK, "you", 10000) == ["held", "me"]
    assert queue.run("renewlock", LOCK, "you", 10000) == ["lost"]
    assert queue.run("renewlock", LOCK, "me", 20000) == ["ok"]
    assert queue.client.pttl(LOCK) > 10000
    assert queue.run("unlock", LOCK, "you") == ["lost"]
    assert queue.run("unlock", LOCK, "me") == ["ok"]


def turn(queue, who, interval_ms=60000, known="", again=0):
    word, owner, _, age, at, by, document = queue.run("checkturn", CHECK, ROUND, who, 10000, interval_ms, known, again)
    return word, owner, int(age), at, by, document


def test_a_turn_to_check_is_one_instances(queue):
    assert turn(queue, "a")[:3] == ("mine", "a", -1)
    assert turn(queue, "b")[:2] == ("held", "a") and turn(queue, "a")[0] == "held"
    word, at = queue.run("checkdone", CHECK, ROUND, PODS, "a", "first", 60000, "a", "", "for pods")
    assert word == "ok" and queue.client.get(PODS) == b"for pods" and not queue.client.exists(CHECK)
    word, owner, age, *kept = turn(queue, "b")
    assert (word, owner, kept) == ("fresh", "", [at, "a", "first"]) and 0 <= age < 60000
    assert turn(queue, "b", known=at)[5] == "", "the document comes once"
    # One that is not enough: the turn goes to the first that says so, and the next round is another.
    assert turn(queue, "b", known="", again=1)[0] == "fresh", "it was not known yet"
    assert turn(queue, "b", known=at, again=1)[:2] == ("mine", "b")
    assert turn(queue, "c", known=at, again=1)[:2] == ("held", "b")
    # Without the lock only who knows the last round may keep one; the pods' key is left alone.
    assert queue.run("checkdone", CHECK, ROUND, PODS, "c", "late", 60000, "c", "0", "") == ["newer"]
    queue.client.hset(ROUND, "at", int(at) - 1)  # a round of another moment
    assert queue.run("checkdone", CHECK, ROUND, PODS, "b", "second", 60000, "b", at, "")[0] == "ok"
    assert queue.client.hget(ROUND, "document") == b"second" and queue.client.get(PODS) == b"for pods"
    assert turn(queue, "c", known=at, again=1)[0] == "fresh"
    # Old enough; or of a clock that was ahead.
    assert turn(queue, "c", interval_ms=0)[:2] == ("mine", "c")
    queue.client.delete(CHECK)
    queue.client.hset(ROUND, "at", "9" * 15)
    assert turn(queue, "d")[:3] == ("mine", "d", -1)
    assert 0 < queue.client.pttl(ROUND) <= 60000 and 0 < queue.client.pttl(CHECK) <= 10000


def test_target_stands_once_written(queue):
    assert queue.run("target", M, "ledger-a") == ["ok", "ledger-a"]
    assert queue.run("target", M, "ledger-b") == ["ok", "ledger-a"]
    # A lost generation does not forget whose queue it is.
    assert queue.run("peek", Q, M, "f", 1, MOST)[2] == "ledger-a"


def test_a_full_redis_is_drained_and_takes_no_push(queue):
    generation = filled(queue)
    queue.client.config_set("maxmemory-policy", "noeviction")
    queue.client.config_set("maxmemory", "1")
    with pytest.raises(redis.ResponseError, match="used memory > 'maxmemory'"):
        queue.push(generation, envelope(4))
    assert queue.run("lock", LOCK, "me", 10000) == ["ok"]
    assert queue.run("renewlock", LOCK, "me", 10000) == ["ok"]
    assert queue.publish(generation, [(EPOCH, 1, "{[1,4)}")], *(EPOCH + " %d" % n for n in (1, 2, 3))) == ["ok", 3]
    assert queue.look(EPOCH)[5:] == [0, "1 {[1,4)}"]
    queue.client.config_set("maxmemory", "0")
    assert queue.push(generation, envelope(4))[0] == "ok"

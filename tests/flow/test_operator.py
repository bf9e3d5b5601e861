"""What an operator may say to a running spendd: look, hold back, go on, flush, wait; good words and bad ones."""
import json
import random
import threading

import pytest
import zmq

from lib import conservation, processes
from lib.events import Generator
from lib.producer import Producer, event_id_of
from lib.waiting import patient, wait_until


@pytest.fixture
def instance(stack):
    return stack.spendd().start(ready=("aggregator", "redis_writer", "db_flusher", "control"))


def final(instance, *words, timeout_s=20):
    """Status and JSON of the last answer, and how many items came before it."""
    context = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.connect(instance.admin)
        socket.send_multipart([b"spendctl/1", *(word.encode() for word in words)])
        items, code = 0, 102
        while code == 102:
            assert socket.poll(patient(timeout_s) * 1000), words
            frames = socket.recv_multipart()
            code, items = int(frames[0]), items + 1
        return code, json.loads(frames[1]), items - 1
    finally:
        context.destroy(linger=0)


def ok(instance, *words):
    code, answer, _ = final(instance, *words)
    assert code == 200, (words, code, answer)
    return answer


def counted(stack):
    if not stack.postgres.query("select to_regclass('spendd.spend_log') is not null")[0][0]:
        return 0
    return stack.postgres.query("select count(*) from spendd.spend_log")[0][0]


def send(instance, count=20, seed=1, name="e"):
    events = list(Generator(seed, name).events(count))
    outcome = Producer(instance.ingest, [events]).start().wait(logs=[instance])
    assert len(outcome.acked) == count
    return events


def paused(instance):
    return {(row["what"], row["scope"]): row for row in ok(instance, "lock")["paused"]}


def one_event(instance, event):
    """The answer to one message, whatever it is."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(instance.ingest)
    socket.send_multipart([b"E1", b"x", json.dumps(event).encode()])
    assert socket.poll(patient(5) * 1000)
    kind, _, answer = socket.recv_multipart()
    context.destroy(linger=0)
    return kind, json.loads(answer)


def test_views(instance, stack):
    send(instance)
    wait_until(lambda: counted(stack) == 20, 20, "20 counted", [instance])
    assert {row["name"] for row in ok(instance, "workers")["workers"]} >= {"aggregator", "control", "db_flusher"}
    queues = ok(instance, "queues")
    assert queues["queue"]["known"] and queues["lanes"][0]["lane"] == 0
    wait_until(lambda: ok(instance, "queues")["lanes"][0]["bytes"] > 0, 10, "the figures of a second", [instance])
    lock = ok(instance, "lock")
    assert lock["paused"] == [] and lock["lock"]["known"]
    health = ok(instance, "health")
    assert health["ready"] and health["database"] and health["redis"] and not health["why"]
    health = wait_until(lambda: (seen := ok(instance, "health"))["checks"]["known"] and seen, 10, "the health checker", [instance])
    assert health["models"] == [] and {"redis_clients_percent", "database_replica"} <= {row["watch"] for row in health["stores"]}
    for word in ("workers", "queues", "lock", "health", "fleet", "status"):
        text = instance.ctl(word)
        assert text.returncode == 0 and text.stdout and "\x1b" not in text.stdout
    stack.postgres.stop()
    wait_until(lambda: not ok(instance, "health")["database"], 20, "the gate closed", [instance])
    assert ok(instance, "health")["ready"]  # it takes events all the same


def test_pause_ingest_refuses_for_now(instance):
    ok(instance, "pause", "ingest", "--by", "ann \x1b[2J")
    event = next(iter(Generator(3).events(1)))
    kind, answer = wait_until(lambda: (seen := one_event(instance, event))[0] == b"N1" and seen, 5)
    assert answer["retry_after_ms"] > 0 and "paused" in answer["error"]
    row = paused(instance)["ingest", "instance"]
    assert row["until_ms"] is None and row["who"] == "ann \x1b[2J"
    assert "\x1b" not in instance.ctl("lock").stdout
    for _ in range(3):  # it survives the worker: the next one knows of it before the event that waits at its door
        instance.kill("aggregator")
        assert one_event(instance, event)[0] == b"N1"
    assert ok(instance, "resume", "ingest")["text"] == "resumed"
    wait_until(lambda: one_event(instance, event)[0] == b"A1", 5)
    assert ok(instance, "resume")["text"] == "nothing was paused"


def test_pause_flush_holds_and_ends_by_itself(instance, stack):
    ok(instance, "pause", "flush", "--for", "4s")
    assert 0 < paused(instance)["flush", "instance"]["until_ms"]
    instance.kill("db_flusher")
    instance.wait_ready("db_flusher")
    events = send(instance)
    early = counted(stack)
    if ("flush", "instance") in paused(instance):  # still: it was when we counted
        assert early == 0
    wait_until(lambda: counted(stack) == 20, 20, "the pause to end", [instance])
    assert conservation.examine(stack.postgres, {event_id_of(e): e for e in events}, {event_id_of(e) for e in events}).ok


def test_pause_push_keeps_everything_in_the_spool(instance, stack):
    ok(instance, "pause", "push")
    instance.paused("redis_writer")
    send(instance)
    wait_until(lambda: instance.metric("segments_sealed_total") >= 1, 10)
    assert stack.redis.client().llen("{spendd}:queue:0") == 0 and counted(stack) == 0
    ok(instance, "resume", "push")
    wait_until(lambda: counted(stack) == 20, 20, "20 counted", [instance])
    ok(instance, "pause", "flush")
    instance.stop()
    instance.start(ready=("db_flusher", "control"))
    assert paused(instance) == {}  # not a full restart


def test_pause_of_the_fleet(instance, stack):
    other = stack.spendd().start(ready=("aggregator", "db_flusher", "control"))
    ok(instance, "pause", "flush", "--fleet", "--by", "ann", "--for", "1h")
    ok(other, "pause", "ingest", "--fleet", "--for", "30s")
    rows = paused(other)
    assert rows["flush", "fleet"]["who"] == "ann" and ("ingest", "fleet") in rows and rows.keys() == paused(instance).keys()
    event = next(iter(Generator(3).events(1)))
    wait_until(lambda: one_event(instance, event)[0] == b"N1" and one_event(other, event)[0] == b"N1", 10)
    ok(other, "resume", "ingest", "--fleet")
    wait_until(lambda: one_event(instance, event)[0] == b"A1", 10, "ingest", [instance])
    wait_until(lambda: stack.redis.client().llen("{spendd}:queue:0") > 0, 10, "a batch in the queue", [instance])
    assert counted(stack) == 0
    assert stack.redis.client().pttl("{spendd}:hold:0") > 0
    ok(instance, "resume", "--fleet")
    wait_until(lambda: counted(stack) == 1, 20, "it counted", [instance, other])
    assert paused(instance) == {}


def test_fleet_names_every_instance(instance, stack):
    other = stack.spendd(instance="else\x01where").start(ready=("redis_writer",))
    names = wait_until(lambda: len(ok(instance, "fleet")["instances"]) == 2 and ok(instance, "fleet")["instances"], 20,
                       "two beats", [instance, other])
    assert all(row["silent_s"] < 60 and row["version"] and row["unapplied_segments"] >= 0 for row in names)
    stack.redis.client().hset("{spendd}:instances", "liar", "x\xff \x1b[2J")
    text = instance.ctl("fleet")
    assert text.returncode == 0 and "liar" in text.stdout and "\x1b" not in text.stdout


def test_flush_wait_is_a_fence(stack):
    """Sealing takes a minute by itself, and another instance does the flushing."""
    instance = stack.spendd(seal__ms=60000).start(ready=("aggregator", "redis_writer", "db_flusher", "control"))
    stack.spendd().start(ready=("db_flusher",))
    events = send(instance, 30)
    assert counted(stack) == 0
    ok(instance, "pause", "flush")
    assert ok(instance, "flush", "--wait")["flushed"] is True
    assert counted(stack) == 30
    send(instance, 10, name="f")
    assert ok(instance, "flush")["unapplied_segments"] >= 0
    wait_until(lambda: counted(stack) == 40, 20, "all of them", [instance])
    assert final(instance, "flush", "--wait")[1]["flushed"] is True
    assert ok(instance, "wait", "drained")["waited_for"] == "drained"
    assert events


def test_others_are_served_while_one_waits(instance, stack):
    wait_until(lambda: ok(instance, "wait", "redis"), 10)
    ok(instance, "pause", "flush")
    instance.paused("db_flusher")
    send(instance)
    fence = {}
    waiting = threading.Thread(target=lambda: fence.update(answer=final(instance, "flush", "--wait")), daemon=True)
    waiting.start()
    code, answer, items = final(instance, "wait", "drained", "--timeout", "2500ms")
    assert code == 408 and "not in PostgreSQL" in answer["error"] and items >= 1
    assert ok(instance, "health")["ready"] and waiting.is_alive()
    ok(instance, "resume")
    waiting.join(patient(20))
    assert fence["answer"][0] == 200 and fence["answer"][1]["flushed"]


def test_wait_for_one_that_does_not_run_yet(stack):
    instance = stack.spendd()
    asked = instance.popen("wait", "ready", "--timeout", "200")
    late = instance.popen("--json", "wait", "--timeout", "0.3", "database")
    assert late.wait(patient(10)) == 1  # nobody came
    instance.start(ready=())
    assert asked.wait(patient(60)) == 0, asked.communicate()
    assert instance.ctl("wait", "database").returncode == 0
    stack.postgres.stop()
    wait_until(lambda: not ok(instance, "health")["database"], 20, "the gate closed", [instance])
    done = instance.ctl("wait", "database", "--timeout", "1")
    assert done.returncode == 1 and "refused (408)" in done.stderr


WRONG = [
    (("pause",), 400), (("pause", "all"), 400), (("pause", "flush", "push"), 400), (("pause", "flush", "--for", "0"), 400),
    (("pause", "flush", "--for"), 400), (("pause", "flush", "--forever"), 400), (("pause", "flush", "--fleet", "--for", "2d"), 400),
    (("pause", "--for", "5s"), 400), (("pause", "flush", "--by", "x" * 90), 400), (("resume", "--for", "1s"), 400),
    (("resume", "nothing"), 400), (("resume", "flush", "push"), 400), (("flush", "--now"), 400), (("flush", "all"), 400),
    (("wait",), 400), (("wait", "spring"), 400), (("wait", "ready", "--timeout"), 400), (("wait", "ready", "--timeout", "x"), 400),
    (("wait", "ready", "database"), 400), (("status", "x"), 400), (("workers", "x"), 400), (("queues", "x"), 400),
    (("lock", "x"), 400), (("health", "x"), 400), (("fleet", "x"), 400), (("config", "x"), 400), (("stats", "x"), 400),
    (("top",), 404), (("support-bundle",), 404), (("nonsense",), 404), (("",), 404),
]


def test_wrong_words(instance):
    before = ok(instance, "workers")["workers"]
    for words, code in WRONG:
        got, answer, _ = final(instance, *words)
        assert got == code and answer["error"], (words, got, answer)
    for words in (("pause", "everything"), ("pause", "flush", "--for", "soon"), ("wait", "spring"), ("flush", "--now")):
        done = instance.ctl(*words)
        assert done.returncode == 2 and "refused (400)" in done.stderr, (words, done)
    assert [row["pid"] for row in ok(instance, "workers")["workers"]] == [row["pid"] for row in before] and paused(instance) == {}


def random_frames(rng):
    def frame():
        kind = rng.randrange(6)
        if kind == 0:
            return b"spendctl/1"
        if kind == 1:
            return b""
        if kind == 2:
            return rng.choice([b"status", b"stats", b"version", b"--json", b"--for", b"spendctl/2", b"lock", b"dead", b"ls", b"7"])
        return rng.randbytes(rng.choice([1, 2, 8, 40, 255, 256, 300, 2000]))

    return [frame() for _ in range(rng.randint(1, 28))]


def test_ten_thousand_random_frames_change_nothing(instance, stack):
    """Malformed ones are counted; control lives, and so does everybody else."""
    send(instance, 20)
    ok(instance, "flush", "--wait")
    pids = {row["name"]: row["pid"] for row in ok(instance, "workers")["workers"]}
    rng, context = random.Random(20261121), zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.SNDHWM, 100000)
    socket.set(zmq.RCVHWM, 100000)
    socket.connect(instance.admin)
    answered = 0

    def heard(wait_ms):
        nonlocal answered
        while socket.poll(wait_ms):
            answered += socket.recv_multipart()[-2] in (b"400", b"404", b"200", b"409")
        return answered

    for number in range(10000):
        socket.send_multipart(random_frames(rng))
        heard(0 if number % 100 else 20)
    wait_until(lambda: instance.metric("admin_requests_total") >= 10000, 30, "all of them read", [instance])
    wait_until(lambda: heard(20) > 1000, 30, "their answers", [instance])
    context.destroy(linger=0)
    assert instance.metric("admin_malformed_total") > 3000
    assert {row["name"]: row["pid"] for row in ok(instance, "workers")["workers"]} == pids and paused(instance) == {}
    assert counted(stack) == 20 and processes.alive(pids["control"])

"""Dead letters by order of the operator: listed, shown, exported, dropped, and counted after all, once, whatever
dies meanwhile; and the audit, which must find what was changed behind spendd's back.
"""
import json
import random
import signal
import time

import pytest

from lib import conservation, processes, wire
from lib.events import Generator
from lib.producer import Producer, event_id_of
from lib.waiting import patient, wait_until

CHECK = "alter table spendd.spend_log add constraint no_bad check (call_type is distinct from 'bad') not valid"
MEND = "alter table spendd.spend_log drop constraint no_bad"


def make(count, bad, seed=5):
    events = list(Generator(seed).events(count))
    for event in events[:bad]:
        event["call_type"] = "bad"
    return events


def send(instance, events, size=50):
    messages = [events[at:at + size] for at in range(0, len(events), size)]
    return Producer(instance.ingest, messages).start().wait(logs=[instance])


def letters(stack):
    return stack.postgres.query("select count(*) from spendd.dead_letter")[0][0]


def bury(stack, events):
    """The events as poisoned ones, as a flush would have left them: their batch applied, not one of them counted."""
    epoch = wire.uuid7()
    rows = [(conservation.day_of(event), event_id_of(event), wire.event_record(event)[9:], epoch, n) for n, event in enumerate(events)]
    connection = stack.postgres.connect()
    cursor = connection.cursor()
    cursor.execute("insert into spendd.ledger (epoch, shard, applied, version) values (%s, 0, '{[1,2)}', 1)", (epoch,))
    for day, event_id, body, origin, n in rows:
        cursor.execute("insert into spendd.dead_letter (day, event_id, digest, class, reason, record, epoch, seq, n) values "
                       "(%s, %s, %s, 'poison', 'by the test', %s, %s, 1, %s)",
                       (day, event_id.encode(), b"%d" % n, body, origin, n))
    connection.close()


def settled(instance, stack, count):
    wait_until(lambda: stack.postgres.query("select (select count(*) from spendd.spend_log) + "
                                            "(select count(*) from spendd.dead_letter)")[0][0] == count,
               30, "every event counted or dead", [instance])


@pytest.fixture
def instance(stack):
    made = stack.spendd(poison__max=500)
    made.start(ready=("aggregator", "db_flusher", "control"))
    conservation.wait_schema(stack.postgres, stack.logs)
    return made


@pytest.fixture
def poisoned(instance, stack):
    """300 events, 6 of them refused by a constraint; one conflict; one that never was an event."""
    import zmq

    stack.postgres.query(CHECK)
    events = make(300, 6)
    outcome = send(instance, events)
    settled(instance, stack, 300)
    other = dict(events[100], spend="77.5", request_id=events[100]["request_id"])
    # Not through the window of the same aggregator: straight into the table, as a second instance's would lie.
    again = stack.spendd(poison__max=500)
    again.start(ready=("aggregator",))
    send(again, [other])
    wait_until(lambda: letters(stack) == 7, 20, "the conflict", [again])
    again.stop()
    context = zmq.Context()
    unacked = context.socket(zmq.PUSH)
    unacked.connect(instance.unacked)
    unacked.send(b'{"request_id": "x\xff"}')
    wait_until(lambda: letters(stack) == 8, 20, "the invalid one", [instance])
    context.destroy(linger=0)
    return events, outcome


def ctl(instance, *words, code=0):
    done = instance.ctl(*words)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}\n{instance.tail()}"
    return done.stdout


def answers(text):
    return [json.loads(line) for line in text.splitlines() if not line.startswith('{"progress"')]


def test_listed_exported_counted_dropped(poisoned, instance, stack):
    events, outcome = poisoned
    listed = json.loads(ctl(instance, "--json", "dead", "ls", "--limit", "5"))
    assert len(listed["dead_letters"]) == 5 and listed["more"]
    assert listed["dead_letters"][0]["class"] == "invalid"  # the newest first
    one = json.loads(ctl(instance, "--json", "dead", "show", str(listed["dead_letters"][0]["id"])))
    assert one["payload_base64"] and "event" not in one
    *rows, last = answers(ctl(instance, "--json", "dead", "export", "--class", "poison"))
    assert last == {"exported": 6}
    by_id = {event_id_of(row["event"]): row["event"] for row in rows}
    for event in events[:6]:
        assert by_id[event_id_of(event)]["team_id"] == event["team_id"] if "team_id" in event else True
        assert conservation.money(by_id[event_id_of(event)]["spend"]) == conservation.money(event["spend"])
    # The constraint is still there: what is refused again stays.
    *left, last = answers(ctl(instance, "--json", "dead", "requeue", "--class", "poison"))
    assert last == {"requeued": 0, "known": 0, "left": 6} and len(left) == 1 and letters(stack) == 8
    stack.postgres.query(MEND)
    *left, last = answers(ctl(instance, "--json", "dead", "requeue", "--all"))
    assert last == {"requeued": 6, "known": 0, "left": 2}
    assert {row["why"][:10] for page in left for row in page["left"]} == {"its id was", "never was "}
    assert letters(stack) == 2
    report = conservation.examine(stack.postgres, outcome.sent, outcome.acked)
    assert report.ok, report.table()
    ctl(instance, "dead", "requeue", "--class", "poison")  # nothing is left of them
    assert "differences" in ctl(instance, "audit")
    assert json.loads(ctl(instance, "--json", "dead", "drop", "--all")) == {"dropped": 2}
    assert letters(stack) == 0
    assert conservation.examine(stack.postgres, outcome.sent, outcome.acked).ok


@pytest.mark.parametrize("seed", range(3))
def test_requeue_killed_anywhere(instance, stack, seed):
    """The flusher dies at seeded moments of the requeue: every letter is counted, or still a letter."""
    events = make(400, 0, seed)
    send(instance, events[300:])
    settled(instance, stack, 100)
    bury(stack, events[:300])
    sent = {event_id_of(event): event for event in events}
    rng = random.Random(seed)
    for _ in range(12):
        if letters(stack) == 0:
            break
        asked = instance.popen("--timeout", "20", "dead", "requeue", "--class", "poison", "--limit", "60")
        pid = instance.pid("db_flusher")
        until = rng.random() * 0.06

        def late(begin=time.monotonic()):
            return time.monotonic() - begin > until or asked.poll() is not None

        wait_until(late, 5, look_s=0.001)
        processes.send(pid, signal.SIGKILL)
        asked.wait(patient(30))
        assert asked.returncode in (0, 1)
        total = stack.postgres.query("select (select count(*) from spendd.spend_log) + "
                                     "(select count(*) from spendd.dead_letter)")[0][0]
        assert total == 400
        # The supervisor may answer before it has seen the death.
        wait_until(lambda: instance.pids("db_flusher") not in ([], [pid]), 20, "the next life", [instance])
        instance.wait_ready("db_flusher")
    ctl(instance, "dead", "requeue", "--all")
    assert letters(stack) == 0
    report = conservation.examine(stack.postgres, sent, sent)
    assert report.ok, report.table()


def test_two_requeue_the_same(instance, stack):
    """Two instances are given the same order: the shard's row lets one of them count each letter."""
    events = make(300, 0)
    send(instance, events[200:])
    settled(instance, stack, 100)
    bury(stack, events[:200])
    sent = {event_id_of(event): event for event in events}
    other = stack.spendd(poison__max=500).start(ready=("db_flusher", "control"))
    asked = [each.popen("--json", "dead", "requeue", "--all") for each in (instance, other)]
    done = [answers(each.communicate(timeout=patient(40))[0])[-1] for each in asked]
    assert sum(each["requeued"] for each in done) == 200, done
    report = conservation.examine(stack.postgres, sent, sent)
    assert report.ok, report.table()


def test_audit_finds_what_was_changed(instance, stack):
    events = make(200, 0)
    send(instance, events)
    settled(instance, stack, 200)
    last = answers(ctl(instance, "--json", "audit"))[-1]
    assert last["differences"] == 0 and last["days"] >= 1 and last["sums"] > 50
    stack.postgres.query("update spendd.spend_daily set spend = spend + 0.000000000001 where (entity_type, entity_id) in"
                         " (select entity_type, entity_id from spendd.spend_daily where entity_type = 'team' limit 1)")
    found = answers(ctl(instance, "--json", "audit", code=1))
    rows = [row for item in found if "differences" in item and isinstance(item["differences"], list)
            for row in item["differences"]]
    assert {row["table"] for row in rows} == {"spend", "spend_daily"} and all(row["entity_type"] == "team" for row in rows)
    assert found[-1]["error"].endswith("sums differ")
    stack.postgres.query("delete from spendd.spend_log where event_id = %s", (event_id_of(events[0]),))
    assert answers(ctl(instance, "--json", "audit", code=1))[-1]["differences"] > len(rows)


def test_audit_says_what_it_cannot_compute(stack):
    instance = stack.spendd(spend_log__enabled=False).start(ready=("aggregator", "db_flusher", "control"))
    send(instance, make(50, 0))
    wait_until(lambda: instance.metric("events_counted_total") == 50, 20, "50 counted", [instance])
    *items, last = answers(ctl(instance, "--json", "audit"))
    assert last["days"] == 0 and last["differences"] == 0 and last["not_computed"] == len(items) >= 1
    assert all("spend_log was off" in item["not_computed"][0]["why"] for item in items)


WRONG = [
    (("dead", "sell"), 400), (("dead", "ls", "x"), 400), (("dead", "ls", "--limit", "0"), 400),
    (("dead", "ls", "--limit", "99999"), 400), (("dead", "ls", "--class", "bad"), 400),
    (("dead", "ls", "--since", "soon"), 400), (("dead", "ls", "--since"), 400), (("dead", "show"), 400),
    (("dead", "show", "1", "2"), 400), (("dead", "show", "123456"), 404), (("dead", "drop"), 400),
    (("dead", "requeue"), 400), (("dead", "drop", "--all", "3"), 400), (("dead", "drop", "--all", "--all"), 400),
    (("dead", "drop", "0"), 400), (("dead", "drop", "9223372036854775808"), 400), (("dead", "drop", "{1}"), 400),
    (("audit", "--days", "0"), 400), (("audit", "--days", "x"), 400), (("audit", "7"), 400), (("audit", "--for", "0s"), 400),
    (("step-down", "--for", "forever"), 400), (("step-down", "now"), 400), (("step-down", "--for", "2h"), 400),
]
RIGHT = [
    ("dead", "ls"), ("dead", "ls", "--class", "poison", "--since", "7d", "--limit", "10000"), ("dead", "export"),
    ("dead", "drop", "1", "2"), ("dead", "drop", "--since", "500ms"), ("dead", "requeue", "--all"), ("audit", "--days", "2"),
    ("audit", "--for", "5s"),
]


def final(instance, *words):
    import zmq

    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(instance.admin)
    socket.send_multipart([b"spendctl/1", *(word.encode() for word in words)])
    code = b"102"
    while code == b"102":
        assert socket.poll(patient(10) * 1000), words
        code, answer = socket.recv_multipart()
    context.destroy(linger=0)
    return int(code), json.loads(answer)


def test_good_and_bad_words(instance):
    for words, code in WRONG:
        got, answer = final(instance, *words)
        assert got == code and answer["error"], (words, got, answer)
    for words in RIGHT:
        got, answer = final(instance, *words)
        assert got == 200, (words, got, answer)


def test_step_down_leaves_the_lock_to_others(stack):
    """Who has the lock keeps it here, however long the queue is empty."""
    instance, other = (stack.spendd(lock__linger_ms=60000, lock__ttl_ms=15000).start(ready=("aggregator", "db_flusher", "control"))
                       for _ in range(2))
    producer = Producer(instance.ingest, ([event] for event in make(100000, 0, 9)), rate=200).start()
    has = wait_until(lambda: next((each for each in (instance, other) if each.metric("lock_held")), None), 20)
    free = other if has is instance else instance
    assert final(has, "step-down", "--for", "20s")[0] == 200
    assert final(free, "step-down")[0] in (200, 409)
    wait_until(lambda: not has.metric("lock_held"), 10, "the lock given up", [has])
    producer.finish_source()
    producer.wait(logs=[instance])

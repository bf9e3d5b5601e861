"""Producers repeat themselves: to another instance, after the window, within one flush, after an answer
that never came, across midnight.  Each event is counted once; another content under an id that was used
is a conflict and goes to the dead letters.
"""
import datetime

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Asker, Outcome, Producer, payload_of
from lib.waiting import wait_until
from lib.wire import LightPusher, Queue, envelope, event_record, uuid7

DAY = datetime.timedelta(days=1)


def events_of(name, count, **more):
    return [dict(event, **more) for event in Generator(99, name).events(count)]


def send(instance, events, outcome=None, shape=10, logs=()):
    return Producer(instance.ingest, batches(events, shape), outcome, resend_s=60).start().wait(90, [instance, *logs])


def dead_letters(stack, kind):
    return stack.postgres.one("select count(*) from spendd.dead_letter where class = %s", (kind,))


def push(stack, *batches_of_records):
    """Batches straight into the queue, in order, as an instance would push them.  Needs a look first."""
    queue, epoch = Queue(stack.redis.client()), uuid7()
    generation = queue.look("first")[1].decode()
    for seq, records in enumerate(batches_of_records, 1):
        assert queue.push(generation, "f", envelope(epoch, seq, records))[0] == b"ok"


def test_the_same_events_to_two_instances(stack):
    one, two = (stack.spendd().start(ready=WORKERS) for _ in range(2))
    events, outcome = events_of("two", 200), Outcome()
    send(one, events, outcome)
    send(two, events, outcome, shape=7)
    assert outcome.accepted == 400
    one.stop(), two.stop()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_to_two_instances_at_the_same_moment(stack):
    instances = [stack.spendd().start(ready=WORKERS) for _ in range(2)]
    events, outcome = events_of("moment", 600), Outcome()
    producers = [Producer(instance.ingest, batches(events, shape), outcome).start() for instance, shape in zip(instances, (5, 9))]
    for producer in producers:
        producer.wait(40, stack.logs)
    for instance in instances:
        instance.stop()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_after_the_dedupe_window(stack):
    instance = stack.spendd(dedupe__seconds=1).start(ready=WORKERS)
    events, outcome = events_of("window", 80), Outcome()
    send(instance, events, outcome)
    with Asker(instance.ingest) as asker:
        wait_until(lambda: asker.events([events[0]])[1]["accepted"] == 1, 20, "the window to forget", stack.logs, look_s=0.3)
    send(instance, events[1:], outcome)
    instance.stop()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_without_a_window(stack):
    instance = stack.spendd(dedupe__seconds=0).start(ready=WORKERS)
    events, outcome = events_of("nowindow", 100), Outcome()
    for shape in (10, 33, 1):
        send(instance, events, outcome, shape)
    instance.stop()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_twice_within_one_message(stack):
    instance = stack.spendd().start(ready=WORKERS)
    events, outcome = events_of("message", 20), Outcome()
    with Asker(instance.ingest) as asker:
        kind, answer = asker.events(events + events)
    assert kind == "A1" and (answer["accepted"], answer["duplicate"]) == (20, 20), answer
    outcome.note_sent(events)
    outcome.acked.update(event["request_id"] for event in events)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


@pytest.mark.parametrize("how", ["in one batch", "in two batches", "the same identity twice"])
def test_twice_within_one_flush(stack, how):
    """Pushed before a flusher exists, so that it reads both at once."""
    events = events_of("flush", 30)
    records = [event_record(event) for event in events]
    if how == "in one batch":
        push(stack, records + records[::-1])
    elif how == "in two batches":
        push(stack, records, records[5:] + records[:5])
    else:
        queue, epoch = Queue(stack.redis.client()), uuid7()
        generation = queue.look("first")[1].decode()
        for _ in range(3):
            queue.push(generation, "f", envelope(epoch, 1, records))
    instance = stack.spendd().start(ready=WORKERS)
    sent = {event["request_id"]: event for event in events}
    queue = Queue(stack.redis.client())
    wait_until(lambda: queue.client.llen(queue.key("queue")) == 0, 30, "the queue to be drained", stack.logs)
    conservation.assert_conserved(stack.postgres, None, sent=sent, acked=set(sent), logs=stack.logs)
    assert instance.stop() == 0


def test_after_an_answer_that_never_arrived(stack):
    """The producer dies between sending and hearing; its next life sends the same again."""
    instance = stack.spendd().start(ready=WORKERS)
    events, outcome = events_of("unheard", 120), Outcome()
    for start in range(0, 120, 10):
        with Asker(instance.ingest) as asker:
            asker.socket.send_multipart([b"E1", b"x", payload_of(events[start : start + 10])])
            wait_until(lambda: instance.status()["events"]["accepted"] >= start + 10, 20, "them to be accepted", stack.logs)
    send(instance, events, outcome)
    assert (outcome.accepted, outcome.duplicate) == (0, 120)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_across_midnight_with_start_time(stack):
    """The copy that arrives on the next day is the same event: its start_time says so."""
    one, two = (stack.spendd(dedupe__seconds=0).start(ready=WORKERS) for _ in range(2))
    midnight = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [midnight - datetime.timedelta(microseconds=1), midnight, midnight - DAY, midnight - DAY + datetime.timedelta(seconds=1)]
    events = [dict(event, start_time=moments[n % 4].isoformat()) for n, event in enumerate(events_of("midnight", 80))]
    # The same moment, told in another zone, and as a number.
    other = [dict(event, start_time=datetime.datetime.fromisoformat(event["start_time"]).astimezone(
        datetime.timezone(datetime.timedelta(hours=9))).isoformat()) for event in events]
    outcome = Outcome()
    send(one, events, outcome)
    send(two, other, outcome)
    one.stop(), two.stop()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_across_midnight_without_start_time(stack):
    """The day is that of the arrival, and the repeat arrived on the next one."""
    events = events_of("arrival", 25, start_time=None, end_time=None)
    today = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=1, microsecond=0)
    before, after = (int((today - datetime.timedelta(seconds=s)).timestamp() * 1e6) for s in (2, 0))
    push(stack, [event_record(event, before) for event in events], [event_record(event, after) for event in events])
    stack.spendd().start(ready=WORKERS)
    queue = Queue(stack.redis.client())
    wait_until(lambda: queue.client.llen(queue.key("queue")) == 0, 30, "the queue to be drained", stack.logs)
    sent = {event["request_id"]: event for event in events}
    conservation.assert_conserved(stack.postgres, None, sent=sent, acked=set(sent), logs=stack.logs)
    assert stack.postgres.one("select count(distinct day) from spendd.spend_log") == 1


CONFLICTS = {"spend": "123.45", "api_key": "f" * 64, "model": "another-model"}


def test_a_conflict_within_the_window_of_one_instance(stack):
    """The window knows an event by its contents too: it never swallows a conflict as a duplicate."""
    instance = stack.spendd().start(ready=WORKERS)
    events, outcome = events_of("conflict-window", 30), Outcome()
    send(instance, events, outcome)
    send(instance, [dict(event, spend="123.45") for event in events], outcome)
    assert outcome.accepted == 60
    wait_until(lambda: dead_letters(stack, "conflict") >= 30, 30, "thirty conflicts", stack.logs)
    report = conservation.assert_conserved(stack.postgres, outcome, dead=outcome.acked, logs=stack.logs)
    assert report.figures["dead letters"] == 30


@pytest.mark.parametrize("field", CONFLICTS)
def test_another_content_under_the_same_id_is_a_conflict(stack, field):
    one, two = (stack.spendd().start(ready=WORKERS) for _ in range(2))
    events, outcome = events_of(f"conflict-{field}", 30), Outcome()
    send(one, events, outcome)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    send(two, [dict(event, **{field: CONFLICTS[field]}) for event in events], outcome)
    wait_until(lambda: dead_letters(stack, "conflict") >= 30, 30, "thirty conflicts", stack.logs)
    report = conservation.assert_conserved(stack.postgres, outcome, dead=outcome.acked, logs=stack.logs)
    assert report.figures["dead letters"] == 30


def test_a_conflict_within_one_flush(stack):
    events = events_of("conflict-flush", 20)
    other = [dict(event, spend="77") for event in events]
    push(stack, [event_record(event) for event in events], [event_record(event) for event in other])
    stack.spendd().start(ready=WORKERS)
    wait_until(lambda: conservation.settled(stack.postgres, 20) and dead_letters(stack, "conflict") >= 20, 30,
               "twenty counted and twenty dead", stack.logs)
    sent = {event["request_id"]: event for event in events}
    report = conservation.assert_conserved(stack.postgres, None, sent=sent, acked=set(sent), dead=set(sent), logs=stack.logs)
    assert report.figures["dead letters"] == 20


def test_a_light_pusher_is_an_instance(stack):
    """An instance that speaks the queue's scripts and nothing else is served like any other."""
    stack.spendd().start(ready=WORKERS)
    pusher = LightPusher(stack.redis.client(), batches(events_of("light", 120), 12)).start()
    wait_until(pusher.done, 40, "all its batches to be applied", [pusher, *stack.logs])
    conservation.assert_conserved(stack.postgres, None, sent=pusher.sent, acked=set(pusher.sent), logs=stack.logs)

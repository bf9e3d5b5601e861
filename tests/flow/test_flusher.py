"""The flusher alone: envelopes written in Python straight into Redis, and what is in PostgreSQL afterwards."""
import os
import signal
import sys
import uuid

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import conservation, wire
from lib.lone import Bench, by_id, envelopes, generated
from lib.producer import event_id_of
from lib.waiting import SANITIZED, wait_until


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def test_counts_once(bench):
    events = generated(1000)
    bench.push(*envelopes(events))
    bench.flusher()
    bench.settle()
    bench.check(by_id(events))


def test_nothing_folds(bench):
    """More sums than are held at once: they are made and sent piece by piece."""
    events = [dict(event, api_key=f"k{i}", user_id=f"u{i}", end_user=f"e{i}", team_id=f"t{i}")
              for i, event in enumerate(generated(5000))]
    bench.push(*envelopes(events, 1000))
    flusher = bench.flusher()
    bench.settle()
    bench.check(by_id(events))
    assert flusher.metric("flushes_total") <= 3
    with open(f"/proc/{flusher.process.pid}/status", encoding="ascii") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    assert peak < 64 * 1024 or SANITIZED, f"{peak} KiB"


def test_same_batches_again(bench):
    events = generated(500)
    packed = envelopes(events)
    bench.push(*packed, *packed)
    flusher = bench.flusher()
    bench.settle()
    bench.push(*packed)
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check(by_id(events))


def test_same_events_in_other_batches(bench):
    events = generated(600)
    bench.push(*envelopes(events, 100))
    flusher = bench.flusher()
    bench.settle()
    bench.push(*envelopes(events, 77))
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check(by_id(events))
    assert flusher.metric("events_known_total") == 600


def test_repeats_within_one_flush(bench):
    events = generated(300)
    bench.push(*envelopes(events, 100), *envelopes(events[::-1], 64))
    bench.flusher()
    bench.settle()
    bench.check(by_id(events))


@pytest.mark.parametrize("log", [True, False])
def test_without_start_time(bench, log):
    events = [dict(event) for event in generated(50)]
    for event in events:
        event.pop("start_time", None)
    flusher = bench.flusher(spend_log_enabled=log)
    bench.push(*envelopes(events, 10))
    bench.settle()
    bench.push(*envelopes(events, 7))  # the day of arrival may be another: here it is the same or not, no matter
    wait_until(bench.empty, 20, logs=[flusher])
    assert bench.pg.one("select count(*) from spendd.seen where day = '-infinity'") == 50
    total = sum(conservation.money(event["spend"]) for event in events)
    assert bench.pg.one("select sum(spend) from spendd.spend where entity_type = 'key'") == total


def test_conflict(bench):
    events = generated(20)
    other = [dict(events[3], spend="123.5")]
    flusher = bench.flusher()
    bench.push(*envelopes(events))
    bench.settle()
    bench.push(*envelopes(other))
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check(by_id(events))
    assert bench.pg.query("select class, event_id from spendd.dead_letter") == [("conflict", memoryview(
        event_id_of(events[3]).encode()))] or bench.pg.one("select class from spendd.dead_letter") == "conflict"


def test_log_switched(bench):
    events = [event for event in generated(100) if event.get("start_time")]
    first = bench.flusher()
    bench.push(*envelopes(events, 10))
    bench.settle()
    assert first.drain() == 0
    second = bench.flusher(spend_log_enabled=False)
    bench.push(*envelopes(events, 9))
    wait_until(bench.empty, 20, logs=[second])
    bench.check(by_id(events))


def test_a_log_with_columns_of_others(bench):
    """Of a newer build, or of an operator: the flush names its own."""
    flusher = bench.ready()
    bench.sql("alter table spendd.spend_log add column mine text not null default 'x', add column twice numeric "
              "generated always as (spend * 2) stored")
    events = generated(60)
    bench.push(*envelopes(events, 20))
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check(by_id(events))
    assert bench.pg.one("select count(*) from spendd.spend_log where mine = 'x' and twice = 2 * spend") == 60


def test_poison_and_schema(bench):
    events = generated(400)
    flusher = bench.ready()  # partitions are there before the test alters their parent
    bad = event_id_of(events[123])
    bench.sql(f"alter table spendd.spend_log add constraint no check (event_id <> '{bad}')")
    bench.push(*envelopes(events))
    bench.settle()
    bench.check(by_id(events), dead=[bad])
    bench.sql("alter table spendd.spend_log drop constraint no")
    bench.push(*envelopes(events[120:130]))  # the id is spent
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check(by_id(events), dead=[bad])
    bench.sql("alter table spendd.spend_log add constraint never check (false) not valid")
    more = generated(30, seed=9, name="m")
    bench.push(*envelopes(more))
    wait_until(lambda: "flush_stands_down" in flusher.text(), 20, logs=[flusher])
    assert not bench.empty()
    bench.sql("alter table spendd.spend_log drop constraint never")
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check({**by_id(events), **by_id(more)}, dead=[bad])


def test_corrupt_and_invalid(bench):
    events = generated(30)
    packed = envelopes(events, 10)
    broken = packed[1][:-1] + bytes([packed[1][-1] ^ 1])
    odd = wire.envelope(wire.uuid7(), 1, [wire.dead_record("no spend", b'{"x":1}'), wire.record(1, b"\x00")])
    bench.push(broken, odd, *packed)
    bench.flusher()
    bench.settle()
    bench.check(by_id(events))
    assert sorted(row[0] for row in bench.pg.query("select class from spendd.dead_letter")) == [
        "corrupt", "invalid", "invalid"]


def test_newer_envelope_goes_aside(bench):
    events = generated(10)
    newer = wire.envelope(wire.uuid7(), 1, [wire.event_record(events[0])], magic="spendd9")
    bench.push(newer, *envelopes(events), newer)  # its writer pushes it again and again
    bench.flusher(lock_ttl_ms=500, lock_renew_ms=100)
    bench.settle()
    bench.check(by_id(events))
    assert bench.client.llen(bench.queue.key("aside")) == 1


def test_what_was_set_aside_is_read_by_a_newer_build(bench):
    """Here the newer build is this one: what an older one could not read lies aside in our own version."""
    events = generated(50)
    newer = wire.envelope(wire.uuid7(), 1, [wire.event_record(events[0])], magic="spendd9")
    *ours, last = envelopes(events, 10)
    bench.client.rpush(bench.queue.key("aside"), ours[0], newer, *ours[1:], b"rubbish")
    bench.push(last)
    flusher = bench.flusher()
    wait_until(lambda: "aside_taken_back" in flusher.text(), 20, logs=[flusher])
    bench.settle()
    bench.check(by_id(events))
    assert bench.client.lrange(bench.queue.key("aside"), 0, -1) == [newer]


def test_killed_with_the_transaction_open(bench):
    events = generated(4000)
    bench.push(*envelopes(events, 20))
    for _ in range(12):
        flusher = bench.flusher(flush_batches=7, lock_ttl_ms=500, lock_renew_ms=100)
        wait_until(lambda: "flush_started" in flusher.text() or bench.empty(), 20, logs=[flusher])
        flusher.kill()
    bench.flusher(lock_ttl_ms=500, lock_renew_ms=100)
    bench.settle(60)
    bench.check(by_id(events))


def test_database_goes_back(bench):
    events = generated(200)
    packed = envelopes(events, 20)
    flusher = bench.flusher()
    bench.push(*packed)
    bench.settle()
    generation = bench.queue.look("g0")[1]
    # As an asynchronous standby: the last commits are gone, all of what they did.
    bench.pg.query("truncate spendd.ledger, spendd.spend_log, spendd.spend, spendd.spend_daily, spendd.seen")
    bench.push(packed[0])
    wait_until(lambda: bench.queue.look("g0")[1] != generation, 20, logs=[flusher])
    assert flusher.metric("database_went_back_total") >= 1
    bench.push(*packed)
    wait_until(bench.empty, 20, logs=[flusher])
    bench.check(by_id(events))


def test_another_database_behind_the_same_redis(bench):
    bench.client.hset(bench.queue.key("meta"), "ledger", str(uuid.uuid4()))
    bench.push(*envelopes(generated(10)))
    flusher = bench.flusher()
    wait_until(lambda: "wrong_database" in flusher.text(), 20, logs=[flusher])
    assert bench.client.get(bench.queue.key("lock")) is None
    assert bench.pg.one("select count(*) from spendd.spend_log") == 0


def test_stopped_past_its_lease(bench):
    events = generated(2000)
    first = bench.flusher(lock_ttl_ms=500, lock_renew_ms=100, flush_batches=3, database_socket_timeout_ms=1000)
    bench.push(*envelopes(events, 10))
    wait_until(lambda: "flush_started" in first.text(), 20, logs=[first])
    first.send(signal.SIGSTOP)
    second = bench.flusher(lock_ttl_ms=500, lock_renew_ms=100)
    wait_until(bench.empty, 40, logs=[first, second])
    first.send(signal.SIGCONT)
    assert first.drain() == 0
    bench.check(by_id(events))


def test_drain_leaves_nothing(bench):
    events = generated(300)
    flusher = bench.flusher(flush_ms=60000)
    wait_until(lambda: "schema_migrated" in flusher.text(), 20, logs=[flusher])
    bench.push(*envelopes(events, 10))
    assert flusher.drain() == 0
    bench.check(by_id(events))
    assert bench.client.get(bench.queue.key("lock")) is None


def test_what_is_published_of_old_epochs_leaves_redis(bench):
    """Each start of an aggregator makes an epoch.  A pod that comes back later still, and pushes again: counted once."""
    old, young, events = wire.uuid7(), wire.uuid7(), generated(40)
    flusher = bench.ready(flush_audit_ms=200)
    bench.push(*envelopes(events[:20], 10, epoch=old), *envelopes(events[20:], 10, epoch=young))
    bench.settle()
    key = bench.queue.key("applied")
    bench.sql("update spendd.ledger set updated_at = now() - interval '9 days' where epoch = %s", [old])

    def gone():
        return [epoch.decode() for epoch in bench.client.hkeys(key)] == [young]

    wait_until(gone, 20, "the old epoch to leave", [flusher])
    skipped = flusher.metric("batches_skipped_total")
    bench.push(*envelopes(events[:20], 10, epoch=old))
    wait_until(lambda: flusher.metric("batches_skipped_total") >= skipped + 2 and bench.empty() and gone(), 20, "both to be skipped",
               [flusher])
    bench.check(by_id(events))

"""One load in flight, and the next one read behind it: whatever becomes of the flusher, of the lock, of Redis
and of the list at that moment, every event is counted once.

The moment is held: another session keeps a table locked, so the transaction stands still while the flusher
reads ahead, and says so in its log.
"""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib.lone import Bench, by_id, envelopes, generated
from lib.waiting import wait_until

CALM = {"flush_batches": 3, "lock_ttl_ms": 30000, "lock_renew_ms": 300, "database_lock_ms": 60000,
        "database_socket_timeout_ms": 1000}
QUICK = {**CALM, "lock_ttl_ms": 1500}  # where somebody else waits for the lease of one who is gone


class Held:
    """A table that nobody else writes until go()."""

    def __init__(self, bench, table):
        self.line = bench.pg.connect(application_name="test")
        self.line.autocommit = False
        self.line.cursor().execute(f"lock table spendd.{table} in share mode")

    def go(self):
        self.line.close()


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def push_at_once(bench, packed):
    """The flusher sees all of them or none."""
    lock = bench.queue.key("lock")
    wait_until(lambda: bench.client.set(lock, "the test", nx=True, px=60000), 20, "the lock", logs=bench.flushers)
    bench.push(*packed)
    bench.client.delete(lock)


def wait_waiting(bench, flusher):
    wait_until(lambda: flusher.lives() and bench.sql(
        "select count(*) from pg_stat_activity where application_name = 'spendd db_flusher' and wait_event_type = 'Lock'"),
        20, "a transaction that waits", logs=[flusher])


def begun(bench, flusher, packed):
    """The first load is in flight, the second is ahead."""
    held = Held(bench, "spend")
    push_at_once(bench, packed)
    wait_until(lambda: flusher.lives() and "read_ahead" in flusher.text(), 20, "a load ahead", logs=[flusher])
    wait_waiting(bench, flusher)
    return held


def test_the_next_load_is_read_ahead_and_used(bench):
    events = generated(400)
    flusher = bench.ready(**CALM)
    begun(bench, flusher, envelopes(events, 20)).go()
    bench.settle()
    bench.check(by_id(events))
    assert flusher.metric("batches_skipped_total") == 0  # behind those in flight, not again from the head
    assert flusher.text().count("read_ahead") >= 4  # 20 batches by threes, the last load has none behind it


def test_killed(bench):
    events = generated(400)
    flusher = bench.ready(**QUICK)
    held = begun(bench, flusher, envelopes(events, 20))
    flusher.kill()
    held.go()
    bench.flusher(**QUICK)
    bench.settle()
    bench.check(by_id(events))


def test_stopped_past_its_lease(bench):
    events = generated(400)
    first = bench.ready(**QUICK)
    held = begun(bench, first, envelopes(events, 20))
    first.send(signal.SIGSTOP)
    held.go()
    second = bench.flusher(**QUICK)
    wait_until(bench.empty, 40, logs=[first, second])
    first.send(signal.SIGCONT)
    assert first.drain() == 0
    bench.check(by_id(events))


def test_the_lock_is_lost_and_taken_back(bench):
    """The load ahead goes with the lock: what another one may have done since is not known."""
    events = generated(400)
    flusher = bench.ready(**CALM)
    held = begun(bench, flusher, envelopes(events, 20))
    bench.client.set(bench.queue.key("lock"), "somebody else", px=1000)
    wait_until(lambda: "lock_lost" in flusher.text(), 20, logs=[flusher])
    held.go()
    bench.settle()
    bench.check(by_id(events))


@pytest.mark.parametrize("after", ["nothing", "the same", "the other way round"])
def test_redis_flushed(bench, after):
    events = generated(400)
    packed = envelopes(events, 20)
    flusher = bench.ready(**CALM)
    held = begun(bench, flusher, packed)
    bench.client.flushall()
    if after != "nothing":
        bench.push(*(packed if after == "the same" else packed[::-1]))
    held.go()
    wait_until(lambda: bench.pg.one("select count(*) from spendd.spend_log") >= 60, 20, logs=[flusher])
    bench.push(*packed)  # as the writers do when they see the new generation
    bench.settle()
    bench.check(by_id(events))


def test_a_new_generation_of_the_same_list(bench):
    events = generated(400)
    flusher = bench.ready(**CALM)
    held = begun(bench, flusher, envelopes(events, 20))
    generation = bench.queue.look("g1")[1].decode()
    assert bench.queue.run("renew", ("queue", "meta"), generation, "renewed")[0] == b"ok"
    held.go()
    bench.settle()
    bench.check(by_id(events))
    assert flusher.metric("batches_skipped_total") == 3  # those in flight: committed, not removed


def turn_over(bench, count):
    """The first elements go to the end, counted as the scripts count: no state is lost, but every index moves."""
    queue, meta = bench.queue.key("queue"), bench.queue.key("meta")
    for _ in range(count):
        assert bench.client.lmove(queue, queue, "LEFT", "RIGHT")
    bench.client.hincrby(meta, "popped", count)
    bench.client.hincrby(meta, "pushed", count)


@pytest.mark.parametrize("when", ["before it is read ahead", "after"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_list_is_turned_over(bench, when, count):
    """Elements are left out, and others are read twice: none is lost, none counts twice."""
    events = generated(400)
    flusher = bench.ready(**CALM)
    if when == "after":
        held = begun(bench, flusher, envelopes(events, 20))
        turn_over(bench, count)
    else:
        log = Held(bench, "spend_log")
        push_at_once(bench, envelopes(events, 20))
        wait_until(lambda: "flush_started" in flusher.text(), 20, logs=[flusher])
        wait_waiting(bench, flusher)
        turn_over(bench, count)
        held = Held(bench, "spend")
        log.go()
        wait_until(lambda: flusher.lives() and "read_ahead" in flusher.text(), 20, "a load ahead", logs=[flusher])
    held.go()
    bench.settle()
    bench.check(by_id(events))


def test_the_transaction_fails(bench):
    """What failed is read anew, and what stands behind it too."""
    events = generated(400)
    flusher = bench.ready(**CALM)
    held = begun(bench, flusher, envelopes(events, 20))
    bench.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'spendd db_flusher'")
    wait_until(lambda: "database_refused" in flusher.text(), 20, logs=[flusher])
    held.go()
    bench.settle()
    bench.check(by_id(events))
    assert flusher.metric("batches_skipped_total") == 0, flusher.tail(80)


def test_drained_with_a_load_ahead(bench):
    events = generated(400)
    flusher = bench.ready(**CALM)
    held = begun(bench, flusher, envelopes(events, 20))
    held.go()
    assert flusher.drain() == 0
    bench.check(by_id(events))
    assert bench.empty()

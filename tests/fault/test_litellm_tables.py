"""Layout litellm under fire: killed flushers, foreign writers on the same rows, a database that goes away at COMMIT.
Each event adds to LiteLLM's tables once, to the last bit (the amounts are multiples of 2^-12 USD)."""
import collections
import os
import random
import sys
import threading
from decimal import Decimal

import psycopg2
import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import litellm
from lib.commits import PostgresProxy
from lib.lone import Bench, envelopes
from lib.waiting import patient, wait_until

FULL = {"database_layout": "litellm", "litellm_events": "full", "lock_ttl_ms": 500, "lock_renew_ms": 100,
        "database_backoff_max_ms": 200, "database_backoff_slow_max_ms": 400}
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spendd db_flusher' AND xact_start IS NOT NULL"


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def check_logs(bench, events):
    rows = litellm.logs(bench.pg)
    assert sorted(row["metadata"]["spendd_event_id"] for row in rows.values()) == sorted(event["event_id"] for event in events)


def test_killed_flushers(bench):
    """Ten flushers, each killed within a transaction or between two; ids of requests collide all the while."""
    rng = random.Random(5)
    events = [dict(event, request_id=f"r{n % 700}") for n, event in enumerate(litellm.events(1000, seed=5))]
    litellm.make(bench.pg, version=litellm.NEWEST)
    litellm.fill(bench.pg, events)
    packed = envelopes(events, 10)
    rng.shuffle(packed)
    bench.push(*packed)
    for _ in range(10):
        flusher = bench.flusher(**FULL, flush_batches=8)
        aim = rng.randrange(3)  # commits that it may make first
        wait_until(lambda: bench.empty() or (flusher.lives() and flusher.metric("flushes_total") >= aim and bench.sql(BUSY)),
                   30, "a flush under way", [flusher])
        flusher.kill()
    bench.push(*packed[:20])
    bench.flusher(**FULL)
    bench.settle(60)
    litellm.check(bench.pg, events)
    check_logs(bench, events)


def test_answer_to_commit_lost(bench, place):
    """Committed or not, and nobody was told: run again under the lock."""
    events = list(litellm.events(400, seed=6))
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events)
    proxy = place.keep(PostgresProxy(place, bench.pg))
    flusher = bench.flusher(through=proxy, **FULL)
    wait_until(lambda: flusher.lives() and flusher.metric("lock_acquired_total") > 0, 30, "a flusher that knows its tables", [flusher])
    for at, how in enumerate(("before", "after", "reset", "after")):
        proxy.arm_commit(how, of="db_flusher")
        bench.push(*envelopes(events[100 * at:100 * at + 100], 50))
        wait_until(lambda: flusher.lives() and proxy.acted > at and bench.empty(), 40, f"COMMIT {at}, cut {how}", [flusher])
    assert flusher.metric("flush_ambiguous_total") >= 1
    litellm.check(bench.pg, events)
    check_logs(bench, events)


class Foreigner(threading.Thread):
    """A pod that adds to users, keys and days in random order, several rows in one transaction."""

    def __init__(self, pg, seed, rows):
        super().__init__(daemon=True)
        self.rng, self.rows, self.added = random.Random(seed), rows, collections.Counter()
        self.line, self.over, self.deadlocks = pg.connect(application_name="test"), threading.Event(), 0
        self.line.autocommit = False

    def run(self):
        while not self.over.is_set():
            chosen = self.rng.sample(self.rows, min(4, len(self.rows)))
            try:
                with self.line.cursor() as cursor:
                    for table, column, who in chosen:
                        cursor.execute(f'UPDATE public."{table}" SET spend = spend + 0.25 WHERE "{column}" = %s', (who,))
                self.line.commit()
                self.added.update(chosen)
                self.over.wait(self.rng.random() * 0.02)  # a pod rests, too
            except psycopg2.errors.DeadlockDetected:
                self.line.rollback()
                self.deadlocks += 1
        self.line.close()


def test_foreign_writers(bench):
    """Pods hammer the same rows in any order: a lost deadlock is retried, and both sides' amounts are all there."""
    events = list(litellm.events(600, seed=7))
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events)
    bench.pg.query("alter system set deadlock_timeout = '30ms'")
    bench.pg.query("select pg_reload_conf()")
    bench.push(*envelopes(events[:100], 20))
    flusher = bench.flusher(**FULL, flush_batches=4)
    bench.settle()
    rows = [(litellm.ENTITIES[category][0], litellm.ENTITIES[category][1][0], ids[0])
            for category, *ids in litellm.entities_of(events) if category in ("user", "key", "team", "end_user", "tag")]
    rows += [("LiteLLM_DailyUserSpend", "user_id", f"u{n}") for n in range(4)]
    foreigners = [Foreigner(bench.pg, seed, rows) for seed in range(2)]
    for foreigner in foreigners:
        foreigner.start()
    bench.push(*envelopes(events[100:], 20))
    wait_until(lambda: flusher.lives() and bench.empty() and flusher.metric("events_counted_total") == 600, 60, "all events", [flusher])
    for foreigner in foreigners:
        foreigner.over.set()
    for foreigner in foreigners:
        foreigner.join(patient(30))
    theirs = collections.Counter()
    for foreigner in foreigners:
        theirs.update(foreigner.added)
    wanted = {}
    for (category, *ids), amount in litellm.entities_of(events).items():
        table, keys = litellm.ENTITIES[category]
        wanted[category, *ids] = amount + Decimal("0.25") * (theirs[table, keys[0], ids[0]] if len(keys) == 1 else 0)
    assert sum(theirs.values()) > 0
    assert litellm.stored_entities(bench.pg) == {key: amount for key, amount in wanted.items() if amount}
    check_logs(bench, events)


def test_a_deadlock_is_retried(bench):
    """A foreign transaction holds a row that we want and then wants one that we hold: one of both is ended."""
    events = [dict(event, user_id=f"u{n}") for n, event in enumerate(litellm.events(2, seed=8))]
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events)
    line = bench.pg.connect(application_name="test", options="-c deadlock_timeout=100s")
    line.autocommit = False
    cursor = line.cursor()
    add = 'UPDATE public."LiteLLM_UserTable" SET spend = spend + 0.5 WHERE user_id = %s'
    cursor.execute(add, ("u1",))
    bench.push(*envelopes(events))
    flusher = bench.flusher(**FULL, database_lock_ms=3000)
    wait_until(lambda: flusher.lives() and bench.sql(BUSY.replace("xact_start IS NOT NULL", "wait_event_type = 'Lock'")), 30,
               "the flusher to wait for the row", [flusher])
    cursor.execute(add, ("u0",))  # returns when the flusher was ended, by the deadlock's detector or by its own limit
    line.commit()
    line.close()
    bench.settle()
    assert flusher.metric("flush_retries_deadlock_total") + flusher.metric("flush_retries_timeout_total") >= 1
    assert litellm.stored_entities(bench.pg, categories=["user"]) == {
        ("user", f"u{n}"): Decimal(event["spend"]) + Decimal("0.5") for n, event in enumerate(events)}

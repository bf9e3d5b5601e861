"""litellm.adopt while everything dies around it: what was pushed is counted once, whatever happened to its claim."""
import os
import random
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import elements, litellm
from lib.commits import PostgresProxy
from lib.elements import LISTS, LOCKS, SPEND, Books, claim_key, left, settled
from lib.lone import Bench
from lib.waiting import wait_until
from flow.test_adopt import adopter, dead, holds

SEED = 20


@pytest.fixture
def bench(place):
    made = Bench(place)
    elements.make_tables(made.pg)
    yield made
    made.close()


class Locked:
    """Something in PostgreSQL that a transaction of ours holds."""

    def __init__(self, bench, statement):
        self.line = bench.pg.connect()
        self.line.autocommit = False
        self.line.cursor().execute(statement)

    def release(self):
        self.line.rollback()
        self.line.close()


def waiting_for_lock(bench):
    return bench.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spendd db_flusher' AND wait_event_type = 'Lock'")


SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spendd db_flusher'"


def push_at_once(bench, books, count):
    """No claim has a part of it only."""
    with bench.client.pipeline() as pipe:
        books.push(pipe, count)
        pipe.execute()


@pytest.mark.parametrize("step", ["claimed", "in the transaction", "committed"])
def test_killed_between_the_steps(bench, step):
    """Killed behind each step of a claim: the next one finds it, and does what PostgreSQL says."""
    books = Books(SEED)
    flusher = holds(bench, adopter(bench))
    where = {"claimed": "SELECT FROM spendd.shard FOR UPDATE",
             "in the transaction": 'LOCK TABLE "LiteLLM_DailyTeamSpend" IN EXCLUSIVE MODE'}.get(step)
    lock = Locked(bench, where) if where else None
    if lock:
        push_at_once(bench, books, 3)
        wait_until(lambda: waiting_for_lock(bench), 20, "the flusher to wait", [flusher])
    else:
        shard = Locked(bench, "SELECT FROM spendd.shard FOR UPDATE")
        push_at_once(bench, books, 3)
        wait_until(lambda: waiting_for_lock(bench), 20, "the flusher to wait", [flusher])
        bench.client.client_pause(60000, all=False)  # writes: reading goes on
        shard.release()
        wait_until(lambda: bench.sql("SELECT count(*) FROM spendd.claim"), 20, "the commit", [flusher])
    claims = left(bench.client)[1]
    assert claims > 0
    flusher.kill()
    if lock:
        # Its session is ended where it waits: what it had sent already the server might still do.
        bench.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spendd db_flusher'")
        wait_until(lambda: not bench.sql(SESSIONS), 20, "its session to end", [bench.pg])
        lock.release()
        assert bench.sql("SELECT count(*) FROM spendd.claim") == 0
    else:
        bench.client.client_unpause()
    successor = adopter(bench)
    settled(bench.client, [successor])
    found, counted_before = (successor.metric(f"litellm_claims_{what}_total") for what in ("resumed", "discarded"))
    assert found == claims and (counted_before > 0) == (lock is None), (found, claims, counted_before)
    books.check(bench.pg)


def test_fifty_kills(bench):
    """Killed at whatever moment, fifty times, by seeded signs of where it is; elements come all the time."""
    rng, books = random.Random(SEED), Books(SEED)
    rows = "SELECT count(*) FROM spendd.claim"
    flusher = holds(bench, adopter(bench))
    before, began = 0, flusher

    def claimed():
        return left(bench.client)[1] > 0 or committed()  # a claim may be over between two looks

    def transacting():
        return bench.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spendd db_flusher' "
                         "AND state = 'active' AND query !~ 'BEGIN'") or committed()

    def committed():
        return bench.sql(rows) > before

    def out():
        return left(bench.client)[1] == 0 and committed()

    for _ in range(50):
        before = bench.sql(rows)
        books.push(bench.client, rng.randrange(1, 4))
        flusher = flusher if flusher is began else adopter(bench, name="killed", database_statement_ms=3000)
        wait_until(rng.choice([claimed, transacting, committed, out]), 30, "a sign", [flusher])
        flusher.kill()
        bench.client.delete(*LOCKS)  # what the lease would do, in no time
        bench.flushers.remove(flusher)
        began = None
    settled(bench.client, [adopter(bench)])
    books.check(bench.pg)
    assert not dead(bench)


@pytest.mark.parametrize("how", ["before", "after", "hold"])
def test_commit_without_an_answer(bench, place, how):
    """A COMMIT whose answer does not come: the claim's row says whether it was."""
    proxy, books = PostgresProxy(place, bench.pg), Books(SEED)
    flusher = holds(bench, adopter(bench, through=proxy, database_socket_timeout_ms=500, database_statement_ms=1000))
    shard = Locked(bench, "SELECT FROM spendd.shard FOR UPDATE")
    books.push(bench.client, 3)
    wait_until(lambda: waiting_for_lock(bench), 20, "the flusher to wait", [flusher])
    proxy.arm_commit(how, of="db_flusher")
    shard.release()
    settled(bench.client, [flusher])
    assert proxy.acted
    books.check(bench.pg)
    proxy.close()


def test_postgresql_away_for_long(bench):
    """The claim stays, and the locks are kept: no pod pops what it could not commit either."""
    books = Books(SEED)
    flusher = holds(bench, adopter(bench, litellm_lock_ttl_ms=3000))
    books.push(bench.client, 1)
    settled(bench.client, [flusher])
    bench.pg.stop("immediate")
    books.push(bench.client, 4)
    wait_until(lambda: left(bench.client)[1] == len(LISTS), 20, "claims", [flusher])
    claims = {key: bench.client.lrange(claim_key(key), 0, -1) for key, _ in LISTS.values()}
    renewals = flusher.metric("litellm_oldest_claim_ms")
    books.push(bench.client, 1)
    wait_until(lambda: flusher.metric("litellm_oldest_claim_ms") > renewals + 4500, 30, "time to pass", [flusher])
    assert flusher.metric("litellm_lock_held") and not elements.Pod(bench.client, bench.pg).win()
    assert {key: bench.client.lrange(claim_key(key), 0, -1) for key in claims} == claims
    bench.pg.start()
    settled(bench.client, [flusher])
    books.check(bench.pg)
    assert flusher.metric("litellm_locks_lost_total") == 0


@pytest.mark.parametrize("how", ["frozen", "gone"])
def test_redis_away(bench, how):
    """Redis that freezes, or is stopped and comes back with what it had, while a claim is in PostgreSQL's hands."""
    books = Books(SEED)
    flusher = holds(bench, adopter(bench, redis_command_ms=300, redis_connect_ms=300, redis_backoff_max_ms=100,
                                   redis_backoff_slow_max_ms=100))
    shard = Locked(bench, "SELECT FROM spendd.shard FOR UPDATE")
    books.push(bench.client, 3)
    wait_until(lambda: waiting_for_lock(bench), 20, "the flusher to wait", [flusher])
    errors = flusher.metric("redis_errors_total")
    if how == "gone":
        bench.client.config_set("save", "3600 1")
        bench.rd.end(signal.SIGTERM)  # saves
    else:
        bench.rd.freeze()
    shard.release()
    wait_until(lambda: bench.sql("SELECT count(*) FROM spendd.claim"), 20, "the commit", [flusher])
    wait_until(lambda: flusher.metric("redis_errors_total") > errors, 20, "Redis to be missed", [flusher])
    if how == "gone":
        bench.rd.start()
    else:
        bench.rd.thaw()
    settled(bench.client, [flusher])
    books.check(bench.pg)


def test_given_back_under_its_feet(bench):
    """A flusher that was paused inside its transaction wakes up behind a give-back of its claim: it counts nothing
    of it, and the elements are counted once, by whoever takes them next."""
    books = Books(SEED)
    slow = holds(bench, adopter(bench, name="slow", litellm_lock_ttl_ms=1000, database_socket_timeout_ms=60000))
    shard = Locked(bench, "SELECT FROM spendd.shard FOR UPDATE")
    push_at_once(bench, books, 2)
    wait_until(lambda: waiting_for_lock(bench), 20, "the flusher to wait", [slow])
    ids = [bench.client.lindex(claim_key(key), 0).decode() for key, _ in LISTS.values()]
    slow.send(signal.SIGSTOP)
    shard.line.cursor().executemany("INSERT INTO spendd.claim (id, state) VALUES (%s, 'returned')", [(i,) for i in ids])
    shard.line.commit()
    shard.line.close()
    # PostgreSQL ends the session of who is gone; it has the shard's row by now, and waits for what comes next.
    wait_until(lambda: bench.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
                                 "'spendd db_flusher' AND wait_event = 'ClientRead' AND state = 'idle in transaction'"),
               20, "the session to be idle in its transaction", [bench.pg])
    other = adopter(bench, name="other", litellm_lock_ttl_ms=1000)
    wait_until(lambda: other.metric("litellm_claims_returned_total") == len(LISTS), 30, "the give-back", [other])
    slow.send(signal.SIGCONT)
    settled(bench.client, [slow, other])
    books.check(bench.pg)
    assert bench.client.llen(SPEND) == 0
    assert bench.sql("SELECT count(*) FROM spendd.claim WHERE state = 'returned'") == len(LISTS)
    assert litellm.stored_entities(bench.pg) == dict(books.entities)

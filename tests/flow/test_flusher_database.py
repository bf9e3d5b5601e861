"""The flusher while its database is cut, locked, slow, frozen, read-only or empty: counted once in the end."""
import datetime
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib.commits import PostgresProxy
from lib.lone import Bench, by_id, envelopes, generated
from lib.waiting import wait_until

QUICK = {"database_backoff_max_ms": 100, "database_backoff_slow_max_ms": 300}


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def waits_for_a_lock(bench):
    return bench.sql("select count(*) from pg_stat_activity where application_name = 'spendd db_flusher' "
                     "and wait_event_type = 'Lock'") > 0


def sessions(bench):
    return bench.sql("select count(*) from pg_stat_activity where application_name = 'spendd db_flusher'")


@pytest.mark.parametrize("how", ["before", "after", "hold"])
def test_cut_during_commit(bench, place, how):
    events = generated(300)
    proxy = PostgresProxy(place, bench.pg)
    # Only what is held needs a deadline; elsewhere a short one would find busy machines.
    short = {"database_statement_ms": 1000, "database_socket_timeout_ms": 1000} if how == "hold" else {}
    flusher = bench.ready(through=proxy, **short, **QUICK)
    proxy.arm_commit(how, of="db_flusher")
    bench.push(*envelopes(events, 30))
    bench.settle()
    assert proxy.acted == 1
    assert flusher.metric("flush_ambiguous_total") >= 1
    assert (flusher.metric("batches_skipped_total") > 0) == (how != "before")
    bench.check(by_id(events))


def test_each_commit_cut(bench, place):
    events = generated(400)
    proxy = PostgresProxy(place, bench.pg)
    flusher = bench.ready(through=proxy, flush_batches=2, **QUICK)
    bench.push(*envelopes(events, 20))
    for turn in range(8):
        proxy.arm_commit(("before", "after")[turn % 2], of="db_flusher")
        wait_until(lambda: proxy.armed is None or bench.empty(), 20, "a cut", logs=[flusher, proxy])
    proxy.disarm()
    bench.settle()
    bench.check(by_id(events))


def test_sessions_terminated(bench):
    events = generated(1000)
    flusher = bench.ready(flush_batches=3, **QUICK)
    bench.push(*envelopes(events, 10))
    for _ in range(15):
        bench.sql("select count(pg_terminate_backend(pid)) from pg_stat_activity "
                  "where application_name = 'spendd db_flusher'")
        before = flusher.metric("database_connects_total")
        wait_until(lambda: flusher.metric("database_connects_total") > before or bench.empty(), 20, logs=[flusher])
    bench.settle()
    bench.check(by_id(events))


def test_deadlock_with_a_foreign_writer(bench):
    first, more = generated(50), generated(50, seed=2, name="m")
    bench.sql("alter database postgres set deadlock_timeout = '3s'")
    flusher = bench.ready(**QUICK)
    bench.push(*envelopes(first))
    bench.settle()
    foreign = bench.pg.connect()
    foreign.autocommit = False
    with foreign.cursor() as cursor:
        cursor.execute("set deadlock_timeout = '60s'")  # so that the flusher is the one who is refused
        cursor.execute("select from spendd.spend_daily for update")
        bench.push(*envelopes(more))
        wait_until(lambda: waits_for_a_lock(bench), 20, "the flusher to wait", logs=[flusher])
        cursor.execute("select from spendd.spend for update")  # it holds some of these; within its deadlock_timeout
    wait_until(lambda: flusher.metric("flush_retries_deadlock_total") >= 1, 20, "the count", logs=[flusher])
    foreign.rollback()
    foreign.close()
    bench.settle()
    bench.check({**by_id(first), **by_id(more)})


@pytest.mark.parametrize("table", ["shard", "ledger", "spend", "spend_daily"])
def test_rows_locked_by_a_foreign_session(bench, table):
    first, more = generated(50), generated(50, seed=2, name="m")
    flusher = bench.ready(database_lock_ms=150, **QUICK)
    bench.push(*envelopes(first))
    bench.settle()
    epoch = bench.sql("select epoch::text from spendd.ledger")
    foreign = bench.pg.connect()
    foreign.autocommit = False
    foreign.cursor().execute(f"select from spendd.{table} for update")
    bench.push(*envelopes(more, epoch=epoch, first=1000))  # of the same epoch: its ledger row is there already
    wait_until(lambda: flusher.metric("flush_retries_timeout_total") >= 2, 20, "two lock timeouts", logs=[flusher])
    foreign.rollback()
    foreign.close()
    bench.settle()
    bench.check({**by_id(first), **by_id(more)})


SLOW = """
create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.004); return new; end';
create trigger slow before insert on spendd.spend_log for each row execute function slow();
"""


@pytest.mark.parametrize("size", [25, 200])
def test_statement_timeout_takes_less(bench, size):
    """Eight batches of a tenth of a second each: fewer go in at a time.  One of a second: it gets more time."""
    events = generated(200)
    flusher = bench.ready(database_statement_ms=350, **QUICK)
    bench.sql(SLOW)
    bench.push(*envelopes(events, size))
    bench.settle()
    assert flusher.metric("flush_retries_timeout_total") >= 1
    bench.check(by_id(events))


def test_postgres_frozen_and_thawed(bench):
    events, more = generated(500), generated(500, seed=2, name="m")
    flusher = bench.ready(flush_batches=5, database_statement_ms=300, database_socket_timeout_ms=300,
                          database_connect_ms=300, **QUICK)
    bench.push(*envelopes(events, 10))
    wait_until(lambda: flusher.metric("batches_applied_total") > 0, 20, logs=[flusher])
    bench.pg.freeze()
    try:
        bench.push(*envelopes(more, 10))  # what was pushed before may all be counted already
        # Long: the statement's deadline, then several connects in vain.
        wait_until(lambda: flusher.metric("database_refused_deadline_total") >= 6, 20, "deadlines", logs=[flusher])
    finally:
        bench.pg.thaw()
    bench.settle()
    bench.check({**by_id(events), **by_id(more)})


def test_closed_when_idle(bench):
    events, more = generated(20), generated(20, seed=2, name="m")
    flusher = bench.ready(database_max_idle_s=1)
    bench.push(*envelopes(events))
    bench.settle()
    wait_until(lambda: sessions(bench) == 0, 20, "the idle session to be closed", logs=[flusher])
    assert "reason=idle" in flusher.text()
    bench.push(*envelopes(more))
    bench.settle()
    bench.check({**by_id(events), **by_id(more)})
    assert flusher.metric("flush_failures_total") == 0


def test_read_only(bench):
    events = generated(50)
    flusher = bench.ready(**QUICK)
    bench.sql("alter database postgres set default_transaction_read_only = on")
    bench.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'spendd db_flusher'")
    bench.push(*envelopes(events))
    wait_until(lambda: "read-only" in flusher.text() and "flush_stands_down" in flusher.text(), 20, "the refusal", logs=[flusher])
    assert not bench.empty()
    assert flusher.text().count("flush_stands_down") == 1  # said once
    bench.sql("set default_transaction_read_only = off")
    bench.sql("alter database postgres reset default_transaction_read_only")
    bench.settle()
    bench.check(by_id(events))


def test_migration_off(bench):
    events = generated(50)
    modest = bench.flusher(database_migrate=False, **QUICK)
    bench.push(*envelopes(events))
    wait_until(lambda: "flush_stands_down" in modest.text() and "database.migrate" in modest.text(), 20, "standing down",
               logs=[modest])
    assert bench.sql("select to_regnamespace('spendd')") is None
    maker = bench.ready(lock_ttl_ms=500, lock_renew_ms=100, **QUICK)
    maker.kill()
    bench.settle()
    bench.check(by_id(events))


def partitions(bench):
    return bench.sql("select coalesce(array_agg(c.relname::text), '{}') from pg_inherits i join pg_class c "
                     "on c.oid = i.inhrelid where i.inhparent = 'spendd.spend_log'::regclass")


def partition(day):
    return f"spend_log_p{day:%Y%m%d}"


def test_partitions(bench):
    def now():
        return datetime.datetime.now(datetime.timezone.utc)

    today = now()
    day = datetime.timedelta(days=1)
    events = generated(40) + generated(40, seed=2, name="far", until=today + 7 * day)
    first = bench.ready(spend_log_ahead_days=3)
    have = partitions(bench)
    # The flusher's today: this one, or by now the next.
    assert any({partition(then + i * day) for i in range(-1, 4)} <= set(have) for then in (today, now()))
    assert partition(today + 6 * day) not in have
    bench.push(*envelopes(events))
    bench.settle()
    assert bench.sql("select count(*) from spendd.spend_log_default") > 0
    assert first.drain() == 0
    bench.flushers[:] = []

    second = bench.ready(spend_log_ahead_days=8)  # the days that lay in the default partition get their own
    far = datetime.date.today() + 4 * day
    assert partition(far) in partitions(bench)
    assert bench.sql("select count(*) from spendd.spend_log_default where day >= current_date") == 0
    bench.check(by_id(events))
    assert second.drain() == 0

    old = today - 30 * day
    bench.sql(f"create table spendd.{partition(old)} partition of spendd.spend_log "
              f"for values from ('{old:%Y-%m-%d}') to ('{old + day:%Y-%m-%d}')")
    bench.flushers[:] = []
    bench.ready(spend_log_keep_days=2)
    assert partition(old) not in partitions(bench)
    assert bench.sql("select count(*) from spendd.spend_log where day < current_date - 2") == 0
    assert {partition(today + i * day) for i in range(-1, 9)} <= set(partitions(bench))


def test_redis_full(bench):
    """maxmemory, noeviction: nothing can be pushed until something is drained, so draining must work."""
    events = generated(2000)
    bench.push(*envelopes(events))
    bench.client.config_set("maxmemory", "1mb")
    bench.client.config_set("maxmemory-policy", "noeviction")
    with pytest.raises(Exception, match="used memory > 'maxmemory'"):
        bench.client.set("x", "y" * 1000)
    bench.flusher(flush_batches=3)
    bench.settle()
    bench.check(by_id(events))

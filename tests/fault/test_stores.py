"""The store matrix: Redis and PostgreSQL down, dying, frozen, emptied, evicted, full; ingest acknowledges
throughout and the books are right afterwards.
"""
import itertools
import random
import time

import pytest
import redis as redis_client

from lib import conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.producer import Producer
from lib.waiting import patient, wait_until
from lib.wire import Queue

SEED = 815


def load(instance, name, count=None, rate=40, shape=8, **more):
    stream = batches(Generator(SEED, name).events(10**9 if count is None else count), shape)
    return Producer(instance.ingest, stream, window=12, resend_s=2.0, rate=rate, **more).start()


def more_answers(producer, count, instance, deadline_s=30):
    target = producer.outcome.messages + count
    wait_until(lambda: producer.outcome.messages >= target, deadline_s, f"{count} more answers while ingest must go on",
               [producer, instance])


def finish(stack, producer, deadline_s=60):
    producer.finish_source()
    producer.wait(60, stack.logs)
    return conservation.assert_conserved(stack.postgres, producer.outcome, deadline_s=deadline_s, logs=stack.logs)


def queue_of(stack):
    return Queue(stack.redis.client())


# --- PostgreSQL ---------------------------------------------------------------------------------------------
def test_postgres_down_at_start(place):
    """20 s of acknowledgements without a database: the gate is closed, the flusher held."""
    stack = Stack(place)
    stack.redis.start()
    instance = stack.spendd().start(ready=("aggregator", "redis_writer", "control"))
    producer = load(instance, "pgdown", rate=25)
    more_answers(producer, 500, instance, deadline_s=60)  # 25 messages a second: 20 s
    status = instance.status()
    assert not status["gate"]["database"]["open"] and status["gate"]["database"]["why"]
    assert instance.state("db_flusher", status) == "HELD"
    stack.postgres.start()
    finish(stack, producer)
    stack.close()


def test_postgres_stopped_in_immediate_mode_under_load(stack):
    instance = stack.spendd().start(ready=WORKERS)
    producer = load(instance, "immediate")
    for _ in range(5):
        more_answers(producer, 15, instance)
        stack.postgres.stop("immediate")
        more_answers(producer, 10, instance)
        stack.postgres.start()
    finish(stack, producer)


def test_backends_terminated_under_load(stack):
    """Connections cut from the other side, at any statement, COMMIT among them."""
    instance = stack.spendd(flush__ms=10).start(ready=WORKERS)
    producer = load(instance, "terminate")
    for _ in range(60):
        more_answers(producer, 1, instance)
        stack.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend'"
                             " and pid <> pg_backend_pid()")
    finish(stack, producer)


def test_postgres_read_only_for_a_while(stack):
    """A failover's face: writes refused, not for their data.  Nothing may become a dead letter."""
    instance = stack.spendd().start(ready=WORKERS)
    producer = load(instance, "readonly")
    more_answers(producer, 10, instance)
    stack.postgres.query("alter system set default_transaction_read_only = on")
    stack.postgres.query("select pg_reload_conf()")
    more_answers(producer, 60, instance)
    connection = stack.postgres.connect(options="-c default_transaction_read_only=off")
    connection.cursor().execute("alter system reset default_transaction_read_only")
    connection.cursor().execute("select pg_reload_conf()")
    connection.close()
    report = finish(stack, producer)
    assert report.figures["dead letters"] == 0


def test_a_missing_table_is_not_a_poisoned_event(stack):
    """The flusher stands down and says why; nothing moves until the table is back."""
    instance = stack.spendd().start(ready=WORKERS)
    producer = load(instance, "missing")
    wait_until(lambda: conservation.settled(stack.postgres, 20), 30, "the first events", stack.logs)
    stack.postgres.query("alter table spendd.spend_daily rename to spend_daily_away")
    wait_until(lambda: (instance.metric("flush_stands_down_total") or 0) >= 5, 60, "it to stand down again and again", stack.logs)
    status = instance.status()
    flusher = next(row for row in status["workers"] if row["name"] == "db_flusher")
    # A probe cannot see it, so the gate does not flap: the flusher waits by itself, and says what for.
    assert status["gate"]["database"]["open"] and flusher["restarts"] == 0
    assert "gate_closed" not in instance.log_text().partition("gate_opened")[2]
    wait_until(lambda: any(row["name"] == "db_flusher" and row["status"].startswith("stands down: ") and "spend_daily" in row["status"]
                           for row in instance.status()["workers"]), 20, "the flusher to say why", stack.logs)
    more_answers(producer, 60, instance)
    stack.postgres.query("alter table spendd.spend_daily_away rename to spend_daily")
    report = finish(stack, producer)
    assert report.figures["dead letters"] == 0


def test_too_many_clients(place):
    stack = Stack(place, postgres=place.postgres(max_connections=8, superuser_reserved_connections=0)).start()
    instance = stack.spendd().start(ready=WORKERS)
    producer = load(instance, "clients")
    more_answers(producer, 5, instance)
    taken = []
    for _ in range(8):
        try:
            taken.append(stack.postgres.connect(application_name="test"))
        except Exception:  # full: that is the point
            break
    if taken:
        taken[0].cursor().execute("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend'"
                                  " and application_name <> 'test'")
    more_answers(producer, 40, instance)
    for connection in taken:
        connection.close()
    finish(stack, producer)
    stack.close()


# --- Redis --------------------------------------------------------------------------------------------------
def test_redis_down_at_start(place):
    stack = Stack(place)
    stack.postgres.start()
    instance = stack.spendd().start()
    producer = load(instance, "redisdown")
    more_answers(producer, 80, instance)
    stack.redis.start()
    finish(stack, producer)
    stack.close()


def test_redis_restarted_empty_under_load(stack):
    instance = stack.spendd().start(ready=WORKERS)
    producer = load(instance, "empty")
    for _ in range(6):
        more_answers(producer, 12, instance)
        stack.redis.restart_empty()
    finish(stack, producer)


def test_flushall_right_after_a_push_50_times(stack):
    instance = stack.spendd(flush__ms=100, seal__ms=50).start(ready=WORKERS)
    queue = queue_of(stack)
    producer = load(instance, "flushall")
    for _ in range(50):
        wait_until(lambda: queue.client.llen(queue.key("queue")) > 0, 30, "a batch in the list", stack.logs, look_s=0.001)
        queue.client.flushall()
    finish(stack, producer)


@pytest.mark.parametrize("gone", ["queue", "meta", "applied"])
def test_one_key_alone_is_deleted(stack, gone):
    instance = stack.spendd(flush__ms=100, seal__ms=50).start(ready=WORKERS)
    queue, rng = queue_of(stack), random.Random(f"{SEED}/{gone}")
    producer = load(instance, f"del{gone}")
    for _ in range(15):
        more_answers(producer, rng.randint(1, 4), instance)
        wait_until(lambda: queue.client.exists(queue.key(gone)), 30, f"{gone} to be there", stack.logs, look_s=0.001)
        queue.client.delete(queue.key(gone))
    finish(stack, producer)


def test_evicted_under_allkeys_lru(place):
    """A Redis that forgets when it is full: somebody else fills it until our own keys have gone five times.  (Each time
    the state has a new generation.)"""
    stack = Stack(place, redis=place.redis(maxmemory="6mb", maxmemory_policy="allkeys-lru")).start()
    instance = stack.spendd(flush__ms=300, seal__ms=50).start(ready=WORKERS)
    queue, generations, others = queue_of(stack), set(), itertools.count()
    producer = load(instance, "lru")

    def fill():
        for _ in range(400):
            queue.client.set(f"other:{next(others)}", "x" * 8000)
        generations.add(queue.client.hget(queue.key("meta"), "generation"))
        return len(generations - {None}) > 5

    wait_until(fill, 60, "our keys to be evicted", stack.logs)
    assert queue.client.info("stats")["evicted_keys"] > 0
    finish(stack, producer)
    stack.close()


def test_redis_full_must_still_drain(place):
    """noeviction and no memory: pushes wait, what is in the list is drained all the same."""
    stack = Stack(place, redis=place.redis(maxmemory="8mb", maxmemory_policy="noeviction")).start()
    instance = stack.spendd().start(ready=WORKERS)
    client = stack.redis.client()
    producer = load(instance, "oom")
    more_answers(producer, 10, instance)
    for n in range(5000):
        try:
            client.set(f"other:{n}", "x" * 20000)
        except redis_client.exceptions.ResponseError:
            break
    more_answers(producer, 40, instance)
    client.delete(*client.keys("other:*"))
    finish(stack, producer)
    stack.close()


def test_redis_with_a_bounded_queue(stack):
    """The queue's bound holds while the database is away; the rest waits in the spool.  (A batch larger than
    the bound goes alone into an empty queue, so batches are kept small here: what one commit may hold is a window.)"""
    instance = stack.spendd(redis__queue_bytes=65536, seal__events=40, seal__bytes=65536).start(ready=WORKERS)
    more = load(instance, "bounded", rate=None, count=4000, shape=10)
    stack.postgres.stop("immediate")
    more.wait(60, stack.logs)
    queue = queue_of(stack)
    held = int(queue.client.hget(queue.key("meta"), "bytes") or 0)
    assert held <= 65536, f"{held} bytes in the queue"
    stack.postgres.start()
    conservation.assert_conserved(stack.postgres, more.outcome, logs=stack.logs)


def test_clients_killed_under_load(stack):
    instance = stack.spendd().start(ready=WORKERS)
    client, producer = stack.redis.client(), load(instance, "clientkill")
    for _ in range(30):
        more_answers(producer, 2, instance)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    finish(stack, producer)


def test_nonsense_in_the_queue_is_set_aside(stack):
    """What Redis holds is untrusted: it is kept, moved out, and moves no ledger."""
    instance = stack.spendd(flush__ms=100).start(ready=WORKERS)
    queue, producer = queue_of(stack), load(instance, "nonsense")
    hostile = [b"", b"hello", b"spendd1 x", b"spendd1 " + b"a" * 36 + b" 0 1 1 00000000\n", b"spendd1 00000000-0000-7000-8000-000000000000 0 1 1 deadbeef\nxxxx",
               bytes(5000), b"spendd1 00000000-0000-7000-8000-000000000000 0 18446744073709551616 1 00000000\n"]
    for data in hostile:
        more_answers(producer, 3, instance)
        meta = queue.look("f")
        queue.push(meta[1].decode(), "f", data)
    finish(stack, producer)
    wait_until(lambda: queue.client.llen(queue.key("queue")) == 0, 20, "the list to be empty", stack.logs)


def test_a_newer_envelope_waits_aside_and_blocks_nobody(stack):
    instance = stack.spendd(flush__ms=100).start(ready=WORKERS)
    queue, producer = queue_of(stack), load(instance, "newer")
    more_answers(producer, 3, instance)
    newer = b"spendd9 00000000-0000-7000-8000-000000000000 0 1 1 00000000\nfuture"
    queue.push(queue.look("f")[1].decode(), "f", newer)
    more_answers(producer, 20, instance)
    finish(stack, producer)
    assert newer in queue.client.lrange(queue.key("aside"), 0, -1)


# --- frozen -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("which", ["redis", "postgres"])
def test_a_frozen_store_kills_nobody(stack, which):
    """SIGSTOP for three times the hang limit: no worker dies, status answers, ingest acknowledges."""
    hang_s = min(10, patient(4))  # twenty beats and more: it tells a loop that blocks from a machine that is busy
    instance = stack.spendd(supervisor__hang_ms=int(hang_s * 1000), database__socket_timeout_ms=1500, database__statement_ms=2000).start(ready=WORKERS)
    producer = load(instance, f"frozen{which}", rate=20)
    more_answers(producer, 10, instance)
    before = {worker: instance.pid(worker) for worker in WORKERS}
    server = getattr(stack, which)
    server.freeze()
    end = time.monotonic() + 3 * hang_s
    while time.monotonic() < end:
        more_answers(producer, 10, instance)
        status = instance.status()
        assert status, f"no status while {which} is frozen\n{instance.tail()}"
    alive = {worker: instance.pid(worker) for worker in WORKERS if instance.pids(worker)}
    server.thaw()
    # The gate may close and send the flusher home: that is an order, not a death.
    before.pop("db_flusher"), alive.pop("db_flusher", None)
    assert alive == before, instance.tail()
    assert "SIGABRT" not in instance.log_text()
    finish(stack, producer)

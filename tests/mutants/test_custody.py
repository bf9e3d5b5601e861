"""One short test per rule of custody that a mutant breaks: each states the rule at the very place where
it would be broken, because further on another net (push again, ledger, event check) catches the record.
They pass on a build that is not broken, and belong to `make mutants`.
"""
import os

import psycopg2
import pytest

from lib import conservation, elements
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.faults import Faults
from lib.lone import Bench
from lib.producer import Asker, Producer
from lib.waiting import wait_until
from lib.wire import Queue, envelope, event_record, uuid7

SEED = 31


@pytest.fixture
def away(place):
    """An instance whose database does not exist yet: what it takes goes to Redis and stays there."""
    made = Stack(place)
    made.redis.start()
    instance = made.spendd().start(ready=("aggregator", "redis_writer"))
    yield made, instance, Queue(made.redis.client())
    made.close()


def send_one(instance, name):
    event = Generator(SEED, name).one()
    asker = Asker(instance.ingest)
    kind, answer = asker.events([event])
    asker.close()
    assert kind == "A1" and answer["accepted"] == 1
    return event


def queued(queue, count, instance, what):
    wait_until(lambda: queue.client.llen(queue.key("queue")) >= count, 20, what, [instance])


def test_a_pushed_segment_stays(away):
    _, instance, queue = away
    event = send_one(instance, "stays")
    queued(queue, 1, instance, "the first batch in Redis")
    send_one(instance, "next")  # its push comes behind the receipt of the first
    queued(queue, 2, instance, "the second batch in Redis")
    found = False
    for directory, _, files in os.walk(instance.spool):
        for name in files:
            with open(os.path.join(directory, name), "rb") as file:
                found |= event["request_id"].encode() in file.read()
    assert found, "Redis has the batch, PostgreSQL has not, and its segment is gone"


def test_what_redis_lost_is_pushed_again(away):
    _, instance, queue = away
    send_one(instance, "lost")
    queued(queue, 1, instance, "the batch in Redis")
    queue.client.flushall()
    wait_until(lambda: queue.client.llen(queue.key("queue")) >= 1, 8, "the batch to be pushed again", [instance])


def test_a_torn_tail_takes_no_record_with_it(place):
    made = Stack(place)
    instance = made.spendd(seal__ms=60000).start()
    send_one(instance, "torn")
    instance.kill_all()
    (segment,) = [os.path.join(directory, name) for directory, _, files in os.walk(instance.spool) for name in files
                  if name.startswith("open-")]
    with open(segment, "ab") as file:
        file.write(b"half a record")
    instance.start(ready=("aggregator", "control"))  # it has looked at what its predecessor left
    found = instance.status()["spool"]["unapplied_segments"]
    made.close()
    assert found == 1, f"{found} sealed segments: an acknowledged event went with the torn tail"


def test_removal_is_by_identity(place):
    redis = place.redis().start()
    queue, epoch = Queue(redis.client()), uuid7()
    generation = queue.look("g0")[1].decode()
    for seq in (1, 2, 3):
        data = envelope(epoch, seq, [event_record(Generator(SEED, f"r{seq}").one())])
        assert queue.push(generation, "g0", data)[0] == b"ok"
    named = [f"{epoch} 1", f"{epoch} 2"]
    assert queue.publish(generation, [(epoch, 2, "{[1,3)}")], named) == [b"ok", 2]
    # A flusher that slept says the same once more: another has removed them long ago.
    queue.publish(generation, [(epoch, 2, "{[1,3)}")], named)
    assert redis.client().llen(queue.key("queue")) == 1, "removed what nobody named"
    redis.close()


def test_a_refused_event_may_come_again(stack, place):
    faults = Faults(place.sub("f"))
    instance = stack.spendd(build=faults.build).start(ready=WORKERS)
    event, asker = Generator(SEED, "again").one(), Asker(instance.ingest)
    faults.set("fail-sync")
    kind, answer = asker.events([event])
    assert kind == "N1" and answer["retry_after_ms"] > 0
    kind, answer = asker.events([event])
    asker.close()
    assert kind == "A1" and answer["accepted"] == 1, f"a retry of a refused event is taken for a duplicate: {answer}"


def uncommitted(stack, queue):
    """Epochs of which Redis calls more applied than the ledger has."""
    found = []
    for epoch, value in queue.client.hgetall(queue.key("applied")).items():
        ranges = value.decode().split(" ", 1)[1]
        rows = stack.postgres.query("select %s::int8multirange <@ applied from spendd.ledger where epoch = %s", (ranges, epoch.decode()))
        if ranges != "{}" and rows != [(True,)]:
            found.append((epoch.decode(), ranges))
    return found


def first_events(stack, instance, name):
    outcome = Producer(instance.ingest, batches(Generator(SEED, name).events(40), 10)).start().wait(30, stack.logs)
    wait_until(lambda: conservation.settled(stack.postgres, 40), 30, "the first events", stack.logs)
    return outcome


def blocked(stack):
    return stack.postgres.query("select pid from pg_stat_activity where wait_event_type = 'Lock' and xact_start is not null "
                                "and application_name <> 'test' and pid <> pg_backend_pid()")


def test_published_is_committed(stack):
    instance, queue = stack.spendd().start(ready=WORKERS), Queue(stack.redis.client())
    first_events(stack, instance, "published")
    foreign = stack.postgres.connect(application_name="test")
    foreign.autocommit = False
    foreign.cursor().execute("select 1 from spendd.spend where entity_type = 'team' for update")
    producer = Producer(instance.ingest, batches(Generator(SEED, "held").events(200), 20)).start()
    wait_until(lambda: blocked(stack), 30, "a flush that waits for a row", stack.logs)
    found = uncommitted(stack, queue)
    foreign.rollback()
    foreign.close()
    producer.wait(30, stack.logs)
    assert not found, f"published and not committed: {found}"


COMMIT_WAITS = """
    create function spendd.wait_at_commit() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
    create constraint trigger wait_at_commit after update on spendd.ledger deferrable initially deferred
        for each row execute function spendd.wait_at_commit();
"""


def test_a_commit_without_an_answer_is_no_commit(stack):
    """The connection dies while COMMIT is under way, and PostgreSQL rolls back."""
    instance, queue = stack.spendd().start(ready=WORKERS), Queue(stack.redis.client())
    outcome = first_events(stack, instance, "ambiguous")
    stack.postgres.query(COMMIT_WAITS)
    gate = stack.postgres.connect(application_name="test")
    gate.cursor().execute("select pg_advisory_lock(42)")
    producer = Producer(instance.ingest, batches(Generator(SEED, "late").events(50), 50), outcome).start()
    (pid,), = wait_until(lambda: blocked(stack), 30, "a COMMIT that waits", stack.logs)
    producer.wait(30, stack.logs)
    stack.postgres.query("select pg_terminate_backend(%s)", (pid,))
    # It comes back and tries the same again, which waits again; one that believes has nothing left to do.
    def decided():
        return any(row[0] != pid for row in blocked(stack)) or uncommitted(stack, queue)
    wait_until(decided, 30, "the flusher to do anything", stack.logs)
    found = uncommitted(stack, queue)
    gate.close()
    assert not found, f"published and not committed: {found}"
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


ORPHANS = """select count(*) from spendd.spend_log l where not exists
             (select from spendd.ledger g where g.epoch = l.epoch and g.applied @> l.seq)"""


def test_ledger_and_rows_appear_together(stack):
    """Whoever stands in line for the ledger's row sees, when the flush has committed, rows and ledger."""
    instance = stack.spendd(flush__ms=10, seal__ms=20).start(ready=WORKERS)
    first_events(stack, instance, "together")
    producer = Producer(instance.ingest, batches(Generator(SEED, "more").events(10**9), 10), rate=100).start()
    foreign = stack.postgres.connect(application_name="test")
    foreign.autocommit = False
    seen = {"orphans": 0, "rows": 0, "flushes": 0}

    def look():
        """True when 25 flushes have been seen to commit, or rows without their ledger."""
        cursor = foreign.cursor()
        try:
            cursor.execute("select 1 from spendd.ledger for update")
            cursor.execute(ORPHANS)
            seen["orphans"] = cursor.fetchone()[0]
            cursor.execute("select count(*) from spendd.spend_log")
            rows = cursor.fetchone()[0]
            seen["flushes"] += rows > seen["rows"]
            seen["rows"] = rows
        except psycopg2.errors.DeadlockDetected:
            pass
        foreign.rollback()
        return seen["orphans"] or seen["flushes"] > 25

    wait_until(look, 60, "25 flushes", [producer, *stack.logs], look_s=0)
    foreign.close()
    producer.stop()
    assert not seen["orphans"], f"{seen['orphans']} rows without their ledger"


# --- claims of LiteLLM's lists ------------------------------------------------------------------------
@pytest.fixture
def bench(place):
    made = Bench(place)
    elements.make_tables(made.pg)
    yield made
    made.close()


def adopter(bench, **settings):
    made = bench.flusher(database_layout="litellm", litellm_adopt=True, litellm_drain_ms=50, litellm_lock_ttl_ms=2000,
                         litellm_lock_poll_ms=20, **settings)
    wait_until(lambda: made.lives() and made.metric("litellm_lock_held"), 20, "the pod lock", [made])
    return made


def held(bench, statement):
    line = bench.pg.connect()
    line.autocommit = False
    line.cursor().execute(statement)
    return line


def test_a_claim_stays_until_it_is_committed(bench):
    flusher = adopter(bench)
    line = held(bench, 'LOCK TABLE "LiteLLM_UserTable" IN EXCLUSIVE MODE')
    elements.Books(SEED).push(bench.client, 2)
    wait_until(lambda: bench.sql("SELECT count(*) FROM pg_locks WHERE NOT granted"), 20, "the flusher to wait", [flusher])
    assert elements.left(bench.client)[1] == len(elements.LISTS), "the claim is gone, and nothing is committed"
    line.close()


def test_a_claim_has_its_row(bench):
    flusher = adopter(bench)
    elements.Books(SEED).push(bench.client, 2)
    elements.settled(bench.client, [flusher])
    assert bench.sql("SELECT count(*) FROM spendd.claim WHERE state = 'applied'") > 0, "counted, and no row says so"


def test_a_give_back_is_marked_first(bench):
    flusher = adopter(bench, database_lock_ms=100)
    line = held(bench, 'LOCK TABLE "LiteLLM_UserTable" IN EXCLUSIVE MODE')
    elements.Books(SEED).push(bench.client, 2)
    wait_until(lambda: flusher.metric("litellm_claims_returned_total") > 0, 20, "a give-back", [flusher])
    assert bench.sql("SELECT count(*) FROM spendd.claim WHERE state = 'returned'") > 0, "given back, and no mark says so"
    line.close()

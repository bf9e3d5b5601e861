"""Two writers and many instances: a lock holder that sleeps through its lease, and a fleet of fifty with
foreign writers on the same rows.  One writes at a time, deadlocks are retried, totals are exact.
"""
import random
import threading

import psycopg2

from lib import conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.waiting import wait_until
from lib.wire import LightPusher, Queue

# Backends of flushers that have written in a transaction, and wait for a row that the test holds.
WAITS = """select pid, backend_xid::text from pg_stat_activity where backend_xid is not null
           and application_name like 'spendd%' and wait_event_type = 'Lock'"""


def asleep_within(stack, instances):
    """Stops the flusher that holds the lock, within its transaction; (instance, flusher, transaction)."""
    queue = Queue(stack.redis.client())

    def holder():
        name = (queue.lock_holder() or b"").decode().partition(":")[0]
        return next((each for each in instances if each.settings["instance"] == name), None)

    def asleep():
        having = holder()
        if having is None or not stack.postgres.query(WAITS):
            return None
        flusher = having.freeze("db_flusher")
        found = stack.postgres.query(WAITS)
        if len(found) == 1 and holder() is having:  # stopped it cannot go on: what waits will not commit
            return having, flusher, *found[0]
        having.thaw(flusher)
        return None

    return wait_until(asleep, 30, "a flush that waits for a row", stack.logs)


def test_the_lock_holder_sleeps_through_its_lease(stack):
    """SIGSTOP within its transaction; the others go on, for its lease is over; SIGCONT: it has lost that transaction, and
    what was in it counts once."""
    instances = [stack.spendd(instance=f"sleeper{n}", database__lock_ms=3000, database__socket_timeout_ms=2000).start(
        ready=WORKERS) for n in range(3)]
    outcome = Outcome()
    producers = [Producer(instance.ingest, batches(Generator(41, f"sleep{n}").events(10**9), 6), outcome, rate=20).start()
                 for n, instance in enumerate(instances)]
    wait_until(lambda: conservation.settled(stack.postgres, 30), 30, "the first events", stack.logs)
    foreign = stack.postgres.connect(application_name="test")
    foreign.autocommit = False
    transactions = []
    for _ in range(5):
        foreign.cursor().execute("select 1 from spendd.spend where entity_type = 'team' for update")
        instance, flusher, pid, xid = asleep_within(stack, instances)
        foreign.rollback()
        before = stack.postgres.one("select count(*) from spendd.spend_log")
        wait_until(lambda: stack.postgres.one("select count(*) from spendd.spend_log") > before + 40, 40,
                   "the others to go on", stack.logs)
        instance.thaw(flusher)
        transactions.append((pid, xid))
    foreign.close()
    for producer in producers:
        producer.finish_source()
    for producer in producers:
        producer.wait(40, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    for pid, xid in transactions:
        assert stack.postgres.one("select pg_xact_status(%s::xid8)", (xid,)) == "aborted", f"{xid} of backend {pid}"


def holds(instance):
    """Does this instance hold the lock, by its own counters?"""
    return instance.metric("lock_held") == 1


class ForeignWriter(threading.Thread):
    """Locks a handful of our rows in random order, again and again, and changes no figure.  It dawdles within its
    transaction, so that a flush often meets it, and rests between two, so that the rows are not locked for ever."""

    def __init__(self, postgres, seed, pause_s=0.3):
        super().__init__(daemon=True)
        self.postgres, self.rng, self.pause_s = postgres, random.Random(seed), pause_s
        self.ending, self.commits, self.deadlocks = threading.Event(), 0, 0

    def run(self):
        connection = self.postgres.connect(application_name="test")
        connection.autocommit = False
        cursor = connection.cursor()
        teams = [f"team-{n:02d}" for n in range(12)]
        while not self.ending.is_set():
            try:
                for team in self.rng.sample(teams, 4):
                    self.ending.wait(0.01)
                    cursor.execute("update spendd.spend set updated_at = now() where entity_type = 'team' and entity_id = %s", (team,))
                connection.commit()
                self.commits += 1
            except psycopg2.errors.DeadlockDetected:
                self.deadlocks += 1
                connection.rollback()
            except psycopg2.Error:
                connection.rollback()
            self.ending.wait(self.rng.uniform(0, 2 * self.pause_s))
        connection.close()


class Watcher(threading.Thread):
    """Looks at pg_stat_activity: how many of spendd's backends have written in an open transaction?"""

    SQL = """select count(*) from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
             and application_name like 'spendd%'"""

    def __init__(self, postgres):
        super().__init__(daemon=True)
        self.postgres, self.ending = postgres, threading.Event()
        self.looks = self.most = self.busy = 0

    def run(self):
        connection = self.postgres.connect(application_name="test")
        cursor = connection.cursor()
        while not self.ending.is_set():
            cursor.execute(self.SQL)
            writers = cursor.fetchone()[0]
            self.looks += 1
            self.busy += writers > 0
            self.most = max(self.most, writers)
            self.ending.wait(0.02)
        connection.close()


def test_fifty_instances_and_ten_foreign_writers(place):
    """Twelve real instances and 38 light ones that speak the queue's scripts and nothing else."""
    stack = Stack(place, postgres=place.postgres(max_connections=120, deadlock_timeout="100ms")).start()
    # Fifty on two cores: nobody is hurried, so that a lease is lost to a dead holder and not to a busy machine.
    calm = {"lock__ttl_ms": 15000, "lock__renew_ms": 3000, "health__probe_ms": 2000, "health__idle_probe_ms": 10000,
            "supervisor__beat_ms": 1000, "redis__command_ms": 5000, "redis__connect_ms": 5000, "redis__repush_s": 30}
    instances = [stack.spendd(**calm).start(ready=()) for _ in range(12)]
    for instance in instances:
        instance.wait_ready("aggregator", "redis_writer", deadline_s=60)
    outcome = Outcome()
    # The first flush makes the schema that the foreign writers write to.
    Producer(instances[0].ingest, batches(Generator(51, "first").events(40), 10), outcome).start().wait(60, stack.logs)
    wait_until(lambda: conservation.settled(stack.postgres, 40), 40, "the first events", stack.logs)
    watcher = Watcher(stack.postgres)
    writers = [ForeignWriter(stack.postgres, seed) for seed in range(10)]
    for thread in [watcher, *writers]:
        thread.start()
    producers = [Producer(instance.ingest, batches(Generator(51, f"real{n}").events(300), 10), outcome, rate=4, window=4).start()
                 for n, instance in enumerate(instances)]
    pushers = [LightPusher(stack.redis.client(), batches(Generator(51, f"light{n}").events(60), 10), f"light{n}", repush_s=30).start()
               for n in range(38)]
    for producer in producers:
        producer.wait(120, stack.logs)
    for pusher in pushers:
        wait_until(pusher.done, 120, f"{pusher.name} to see everything applied", [pusher, *stack.logs], look_s=0.1)
        outcome.sent.update(pusher.sent)
        outcome.acked.update(pusher.sent)
    wait_until(lambda: conservation.settled(stack.postgres, len(outcome.acked)), 90, "everything to be counted", stack.logs, look_s=0.2)
    for thread in [watcher, *writers]:
        thread.ending.set()
        thread.join(20)
    foreign = sum(writer.deadlocks for writer in writers)
    ours = sum(instance.metric("flush_retries_deadlock_total") or 0 for instance in instances)
    print(f"\n  foreign commits {sum(writer.commits for writer in writers)}, their deadlocks {foreign}, retried by spendd {ours};"
          f" looks {watcher.looks}, with a spendd writer {watcher.busy}, most at once {watcher.most}")
    assert watcher.busy > 0 and watcher.most == 1
    assert foreign + ours > 0, "no deadlock at all: the rows were not fought for"
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert sum(instance.log_text().count("poison") for instance in instances) == 0
    stack.close()


def test_foreign_writers_who_never_pause_do_not_keep_the_flusher_out(place):
    """Six of them hold a third of the hot rows each, always: row by row the flusher loses every deadlock."""
    stack = Stack(place, postgres=place.postgres(deadlock_timeout="20ms")).start()
    instance = stack.spendd().start(ready=WORKERS)
    outcome = Outcome()
    Producer(instance.ingest, batches(Generator(52, "first").events(100), 10), outcome).start().wait(60, stack.logs)
    wait_until(lambda: conservation.settled(stack.postgres, 100), 40, "the first events", stack.logs)
    writers = [ForeignWriter(stack.postgres, seed, pause_s=0) for seed in range(6)]
    for writer in writers:
        writer.start()
    Producer(instance.ingest, batches(Generator(52, "more").events(3000), 10), outcome, rate=1000).start().wait(60, stack.logs)
    wait_until(lambda: conservation.settled(stack.postgres, 3100), 60, "everything to be counted", stack.logs)
    lost, commits = (instance.metric(name) for name in ("flush_retries_deadlock_total", "flushes_total"))
    for writer in writers:
        writer.ending.set()
        writer.join(20)
    print(f"\n  foreign commits {sum(writer.commits for writer in writers)}, deadlocks the flusher lost {lost}, commits {commits}")
    # Two are lost before it queues for the tables; without that it loses a dozen for each commit.
    assert 0 < lost <= 3 * (commits + 1), f"{lost} deadlocks lost for {commits} commits"
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    stack.close()


def test_the_lock_moves_on_when_its_holder_is_killed(stack):
    instances = [stack.spendd().start(ready=WORKERS) for _ in range(2)]
    outcome = Outcome()
    producers = [Producer(instance.ingest, batches(Generator(61, f"moves{n}").events(10**9), 6), outcome, rate=20).start()
                 for n, instance in enumerate(instances)]
    conservation.wait_schema(stack.postgres, stack.logs)
    for _ in range(6):
        victim = wait_until(lambda: next((i for i in instances if holds(i)), None), 20, "a holder", stack.logs)
        victim.kill("db_flusher")
        before = stack.postgres.one("select count(*) from spendd.spend_log")
        wait_until(lambda: stack.postgres.one("select count(*) from spendd.spend_log") > before, 20, "flushes to go on", stack.logs)
    for producer in producers:
        producer.finish_source()
    for producer in producers:
        producer.wait(40, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)

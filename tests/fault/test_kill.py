"""The kill matrix: under load, SIGKILL for each worker, the supervisor, and everything at once, at seeded
random moments, 210 kills in all, each with unacknowledged messages in flight.  Afterwards: what was
acknowledged is what is counted, no id twice, all sums equal.

A moment is "after so many more answers", never a pause.  A kill counts when messages had no answer right before it
and right after it; another one is made in the place of one that does not count.  Half of the flusher's kills happen while its
transaction is open: a foreign row lock holds it there, pg_stat_activity shows it while the flusher is stopped,
and afterwards each of these very transactions is aborted and PostgreSQL's log shows its end.
"""
import itertools
import random
import signal

import pytest

from lib import conservation, processes
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Producer
from lib.waiting import wait_until

SEED = 4711
KILLS = {"aggregator": 45, "redis_writer": 35, "health_checker": 10, "control": 10}
FLUSHER_KILLS, SUPERVISOR_KILLS, KILLS_OF_ALL = 60, 25, 25
assert sum(KILLS.values()) + FLUSHER_KILLS + SUPERVISOR_KILLS + KILLS_OF_ALL >= 200


class Load:
    """A producer that goes on until it is told to finish, and the moments that are counted by its answers."""

    def __init__(self, instance, name, rate=60):
        stream = batches(Generator(SEED, name).events(10**9), random.Random(f"{SEED}/{name}"))
        self.instance, self.rng = instance, random.Random(f"{SEED}/kill/{name}")
        self.producer = Producer(instance.ingest, stream, window=12, resend_s=1.0, rate=rate).start()
        self.outcome = self.producer.outcome

    def random_moment(self, most=12):
        """So many more answers, and then a message that has none yet."""
        target = self.outcome.messages + self.rng.randint(1, most)
        wait_until(lambda: self.outcome.messages >= target and self.producer.in_flight() > 0, 40,
                   f"{target} answers (now {self.outcome.messages})", [self.producer, self.instance], look_s=0.002)

    def strikes(self, kills, victim, most=12):
        """That many kills of the process that victim() names, each at a random moment with messages in flight."""
        while kills > 0:
            pid = victim()
            self.random_moment(most)
            struck = processes.send(pid, signal.SIGKILL)
            kills -= struck and self.producer.in_flight() > 0
            wait_until(lambda: not processes.alive(pid), 10, f"{pid} to be gone", [self.instance])
            yield pid

    def finish(self, stack):
        self.producer.finish_source()
        self.producer.wait(60, stack.logs)
        return conservation.assert_conserved(stack.postgres, self.outcome, deadline_s=90, logs=stack.logs)


@pytest.fixture
def instance(stack):
    return stack.spendd(supervisor__drain_ms=3000, dedupe__seconds=60).start(ready=WORKERS)


@pytest.mark.parametrize("worker", KILLS)
def test_a_worker_is_killed(stack, instance, worker):
    load = Load(instance, worker)
    for _ in load.strikes(KILLS[worker], lambda: instance.pid(worker)):
        pass
    load.finish(stack)
    assert instance.running()


def test_the_flusher_is_killed_at_any_moment(stack, instance):
    load = Load(instance, "flusher")
    for _ in load.strikes(FLUSHER_KILLS // 2, lambda: instance.pid("db_flusher")):
        pass
    load.finish(stack)


# The flusher's backend whose transaction has written and waits for the row that we hold.
OPEN = """select pid, backend_xid::text from pg_stat_activity where backend_xid is not null
          and application_name like 'spendd%' and wait_event_type = 'Lock'"""
ENDS = ("with an open transaction", "connection to client lost")


def open_transaction(stack, instance):
    """Stops the flusher within a transaction; (flusher, its backend, the transaction).  Stopped it cannot go on, and its
    backend waits for us: what is seen after the stop is so at the kill."""
    while True:
        wait_until(lambda: stack.postgres.query(OPEN), 30, "a flush that waits for a row", stack.logs)
        flusher = instance.freeze("db_flusher")
        found = stack.postgres.query(OPEN)
        if len(found) == 1:
            return flusher, *found[0]
        instance.thaw(flusher)  # its lock_timeout came first: the next attempt


def ended_in(log, pid):
    """Does PostgreSQL's log say that this backend lost its client within a transaction?"""
    with open(log, encoding="utf-8", errors="replace") as file:
        return any(f"[{pid}]" in line and any(end in line for end in ENDS) for line in file)


def test_the_flusher_is_killed_within_its_transaction(stack, instance):
    load = Load(instance, "within")
    wait_until(lambda: conservation.settled(stack.postgres, 20), 30, "the first events", stack.logs)
    foreign = stack.postgres.connect(application_name="test")
    foreign.autocommit = False
    killed = []

    def within():
        # All teams locked: the next flush stops half way, its log rows and the ledger already written.
        foreign.cursor().execute("select 1 from spendd.spend where entity_type = 'team' for update")
        flusher, pid, xid = open_transaction(stack, instance)
        killed.append((pid, xid))
        return flusher

    for _ in load.strikes(FLUSHER_KILLS // 2, within, 3):
        foreign.rollback()
    foreign.close()
    load.finish(stack)
    for pid, xid in killed:
        assert stack.postgres.one("select pg_xact_status(%s::xid8)", (xid,)) == "aborted", f"{xid} of backend {pid}"
        wait_until(lambda: ended_in(stack.postgres.log, pid), 10, f"the end of backend {pid} in the log", [stack.postgres])
    print(f"\n  {len(killed)} transactions open at the kill, all aborted, each in PostgreSQL's log")


def test_the_supervisor_is_killed(stack, instance):
    """Its workers drain and leave by themselves; the next supervisor waits for them or takes over."""
    load = Load(instance, "supervisor")
    for _ in load.strikes(SUPERVISOR_KILLS, lambda: instance.process.pid):
        instance.kill_supervisor()  # has happened: it is reaped
        instance.start(ready=())
    load.finish(stack)


def test_everything_is_killed_at_once(stack, instance):
    load = Load(instance, "all")
    for _ in range(KILLS_OF_ALL):
        load.random_moment()
        instance.freeze("aggregator")  # what has no answer now has none when all are killed
        wait_until(load.producer.in_flight, 20, "a message in flight", [load.producer, instance], look_s=0.002)
        instance.kill_all()
        instance.start(ready=())
    load.finish(stack)


def test_two_at_once_in_every_pair(stack, instance):
    """Deaths that overlap: each pair of workers at the same moment."""
    load = Load(instance, "pairs")
    for pair in itertools.combinations(WORKERS, 2):
        load.random_moment()
        for worker in pair:
            instance.kill_if_there(worker)
    load.finish(stack)

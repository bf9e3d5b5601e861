"""Counted: the connections that an instance opens in an hour of steady life, and its descriptors before and after a
thousand failures of each store's link.
"""
import collections
import os
import random

import pytest

from lib import conservation, elements, litellm
from lib.checkers import StubModels
from lib.commits import PostgresProxy
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.elements import Books
from lib.lone import Bench, by_id, envelopes, generated
from lib.poster import Poster, Web, ports
from lib.producer import Outcome, Producer
from lib.proxy import DOWN, RedisProxy
from lib.waiting import WaitFailed, wait_until

SEED = 1000


class Site:
    def __init__(self, place, stack, **settings):
        self.stack, self.outcome, self.loads = stack, Outcome(), 0
        self.redis, self.postgres = RedisProxy(place, stack.redis), PostgresProxy(place, stack.postgres)
        self.instance = stack.spendd(redis__url=self.redis.url, database__url=self.postgres.url(), **settings).start(ready=WORKERS)

    @property
    def logs(self):
        return [self.redis, self.postgres, *self.stack.logs]

    def load(self):
        self.loads += 1
        producer = Producer(self.instance.ingest, batches(Generator(SEED, f"counts{self.loads}").events(10**9), 2), self.outcome,
                            rate=40, window=12).start()
        self.counts_on()
        return producer

    def counts_on(self):
        target = len(self.outcome.acked) + 1
        wait_until(lambda: conservation.settled(self.stack.postgres, target), 30, "events to be counted", self.logs)

    def finish(self, producer):
        producer.finish_source()
        producer.wait(60, self.logs)
        conservation.assert_conserved(self.stack.postgres, self.outcome, logs=self.logs, show=False)


@pytest.fixture
def site(place):
    stack = Stack(place).start()
    made = []

    def make(**settings):
        made.append(Site(place, stack, **settings))
        return made[0]

    yield make
    stack.close()


def test_connections_of_an_hour(site):
    """An hour is sixty probes of each store, whatever their pause.  The data path opens nothing in it."""
    site = site(health__probe_ms=100, health__idle_probe_ms=150, flush__ms=20, seal__ms=20, redis__connect_ms=10000,
                redis__command_ms=10000, database__connect_ms=10000)  # no deadline passes on a busy machine

    def probes():
        return site.instance.metric("probes_passed_total")

    producer = site.load()
    began, redis, postgres = probes(), site.redis.opened, site.postgres.opened
    commits = site.postgres.commits
    wait_until(lambda: probes() >= began + 120, 60, "an hour", site.logs)
    redis, postgres, took = site.redis.opened - redis, site.postgres.opened - postgres, probes() - began
    print(f"\n  {took} probes; connections opened: Redis {redis}, PostgreSQL {postgres};"
          f" commits {site.postgres.commits - commits}; open now: Redis {site.redis.open}, PostgreSQL {site.postgres.open}")
    # Each probe connects once; one of each store may be under way at either end.
    assert redis + postgres <= took + 4
    # Redis: writer, flusher, control (it was asked for the status), and a probe under way.
    assert site.redis.open <= 4 and site.postgres.open <= 2
    assert site.instance.metric("probes_failed_total") == 0
    site.finish(producer)


def kept(names):
    """Who has a connection to Redis, but for the probe's, which comes and goes."""
    return sorted(name.split("-")[1] for name in names if name.startswith("spendd-") and "health" not in name)


def test_connections_with_everything_on(place):
    """docs/guide.md, "Sizing": LiteLLM's lists adopted, models checked, events and questions over HTTP."""
    stack, models = Stack(place).start(), StubModels()
    elements.make_tables(stack.postgres)
    redis, postgres = RedisProxy(place, stack.redis), PostgresProxy(place, stack.postgres)
    instance = stack.spendd(redis__url=redis.url, database__url=postgres.url(), database__layout="litellm", litellm__adopt=True,
                            litellm__events="logs",
                            litellm__drain_ms=50, litellm__lock_poll_ms=20, health__interval_s=1, health__cache_ttl_s=5,
                            health__models=[{"name": "gpt", "url": models.url("gpt")}], health__probe_ms=300, health__idle_probe_ms=300,
                            redis__connect_ms=10000, redis__command_ms=10000, database__connect_ms=10000, **ports())
    instance.start(ready=(*WORKERS, "gateway"))
    client, books, web = stack.redis.client(), Books(SEED), Web(instance)
    events = litellm.events(10**6, seed=SEED)
    poster = Poster(web, batches(events, 2), threads=1).start()
    logs = [redis, postgres, poster, *stack.logs]
    books.push(client, 1)
    elements.settled(client, [instance])
    wait_until(lambda: models.count("gpt") >= 2, 30, "rounds of checks", logs)

    def names():
        return [row["name"] for row in client.client_list()]

    # control's is there because the test asked; it is closed a minute after the last question.
    wait_until(lambda: [name for name in kept(names()) if name != "control"] == ["db_flusher", "models", "redis_writer"], 30,
               "what is kept", logs)
    redis.most_open, began, answers = 0, instance.metric("probes_passed_total"), poster.outcome.messages
    while instance.metric("probes_passed_total") < began + 12:
        assert web.ask("GET", "/health/services", face="status")[0] == 200 and instance.status()
        books.push(client, 1)
        assert set(kept(names())) <= {"db_flusher", "models", "redis_writer", "control"} and len(kept(names())) <= 4
    elements.settled(client, [instance])
    wait_until(lambda: poster.outcome.messages > answers, 30, "answers over HTTP", logs)
    acked = poster.finish(logs=logs).acked
    wait_until(lambda: len(litellm.logs(stack.postgres)) >= len(acked), 30, "the rows", logs, look_s=0.2)
    books.check(stack.postgres)
    print(f"\n  Redis {kept(names())}, most at a time {redis.most_open}; PostgreSQL {postgres.most_open}")
    assert redis.most_open <= 5 and postgres.most_open <= 2
    stack.close()
    models.close()


# --- a fleet ----------------------------------------------------------------------------------------------------
FLEET = 8


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def sessions(bench):
    return bench.sql("select count(*) from pg_stat_activity where application_name = 'spendd db_flusher'")


def one_session(bench):
    wait_until(lambda: sessions(bench) <= 1, 30, "one session in the fleet", bench.flushers, look_s=0.05)


def test_a_fleet_with_little_to_do_has_one_session(bench):
    """The lock moves from one to the other with each bit of work: who had it before lets go of PostgreSQL as well,
    long before database.max_idle_s."""
    bench.ready(database_max_idle_s=3600)
    for _ in range(FLEET - 1):
        bench.flusher(database_max_idle_s=3600)
    events = generated(10000)
    stream = iter([[event] for event in events])
    epoch, sent = "01900000-0000-7000-8000-000000000003", []

    def work():
        wait_until(lambda: bench.queue.lock_holder() is None, 20, "the lock to be given up", bench.flushers)
        sent.append(next(stream)[0])
        bench.push(*envelopes(sent[-1:], epoch=epoch, first=len(sent)))
        bench.settle()

    def has_moved():
        work()
        return sum(flusher.metric("lock_acquired_total") > 1 for flusher in bench.flushers) >= 4

    wait_until(has_moved, 60, "the lock to move", bench.flushers)
    for _ in range(3):
        work()
        one_session(bench)
    bench.check(by_id(sent))


def test_an_idle_fleet_audits_once_for_all(bench):
    """Each of them would open a connection for it.  One does, and when it is gone another one."""
    settings = {"flush_audit_ms": 300, "database_max_idle_s": 3600, "lock_ttl_ms": 1000, "lock_renew_ms": 300}
    bench.ready(**settings)
    events = generated(40)
    bench.push(*envelopes(events, 10))
    bench.settle()
    for _ in range(FLEET - 1):
        bench.flusher(**settings)

    def audits():
        return [flusher.metric("flushes_total") for flusher in bench.flushers]

    for _ in range(2):
        wait_until(lambda: min(audits()) > 0, 30, "the first audit of each life", bench.flushers)
        one_session(bench)
        auditor = wait_until(lambda before=audits(): [n for n, (now, then) in enumerate(zip(audits(), before)) if now > then + 4],
                             30, "an auditor", bench.flushers)[0]
        bench.flushers.pop(auditor).kill()
    bench.check(by_id(events))


def descriptors(instance):
    """worker -> what its descriptors are, by kind; None for a worker that is not there"""
    found = {}
    for worker in WORKERS:
        pid = instance.pid(worker)
        kinds = collections.Counter()
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                kinds[os.readlink(f"/proc/{pid}/fd/{number}").split(":")[0]] += 1
            except FileNotFoundError:
                pass  # closed since
        found[worker, pid] = kinds
    return found


def differing(before, after):
    """Nobody has more than before.  Less is no leak: control's connection to Redis, made when somebody asks, or a
    producer's that was just leaving may have been closed since."""
    return {who: (before[who], after.get(who)) for who in before if who not in after or not after[who] <= before[who]}


def wait_or_last(difference, deadline_s):
    """Waits until there is none; what it is when it stays."""
    try:
        wait_until(lambda: not difference(), deadline_s, "no difference")
    except WaitFailed:
        pass
    return difference()


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_descriptors_after_a_thousand_failures(site, store):
    site = site(redis__backoff_max_ms=10, database__backoff_max_ms=10, flush__ms=10, seal__ms=20, redis__applied_poll_ms=10,
                health__fail_after=100, health__probe_ms=600000, health__idle_probe_ms=600000)
    proxy, rng = getattr(site, store), random.Random(f"{SEED}{store}")
    site.finish(site.load())
    before, opened = descriptors(site.instance), proxy.opened
    producer = site.load()
    failures = proxy.acted
    while proxy.acted < failures + 1000:
        # Within the greeting, within a reply, or just behind it.
        proxy.arm(rng.choice(("reset", "cut")), way=DOWN, after=rng.randrange(1, 1000))
        wait_until(lambda: proxy.armed is None, 20, "a failure", site.logs, look_s=0.001)
        if proxy.acted % 50 == 0:  # a hundred in a row would close the gate, and another process open it
            site.counts_on()
    opened = proxy.opened - opened
    site.finish(producer)
    leaked = wait_or_last(lambda: differing(before, descriptors(site.instance)), 20)
    assert not leaked, leaked
    print(f"\n  {store}: {proxy.acted - failures} failures, {opened} connections opened;"
          f" descriptors {({worker: sum(kinds.values()) for (worker, _), kinds in before.items()})}")
    assert opened >= 900

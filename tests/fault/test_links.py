"""Links that fail in every way a link can, at seeded moments under load: nobody's event waits for it, what is
half-open is noticed within its deadline, and everything is counted once.
"""
import random
import time

import pytest

from lib import conservation, litellm, netns
from lib.commits import PostgresProxy
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.proxy import DOWN, FAULTS, RedisProxy
from lib.waiting import patient, wait_until

SEED = 430
DEADLINE_MS = 600
SETTINGS = {"redis__connect_ms": DEADLINE_MS, "redis__command_ms": DEADLINE_MS, "database__connect_ms": DEADLINE_MS,
            "database__socket_timeout_ms": DEADLINE_MS, "database__statement_ms": DEADLINE_MS,
            "database__lock_ms": DEADLINE_MS, "health__probe_ms": 300, "health__fail_after": 3}


class Site:
    """One instance between two proxies, and the books of everything that was ever sent to it."""

    def __init__(self, place, stack, netns_of=None, **more):
        self.stack, self.outcome, self.turns = stack, Outcome(), 0
        self.redis = RedisProxy(place, stack.redis, seed=SEED, netns=netns_of)
        self.postgres = PostgresProxy(place, stack.postgres, seed=SEED, netns=netns_of)
        self.instance = stack.spendd(redis__url=self.redis.url, database__url=self.postgres.url(), **SETTINGS, **more)
        self.instance.start(ready=WORKERS)

    @property
    def logs(self):
        return [self.redis, self.postgres, *self.stack.logs]

    def load(self, rate=80):
        """A stream of events until finish_source()."""
        self.turns += 1
        self.producer = Producer(self.instance.ingest, batches(Generator(SEED, f"links{self.turns}").events(10**9), 2), self.outcome,
                        window=12, resend_s=2.0, rate=rate).start()
        return self.producer

    def acknowledges(self, messages=10):
        """Ingest goes on, whatever happens behind it."""
        target = self.outcome.messages + messages
        wait_until(lambda: self.outcome.messages >= target, 20, "ingest to go on", self.logs)

    def counts_on(self):
        """Seconds until an event that is acknowledged from now on is counted."""
        started, target = time.monotonic(), len(self.outcome.acked) + 1
        wait_until(lambda: conservation.settled(self.stack.postgres, target), 30, "events to be counted again", self.logs,
                   look_s=0.05)
        return time.monotonic() - started

    def finish(self, producer):
        producer.finish_source()
        producer.wait(40, self.logs)
        conservation.assert_conserved(self.stack.postgres, self.outcome, logs=self.logs, show=False)


@pytest.fixture(scope="module")
def site(place):
    stack = Stack(place).start()
    made = Site(place, stack)
    yield made
    stack.close()


HANGS = {"half_open", "half_open_up", "half_open_down", "freeze", "blackhole"}


@pytest.fixture(autouse=True)
def calm(request):
    """A test that fails leaves no fault and no stream of events to the next one."""
    yield
    site = request.node.funcargs.get("site")
    if site is not None:
        for proxy in (site.redis, site.postgres):
            proxy.disarm()
            proxy.set("pass")
        site.producer.finish_source()
        site.producer.wait(40, site.logs)


@pytest.mark.parametrize("store", ["redis", "postgres"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_link_fails_under_load(site, store, fault):
    proxy, rng = getattr(site, store), random.Random(f"{SEED}{store}{fault}")
    producer = site.load()
    took = []
    for messages in (rng.randrange(3, 15), 80 * DEADLINE_MS // 1000 + rng.randrange(40)):  # shorter than the deadline; longer
        # The moment: so many bytes from now, wherever in the conversation that is.
        there = sum(proxy.carried.values()) + rng.randrange(5000)
        wait_until(lambda: sum(proxy.carried.values()) >= there, 20, "the moment", site.logs, look_s=0.001)
        FAULTS[fault](proxy, rng)
        if fault.startswith("cut_in"):
            wait_until(lambda: proxy.armed is None, 20, "the fault to happen", site.logs)
        site.acknowledges(messages if fault in HANGS else 3)
        proxy.set("pass")
        took.append(site.counts_on())
    print(f"\n  {store} {fault}: counted again after {', '.join(f'{s:.2f}' for s in took)} s")
    site.finish(producer)


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_a_half_open_link_is_noticed_within_its_deadline(site, store):
    """The kernel has nothing to say: it is our own deadline that closes each connection that is in use."""
    proxy = getattr(site, store)
    producer = site.load()
    for _ in range(2):
        site.counts_on()
        wait_until(lambda: proxy.open > 0, 20, "a connection", site.logs)
        before, started = proxy.closed, time.monotonic()
        proxy.set("drop", way=DOWN)
        wait_until(lambda: proxy.closed > before, 10, "somebody to notice", site.logs, look_s=0.002)
        noticed = time.monotonic() - started
        proxy.set("pass")
        took = site.counts_on()
        print(f"\n  {store}: noticed after {noticed:.2f} s of {DEADLINE_MS / 1000}, counted again after {took:.2f} s")
        # A probe of the health checker or a statement that begins just before the end of the load may take a deadline each.
        assert noticed < patient(3 * DEADLINE_MS / 1000)
    site.finish(producer)


@pytest.mark.parametrize("how", ["before", "after", "reset", "hold"])
def test_the_answer_to_commit_is_lost_under_load(site, how):
    """Committed or not: the ledger says, and each event counts once."""
    rng, producer = random.Random(f"{SEED}{how}"), site.load()
    acted, ambiguous = site.postgres.acted, site.instance.metric("flush_ambiguous_total")
    for _ in range(3):
        there = site.postgres.commits + rng.randrange(1, 5)
        wait_until(lambda: site.postgres.commits >= there, 20, "flushes", site.logs, look_s=0.002)
        site.postgres.arm_commit(how, of="db_flusher")
        wait_until(lambda: site.postgres.armed is None, 20, "a COMMIT", site.logs)
        site.acknowledges(3)
        site.counts_on()
    assert site.postgres.acted == acted + 3
    assert site.instance.metric("flush_ambiguous_total") >= ambiguous + 3  # a deadline that passed on a busy machine is one, too
    site.finish(producer)


def test_both_links_fail_at_random(site):
    """Thirty faults on both links, drawn and timed by the seed, one over the other."""
    rng, producer = random.Random(SEED), site.load()
    for _ in range(30):
        proxy = getattr(site, rng.choice(("redis", "postgres")))
        FAULTS[rng.choice(sorted(FAULTS))](proxy, rng)
        site.acknowledges(rng.randrange(1, 12))
        if rng.random() < 0.6:
            rng.choice((site.redis, site.postgres)).set("pass")
    for proxy in (site.redis, site.postgres):
        proxy.disarm()
        proxy.set("pass")
    print(f"\n  counted again after {site.counts_on():.2f} s; {site.redis.tail()}; {site.postgres.tail()}")
    site.finish(producer)


def test_both_links_fail_with_layout_litellm(place):
    """The same promise for LiteLLM's own tables: COMMIT swallowed in each way, and faults on both links at random; to
    the last bit (lib/litellm.py)."""
    stack, events = Stack(place).start(), list(litellm.events(6000, seed=SEED))
    litellm.make(stack.postgres)
    litellm.fill(stack.postgres, events)
    site, rng = Site(place, stack, database__layout="litellm", litellm__events="full"), random.Random(SEED)
    producer = Producer(site.instance.ingest, batches(iter(events), 2), site.outcome, window=12, resend_s=2.0, rate=80).start()

    def counted(more=1):
        target = len(site.outcome.acked) + more
        wait_until(lambda: stack.postgres.one('select count(*) from "LiteLLM_SpendLogs"') >= target, 40, "events to be counted",
                   site.logs)

    for how in ("before", "after", "reset", "hold"):
        counted()
        site.postgres.arm_commit(how, of="db_flusher")
        wait_until(lambda: site.postgres.armed is None, 20, "a COMMIT", site.logs)
        for _ in range(3):
            proxy = getattr(site, rng.choice(("redis", "postgres")))
            FAULTS[rng.choice(sorted(FAULTS))](proxy, rng)
            site.acknowledges(rng.randrange(1, 12))
        for proxy in (site.redis, site.postgres):
            proxy.disarm()
            proxy.set("pass")
    assert site.instance.metric("flush_ambiguous_total") >= 3
    producer.finish_source()
    producer.wait(40, site.logs)
    counted(0)
    acked = [event for event in events if event["event_id"] in site.outcome.acked]
    litellm.check(stack.postgres, acked)
    rows = litellm.logs(stack.postgres).values()
    assert sorted(row["metadata"]["spendd_event_id"] for row in rows) == sorted(event["event_id"] for event in acked)
    print(f"\n  {len(acked)} events; {site.redis.tail()}; {site.postgres.tail()}")
    stack.close()


def test_a_pulled_cable(place, stack):
    """No FIN, no RST, no answer from the kernel: both stores are behind a cable that is pulled, twice."""
    netns.require()
    space = netns.NetNs(place)
    site = Site(place, stack, netns_of=space)
    producer = site.load()
    for _ in range(2):
        site.counts_on()
        space.pull()
        site.acknowledges(100)
        space.plug()
        print(f"\n  counted again after {site.counts_on():.2f} s")
    site.finish(producer)

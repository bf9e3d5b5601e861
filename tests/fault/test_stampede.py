"""Fifty instances lose both stores at the same moment, wait, and get them back at the same moment: they do not come
back in step.  All fifty are real daemons, three hundred processes; both stores are behind a proxy that counts.

The bounds are computed from the settings (tests/fault/README.md has them for the defaults):

  first second    each of C connections tries at 0..first, 0..2 first, ...: log2(1 + 2000 / first) tries on average
  from then on    each tries at 0..max: 2000 / max a second on average; and the probes of N instances

and four standard deviations for chance.  Over all the time that a store was away the same bounds hold, added up: a
crowded machine can press attempts together in one second, and can make none besides.  A second does not show whether
they march in step: how uneven the tenths of a second are does.
"""
import collections
import datetime
import math
import time

from lib import conservation
from lib.daemon import Stack
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.commits import PostgresProxy
from lib.proxy import RedisProxy
from lib.waiting import patient, wait_until

INSTANCES = 50
FIRST_MS = 50  # of the refusals that a lost or refused connection is
MOST_MS = 2000
PROBE_MS = 1000
CONNECT_MS = 5000
LINKS = 2 * INSTANCES  # to Redis: redis_writer's and db_flusher's; probes come and go
# Fifty on two cores: what is compressed is only what this test is about.
LOCK_MS = 5000  # a dead holder's
CALM = {"lock__ttl_ms": LOCK_MS, "lock__renew_ms": 1000, "supervisor__beat_ms": 1000, "supervisor__hang_ms": 60000,
        "redis__command_ms": 5000, "redis__connect_ms": CONNECT_MS, "redis__repush_s": 60, "redis__applied_poll_ms": 500,
        "database__connect_ms": CONNECT_MS, "redis__backoff_max_ms": MOST_MS, "database__backoff_max_ms": MOST_MS,
        "health__probe_ms": PROBE_MS, "health__idle_probe_ms": PROBE_MS, "flush__ms": 500, "seal__ms": 300}


def likely(mean):
    return mean + 4 * math.sqrt(mean)


def probes():
    """A second, at most: a pause is four fifths of health.probe_ms at least."""
    return INSTANCES * 1000 / (0.8 * PROBE_MS)


RAMP = LINKS * math.log2(1 + 2000 / FIRST_MS)
BOUND = {
    # A flusher that starts when its gate opens connects to both stores once: as often as probes pass.
    "redis, lost": likely(RAMP + probes()),
    "redis, back": likely(LINKS * 2000 / MOST_MS + 2 * probes()),
    "postgres, lost": likely(probes()),  # and the one flusher that holds the lock
    "postgres, back": likely(2 * probes()),
}
# In all, while they are away for so many seconds.
AWAY = {
    "redis": lambda seconds: likely(RAMP + seconds * (LINKS * 2000 / MOST_MS + probes())),
    "postgres": lambda seconds: likely(seconds * probes()),
}
# What an instance waits for at most: one pause, and one connect that the store is slow to take.
WAIT_S = {
    "Redis": (MOST_MS + CONNECT_MS) / 1000,
    "gates": (1.2 * PROBE_MS + CONNECT_MS) / 1000,
    "counting": (1.2 * PROBE_MS + LOCK_MS + 2 * CONNECT_MS) / 1000,
}
SLACK_S = 5  # three hundred processes on two cores


def unevenness(times, slot_s=0.1):
    """Variance of the attempts in a slot over their mean: about 1 by chance alone, dozens when they march in step."""
    slots = collections.Counter(int((at - times[0]) / slot_s) for at in times)
    count = max(slots) + 1
    mean = len(times) / count
    return sum((slots[n] - mean) ** 2 for n in range(count)) / count / mean


def last_gate(instances):
    """When the last of them opened its gate, in seconds since the epoch; None while one is closed."""
    opened = []
    for instance in instances:
        lines = [line for line in instance.log_text().splitlines() if " gate_" in line]
        if not lines or " gate_opened " not in lines[-1]:
            return None
        opened.append(datetime.datetime.fromisoformat(lines[-1].split()[0].replace("Z", "+00:00")).timestamp())
    return max(opened)


def test_fifty_instances_lose_both_stores_and_get_them_back(place):
    stack = Stack(place, postgres=place.postgres(max_connections=200), redis=place.redis(maxclients=1000)).start()
    proxies = {"redis": RedisProxy(place, stack.redis), "postgres": PostgresProxy(place, stack.postgres)}
    instances = [stack.spendd(redis__url=proxies["redis"].url, database__url=proxies["postgres"].url(), **CALM).start(ready=())
                 for _ in range(INSTANCES)]
    logs = [*proxies.values(), stack.redis, stack.postgres, instances[0]]
    wait_until(lambda: proxies["redis"].open >= LINKS, 90, "everybody to be connected", logs)
    outcome = Outcome()
    producer = Producer([instance.ingest for instance in instances], batches(Generator(50, "stampede").events(10**9), 1),
                        outcome, window=50, rate=40, resend_s=10).start()
    wait_until(lambda: conservation.settled(stack.postgres, 50), 60, "the first events", logs, look_s=0.2)

    lost = time.monotonic()
    for proxy in proxies.values():
        proxy.set("turn_away")
        proxy.reset()
    # Until everybody has reached the longest pause, and has been there for two of them.
    reached = lost + 2 * MOST_MS / 1000
    wait_until(lambda: proxies["redis"].attempts[-1] > reached + 2 * MOST_MS / 1000, 60, "the longest pauses", logs, look_s=0.1)
    waves = unevenness([at for at in list(proxies["redis"].attempts) if at > reached])
    away = time.monotonic() - lost
    attempts = {name: [at for at in list(proxy.attempts) if at >= lost] for name, proxy in proxies.items()}

    back, clock = time.monotonic(), time.time()
    for proxy in proxies.values():
        proxy.set("pass")
    wait_until(lambda: proxies["redis"].open >= LINKS - INSTANCES, 60, "every redis_writer to be back", logs)
    took = {"Redis": time.monotonic() - back}
    took["gates"] = wait_until(lambda: last_gate(instances), 60, "every gate to open", logs, look_s=0.5) - clock
    before = stack.postgres.one("select count(*) from spendd.spend_log")
    wait_until(lambda: conservation.settled(stack.postgres, before + 1), 60, "flushes to go on", logs, look_s=0.1)
    took["counting"] = time.monotonic() - back

    peak = {f"{name}, {what}": proxy.most_attempts(since=since) for name, proxy in proxies.items()
            for what, since in (("lost", lost), ("back", back))}
    for name, most in peak.items():
        print(f"\n  {name}: at most {most} attempts in a second, bound {BOUND[name]:.0f}", end="")
    for name, times in attempts.items():
        print(f"\n  {name}: {len(times)} attempts in {away:.1f} s away, bound {AWAY[name](away):.0f}", end="")
    print(f"\n  redis, away: unevenness {waves:.1f}", end="")
    print("\n  " + ", ".join(f"{name} {seconds:.2f} s after the stores were back, stated {WAIT_S[name]:.1f}"
                             for name, seconds in took.items()))
    producer.finish_source()
    producer.wait(60, logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=logs)
    for name, most in peak.items():
        assert most <= patient(BOUND[name]), name  # what a crowded machine held up for a second comes in one
    for name, times in attempts.items():
        assert len(times) <= AWAY[name](away), (name, len(times))
    assert waves < patient(8), "they come in waves"  # 16 without jitter; a crowded machine bunches them, too
    for name, seconds in took.items():
        assert seconds <= patient(WAIT_S[name] + SLACK_S), name
    for instance in instances:
        assert "flush_stands_down" not in instance.log_text(), instance.tail()
    stack.close()

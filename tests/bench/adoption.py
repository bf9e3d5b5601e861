"""LiteLLM's lists drained by spendd, and, as the limit beside it, the same elements by LiteLLM's own consumer.

The elements are made by LiteLLM's queues (tests/interop), and pushed again and again to make a backlog.  Its
consumer is the newest release's leader, ticking without a pause (a real one waits ten seconds and more between
two ticks), with the elements that a tick takes at LiteLLM's default and, tuned, at ten times that.  Prisma's query
engine is not on PyPI: its statements go through asyncpg, pipelined (tests/interop/drivers/stand_in.py), which is faster.
Both must come to the same totals, else there is no figure.
"""
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "interop"))
import packages  # noqa: E402
import pods  # noqa: E402
from deployment import Databases, Pool, Site  # noqa: E402
from lib.waiting import wait_until  # noqa: E402

TICKS, REQUESTS, COPIES = 40, 25, 15
MANY = {"users": 200, "keys": 200, "teams": 20, "end_users": 400, "tags": 30, "agents": 10}


def rows_of(text):
    element = json.loads(text)
    maps = [value for name, value in element.items() if name.endswith("_list_transactions")]
    return sum(len(value or ()) for value in maps) if maps else len(element)


class Backlog:
    """Elements of LiteLLM's own, what they must come to, and how many rows stand in them."""

    def __init__(self, site):
        cast, pod, client = pods.Cast(3, **MANY).populate(site.postgres, site.database), site.pod(), site.redis.client()
        sent = []
        for _ in range(TICKS):
            rows = list(cast.requests(REQUESTS))
            pod.ask("requests", rows=rows)
            pod.ask("push")
            sent += rows
        pods.worked(pod.ask("calls"))
        self.texts = {name: client.lrange(name, 0, -1) * COPIES for name in pods.LISTS}
        self.elements = sum(map(len, self.texts.values()))
        entities, dailies = pods.expected(sent)
        self.wanted = ({name: {key: COPIES * spend for key, spend in sums.items()} for name, sums in entities.items()},
                       {name: {key: tuple(COPIES * n for n in sums) for key, sums in rows.items()}
                        for name, rows in dailies.items()})
        self.rows = COPIES * sum(rows_of(text) for name in pods.LISTS for text in client.lrange(name, 0, -1))
        client.flushall()

    def push(self, client):
        pipe = client.pipeline(transaction=True)
        for name, texts in self.texts.items():
            for start in range(0, len(texts), 200):
                pipe.rpush(name, *texts[start:start + 200])
        pipe.execute()

    def check(self, site):
        """Members with "::" in their id are LiteLLM's own loss."""
        wrong = [line for line in pods.differences(self.wanted, site.totals(), 1e-9) if "::" not in line]
        if wrong:
            raise RuntimeError("the totals are wrong: " + "; ".join(wrong[:3]))


def theirs(site, backlog, pod):
    backlog.push(site.redis.client())
    pods.wipe(site.postgres, site.database)
    done = pod.ask("drain")
    if done["failures"]:
        raise RuntimeError(f"LiteLLM's consumer failed: {done['failures'][:2]}")
    backlog.check(site)
    return done["seconds"], done["ticks"]


def ours(site, backlog, usage_of):
    spendd, client = site.spendd(quick=False, log__level="warn"), site.redis.client()
    spendd.start(ready=("db_flusher",), deadline_s=60)
    wait_until(lambda: all(map(client.get, pods.LOCKS)), 90, "the pod locks", site.logs)
    pods.wipe(site.postgres, site.database)
    claims = [f"{{{name}}}:spendd:claim" for name in pods.LISTS]
    keys = [*claims, *pods.LISTS]
    backlog.push(client)
    begin = time.monotonic()
    while not client.exists(*claims):  # until it looks again, as a pod until its next tick
        begin = time.monotonic()
    usage = usage_of(spendd, site.redis, site.postgres).begin()
    wait_until(lambda: not client.exists(*keys), 600, "the lists to be empty", site.logs, look_s=0.01)
    seconds, (_, bound) = time.monotonic() - begin, usage.end()
    backlog.check(site)
    spendd.stop()
    return seconds, bound


def run(place, runs, usage_of, row, notes):
    environment = packages.environment("newest")
    databases = Databases(place, fsync="on", full_page_writes="on", max_wal_size="4GB")
    pool = Pool(place)
    site = Site(place, databases, pool, environment)
    try:
        backlog = Backlog(site)
        took, limits = [], {100: [], 1000: []}
        consumers = {count: site.pod(drains=True, variables={"MAX_REDIS_BUFFER_DEQUEUE_COUNT": str(count)}) for count in limits}
        for _ in range(runs):
            took.append(ours(site, backlog, usage_of))
            for count, list_ in limits.items():
                list_.append(theirs(site, backlog, consumers[count]))
        seconds, bound = sorted(took)[len(took) // 2]
        for count, list_ in limits.items():
            limit = statistics.median(each for each, _ in list_)
            name = "LiteLLM's own consumer" + ("" if count == 100 else f", {count} elements a tick")
            row(f"adopted elements/s; limit: {name}", "", backlog.elements / seconds, backlog.elements / limit, bound)
            row(f"rows in them/s; limit: {name}", "", backlog.rows / seconds, backlog.rows / limit, bound)
        notes.append(f"adopted: {backlog.elements:,} elements with {backlog.rows:,} rows, made by {environment}; its consumer took "
                     + ", ".join(f"{list_[0][1]} ticks of {count}" for count, list_ in limits.items())
                     + ", its SQL through asyncpg (Prisma's query engine is not on PyPI)")
    finally:
        site.close()
        pool.close()

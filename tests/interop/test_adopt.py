"""spendd adopts the lists of real pods: what went in is counted once, whoever dies, and pods take over and back.

Costs are multiples of 1/1024, so totals are compared to the last bit unless a test says otherwise."""
import json
import os
import random
import subprocess
import threading

import psycopg2

import pods
from lib.daemon import Spendd, render
from lib.waiting import wait_until
from lib.wire import ROOT

QUICK = {"litellm.drain_ms": 100, "litellm.lock_poll_ms": 20, "litellm.lock_ttl_ms": 3000}


def start(site, **settings):
    return site.spendd(**{**QUICK, **settings}).start(ready=("db_flusher",))


def claims(site):
    return [key for key in site.redis.client().scan_iter(match="*") if b"claim" in key]


def empty(site):
    """No element on a list, none claimed; asked in one moment, for a claim may go back to its list."""
    pipe = site.redis.client().pipeline(transaction=True)
    for name in (*pods.LISTS, pods.WINDOW):
        pipe.llen(name)
        pipe.exists(f"{{{name}}}:spendd:claim")
    return not any(pipe.execute())


def drained(site, deadline_s=30):
    wait_until(lambda: empty(site), deadline_s, "the lists to be empty", site.logs)


def holder(site, lock=pods.LOCKS[0]):
    return site.redis.client().get(lock)


def held_by_us(site):
    ids = {pod.ask("pod_id").encode() for pod in site.pods if pod.running()}
    return wait_until(lambda: (holder(site) or next(iter(ids), b"")).strip(b'"') not in {*ids, b""}, 20,
                      "spendd to hold the pod lock", site.logs)


def exact(site, sent, tolerance=0.0):
    wrong = pods.differences(pods.expected(sent), site.totals(), tolerance)
    assert not wrong, "\n".join(wrong[:20])


def parsed(wrong):
    """Without the members that LiteLLM itself cannot parse, where a pod has drained something."""
    return [line for line in wrong if not (line.startswith("entity member") and "::" in line)]


class Traffic:
    """Requests in pods of a site, and what was sent."""

    def __init__(self, site, fleet=2, seed=5, **more):
        self.site, self.cast, self.sent = site, pods.Cast(seed, **more).populate(site.postgres, site.database), []
        self.pods = site.fleet(fleet) if isinstance(fleet, int) else fleet

    def push(self, count):
        """So many requests in each pod, and one tick: an element of each on each list."""
        for pod in self.pods:
            rows = list(self.cast.requests(count))
            pod.ask("requests", rows=rows)
            pod.ask("push")
            self.sent += rows
        return self


def test_totals_are_what_went_in(site):
    """Several processes, several ticks; empty elements among them; the judge is arithmetic on the requests."""
    traffic = Traffic(site).push(40)
    start(site)
    traffic.push(60).push(0).push(30)
    drained(site)
    for pod in site.pods:
        pods.worked(pod.ask("calls"))
    exact(site, traffic.sent)
    assert site.query("select class, reason, left(encode(record, 'escape'), 200) from spendd.dead_letter limit 5") == []


def roster(site, cast):
    """team-0's members stand in the team's own list alone, and one of them not even there."""
    site.query("delete from \"LiteLLM_TeamMembership\" where team_id = 'team-0'")
    site.query("update \"LiteLLM_TeamTable\" set members_with_roles = %s where team_id = 'team-0'",
               (json.dumps([{"role": "user", "user_id": user} for user in cast.users if user != "user-1"]),))


def test_same_as_litellms_own_writer(site):
    """The same elements, drained by LiteLLM and by spendd: every row and every column is the same, but for ids, times,
    and what LiteLLM gets wrong (README.md, "Differences")."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)], awkward=True)
    roster(site, traffic.cast)
    traffic.push(30)
    client, place = site.redis.client(), (site.postgres, site.database)
    elements = {name: client.lrange(name, 0, -1) for name in pods.LISTS}
    before = pods.content(*place)
    assert traffic.pods[0].ask("tick") == {"failures": []}
    theirs = pods.content(*place)
    assert theirs != before
    pods.wipe(*place)
    for name, texts in elements.items():
        client.rpush(name, *texts)
    start(site)
    drained(site)
    ours = pods.content(*place)
    members = [key for key in ours if key[0] == "LiteLLM_TeamMembership" and "::" in key[1][0]]
    differ = [text for key, text in pods.unlike(theirs, ours) if key not in members]
    assert not differ, "\n".join(differ[:10])
    assert any(ours[key].get("spend") for key in members)  # LiteLLM finds no row for these, we do
    made = {key[1][0] for key in ours if key[0] == "LiteLLM_TeamMembership" and key[1][2] == "team-0"}
    assert "user-1" not in made and bool(made) == (site.environment.name == "newest")
    missed = [("member", "team-0", user) for user in traffic.cast.users if user not in made]
    wrong = pods.differences(pods.expected(traffic.sent), site.totals(), 1e-12)
    assert all(any(line.startswith(f"entity member ('team-0', '{user}')") for _, _, user in missed) for line in wrong), \
        "\n".join(wrong[:10])


def test_pods_are_refused_while_spendd_runs(site):
    """LiteLLM's PodLockManager, asked again and again; on leaving spendd lets go at once."""
    pod = site.pod(drains=True)
    spendd = start(site)
    held_by_us(site)
    assert not any(pod.ask("lock") for _ in range(20))
    tag = holder(site, pods.LOCKS[1])
    assert tag is not None and tag.startswith(b'"') and tag.endswith(b'"')
    spendd.stop()
    assert holder(site) is None and pod.ask("lock") and pod.ask("release")


def test_ten_rounds_of_taking_over(site):
    """spendd is killed, a pod wins the lock within its time and flushes what is left, spendd comes back: ten times,
    nothing lost, nothing doubled."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    spendd = site.spendd(**{**QUICK, "litellm.lock_ttl_ms": 1000})
    for number in range(10):
        spendd.start(ready=("db_flusher",))
        held_by_us(site)
        traffic.push(3)
        if number % 2:
            drained(site)
        spendd.kill_all()
        traffic.push(3)
        # Newer builds have a second job for tags; a claim that spendd's death has left is spendd's.
        wait_until(lambda: traffic.pods[0].ask("lock"), 20, "the pod to win the lock", site.logs)
        traffic.pods[0].ask("release")
        assert traffic.pods[0].ask("tick") == {"failures": []}
    spendd.start(ready=("db_flusher",))
    drained(site)
    wrong = parsed(pods.differences(pods.expected(traffic.sent), site.totals()))
    assert not wrong, "\n".join(wrong[:20])


def test_killed_again_and_again_while_draining(site):
    """kill -9 of the flusher, and of everything, at any moment of a claim."""
    traffic = Traffic(site)
    spendd = start(site, **{"litellm.claim_elements": 2})
    for number in range(12):
        traffic.push(2)
        if number % 4 == 3:
            spendd.kill_all()
            spendd.start(ready=())
        else:
            spendd.kill_if_there("db_flusher")
    spendd.wait_ready("db_flusher", deadline_s=40)
    drained(site, 60)
    exact(site, traffic.sent)


def test_foreign_writers_on_the_same_rows(site):
    """Others update the same rows meanwhile, in orders of their own: deadlocks are retried, totals exact."""
    traffic = Traffic(site, teams=4, users=8)
    start(site)
    stop, rounds = threading.Event(), []

    def writer(seed):
        """Like a pod without the Redis buffer: rows in an order of its own, one transaction."""
        connection = site.postgres.connect(site.database)
        connection.autocommit = False
        order, count = random.Random(seed), 0
        while not stop.is_set():
            try:
                with connection, connection.cursor() as cursor:
                    for table, column, ids in order.sample([
                            ("LiteLLM_UserTable", "user_id", traffic.cast.users),
                            ("LiteLLM_TeamTable", "team_id", traffic.cast.teams),
                            ("LiteLLM_VerificationToken", "token", traffic.cast.keys)], 3):
                        for one in order.sample(ids, len(ids)):
                            cursor.execute(f'update "{table}" set spend = spend + 1 where "{column}" = %s', (one,))
                count += 1
            except psycopg2.Error:
                connection.rollback()
        connection.close()
        rounds.append(count)

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            traffic.push(10)
        drained(site, 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sum(rounds) > 0
    entities, dailies = pods.expected(traffic.sent)
    for name, ids in (("user", traffic.cast.users), ("team", traffic.cast.teams), ("key", traffic.cast.keys)):
        for one in ids:
            entities[name][one] += sum(rounds)
    wrong = pods.differences((entities, dailies), site.totals())
    assert not wrong, "\n".join(wrong[:20])


def test_leaving_gives_back(site):
    """Stopped in the middle of its work, spendd leaves no claim and no lock; the pods go on where it was."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    spendd = start(site, **{"litellm.claim_elements": 1})
    held_by_us(site)
    for _ in range(6):
        traffic.push(2)
    spendd.stop()
    assert holder(site) is None and holder(site, pods.LOCKS[1]) is None and not claims(site)
    assert traffic.push(2).pods[0].ask("tick") == {"failures": []}
    assert not any(site.lengths().values())
    wrong = parsed(pods.differences(pods.expected(traffic.sent), site.totals()))
    assert not wrong, "\n".join(wrong[:20])


def test_leaving_while_postgresql_hangs(site):
    """Somebody holds a table; spendd is stopped in mid transaction.  What it had claimed is the next one's."""
    traffic = Traffic(site)
    spendd = start(site, **{"supervisor.drain_ms": 2000})
    held_by_us(site)
    connection = site.postgres.connect(site.database)
    connection.autocommit = False
    connection.cursor().execute('lock table "LiteLLM_UserTable" in access exclusive mode')
    traffic.push(4)
    wait_until(lambda: claims(site), 20, "a claim", site.logs)
    spendd.stop()
    connection.rollback()
    connection.close()
    spendd.start(ready=("db_flusher",))
    traffic.push(2)
    drained(site)
    exact(site, traffic.sent)


def test_there_and_back_as_the_page_says(site):
    """docs/litellm.md, "To spendd, and back": the shipped configuration in the proxy's own environment, a stop, and a kill
    with `spendd --give-back`; a pod goes on each time, and the schema may be dropped in the end."""
    made = os.path.join(site.place.sub("c"), "litellm.conf")
    spendd = Spendd(site.place.sub("i"), config=made, environment={
        "DATABASE_URL": site.dsn + "&schema=public&connection_limit=10&pool_timeout=60", "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(site.redis.port)})
    site.instances.append(spendd)
    here = {name: value for name, value in spendd.settings.items() if name.partition(".")[0] in ("runtime_dir", "spool", "http")}
    with open(os.path.join(ROOT, "conf", "litellm.conf"), encoding="utf-8") as shipped, open(made, "w", encoding="utf-8") as file:
        file.write(shipped.read() + render(here))

    def spendd_says(word):
        done = subprocess.run([spendd.program(), word, "--config", made], capture_output=True, text=True, timeout=60, check=False,
                              env={**os.environ, **spendd.environment})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "127.0.0.1" in spendd_says("--check") + spendd_says("--print-config")
    traffic = Traffic(site, fleet=[site.pod(drains=True)]).push(3)
    assert traffic.pods[0].ask("tick") == {"failures": []}
    spendd.start(ready=("db_flusher",), deadline_s=40)
    held_by_us(site)
    traffic.push(4)
    drained(site, 60)
    spendd.stop()
    assert holder(site) is None
    assert traffic.push(3).pods[0].ask("tick") == {"failures": []}
    spendd.start(ready=("db_flusher",), deadline_s=40)
    held_by_us(site)
    held = site.postgres.connect(site.database)
    held.autocommit = False
    held.cursor().execute('lock table "LiteLLM_UserTable" in access exclusive mode')
    traffic.push(3)
    wait_until(lambda: claims(site), 30, "a claim", site.logs)
    spendd.kill_all()
    held.rollback()
    held.close()
    assert "given back to their lists" in spendd_says("--give-back")
    assert not claims(site) and any(site.lengths().values())
    for name in pods.LOCKS:
        site.redis.client().pexpire(name, 50)  # the rest of its minute
    wait_until(lambda: traffic.pods[0].ask("lock"), 20, "the pod to win the lock", site.logs)
    traffic.pods[0].ask("release")
    assert traffic.pods[0].ask("tick") == {"failures": []}
    site.query("drop schema spendd cascade")
    assert traffic.push(2).pods[0].ask("tick") == {"failures": []}
    wrong = parsed(pods.differences(pods.expected(traffic.sent), site.totals()))
    assert not wrong, "\n".join(wrong[:20])

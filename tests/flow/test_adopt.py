"""litellm.adopt, the flusher alone: LiteLLM's lists and its pod locks taken over, elements made by hand."""
import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import daemon, elements, litellm
from lib.elements import EMPTY, LISTS, LOCKS, SPEND, Books, Pod, claim_key, left, settled
from lib.lone import Bench
from lib.waiting import wait_until

ADOPT = {"database_layout": "litellm", "litellm_adopt": True, "litellm_drain_ms": 50, "litellm_lock_ttl_ms": 2000,
         "litellm_lock_poll_ms": 20, "database_backoff_max_ms": 200}


@pytest.fixture
def bench(place):
    made = Bench(place)
    elements.make_tables(made.pg)
    yield made
    made.close()


def adopter(bench, **settings):
    return bench.flusher(**{**ADOPT, **settings})


def holds(bench, flusher):
    wait_until(lambda: flusher.lives() and flusher.metric("litellm_lock_held") and flusher.metric("litellm_tag_lock_held"),
               30, "both pod locks", [flusher])
    return flusher


def dead(bench):
    """Dead letters: (class, reason, record)."""
    line = bench.pg.connect()
    with line.cursor() as cursor:
        cursor.execute("SELECT class, reason, record FROM spendd.dead_letter ORDER BY id")
        rows = [(kind, why, bytes(record).decode()) for kind, why, record in cursor.fetchall()]
    line.close()
    return rows


def test_all_lists(bench):
    """Every list, bare and with a namespace, in one transaction each time; empty elements cost none."""
    books, before = Books(1), litellm.catalog(bench.pg)
    books.push(bench.client, 40)
    books.push(bench.client, 10, namespace="prod:")
    flusher = adopter(bench, litellm_list_namespace="prod", litellm_lock_namespace="prod")
    settled(bench.client, [flusher], ("", "prod:"))
    books.check(bench.pg)
    assert litellm.catalog(bench.pg) == before
    assert flusher.metric("litellm_elements_counted_total") == 50 * len(LISTS)
    assert flusher.metric("litellm_elements_empty_total") == 50
    assert json.loads(bench.client.get("prod:" + LOCKS[0])).startswith("spendd:lone0:")
    flushes = flusher.metric("flushes_total")
    for _ in range(200):
        bench.client.rpush(SPEND, EMPTY)
    wait_until(lambda: flusher.metric("litellm_elements_empty_total") == 250, 20, "the empty ones to go", [flusher])
    assert flusher.metric("flushes_total") == flushes
    assert flusher.drain() == 0
    assert not any(bench.client.exists("prod:" + lock) for lock in LOCKS)
    assert not dead(bench)


def test_by_parts(bench):
    """More than one claim holds: by count and by bytes, until the lists are empty."""
    books = Books(2)
    books.push(bench.client, 60)
    flusher = adopter(bench, litellm_claim_elements=7, litellm_claim_bytes=4096, litellm_drain_ms=10000)
    settled(bench.client, [flusher])
    books.check(bench.pg)


def test_poison(bench):
    """What cannot be counted is kept to the byte, entry by entry; the rest of its element counts."""
    long = "x" * 3000
    bad = [r'{"user_list_transactions": {"u0": NaN, "u1": 0.5, "n\u0000l": 1.5, "half \ud83d": 2.5}, "wallet": {"w": 4.25}, "empty": {}}',
           r'{"team_member_list_transactions": {"team_id::a::user_id::b::user_id::c": 1.0}, "key_list_transactions": "MaxDepthExceeded"}',
           '{"tag_list_transactions": {"%s": 1.25, "t": -Infinity}, "org_list_transactions": null}' % long,
           '{"user_list_transactions": {"u0": 1', '[1]', '{"user_list_transactions": {"u2": 1e400, "u3": 2.5e-1}}',
           '{"user_list_transactions": {"u0": NaN}}', '{"user_list_transactions": {"u0": NaN}}']
    bench.client.rpush(SPEND, *bad)
    day = {"tag": "v", "date": "2026-11-01", "api_key": "k", "model": "m", "spend": 0.25, "prompt_tokens": 3, "new": {"deep": [1]}}
    bench.client.rpush(LISTS["daily_tag"][0], json.dumps(
        {"a": day, "b": {**day, "tag": long}, "c": {**day, "date": None}, "d": "MaxDepthExceeded", "e": {**day, "tag": "w", "spend": None}}))
    flusher = adopter(bench)
    settled(bench.client, [flusher])
    assert litellm.stored_entities(bench.pg) == {("user", "u1"): 0.5, ("user", "u3"): 0.25}
    assert {key[1]: worth[:2] for key, worth in litellm.stored_days(bench.pg).items()} == {"v": [0.25, 3], "w": [0, 3]}
    letters = dead(bench)
    records = [record for _, _, record in letters]
    assert records.count('{"user_list_transactions": {"u0": NaN}}') == 3  # two that are alike are two
    for record in (r'{"user_list_transactions": {"n\u0000l": 1.5}}', r'{"user_list_transactions": {"half \ud83d": 2.5}}',
                   '{"wallet": {"w": 4.25}}', '{"team_member_list_transactions": {"team_id::a::user_id::b::user_id::c": 1.0}}',
                   '{"key_list_transactions": "MaxDepthExceeded"}', '{"tag_list_transactions": {"%s": 1.25}}' % long,
                   '{"tag_list_transactions": {"t": -Infinity}}', bad[3], bad[4], '{"user_list_transactions": {"u2": 1e400}}',
                   '{"d": "MaxDepthExceeded"}', '{"b": %s}' % json.dumps({**day, "tag": long}), '{"c": %s}' % json.dumps({**day, "date": None})):
        assert records.count(record) == 1, record
    assert len(records) == 16
    assert flusher.metric("litellm_elements_dead_total") == 2 and flusher.metric("litellm_entries_dead_total") == 14


def test_refused_by_postgresql(bench):
    """An entry that PostgreSQL alone refuses is found, and goes to the dead letters; the rest counts."""
    bench.sql('ALTER TABLE "LiteLLM_EndUserTable" ADD CHECK (user_id <> \'bad\')')
    books = Books(3)
    books.push(bench.client, 20)
    bench.client.rpush(SPEND, '{"end_user_list_transactions": {"bad": 0.5}}')
    flusher = adopter(bench)
    settled(bench.client, [flusher])
    books.check(bench.pg)
    assert dead(bench) == [("poison", "refused by PostgreSQL for its data", '{"end_user_list_transactions": {"bad": 0.5}}')]


def plant(bench, key, id, *found):
    """A claim as somebody left it behind."""
    bench.client.rpush(claim_key(key), id, *found)


def test_found_claims(bench):
    """PostgreSQL's word on a found claim: nothing, applied, returned."""
    holds(bench, adopter(bench)).drain()  # the schema is there
    books, gone = Books(4), Books(5)
    plant(bench, SPEND, "new-1", books.element("spend"), EMPTY)
    plant(bench, LISTS["daily_tag"][0], "old-1", gone.element("daily_tag"))
    plant(bench, LISTS["daily_team"][0], "back-1", *(books.element("daily_team") for _ in range(3)))
    bench.sql("INSERT INTO spendd.claim (id, state) VALUES ('old-1', 'applied'), ('back-1', 'returned')")
    bench.sql("INSERT INTO spendd.claim VALUES ('long-over', 'applied', now() - interval '8 days')")
    books.push(bench.client, 2)
    flusher = adopter(bench)
    settled(bench.client, [flusher])
    books.check(bench.pg)
    assert flusher.metric("litellm_claims_discarded_total") == 1
    assert flusher.metric("litellm_claims_returned_total") == 1
    assert flusher.metric("litellm_claims_resumed_total") == 3
    assert bench.sql("SELECT string_agg(state, ' ' ORDER BY id) FROM spendd.claim WHERE id IN ('new-1', 'old-1', 'back-1')") \
        == "returned applied applied"
    assert bench.sql("SELECT count(*) FROM spendd.claim WHERE id = 'long-over'") == 0


def test_foreign_claim(bench):
    """What stands in a claim's place and is none of ours is left alone, and so is its list; the others go on."""
    books = Books(6)
    plant(bench, SPEND, 'no "id" of ours', "x")
    bench.client.set(claim_key(LISTS["daily_org"][0]), "no list")
    bench.client.rpush(SPEND, EMPTY)
    books.push(bench.client, 3, names=("daily_user", "daily_tag"))
    flusher = adopter(bench)
    wait_until(lambda: flusher.metric("litellm_elements_counted_total") == 6, 20, "the other lists", [flusher])
    books.check(bench.pg)
    assert bench.client.lrange(claim_key(SPEND), 0, -1) == [b'no "id" of ours', b"x"]
    assert bench.client.llen(SPEND) == 4
    assert "claim_refused" in flusher.text()


def test_locks(bench):
    """Asked for until won; renewed; gone after a kill within the lease; never released by anybody else's hand."""
    pod = Pod(bench.client, bench.pg)
    assert pod.win()
    flusher, books = adopter(bench), Books(7)
    books.push(bench.client, 1)
    wait_until(lambda: flusher.metric("litellm_tag_lock_held"), 20, "the lock that is free", [flusher])
    assert not flusher.metric("litellm_lock_held") and left(bench.client)[0] == 8
    pod.release()
    holds(bench, flusher)
    settled(bench.client, [flusher])
    books.check(bench.pg)
    wait_until(lambda: bench.client.pttl(LOCKS[0]) < 1600, 20, "some of the lease to pass")
    wait_until(lambda: bench.client.pttl(LOCKS[0]) > 1600, 20, "a renewal", [flusher])
    assert not pod.win()
    bench.client.set(LOCKS[1], '"thief"', px=600)
    wait_until(lambda: flusher.metric("litellm_locks_lost_total") == 1, 20, "the loss to be noticed", [flusher])
    holds(bench, flusher)
    flusher.kill()
    wait_until(pod.win, 20, "the lease to run out")


def test_alternating_with_pods(bench):
    """Ten rounds: spendd killed, a pod takes over within the lease, spendd comes back."""
    books, pod = Books(8), Pod(bench.client, bench.pg)
    for turn in range(10):
        books.push(bench.client, 3)
        flusher = holds(bench, adopter(bench, litellm_lock_ttl_ms=1000))
        assert not pod.win()
        books.push(bench.client, 2)
        if turn % 2:
            wait_until(lambda: flusher.metric("litellm_elements_counted_total") > 0, 20, "something to be counted", [flusher])
            assert flusher.drain() == 0
            assert left(bench.client)[1] == 0
        else:
            flusher.kill()
        wait_until(pod.win, 20, "the pod to win the lock")
        books.push(bench.client, 1)
        pod.flush()
        pod.release()
    last = adopter(bench)
    settled(bench.client, [last])
    books.check(bench.pg)


def test_give_back(bench):
    """What cannot be counted for now goes back to the heads of its lists: the same bytes, in the same order."""
    flusher = holds(bench, adopter(bench, database_lock_ms=100))
    line = bench.pg.connect()
    line.autocommit = False
    line.cursor().execute('LOCK TABLE "LiteLLM_TeamTable", "LiteLLM_DailyTeamSpend" IN ACCESS EXCLUSIVE MODE')
    books, pushed = Books(9), {key: [] for key, _ in LISTS.values()}
    for name in 9 * tuple(LISTS):
        pushed[LISTS[name][0]].append(books.element(name).encode())
        bench.client.rpush(LISTS[name][0], pushed[LISTS[name][0]][-1])
    wait_until(lambda: flusher.metric("litellm_claims_returned_total") > 2 * len(LISTS), 30, "claims to go back", [flusher])
    assert flusher.drain() == 0
    assert {key: bench.client.lrange(key, 0, -1) for key in pushed} == pushed
    assert left(bench.client)[1] == 0 and not any(bench.client.exists(lock) for lock in LOCKS)
    line.rollback()
    line.close()
    assert not litellm.stored_entities(bench.pg)
    last = adopter(bench)
    settled(bench.client, [last])
    books.check(bench.pg)


def test_two_instances(bench):
    """Two spendds and one set of lists: one holds the locks, and the other takes over where the first was killed."""
    books = Books(10)
    first = holds(bench, adopter(bench, name="first"))
    second = adopter(bench, name="second")
    books.push(bench.client, 20)
    settled(bench.client, [first, second])
    assert second.metric("litellm_elements_counted_total") == 0
    books.push(bench.client, 20)
    first.kill()
    settled(bench.client, [second])
    books.check(bench.pg)
    holds(bench, second)


def test_give_back_after_a_kill(bench, place):
    """spendd --give-back: what a killed flusher had claimed goes back as it was; what it had committed does not."""
    flusher = holds(bench, adopter(bench))
    line = bench.pg.connect()
    line.autocommit = False
    line.cursor().execute("SELECT FROM spendd.shard FOR UPDATE")
    books, gone, pushed = Books(11), Books(12), {key: [] for key, _ in LISTS.values()}
    for name in 4 * tuple(LISTS):
        pushed[LISTS[name][0]].append(books.element(name).encode())
    for key, found in pushed.items():
        bench.client.rpush(key, *found)
    wait_until(lambda: left(bench.client)[1] > 0, 20, "a list to be claimed", [flusher])
    flusher.kill()
    bench.client.lpush(elements.WINDOW, "[]")
    plant(bench, elements.WINDOW, "counted", gone.element("spend"))
    line.cursor().execute("INSERT INTO spendd.claim (id, state) VALUES ('counted', 'applied')")
    line.commit()
    line.close()
    claims = left(bench.client)[1]
    config = os.path.join(place.sub("c"), "spendd.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write(daemon.render({"redis.url": bench.rd.url, "database.url": bench.pg.url(), "database.layout": "litellm"}))
    done = subprocess.run([os.path.join(daemon.BUILD, "bin/spendd"), "--config", config, "--give-back"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"{claims} claims found: {claims - 1} given back to their lists, "
                                                 "1 were counted already\n"), done.stderr
    assert {key: bench.client.lrange(key, 0, -1) for key in pushed} == pushed
    assert left(bench.client)[1] == 0 and bench.client.llen(elements.WINDOW) == 1
    bench.client.delete(*LOCKS)
    settled(bench.client, [adopter(bench)])
    books.check(bench.pg)
    again = subprocess.run([os.path.join(daemon.BUILD, "bin/spendd"), "--config", config, "--give-back"], capture_output=True,
                           text=True, timeout=60, check=False)
    assert again.stdout.startswith("0 claims found")


def test_status(stack):
    """A whole daemon: status and lock say who adopts, who holds the pod locks, and how much stands in the lists; PostgreSQL
    gone, the flusher stays and keeps the locks."""
    elements.make_tables(stack.postgres)
    client, books = stack.redis.client(), Books(13)
    client.set(LOCKS[0], '"somebody-else"', ex=60)
    one = stack.spendd(**{name.replace("_", "__", 1): value for name, value in ADOPT.items()}).start()
    wait_until(lambda: any(row["name"] == "db_flusher" and 'held by "somebody-else"' in row["status"]
                           for row in (one.status() or {"workers": ()})["workers"]), 30, "the holder in the status", [one])
    said = one.ask("lock")[1]["litellm"]
    assert said["adopt"] and not said["held_here"]
    assert said["pod_locks"][0]["holder"] == '"somebody-else"' and said["pod_locks"][0]["ttl_ms"] > 0
    client.delete(LOCKS[0])
    wait_until(lambda: one.ask("lock")[1]["litellm"]["held_here"], 30, "the locks", [one])
    assert f'"spendd:{one.settings.get("instance", "")}' in one.status()["litellm"]["pod_locks"][0]["holder"]
    books.push(client, 2)
    settled(client, [one])
    books.check(stack.postgres)
    assert set(one.status()["litellm"]["lists"].values()) == {0}
    stack.postgres.stop("immediate")
    wait_until(lambda: not one.status()["gate"]["database"]["open"], 30, "the gate to close", [one])
    flusher = one.pid("db_flusher")
    books.push(client, 2)
    wait_until(lambda: client.pttl(LOCKS[0]) < 1600, 20, "some of the lease to pass")
    wait_until(lambda: client.pttl(LOCKS[0]) > 1600, 20, "a renewal with the gate closed", [one])
    stack.postgres.start()
    settled(client, [one])
    books.check(stack.postgres)
    assert one.pid("db_flusher") == flusher
    assert one.stop() == 0
    assert not any(client.exists(lock) for lock in LOCKS)


def test_stray_elements(bench):
    """litellm.events = full: a pod that still pushes is an alarm; empty elements are none."""
    flusher = bench.flusher(database_layout="litellm", litellm_events="full")
    bench.client.rpush(SPEND, EMPTY)
    wait_until(lambda: flusher.lives() and bench.sql("SELECT to_regclass('spendd.claim')"), 20, "the schema", [flusher])
    assert flusher.metric("litellm_stray_elements") == 0
    Books(14).push(bench.client, 1)
    wait_until(lambda: flusher.metric("litellm_stray_elements") == len(LISTS), 30, "the alarm", [flusher])
    assert "litellm_stray_elements" in flusher.text() and left(bench.client) == (len(LISTS) + 2, 0)
    for key, _ in LISTS.values():
        bench.client.delete(key)
    wait_until(lambda: flusher.metric("litellm_stray_elements") == 0, 30, "the alarm to end", [flusher])


def window(start, spend, who="k1", duration="30d", **more):
    return {"entity_type": "key", "entity_id": who, "window_duration": duration, "window_start": start, "spend": spend, **more}


def test_budget_windows(bench):
    """The newest builds' windows: added to the window that began last, or begun anew, or made with what SpendLogs know; without
    their table, kept."""
    old, new = "2026-10-01T00:00:00.000000", "2026-11-01T00:00:00.000000"
    bench.client.rpush(elements.WINDOW, json.dumps([window(new, 0.5)]))
    first = adopter(bench)
    settled(bench.client, [first])
    assert [(kind, why) for kind, why, _ in dead(bench)] == [("invalid", "LiteLLM_BudgetWindowSpend is not there")]
    first.drain()
    bench.sql('CREATE TABLE public."LiteLLM_BudgetWindowSpend" (entity_type text, entity_id text, window_duration text, '
              "window_start timestamp(3) NOT NULL, spend double precision NOT NULL DEFAULT 0, created_at timestamp(3) NOT NULL "
              "DEFAULT CURRENT_TIMESTAMP, updated_at timestamp(3) NOT NULL, PRIMARY KEY (entity_type, entity_id, window_duration))")
    bench.sql("""INSERT INTO public."LiteLLM_BudgetWindowSpend" VALUES ('key', 'k2', '30d', '2026-11-01', 4, now(), now()),
                 ('key', 'k3', '30d', '2026-10-01', 8, now(), now())""")
    bench.client.rpush(elements.WINDOW, json.dumps([
        window(old, 1.25), window(new, 0.5, request_ids=["é\"'\\"], started_at=None), window(old, 0.25, "k2"), window(new, 1, "k2"),
        window(new, 2, "k3"), window(old, 64, "k3"), window(new, 0.5, "k5", started_at="2026-11-20T10:00:00.5"), window("no time at all, really", 3, "k4"), window("2026-13-45T00:00:00", 3, "k4")]))
    for number, (start, spend) in enumerate((("2026-10-31", 32), ("2026-11-02", 4), ("2026-11-20 10:00:00.5", 0.5), ("2026-11-20 12:00", 1))):
        bench.sql('INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, api_key, spend, "startTime", "endTime") '
                  "VALUES (%s, '', 'k5', %s, %s, now())", (f"r{number}", spend, start))
    second = adopter(bench)
    bench.client.rpush(elements.WINDOW, json.dumps([window(new, 0.125)]))
    settled(bench.client, [second])
    line = bench.pg.connect()
    with line.cursor() as cursor:
        cursor.execute('SELECT entity_id, window_start::text, spend FROM public."LiteLLM_BudgetWindowSpend" ORDER BY 1')
        assert cursor.fetchall() == [("k1", "2026-11-01 00:00:00", 0.625), ("k2", "2026-11-01 00:00:00", 5.25),
                                     ("k3", "2026-11-01 00:00:00", 2), ("k5", "2026-11-01 00:00:00", 5.5)]
    line.close()
    assert sorted(kind for kind, _, _ in dead(bench)) == ["invalid", "invalid", "poison"]

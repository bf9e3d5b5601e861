"""packaging/litellm/spendd_callback.py inside real LiteLLM: one call, one row; totals once, through the lists."""
import importlib.util
import os
import time

import pytest

import pods
from lib.waiting import wait_until
from lib.wire import ROOT
from test_adopt import QUICK, drained

CALLBACK = os.path.join(ROOT, "packaging", "litellm", "spendd_callback.py")


def watched(site, spendd, populate=True, **environment):
    """A pod with the callback registered; of its own, because the module keeps its handler."""
    cast = pods.Cast(1)
    if populate:
        cast.populate(site.postgres, site.database)
    pod = site.pod(variables={"SPENDD_CALLBACK_TEST": "1"})
    pod.ask("watch", callback=CALLBACK, environment={
        "SPENDD_ENDPOINT": spendd.ingest, "SPENDD_SPILL_DIR": os.path.join(site.redis.dir, "spill"),
        "SPENDD_ANSWER_MS": "1000", "SPENDD_SPILL_AFTER_MS": "200", "SPENDD_CLOSE_MS": "300", **environment})
    return cast, pod


def beside(site, spendd):
    """The callback in a process without LiteLLM: the next one on the same directory."""
    spec = importlib.util.spec_from_file_location("spendd_callback", CALLBACK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SpenddLogger(module.Settings({
        "SPENDD_ENDPOINT": spendd.ingest, "SPENDD_SPILL_DIR": os.path.join(site.redis.dir, "spill")}))


def logs(site):
    return site.query('select request_id, spend, status, "user", team_id, api_key, model, total_tokens from'
                      ' "LiteLLM_SpendLogs"')


def settled(site, pod, rows, charged):
    """The callback has an answer to everything, the rows are there, and all charges have been pushed and drained."""
    wait_until(lambda: pod.ask("charged")["idle"] and len(logs(site)) >= rows, 60, f"{rows} rows", site.logs)
    wait_until(lambda: len(pod.ask("charged")["charged"]) >= charged, 60, "every call to be charged", site.logs)
    pod.ask("push")
    drained(site)
    return pod.ask("charged")


def test_thousand_calls_thousand_rows(site):
    """adopt + logs, with spendd killed and started again in between, and one call in a hundred failing."""
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs"}).start(ready=("aggregator", "db_flusher"))
    cast, pod = watched(site, spendd)
    key, user, team = cast.keys[0], cast.users[0], cast.teams[0]
    pod.ask("complete", count=400, key=key, user=user, team=team, failures=4)
    spendd.kill_all()
    pod.ask("complete", count=300, key=key, user=user, team=team, failures=3)
    wait_until(lambda: pod.ask("charged")["stats"].get("spilled"), 30, "events in files", site.logs)
    spendd.start(ready=())
    pod.ask("complete", count=300, key=key, user=user, team=team, failures=3)
    done = settled(site, pod, 1000, 990)
    rows = logs(site)
    assert len(rows) == len({row[0] for row in rows}) == 1000
    assert sorted(row[2] for row in rows).count("failure") == 10 and {row[3:6] for row in rows} == {(user, team, key)}
    assert not done["stats"].get("failed") and not done["stats"].get("dropped") and not done["stats"].get("rejected")
    total = sum(done["charged"])
    assert total > 0 and sum(row[1] for row in rows) == pytest.approx(total, rel=1e-9)
    entities, _ = site.totals()
    for name, one in (("key", key), ("user", user), ("team", team), ("member", (team, user))):
        assert entities[name] == {one: pytest.approx(total, rel=1e-9)}, name
    assert site.query('select sum(api_requests) from "LiteLLM_DailyUserSpend"') == [(990,)]


def test_38157_a_pod_that_leaves_loses_no_event(newest_site):
    """A deploy drops what LiteLLM's own queues hold; the callback's are on disk, and the next pod sends them."""
    site = newest_site
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs"}).start(ready=("aggregator", "db_flusher"))
    cast, pod = watched(site, spendd)
    spendd.kill_all()
    pod.ask("complete", count=40, key=cast.keys[0], user=cast.users[0], team=cast.teams[0])
    wait_until(lambda: pod.ask("charged")["stats"].get("events", 0) >= 40, 30, "the events", site.logs)
    pod.ask("leave")
    pod.kill()
    spendd.start(ready=("aggregator",))
    after = beside(site, spendd)
    after.log_success_event({"litellm_call_id": "next", "response_cost": 0.5, "model": "m"}, None, time.time(), None)
    wait_until(lambda: len(logs(site)) >= 41, 40, "41 rows", site.logs)
    after.close()
    assert len(logs(site)) == 41


def test_34805_a_killed_pod_loses_no_event_that_was_in_a_file(newest_site):
    """kill -9 of the gateway, which nobody can see coming (#40949); spendd is away."""
    site = newest_site
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs"}).start(ready=("aggregator", "db_flusher"))
    cast, pod = watched(site, spendd)
    spendd.kill_all()
    pod.ask("complete", count=40, key=cast.keys[0], user=cast.users[0], team=cast.teams[0])
    wait_until(lambda: pod.ask("charged")["stats"].get("spilled", 0) >= 40, 40, "all events in files", site.logs)
    pod.kill()
    spendd.start(ready=("aggregator",))
    _, after = watched(site, spendd, populate=False)
    after.ask("complete", count=1, key=cast.keys[0], user=cast.users[0], team=cast.teams[0])
    wait_until(lambda: len(logs(site)) >= 41 and after.ask("charged")["idle"], 60, "41 rows", site.logs)
    assert len(logs(site)) == 41


def test_21514_nothing_waits_and_memory_is_bounded(newest_site):
    """spendd frozen: requests go on as before, none fails, and what they leave behind is in files (#22493: a list
    of rows that grows until the pod is killed).  A round leaves two thirds of a megabyte, all of them more than the
    bound."""
    site = newest_site
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs", "supervisor.hang_ms": 600000})
    spendd.start(ready=("aggregator", "db_flusher"))
    cast, pod = watched(site, spendd, SPENDD_MEMORY_MAX_BYTES="1400000")
    who = {"key": cast.keys[0], "user": cast.users[0], "team": cast.teams[0]}
    usual = pod.ask("complete", count=150, **who)
    wait_until(lambda: pod.ask("charged")["idle"], 60, "the first round to be answered", site.logs)
    pid = spendd.pid("aggregator")
    spendd.freeze("aggregator")
    held, frozen = 0, 0.0
    for _ in range(3):
        frozen += pod.ask("complete", count=150, **who)
        held = max(held, pod.ask("charged")["held"])
        wait_until(lambda: pod.ask("charged")["held"] < 100000, 60, "events to be in files", site.logs)
    assert held <= 1400000 and pod.ask("charged")["stats"]["spilled"] > 0 and frozen < 3 * 5 * usual + 10
    spendd.thaw(pid)
    done = settled(site, pod, 600, 600)
    assert len(logs(site)) == 600 and not done["stats"].get("dropped") and not done["stats"].get("failed")


def test_40100_streamed_calls_cost_something(newest_site):
    """Spend of 0 for answers that are streamed: a row for each, with its cost."""
    site = newest_site
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs"}).start(ready=("aggregator", "db_flusher"))
    cast, pod = watched(site, spendd)
    pod.ask("complete", count=20, key=cast.keys[0], user=cast.users[0], team=cast.teams[0], stream=True)
    done = settled(site, pod, 20, 20)
    rows = logs(site)
    assert len(rows) == 20 and all(row[1] > 0 and row[7] > 0 for row in rows)
    assert sum(row[1] for row in rows) == pytest.approx(sum(done["charged"]), rel=1e-9)
    assert site.totals()[0]["key"] == {cast.keys[0]: pytest.approx(sum(done["charged"]), rel=1e-9)}


def test_28376_response_id_used_again(newest_site):
    """Providers reuse response ids: LiteLLM drops the second row (#41026, #41273); ours counts it, under an id that
    can be told apart."""
    site = newest_site
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs"}).start(ready=("aggregator", "db_flusher"))
    one, start = beside(site, spendd), time.time()
    for call in ("call-1", "call-2", "call-2"):  # the last one is logged twice: the same event
        payload = {"id": "chatcmpl-same", "response_cost": 0.25, "model": "m", "startTime": start}
        one.log_success_event({"litellm_call_id": call, "standard_logging_object": payload}, None, None, None)
    wait_until(lambda: one.sender.idle() and len(logs(site)) >= 2, 30, "two rows", site.logs)
    one.close()
    rows = logs(site)
    assert len(rows) == 2 and [row[1] for row in rows] == [0.25, 0.25]
    assert all(row[0].startswith("chatcmpl-same") for row in rows)

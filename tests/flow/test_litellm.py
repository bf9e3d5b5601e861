"""Layout litellm, the flusher alone: what events add to LiteLLM's own tables."""
import datetime
import json
import os
import signal
import sys
from decimal import Decimal

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import litellm, processes
from lib.lone import Bench, envelopes
from lib.pooler import Pooler
from lib.producer import Producer, event_id_of
from lib.waiting import wait_until

FULL = {"database_layout": "litellm", "litellm_events": "full", "lock_ttl_ms": 500, "lock_renew_ms": 100}


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def plain(events):
    """As an older LiteLLM has them: without agents."""
    return [{name: value for name, value in event.items() if name != "agent_id"} for event in events]


@pytest.mark.parametrize("version", [litellm.OLD, litellm.BASELINE, litellm.NEWEST])
def test_full(bench, version):
    """Entities, days and log rows of every release; nothing is ever made in LiteLLM's schema."""
    old = version == litellm.OLD
    events = plain(litellm.events(1500)) if old else list(litellm.events(1500))
    litellm.make(bench.pg, version=version)
    litellm.fill(bench.pg, events)
    before = litellm.catalog(bench.pg)
    bench.push(*envelopes(events, 200))
    bench.flusher(**FULL)
    bench.settle()
    assert litellm.catalog(bench.pg) == before
    if old:
        assert litellm.stored_entities(bench.pg, categories=set(litellm.ENTITIES) - {"agent"}) == {
            key: amount for key, amount in litellm.entities_of(events).items() if amount}
        assert litellm.stored_days(bench.pg, endpoint=False) == litellm.days_of(events, endpoint=False)
    else:
        litellm.check(bench.pg, events)


def row_of(event):
    """What SpendLogs must hold of an event, as PostgreSQL says it in JSON."""
    start, end = (datetime.datetime.fromisoformat(event[name]) for name in ("start_time", "end_time"))

    def stamp(moment):
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds").rstrip("0").rstrip(".")

    return {
        "call_type": event["call_type"], "api_key": event["api_key"], "spend": float(event["spend"]),
        "total_tokens": event["prompt_tokens"] + event["completion_tokens"], "prompt_tokens": event["prompt_tokens"],
        "completion_tokens": event["completion_tokens"], "startTime": stamp(start), "endTime": stamp(end),
        "model": event["model"], "model_group": event.get("model_group", ""), "user": event.get("user_id", ""),
        "custom_llm_provider": event.get("custom_llm_provider", ""), "api_base": "", "cache_hit": "None",
        "metadata": {**event.get("metadata", {}), "spendd_event_id": event["event_id"]},
        "request_tags": event.get("tags", []), "team_id": event.get("team_id", ""), "agent_id": event.get("agent_id"),
        "organization_id": event.get("organization_id", ""), "end_user": event.get("end_user", ""), "messages": {},
        "session_id": None, "status": event.get("status", "success"), "requester_ip_address": None,
        "mcp_namespaced_tool_name": event.get("mcp_namespaced_tool_name"), "completionStartTime": None,
    }


def check_logs(bench, events):
    rows = litellm.logs(bench.pg)
    assert set(rows) == {event["request_id"] for event in events}
    for event in events:
        row = rows[event["request_id"]]
        wanted = row_of(event)
        assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize("partitioned", [False, True])
def test_logs_only(bench, partitioned):
    """litellm.events = logs: rows of SpendLogs, each once, and not a single sum."""
    events = list(litellm.events(600))
    litellm.make(bench.pg, partitioned=partitioned)
    litellm.fill(bench.pg, events)
    packed = envelopes(events, 100)
    bench.push(*packed, *envelopes(events, 77))
    flusher = bench.flusher(database_layout="litellm", litellm_events="logs")
    bench.settle()
    check_logs(bench, events)
    assert litellm.stored_entities(bench.pg) == {} and litellm.stored_days(bench.pg) == {}
    assert flusher.metric("litellm_request_collisions_total") == 0
    assert flusher.metric("events_counted_total") == 600


def test_what_a_writer_sets(bench):
    """Rows that are there are added to, as LiteLLM's newest writer does it; NULL-keyed rows of older ones stay."""
    first, *rest = [dict(event, user_id="u", team_id="t", tags=["x"], model="m", api_key="k" * 64, status="success",
                         model_group=f"g{n}", custom_llm_provider="", endpoint="/e", mcp_namespaced_tool_name="")
                    for n, event in enumerate(litellm.events(3))]
    litellm.make(bench.pg, version=litellm.NEWEST)
    litellm.fill(bench.pg, [first, *rest])
    bench.sql("""UPDATE "LiteLLM_VerificationToken" SET updated_at = '2020-01-01'; UPDATE "LiteLLM_TeamTable" SET updated_at = '2020-01-01';
        INSERT INTO "LiteLLM_DailyTagSpend" (id, tag, date, api_key, model, spend, api_requests, updated_at)
        VALUES ('old', 'x', %s, %s, 'm', 1, 1, '2020-01-01')""", (first["start_time"][:10], "k" * 64))
    bench.push(*envelopes([first]))
    bench.flusher(**FULL)
    bench.settle()
    bench.push(*envelopes(rest))
    wait_until(lambda: bench.metric("events_counted_total") == 3, 20, "three events", bench.flushers)
    rows = litellm._rows(bench.pg, """SELECT id, model_group, request_id, spend, api_requests, custom_llm_provider,
        mcp_namespaced_tool_name, now() AT TIME ZONE 'UTC' - updated_at < interval '1 hour' FROM "LiteLLM_DailyTagSpend" ORDER BY id = 'old'""")
    assert rows[1][:5] == ("old", None, None, 1, 1) and len(rows) == 2
    assert rows[0][1:] == ("g0", rest[0]["request_id"], sum(float(event["spend"]) for event in (first, *rest)), 3, "", "", True)
    assert len(rows[0][0]) == 36
    fresh = "now() AT TIME ZONE 'UTC' - {} BETWEEN interval '0' AND interval '1 hour'"
    assert bench.sql(f"""SELECT {fresh.format('updated_at')} AND {fresh.format('last_active')} FROM "LiteLLM_VerificationToken" """)
    assert bench.sql(f"""SELECT {fresh.format('updated_at')} FROM "LiteLLM_TeamTable" """)
    assert bench.sql("""SELECT spend = total_spend AND spend > 0 FROM "LiteLLM_TeamMembership" """)
    litellm.check_entities(bench.pg, [first, *rest])


def test_members_of_a_teams_own_list(bench):
    """Newer releases make the row of a member whom the team's list names, of nobody else; and time requests by the day."""
    events = [dict(event, user_id=f"u{n % 2}", team_id="t", status="success" if n < 4 else "failure")
              for n, event in enumerate(litellm.events(6))]
    events[0].pop("end_time")
    litellm.make(bench.pg, version=litellm.NEWEST)
    litellm.fill(bench.pg, events, but={("team_member", "t", "u0"), ("team_member", "t", "u1")})
    bench.sql("""UPDATE "LiteLLM_TeamTable" SET members_with_roles = '[{"user_id": "u0", "role": "user"}, {"user_id": "x"}]'""")
    bench.push(*envelopes(events))
    flusher = bench.flusher(**FULL)
    bench.settle()
    litellm.check(bench.pg, events, missed={("team_member", "t", "u1")})
    assert flusher.metric("litellm_missed_team_member_total") == 1
    assert bench.sql("""SELECT count(*) FROM "LiteLLM_TeamMembership" WHERE user_id = 'u0' AND spend = total_spend""") == 1
    assert litellm._rows(bench.pg, """SELECT sum(timed_requests), sum(total_response_time_ms) FROM "LiteLLM_DailyTeamSpend" """) \
        == [(3, 3 * 900)]


def test_missing_entities_are_counted(bench):
    """A row that is not there is not made, and counted by category; only end users are made."""
    events = list(litellm.events(300))
    litellm.make(bench.pg)
    but = {("user", "u1"), ("team", "t2"), ("tag", "User-Agent: python"), ("team_member", "t0", "u0")}
    litellm.fill(bench.pg, events, but=but)
    bench.push(*envelopes(events, 300))
    flusher = bench.flusher(**FULL, litellm_proxy_budget_user="litellm-proxy-budget")
    bench.settle()
    litellm.check(bench.pg, events, missed=but)
    assert [flusher.metric(f"litellm_missed_{name}_total") for name in ("user", "team", "tag", "team_member", "key", "end_user")] \
        == [2, 1, 1, 1, 0, 0]


def test_proxy_budget_user(bench):
    events = list(litellm.events(50))
    litellm.make(bench.pg)
    bench.sql("""INSERT INTO "LiteLLM_UserTable" (user_id) VALUES ('litellm-proxy-budget')""")
    bench.push(*envelopes(events))
    bench.flusher(**FULL, litellm_proxy_budget_user="litellm-proxy-budget")
    bench.settle()
    assert litellm.stored_entities(bench.pg, categories=["user"]) == {
        ("user", "litellm-proxy-budget"): sum(Decimal(event["spend"]) for event in events)}


def test_missing_tables(bench):
    """What is summed for tables that an older LiteLLM does not have is kept, and brought in when it has them."""
    events = list(litellm.events(400))
    litellm.make(bench.pg, version=litellm.OLD, without=["LiteLLM_DailyAgentSpend", "LiteLLM_DailyEndUserSpend", "LiteLLM_TagTable"])
    litellm.fill(bench.pg, [{name: value for name, value in event.items() if name != "tags"} for event in events])
    bench.push(*envelopes(events[:200]))
    flusher = bench.flusher(**FULL)
    bench.settle()
    assert flusher.metric("litellm_rows_kept_total") > 0
    line = next(line for line in flusher.text().splitlines() if "litellm_tables_missing" in line)
    assert all(name in line for name in ("LiteLLM_DailyAgentSpend", "LiteLLM_DailyEndUserSpend", "LiteLLM_TagTable", "LiteLLM_AgentsTable"))
    missing = flusher.metric("litellm_tables_missing")
    flusher.kill()
    for category in ("agent", "end_user"):
        litellm.make_daily(bench.pg, category)
    bench.sql("""ALTER TABLE "LiteLLM_AgentsTable" ADD spend double precision NOT NULL DEFAULT 0.0""")
    bench.sql("""CREATE TABLE public."LiteLLM_TagTable" (tag_name text PRIMARY KEY, spend double precision NOT NULL DEFAULT 0);
        INSERT INTO public."LiteLLM_TagTable" SELECT 'tag' || n FROM generate_series(0, 3) n""")
    bench.push(*envelopes(events[200:]))
    flusher = bench.flusher(**FULL)
    wait_until(lambda: flusher.metric("events_counted_total") == 200 and flusher.metric("litellm_tables_missing") == missing - 4, 20,
               "all events", [flusher])
    missed = {("tag", "User-Agent: python")}
    assert litellm.stored_entities(bench.pg) == {
        key: amount for key, amount in litellm.entities_of(events).items() if amount and key not in missed}
    days = litellm.days_of(events)
    assert litellm.stored_days(bench.pg, categories=["agent", "end_user"]) == {
        key: worth for key, worth in days.items() if key[0] in ("agent", "end_user")}
    assert bench.sql("SELECT count(*) FROM spendd.kept_daily_agent") == 0


def test_waits_for_litellm(bench):
    """No table of LiteLLM at all: the wrong schema, or not migrated yet.  Everything waits, and is counted then."""
    events = list(litellm.events(100))
    bench.push(*envelopes(events))
    flusher = bench.flusher(**FULL, database_backoff_slow_max_ms=300)
    wait_until(lambda: flusher.lives() and "has no tables of LiteLLM" in flusher.text(), 20, "the refusal", [flusher])
    assert not bench.empty()
    processes.freeze(flusher.process.pid)  # a migration that is half done is another test's
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events)
    processes.send(flusher.process.pid, signal.SIGCONT)
    bench.settle()
    litellm.check(bench.pg, events)


def test_schema_of_the_url(bench):
    events = list(litellm.events(100))
    litellm.make(bench.pg, schema='gate "way"')
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events, schema='gate "way"')
    before = litellm.catalog(bench.pg), litellm.catalog(bench.pg, 'gate "way"')
    bench.push(*envelopes(events))
    flusher = bench.flusher(**FULL, database_url=bench.pg.url() + "&schema=gate%20%22way%22&connection_limit=3")
    bench.settle()
    litellm.check(bench.pg, events, schema='gate "way"')
    assert litellm.stored_days(bench.pg) == {}
    assert before == (litellm.catalog(bench.pg), litellm.catalog(bench.pg, 'gate "way"'))
    assert 'names="connection_limit"' in flusher.text()


def test_our_schema_is_never_litellms(bench):
    litellm.make(bench.pg, schema="spendd")
    flusher = bench.flusher(**FULL, database_url=bench.pg.url() + "&schema=spendd")
    wait_until(lambda: flusher.lives() and "would drop our tables" in flusher.text(), 20, "the refusal", [flusher])


def test_colliding_request_ids(bench):
    """Providers use ids again: each event has its row, under a longer id where the id was taken, and counts once."""
    plain_events = list(litellm.events(40))
    same = [dict(event, request_id="None") for event in plain_events[:20]]
    pods = [dict(event, request_id=f"pod-{n}") for n, event in enumerate(plain_events[20:30])]
    taken = [dict(event, request_id=f"taken-{n}") for n, event in enumerate(plain_events[30:])]
    litellm.make(bench.pg)
    everything = same + pods + taken
    litellm.fill(bench.pg, everything)
    for event in pods:  # what a pod wrote for that very request
        bench.sql("""INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, api_key, spend, total_tokens, "startTime", "endTime")
            VALUES (%s, '', %s, %s, %s, %s, %s)""", (event["request_id"], event["api_key"], float(event["spend"]),
            event["prompt_tokens"] + event["completion_tokens"], event["start_time"], event["end_time"]))
    for event in taken:  # and for another one
        bench.sql("""INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime") VALUES (%s, '', '2026-01-02', '2026-01-02')""",
                  (event["request_id"],))
    flusher = bench.flusher(**FULL)
    bench.push(*envelopes(everything[::2], 8))
    bench.settle()
    bench.push(*envelopes(everything[1::2], 8))
    wait_until(lambda: flusher.metric("events_counted_total") == 40, 20, "all events", [flusher])
    rows = litellm.logs(bench.pg)
    ours = [row["metadata"]["spendd_event_id"] for row in rows.values() if row["metadata"]]
    assert sorted(ours) == sorted(event["event_id"] for event in same + taken)
    assert len(rows) == 20 + 10 + 20 and sum(id.startswith("None:") for id in rows) == 19
    assert flusher.metric("litellm_request_collisions_total") == 29 and flusher.metric("litellm_logs_there_total") == 10
    litellm.check(bench.pg, everything)


HOSTILE = [
    ({"prompt_tokens": 4_000_000_000, "completion_tokens": 5}, {"prompt_tokens": 2**31 - 1, "total_tokens": 2**31 - 1, "completion_tokens": 5}),
    ({"metadata": {"a": "x\0y", "b": ["\ud800", "\ud83d\ude00"], "\0": 1}}, {"metadata": {"a": "x\ufffdy", "b": ["\ufffd", "\U0001f600"], "\ufffd": 1}}),
    ({"metadata": {"n": 10**400}}, {"metadata": {"spendd_metadata": "left out: jsonb does not take it"}}),
    ({"metadata": {"spendd_event_id": "somebody else"}}, {"metadata": {}}),
    ({"metadata": {}}, {"metadata": {}}),
    ({"cache_hit": "true", "end_user": "'; --", "tags": ['q"\\', "ü"]}, {"cache_hit": "True", "end_user": "'; --", "request_tags": ['q"\\', "ü"]}),
    ({"end_time": None}, {"request_duration_ms": None}),
    ({"event_id": None}, {"request_id": "chatcmpl-1-7"}),
    ({"start_time": None, "end_time": "2026-01-01T00:00:00+00:00"}, {"request_duration_ms": 0}),  # it began when we got it
]


def test_values_that_do_not_fit(bench):
    """Nothing that a client may send makes PostgreSQL refuse a row: what does not fit is cut, and counted."""
    events = []
    for event, (change, _) in zip(litellm.events(len(HOSTILE)), HOSTILE):
        events.append({name: value for name, value in {**event, **change}.items() if value is not None})
    litellm.make(bench.pg)
    bench.push(*envelopes(events))
    flusher = bench.flusher(**FULL)
    bench.settle()
    rows = {row["metadata"]["spendd_event_id"]: row for row in litellm.logs(bench.pg).values()}
    assert len(rows) == len(events)
    for event, (_, wanted) in zip(events, HOSTILE):
        row = rows[event_id_of(event)]
        wanted = dict(wanted)
        if "metadata" in wanted:
            wanted["metadata"] = {**wanted["metadata"], "spendd_event_id": event_id_of(event)}
        assert {name: row[name] for name in wanted} == wanted
    assert flusher.metric("litellm_values_clamped_total") >= 2 and flusher.metric("events_poison_total") == 0


def test_poison_alone_is_set_aside(bench):
    """Events that LiteLLM's tables refuse become dead letters, alone; the others count."""
    events = list(litellm.events(60))
    bad = [dict(event, model="forbidden") for event in litellm.events(3, seed=2)]
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events + bad)
    bench.sql("""ALTER TABLE "LiteLLM_SpendLogs" ADD CHECK (model <> 'forbidden')""")
    bench.push(*envelopes(events[:20] + bad[:2] + events[20:] + bad[2:], 30))
    flusher = bench.flusher(**FULL)
    bench.settle()
    litellm.check(bench.pg, events)
    check_logs(bench, events)
    assert bench.sql("SELECT count(*) FROM spendd.dead_letter WHERE class = 'poison'") == 3
    assert flusher.metric("events_poison_total") == 3


def test_events_off(bench):
    """Events that had been taken before events were switched off: kept as they are, and counted by nobody."""
    events = list(litellm.events(60))
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events)
    bench.push(*envelopes(events[:30]))
    full = bench.flusher(**FULL)
    bench.settle()
    full.kill()
    bench.push(*envelopes(events, 7))
    off = bench.flusher(**{**FULL, "litellm_events": "off"})
    wait_until(lambda: off.lives() and bench.sql("SELECT count(*) FROM spendd.dead_letter") == 30, 20, "dead letters", [off])
    litellm.check(bench.pg, events[:30])
    assert bench.sql("SELECT count(*) FROM spendd.dead_letter WHERE class = 'off'") == 30


def test_through_a_pooler(bench, place):
    events = list(litellm.events(300))
    litellm.make(bench.pg)
    litellm.fill(bench.pg, events)
    pooler = Pooler(place, bench.pg).start()
    bench.push(*envelopes(events, 50))
    bench.flusher(**FULL, through=pooler)
    bench.settle()
    litellm.check(bench.pg, events)
    check_logs(bench, events)
    pooler.close()


def test_a_whole_instance(stack):
    """From the socket to LiteLLM's tables, at first with events off: refused for now, and counted when they are on.
    The audit says that it can compute nothing, and never that something differs."""
    events = list(litellm.events(100))
    litellm.make(stack.postgres)
    litellm.fill(stack.postgres, events)
    instance = stack.spendd(database__layout="litellm").start(ready=("aggregator", "db_flusher", "control"))
    producer = Producer(instance.ingest, [events[at:at + 20] for at in range(0, 100, 20)]).start()
    wait_until(lambda: instance.metric("messages_backpressure_total") > 0, 20, "a refusal", [instance])
    assert instance.metric("events_accepted_total") == 0
    instance.stop()
    instance.write_config(litellm__events="full")
    instance.start(ready=("aggregator", "db_flusher", "control"))
    producer.wait(logs=[instance])
    wait_until(lambda: len(litellm.logs(stack.postgres)) == 100, 20, "all rows", [instance])
    litellm.check(stack.postgres, events)
    stack.postgres.query('update public."LiteLLM_UserTable" set spend = 0')
    done = instance.ctl("--json", "audit")
    assert done.returncode == 0, done.stdout + done.stderr
    item, last = [json.loads(line) for line in done.stdout.splitlines() if not line.startswith('{"progress"')]
    assert "pods" in item["not_computed"][0]["why"] and last["differences"] == 0 and last["not_computed"] == 1

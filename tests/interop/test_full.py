"""litellm.events = full: what LiteLLM's own writer makes of requests, and what spendd makes of their events."""
import datetime

import pods
from lib.producer import Producer
from lib.waiting import wait_until
from test_adopt import Traffic, roster


def event_of(row):
    return {
        "request_id": row["id"], "event_id": row["id"], "spend": row["cost"], "api_key": row["key"], "user_id": row["user"],
        "team_id": row["team"], "organization_id": row["org"], "end_user": row["end_user"], "agent_id": row["agent"],
        "tags": row["tags"], "model": row["model"], "model_group": row["model_group"], "status": row["status"],
        "custom_llm_provider": row["provider"], "call_type": "acompletion", "endpoint": "/chat/completions",
        "prompt_tokens": row["prompt"], "completion_tokens": row["completion"], "start_time": row["start"],
        "end_time": (datetime.datetime.fromisoformat(row["start"]) + datetime.timedelta(milliseconds=250)).isoformat()}


def test_same_as_litellms_own_writer_by_events(site):
    """Every row and every column: entities, members, days with and without a user or a team, how long it took."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    roster(site, traffic.cast)
    pod, place = traffic.pods[0], (site.postgres, site.database)
    today = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = [{**row, "start": today.isoformat()} for row in traffic.cast.requests(30)]
    assert {row["team"] for row in rows} >= {None, "team-0"} and None in {row["user"] for row in rows}
    pod.ask("requests", rows=rows)
    pod.ask("push")
    assert pod.ask("tick") == {"failures": []}
    pods.worked(pod.ask("calls"))
    theirs = pods.content(*place)
    if site.environment.name == "newest":
        assert any(row.get("timed_requests") for row in theirs.values())
    pods.wipe(*place)
    spendd = site.spendd(**{"litellm.adopt": False, "litellm.events": "full"}).start(ready=("aggregator", "db_flusher"))
    outcome = Producer(spendd.ingest, [[event_of(row) for row in rows]]).start().wait(30, site.logs)
    assert outcome.accepted == len(rows), outcome.refused
    wait_until(lambda: site.query('select count(*) from "LiteLLM_SpendLogs"')[0][0] == len(rows), 30, "all rows", site.logs)
    ours = pods.content(*place)
    members = [key for key in ours if key[0] == "LiteLLM_TeamMembership" and "::" in key[1][0]]
    differ = [text for key, text in pods.unlike(theirs, ours) if key not in members]
    assert not differ, "\n".join(differ[:10])

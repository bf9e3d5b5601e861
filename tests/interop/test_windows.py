"""LiteLLM_BudgetWindowSpend of its newest releases: what its own writer makes of the increments, and what spendd does."""
import pods
from test_adopt import drained, start

OLD, NEW = "2026-10-01T00:00:00", "2026-11-01T00:00:00"
FIRST = "2026-11-20T10:00:05.750000"


def increment(kind, who, start, spend, began=FIRST, duration="30d"):
    return {"entity_type": kind, "entity_id": who, "window_duration": duration, "window_start": start, "spend": spend,
            "started_at": began}


INCREMENTS = [
    increment("key", "fresh", NEW, 0.5), increment("key", "fresh", NEW, 0.25, "2026-11-20T11:00:00"),
    increment("key", "logged", NEW, 0.5), increment("key", "untold", NEW, 0.5, None), increment("team", "t", NEW, 0.25),
    increment("user", "logged", NEW, 0.125), increment("key", "there", OLD, 1.0), increment("key", "there", NEW, 2.0),
    increment("key", "rolled", OLD, 64.0), increment("key", "rolled", NEW, 2.0), increment("key", "late", OLD, 1.5),
]
LOGS = [  # key, team, spend, start
    ("logged", "t", 4.0, "2026-11-02T00:00:00"), ("logged", "t", 0.5, "2026-11-20T10:00:05.750"),
    ("logged", "", 32.0, "2026-10-31T23:59:59"), ("untold", "", 8.0, "2026-11-03T00:00:00"),
    ("fresh", "t", 0.125, "2026-11-20T12:00:00"), ("there", "", 16.0, "2026-11-03T00:00:00"),
]


def rows(site):
    return site.query("select entity_type, entity_id, window_start, spend from \"LiteLLM_BudgetWindowSpend\" order by 1, 2")


def begin(site):
    site.query('delete from "LiteLLM_BudgetWindowSpend"')
    for who, start, spend in (("there", NEW, 4.0), ("rolled", OLD, 8.0), ("late", NEW, 1.0)):
        site.query("insert into \"LiteLLM_BudgetWindowSpend\" values ('key', %s, '30d', %s, %s, now(), now())", (who, start, spend))


def test_same_as_litellms_own_writer_of_windows(newest_site):
    """Rows that are there, rows that roll, and new ones, which begin with what SpendLogs know."""
    site = newest_site
    pod, client = site.pod(drains=True), site.redis.client()
    for number, (key, team, spend, moment) in enumerate(LOGS):
        site.query('insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, team_id, spend, "startTime", "endTime")'
                   " values (%s, '', %s, %s, %s, %s, %s)", (f"r{number}", key, team, spend, moment, moment))
    begin(site)
    pod.ask("windows", rows=INCREMENTS)
    pod.ask("push")
    elements = client.lrange(pods.WINDOW, 0, -1)
    assert len(elements) == 1
    assert pod.ask("tick") == {"failures": []}
    theirs = rows(site)
    assert client.llen(pods.WINDOW) == 0 and len(theirs) == 8
    assert dict((row[1], row[3]) for row in theirs if row[0] == "key")["logged"] == 4.5
    begin(site)
    client.rpush(pods.WINDOW, *elements)
    start(site)
    drained(site)
    pods.worked(pod.ask("calls"))
    assert rows(site) == theirs

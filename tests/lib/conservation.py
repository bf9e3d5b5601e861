"""The conservation check, the one place where this project says what "exactly once" means.

Given the events that were acknowledged (id -> event as the producer sent it), it computes with Decimal,
from those events alone, what PostgreSQL must hold, reads what it does hold, and compares:

  ids      acked = counted + dead; no id twice; nothing counted that nobody sent; each log row's own fields
  sums     spend, per entity: USD, tokens, requests; and nobody else has a row
  days     spend_daily, per day, entity and dimensions: all eight counters
  ledger   each log row's origin (epoch, seq) is a batch that the ledger has; no origin twice

Money is compared to the last of its twelve digits.  Nothing here is shared with the daemon.
"""
import collections
import datetime
import hashlib
import json
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import psycopg2

from .producer import event_id_of
from .waiting import WaitFailed, wait_until

PICO = Decimal("1E-12")
DIMENSIONS = ("model", "model_group", "custom_llm_provider", "mcp_namespaced_tool_name", "endpoint")
COUNTERS = ("spend", "prompt_tokens", "completion_tokens", "cache_read_input_tokens",
            "cache_creation_input_tokens", "requests", "successful_requests", "failed_requests")


# --- what an event is worth, computed independently ----------------------------------------------------
def money(value):
    """Twelve fractional digits, half to even, as common/money has it."""
    with localcontext() as context:
        context.prec = 60
        return Decimal(str(value)).quantize(PICO, ROUND_HALF_EVEN) + 0  # + 0: no negative zero


def key_of(event):
    key = event.get("api_key") or ""
    return hashlib.sha256(key.encode()).hexdigest() if key.startswith("sk-") else key


def day_of(event):
    """UTC date of start_time; None when the daemon's clock decided."""
    moment = event.get("start_time")
    if moment in (None, ""):
        return None
    if isinstance(moment, (int, float)):
        return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).date()
    return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone(datetime.timezone.utc).date()


def entities_of(event):
    """[(type, id)]: everything that an event is booked on."""
    found = []
    for kind, field in (("user", "user_id"), ("end_user", "end_user"), ("team", "team_id"),
                        ("organization", "organization_id"), ("agent", "agent_id")):
        if event.get(field):
            found.append((kind, event[field]))
    if key_of(event):
        found.append(("key", key_of(event)))
    if event.get("team_id") and event.get("user_id"):
        pair = [event["team_id"], event["user_id"]]
        found.append(("team_member", json.dumps(pair, ensure_ascii=False, separators=(",", ":"))))
    found += [("tag", tag) for tag in sorted({tag for tag in event.get("tags") or () if tag})]
    return found


def counters_of(event):
    failed = event.get("status") == "failure"
    return (money(event["spend"]), *(event.get(name) or 0 for name in COUNTERS[1:5]), 1, int(not failed), int(failed))


class Expected:
    """What PostgreSQL must hold when exactly these events are counted."""

    def __init__(self, events, day_of_id):
        with localcontext() as context:
            context.prec = 60
            self._sum(events, day_of_id)

    def _sum(self, events, day_of_id):
        self.spend = collections.defaultdict(lambda: (Decimal(0), 0, 0))
        self.daily = collections.defaultdict(lambda: (Decimal(0),) + (0,) * 7)
        for event_id, event in events.items():
            counters = counters_of(event)
            tokens = counters[1] + counters[2]
            dimensions = tuple(event.get(name) or "" for name in DIMENSIONS)
            for kind, name in entities_of(event):
                row = self.spend[kind, name]
                self.spend[kind, name] = (row[0] + counters[0], row[1] + tokens, row[2] + 1)
                key = (day_of_id[event_id], kind, name, key_of(event), *dimensions)
                self.daily[key] = tuple(a + b for a, b in zip(self.daily[key], counters))


# --- what PostgreSQL holds -----------------------------------------------------------------------------
class Found:
    def __init__(self, postgres, schema="spendd"):
        connection = postgres.connect(application_name="conservation")
        connection.autocommit = False
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        try:
            cursor = connection.cursor()

            def rows(sql):
                cursor.execute(sql)
                return cursor.fetchall()

            self.log = rows(f"select event_id, day, spend, epoch::text, seq, n from {schema}.spend_log")
            self.dead = [(bytes(event_id) if event_id is not None else b"", kind, reason) for event_id, kind, reason in rows(
                f"select event_id, class, reason from {schema}.dead_letter")]
            self.spend = {(kind, name): (spend, tokens, requests) for kind, name, spend, tokens, requests in rows(
                f"select entity_type, entity_id, spend, tokens, requests from {schema}.spend")}
            self.daily = {row[:9]: row[9:] for row in rows(
                f"select date, entity_type, entity_id, api_key, {', '.join(DIMENSIONS)}, {', '.join(COUNTERS)}"
                f" from {schema}.spend_daily")}
            self.applied = {epoch: spans(text) for epoch, text in rows(
                f"select epoch::text, applied::text from {schema}.ledger")}
        finally:
            connection.close()


def spans(text):
    """'{[1,4),[7,8)}' -> [(1, 4), (7, 8)]"""
    found = []
    for part in text.strip("{}").replace("),", ")|").split("|"):
        if part:
            low, high = part.strip("[)").split(",")
            found.append((int(low), int(high)))
    return found


class Report:
    def __init__(self):
        self.faults, self.figures = [], {}

    def fault(self, text):
        self.faults.append(text)

    @property
    def ok(self):
        return not self.faults

    def table(self):
        width = max(len(name) for name in self.figures) if self.figures else 0
        lines = [f"  {name:<{width}}  {value:>14,}" if isinstance(value, int) else f"  {name:<{width}}  {value:>14}"
                 for name, value in self.figures.items()]
        shown = self.faults[:20]
        if len(self.faults) > len(shown):
            shown.append(f"... and {len(self.faults) - len(shown)} more")
        return "\n".join(lines + [f"  FAULT {fault}" for fault in shown])


def _compare(report, what, expected, found, names):
    wrong = 0
    for key in expected.keys() | found.keys():
        want, have = expected.get(key), found.get(key)
        if want is None or have is None:
            report.fault(f"{what} {key}: {'no such row expected' if want is None else 'row is missing'}")
            wrong += 1
        elif tuple(want) != tuple(have):
            differing = [f"{name} is {h}, must be {w}" for name, w, h in zip(names, want, have) if w != h]
            report.fault(f"{what} {key}: {', '.join(differing)}")
            wrong += 1
    report.figures[f"{what} rows"] = len(found)
    if wrong:
        report.figures[f"{what} rows wrong"] = wrong


def examine(postgres, sent, acked, dead=(), schema="spendd", log=True, strict=True):
    """Reads and compares; never waits, never raises for a difference.

    sent    id -> event, everything that ever left a producer (first contents of an id)
    acked   ids that were acknowledged
    dead    ids of events that must lie in dead_letter (and in no sum)
    log     False when spend_log is switched off: ids cannot be compared, sums still are
    strict  True: counted = acked.  False: events that were sent and never answered may be counted too
    """
    report, found = Report(), Found(postgres, schema)
    acked, dead = set(acked), set(dead)
    counted = [row[0] for row in found.log] if log else sorted(acked - dead)
    unique = set(counted)
    ids_dead = {event_id.decode("utf-8", "replace") for event_id, _, _ in found.dead}
    lost = acked - unique - ids_dead
    report.figures.update({"sent": len(sent), "acked": len(acked), "counted": len(unique), "dead letters": len(found.dead),
                           "counted twice": len(counted) - len(unique), "lost": len(lost)})
    for event_id, times in collections.Counter(counted).items():
        if times > 1:
            report.fault(f"{event_id} has {times} log rows")
    for event_id in sorted(lost):
        report.fault(f"{event_id} was acknowledged and is not counted")
    for event_id in sorted(unique - sent.keys()):
        report.fault(f"{event_id} is counted and nobody sent it")
    if strict:
        for event_id in sorted((unique & sent.keys()) - acked):
            report.fault(f"{event_id} is counted and was not acknowledged")
    for event_id in sorted(dead - ids_dead):
        report.fault(f"{event_id} is not among the dead letters")
    _rows_and_sums(report, found, sent, unique & sent.keys(), log)
    return report


def _rows_and_sums(report, found, sent, counted, log):
    events = {event_id: sent[event_id] for event_id in counted}
    day_of_id = {event_id: day_of(event) for event_id, event in events.items()}
    origins = collections.Counter()
    for event_id, day, spend, epoch, seq, n in found.log:
        if event_id not in events:
            continue
        if spend != money(events[event_id]["spend"]):
            report.fault(f"log row {event_id}: spend is {spend}, must be {money(events[event_id]['spend'])}")
        if day_of_id[event_id] is None:
            day_of_id[event_id] = day
        elif day != day_of_id[event_id]:
            report.fault(f"log row {event_id}: day is {day}, must be {day_of_id[event_id]}")
        origins[epoch, seq, n] += 1
        if not any(low <= seq < high for low, high in found.applied.get(epoch, ())):
            report.fault(f"log row {event_id}: batch {epoch} {seq} is not in the ledger")
    for origin, times in origins.items():
        if times > 1:
            report.fault(f"origin {origin} stands in {times} log rows")
    if not log and None in day_of_id.values():
        raise ValueError("without log rows every event needs a start_time")
    expected = Expected(events, day_of_id)
    _compare(report, "spend", expected.spend, found.spend, ("spend", "tokens", "requests"))
    _compare(report, "spend_daily", expected.daily, found.daily, COUNTERS)
    with localcontext() as context:
        context.prec = 60
        report.figures["USD counted"] = format(sum((money(event["spend"]) for event in events.values()), Decimal(0)), "f")
    report.figures["batches applied"] = sum(high - low for ranges in found.applied.values() for low, high in ranges)


# --- waiting for the backlog -----------------------------------------------------------------------------
def wait_schema(postgres, logs=(), schema="spendd"):
    """Until the flusher has made the tables: it is ready before."""
    wait_until(lambda: postgres.one("select to_regclass(%s) is not null", [f"{schema}.spend_log"]), 30, "the schema", logs)


def settled(postgres, at_least, schema="spendd", log=True):
    """True when that many events are counted, or dead in the place of it; False while the database is away
    or not made yet.  Conflicts and invalid records do not stand in the place of a counted event."""
    counted = (f"select count(*) from {schema}.spend_log" if log else
               f"select coalesce(sum(requests), 0) from {schema}.spend where entity_type = 'key'")
    poison = f"select count(*) from {schema}.dead_letter where class = 'poison'"
    try:
        return postgres.one(counted) + postgres.one(poison) >= at_least
    except psycopg2.Error:
        return False


def assert_conserved(postgres, outcome, deadline_s=60, dead=(), logs=(), show=True, sent=None, acked=None, **more):
    """Waits until all that was acknowledged has arrived, then examines; raises with the whole table.

    outcome: a producer's Outcome (or give sent and acked)."""
    sent = outcome.sent if sent is None else sent
    acked = outcome.acked if acked is None else acked
    schema, log = more.get("schema", "spendd"), more.get("log", True)
    late = None
    try:
        wait_until(lambda: settled(postgres, len(acked), schema, log), deadline_s,
                   f"{len(acked)} acknowledged events to arrive in PostgreSQL", logs, look_s=0.2)
    except WaitFailed as failed:
        late = failed
    report = examine(postgres, sent, acked, dead, **more)
    if outcome is not None:
        report.figures["duplicates answered"] = outcome.duplicate
    if show:
        print("\n" + report.table())
    if not report.ok or late:
        raise AssertionError(f"not conserved\n{report.table()}\n{late or ''}")
    return report


__all__ = ["assert_conserved", "examine", "settled", "money", "day_of", "entities_of", "key_of", "event_id_of"]

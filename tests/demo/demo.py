"""`make demo`: the whole pipeline on a private Redis and PostgreSQL, with a worker killed in the middle.

Sends a realistic stream through the acknowledged socket, then shows what PostgreSQL holds and whether it
is what was sent: ids compared as sets, money as decimals computed here, independently.  Everything lies in
one short directory under the system's temporary one and is gone afterwards.  Exit code 0: it reconciled.

Environment: TRACE=file.csv (columns TIMESTAMP,ContextTokens,GeneratedTokens) instead of the generator's own
sizes and moments; SEED, EVENTS.
"""
import datetime
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True

from lib import conservation  # noqa: E402
from lib.daemon import WORKERS, Spendd  # noqa: E402
from lib.events import Generator, batches  # noqa: E402
from lib.producer import Producer  # noqa: E402
from lib.servers import Place  # noqa: E402
from lib.waiting import wait_until  # noqa: E402
from lib.wire import ROOT  # noqa: E402

SEED = int(os.environ.get("SEED", "20260301"))
EVENTS = int(os.environ.get("EVENTS", "20000"))
RATE = 60  # messages a second, about 20 events each


def say(text=""):
    print(text, flush=True)


class Progress:
    """One line that is written over on a terminal, and now and then a line elsewhere."""

    def __init__(self, total):
        self.total, self.terminal, self.last = total, sys.stdout.isatty(), 0.0

    def show(self, outcome, note=""):
        now = time.monotonic()
        if now - self.last < (0.1 if self.terminal else 3):
            return
        self.last = now
        done = len(outcome.acked)
        width = 30 * done // self.total
        line = f"  [{'#' * width}{'.' * (30 - width)}] {done:>7,} of {self.total:,} acknowledged {note}"
        print(f"\r{line:<100}" if self.terminal else line, end="" if self.terminal else "\n", flush=True)

    def end(self):
        if self.terminal:
            say()


def table(title, names, rows):
    rows = [[format(cell, ",") if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(names, *rows)]
    say(f"\n{title}")
    for n, row in enumerate([names, *rows]):
        say("  " + "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                             for place, (cell, width) in enumerate(zip(row, widths))))
        if n == 0:
            say("  " + "  ".join("-" * width for width in widths))


def stream():
    """The events, all of them: what is sent must be known to be compared."""
    trace = os.environ.get("TRACE")
    generator = Generator(SEED, "demo")
    if not trace:
        return list(generator.events(EVENTS))
    yesterday = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    return list(generator.trace(trace, yesterday))


def send(instance, events):
    """Everything through the acked socket; kills the flusher a third of the way, the aggregator at two thirds."""
    producer = Producer(instance.ingest, batches(events, random.Random(SEED)), window=16, resend_s=1.5,
                        rate=max(RATE, len(events) / 20 / 20)).start()
    progress, outcome, note = Progress(len(events)), producer.outcome, ""
    victims = [(len(events) // 3, "db_flusher"), (2 * len(events) // 3, "aggregator")]

    def over():
        nonlocal note
        if victims and len(outcome.acked) >= victims[0][0]:
            worker = victims.pop(0)[1]
            pid = instance.kill(worker)
            note = f"(kill -9 {worker}, pid {pid})"
            progress.last = 0.0
        progress.show(outcome, note)
        return producer.done()

    wait_until(over, 300, "every event to be acknowledged", [producer, instance], look_s=0.05)
    progress.last = 0.0
    progress.show(outcome, note)
    progress.end()
    return producer.wait(1)


def money(value):
    return f"{value:,.6f}"


def show(postgres):
    def top(kind, count):
        return [(name if len(name) <= 40 else name[:12] + "..." + name[-6:], requests, tokens, money(spend))
                for name, requests, tokens, spend in postgres.query(
                    "select entity_id, requests, tokens, spend from spendd.spend where entity_type = %s"
                    " order by spend desc limit %s", (kind, count))]

    def daily(column):
        # Every event has exactly one key: the rows of the keys are each request once.
        return [(str(name), requests, tokens, money(spend)) for name, requests, tokens, spend in postgres.query(
            f"select {column}, sum(requests)::bigint, sum(prompt_tokens + completion_tokens)::bigint, sum(spend)"
            f" from spendd.spend_daily where entity_type = 'key' group by 1 order by {'4 desc' if column == 'model' else '1'}")]

    names = ["requests", "tokens", "USD"]
    table("Spend by team", ["team", *names], top("team", 12))
    table("Spend by model", ["model", *names], daily("model"))
    table("Spend by day", ["day (UTC)", *names], daily("date"))
    table("Top keys", ["key (SHA-256)", *names], top("key", 5))


def reconcile(postgres, outcome):
    report = conservation.examine(postgres, outcome.sent, outcome.acked)
    figures = report.figures
    say("\nReconciliation (ids compared as sets, money as decimals computed independently)")
    for name, value in (("sent", figures["sent"]), ("acknowledged", figures["acked"]), ("counted", figures["counted"]),
                        ("counted twice", figures["counted twice"]), ("lost", figures["lost"]), ("dead letters", figures["dead letters"]),
                        ("messages sent again", outcome.resends), ("answered \"duplicate\"", outcome.duplicate),
                        ("rows compared, totals", figures["spend rows"]), ("rows compared, days", figures["spend_daily rows"]),
                        ("batches applied", figures["batches applied"])):
        say(f"  {name:<22} {value:>12,}")
    say(f"  {'USD, to the last digit':<22} {figures['USD counted']:>25}")
    for fault in report.faults[:10]:
        say(f"  WRONG: {fault}")
    complete = len(outcome.acked) == len(outcome.sent)
    say(f"\n{'RECONCILED: every acknowledged event is counted exactly once' if report.ok and complete else 'NOT RECONCILED'}")
    return report.ok and complete


def run(place):
    say(f"spendd demo: seed {SEED}" + (f", trace {os.environ['TRACE']}" if os.environ.get("TRACE") else f", {EVENTS:,} events"))
    redis, postgres = place.redis().start(), place.postgres().start()
    say(f"  private Redis and PostgreSQL {postgres.one('show server_version')} run in {place.root}")
    directory = place.sub("i")
    instance = Spendd(directory, config=os.path.join(ROOT, "conf/demo.conf"), environment={
        "SPENDD_DEMO_RUN": os.path.join(directory, "run"), "SPENDD_DEMO_SPOOL": os.path.join(directory, "spool"),
        "SPENDD_DEMO_REDIS": redis.url, "SPENDD_DEMO_DATABASE": postgres.url()})
    try:
        instance.start(ready=WORKERS, deadline_s=30)
        say(f"  spendd is up (conf/demo.conf): {', '.join(WORKERS)}\n")
        outcome = send(instance, stream())
        wait_until(lambda: conservation.settled(postgres, len(outcome.acked)), 60, "the backlog to drain", [instance], look_s=0.1)
        say("  every acknowledged event has arrived; SIGTERM")
        code = instance.stop()
        show(postgres)
        return reconcile(postgres, outcome) and code == 0
    except BaseException:
        say(instance.tail(40))
        raise
    finally:
        instance.kill_all()


def main():
    place = Place()
    try:
        return 0 if run(place) else 1
    except KeyboardInterrupt:
        return 130
    except (AssertionError, OSError) as error:
        say(f"demo failed: {error}")
        return 1
    finally:
        place.close()


if __name__ == "__main__":
    sys.exit(main())

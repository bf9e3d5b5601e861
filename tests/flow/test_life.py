"""One instance from its first start to its last word: nothing dies here that was not asked to."""
import json
import os

import zmq

from lib import conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.processes import stat_of
from lib.producer import Asker, Producer, payload_of, push_unacked
from lib.waiting import wait_until


def send(instance, count, seed=1, name="life", shape=20):
    """Never twice: the figures of some tests are exact."""
    return Producer(instance.ingest, batches(Generator(seed, name).events(count), shape), resend_s=60).start().wait(90, [instance])


def test_first_start_on_an_empty_database(stack):
    """The gate lets the flusher in although no schema exists: it is the one who makes it."""
    instance = stack.spendd().start(ready=WORKERS)
    outcome = send(instance, 200)
    assert outcome.counts()["acked"] == 200 and outcome.accepted == 200
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert stack.postgres.one("select count(*) from spendd.schema_version") == 1


def test_an_acknowledged_event_is_on_disk_before_the_stores_exist(place):
    """Ingest needs neither Redis nor PostgreSQL."""
    stack = Stack(place)
    instance = stack.spendd().start()
    outcome = send(instance, 50)
    assert len(outcome.acked) == 50
    assert any(files for _, _, files in os.walk(instance.spool))
    stack.start()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    stack.close()


def test_sigterm_drains_everything(stack):
    """Ingest stops, the segment seals, push, one last flush, leave: nothing remains to be waited for."""
    instance = stack.spendd(seal__ms=60000, flush__ms=500).start(ready=WORKERS)
    outcome = send(instance, 300)
    assert instance.stop() == 0, instance.tail()
    report = conservation.examine(stack.postgres, outcome.sent, outcome.acked)
    assert report.ok, report.table() + instance.tail()


def test_sigterm_with_the_database_away_leaves_in_time(stack):
    """What cannot be delivered stays in the spool and is counted by the next start."""
    instance = stack.spendd(supervisor__drain_ms=2000).start(ready=WORKERS)
    stack.postgres.stop("immediate")
    outcome = send(instance, 100)
    instance.stop()
    stack.postgres.start()
    instance.start()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_restart_keeps_the_dedupe_window(stack):
    instance = stack.spendd().start(ready=WORKERS)
    events = [*Generator(4, "again").events(120)]
    first = Producer(instance.ingest, batches(events, 10)).start().wait(30, [instance])
    instance.stop()
    instance.start()
    second = Producer(instance.ingest, batches(events, 25), resend_s=60).start().wait(90, [instance])
    assert (second.accepted, second.duplicate) == (0, 120)
    conservation.assert_conserved(stack.postgres, first, logs=stack.logs)


def test_status_shows_every_worker(stack):
    instance = stack.spendd().start(ready=WORKERS)
    status = instance.status()
    assert {row["name"] for row in status["workers"]} == set(WORKERS)
    assert status["gate"]["database"]["open"]
    for row in status["workers"]:
        assert row["state"] == "READY" and row["restarts"] == 0
        assert stat_of(row["pid"])[2] == instance.process.pid
    send(instance, 60)
    wait_until(lambda: instance.status()["events"]["counted"] == 60, 20, "60 counted events", stack.logs)
    assert instance.status()["events"]["accepted"] == 60


def test_spendctl_prints_a_table_and_json(stack):
    instance = stack.spendd().start(ready=WORKERS)
    table = instance.ctl("status")
    assert table.returncode == 0, table.stderr
    assert all(worker in table.stdout for worker in WORKERS)
    shown = instance.ctl("--json", "status")
    assert shown.returncode == 0 and json.loads(shown.stdout)["workers"]
    assert instance.ctl("no-such-word").returncode in (1, 2)
    instance.stop()
    assert instance.ctl("--timeout", "1", "status").returncode == 3


def test_workers_have_an_empty_environment_and_no_secret_in_sight(stack):
    instance = stack.spendd(environment={"SECRET_OF_THE_SHELL": "x"}).start(ready=WORKERS)
    for worker in WORKERS:
        pid = instance.pid(worker)
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                assert b"SECRET_OF_THE_SHELL" not in file.read()
        except PermissionError:
            assert os.geteuid() != 0  # closed even to its own user
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            assert b"postgres" not in file.read()


def test_unacked_ingest_counts_and_keeps_what_it_refuses(stack):
    instance = stack.spendd().start(ready=WORKERS)
    events = [*Generator(5, "pull").events(90)]
    bad = dict(events[0], request_id="pull-bad", spend="NaN")
    push_unacked(instance.unacked, [payload_of(events[:40] + [bad]), payload_of(events[40:], "lines")])
    sent = {event["request_id"]: event for event in events}
    wait_until(lambda: conservation.settled(stack.postgres, 90), 30, "90 events", stack.logs)
    report = conservation.examine(stack.postgres, sent, sent)
    assert report.ok and report.figures["dead letters"] == 1, report.table()


def test_spend_log_off_counts_exactly(stack):
    """Without log rows the arbiter is spendd.seen: the repeat past the window is still found."""
    instance = stack.spendd(spend_log__enabled=False, dedupe__seconds=0).start(ready=WORKERS)
    events = [*Generator(8, "nolog").events(150)]
    outcome = Producer(instance.ingest, batches(events, 10)).start().wait(30, stack.logs)
    Producer(instance.ingest, batches(events, 7), outcome).start().wait(30, stack.logs)
    assert instance.stop() == 0
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs, log=False)
    assert stack.postgres.one("select count(*) from spendd.spend_log") == 0


def test_unusual_names_survive(stack):
    """Quotes, separators, right-to-left text, backslashes, format directives: data, nothing else."""
    instance = stack.spendd().start(ready=WORKERS)
    names = ['a"b', "a'b", "a\\b", "a,b", "{a}", "%s%n", "\u0645\u0631\u062d\u0628\u0627", "\U0001f4b8", "a\tb\nc", "\\N", "\\.", "null",
             "x" * 256, "é" * 128, "a;drop table spendd.spend", "\u007f\u0001"]
    events = [dict(event, team_id=name, user_id=names[-1 - n], tags=[name, "t"], model=name, end_user=name)
              for n, (name, event) in enumerate(zip(names, Generator(9, "names").events(len(names))))]
    outcome = Producer(instance.ingest, batches(events, 3)).start().wait(30, stack.logs)
    assert not outcome.refused
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_secret_key_is_hashed_before_it_is_written_anywhere(stack):
    instance = stack.spendd().start(ready=WORKERS)
    events = [dict(event, api_key="sk-very-secret-0001") for event in Generator(10, "sk").events(5)]
    outcome = Producer(instance.ingest, batches(events, 5)).start().wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    for directory, _, files in os.walk(instance.dir):
        for name in files:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    assert b"sk-very-secret" not in file.read(), path


def test_req_sockets_work(stack):
    instance = stack.spendd().start()
    events = [*Generator(11, "req").events(3)]
    for number, correlate in enumerate((0, 1)):
        with Asker(instance.ingest, zmq.REQ) as asker:
            asker.socket.setsockopt(zmq.REQ_CORRELATE, correlate)
            frames = asker.raw([b"E1", b"id", payload_of([events[number]])])
            assert frames and frames[:2] == [b"A1", b"id"] and json.loads(frames[2])["accepted"] == 1
    route = [b"r%d" % n for n in range(8)]
    with Asker(instance.ingest) as asker:
        frames = asker.raw([*route, b"E1", b"id", payload_of([events[2]])])
    assert frames[:8] == route and frames[8:10] == [b"A1", b"id"]

"""What the operator orders: start, stop, restart, loglevel, shutdown, events.  (reload and drain have files of
their own.)"""
import os
import signal
import subprocess

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.operator import Question, order
from lib.producer import Producer
from lib.waiting import patient, wait_until


def lines(instance, event):
    return [line for line in instance.log_text().splitlines() if f" {event} " in line]


def row(instance, worker):
    return next(row for row in instance.status()["workers"] if row["name"] == worker)


def states(answer):
    return {row["worker"]: row["state"] for row in answer["workers"]}


def test_stop_keeps_away_and_start_brings_back(stack):
    """Stopped under load: its events wait; a kill, a gate and a reload do not bring it back; start does."""
    instance = stack.spendd(health__fail_after=1).start(ready=WORKERS)
    code, answer = order(instance, "stop", "db_flusher", "--wait")
    assert (code, states(answer)) == (200, {"db_flusher": "STOPPED"})
    outcome = Producer(instance.ingest, batches(Generator(1, "stop").events(60), 20)).start().wait(20, stack.logs)
    stack.postgres.stop("immediate")
    wait_until(lambda: not instance.status()["gate"]["database"]["open"], 10, "the gate to close", stack.logs)
    stack.postgres.start()
    wait_until(lambda: instance.status()["gate"]["database"]["open"], 20, "the gate to open", stack.logs)
    assert order(instance, "reload")[0] == 200
    shown = row(instance, "db_flusher")
    assert shown["state"] == "STOPPED" and shown["why"] == "stopped by the operator" and shown["pid"] is None
    code, answer = order(instance, "start", "db_flusher", "--wait")
    assert (code, states(answer)) == (200, {"db_flusher": "READY"})
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_start_is_the_way_out_of_a_long_pause(stack):
    """BACKOFF for minutes, and the operator has mended the cause."""
    instance = stack.spendd(supervisor__flap_deaths=1, supervisor__backoff_min_ms=600000,
                            supervisor__backoff_max_ms=600000).start(ready=WORKERS)
    instance.kill("redis_writer")
    wait_until(lambda: instance.state("redis_writer") == "BACKOFF", 10, "BACKOFF", [instance])
    code, answer = order(instance, "start", "redis_writer", "--wait")
    assert (code, states(answer)) == (200, {"redis_writer": "READY"})


def test_restart_all_under_load_one_after_the_other(stack):
    instance = stack.spendd().start(ready=WORKERS)
    before = {worker: instance.pid(worker) for worker in WORKERS}
    producer = Producer(instance.ingest, batches(Generator(2, "all").events(800), 10)).start()
    code, answer = order(instance, "restart", "all", "--wait", deadline_s=60)
    assert code == 200 and set(states(answer)) == set(WORKERS)
    wait_until(lambda: instance.pids("control") not in ([], [before["control"]]), 20, "control's new life", [instance])
    outcome = producer.wait(60, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert all(instance.pid(worker) != before[worker] for worker in WORKERS)
    story = [line.split("worker=")[1].split()[0] for line in lines(instance, "worker_restart")]
    assert story == list(WORKERS)
    assert all("how=\"exit code 0\"" in line for line in lines(instance, "worker_exited")), lines(instance, "worker_exited")


def test_restart_of_what_does_not_come_up_says_so(tmpfs, stack):
    instance = stack.spendd(spool__dir=os.path.join(tmpfs, "spool"), spool__allow_volatile=False).start(ready=("control",))
    wait_until(lambda: instance.state("aggregator") == "FAILED", 10, "FAILED", [instance])
    code, answer = order(instance, "restart", "aggregator", "--wait")
    assert code == 409 and states(answer) == {"aggregator": "FAILED"} and "did not come up" in answer["error"]
    assert order(instance, "stop", "aggregator")[1]["workers"][0]["state"] == "STOPPED"


@pytest.mark.parametrize("words, code, text", [
    (("start", "nobody"), 400, "no worker nobody"),
    (("start", "aggregator.7"), 400, "no worker"),
    (("start",), 400, "arguments"),
    (("stop", "control"), 409, "restart it"),
    (("restart", "all", "--dry-run"), 400, "--dry-run"),
    (("restart", "all", "now"), 400, "too many words"),
    (("loglevel", "aggregator", "loud"), 400, "no level"),
    (("loglevel", "nobody", "info"), 400, "no worker"),
    (("loglevel", "all"), 400, "arguments"),
    (("reload", "please"), 400, "too many words"),
    (("reload", "--wait"), 400, "--wait"),
    (("start", "x" * 200), 400, "1 to 63 bytes"),
    (("shutdown", "now"), 400, "no arguments"),
])
def test_wrong_words_are_refused_and_do_nothing(spendd, words, code, text):
    before = {worker: spendd.pids(worker) for worker in WORKERS}
    assert order(spendd, *words)[0] == code
    assert text in order(spendd, *words)[1]["error"]
    assert spendd.running() and not lines(spendd, "worker_exited")
    assert all(spendd.pids(worker) == pids for worker, pids in before.items() if pids)


def test_loglevel_by_worker_survives_its_death(stack):
    instance = stack.spendd(log__level="error").start(ready=WORKERS)

    def speaks(worker):
        return any(f" info {worker}/" in line for line in instance.log_text().splitlines())

    assert order(instance, "loglevel", "redis_writer", "info")[0] == 200
    instance.kill("redis_writer")
    wait_until(lambda: speaks("redis_writer"), 10, "the new life to speak", [instance])
    instance.kill("health_checker")
    wait_until(lambda: instance.state("health_checker") == "READY" and row(instance, "health_checker")["restarts"],
               20, "another one", [instance])
    assert not speaks("health_checker") and not speaks("spendd")
    assert order(instance, "loglevel", "spendd", "info")[0] == 200
    instance.kill("health_checker")
    wait_until(lambda: lines(instance, "worker_exited"), 10, "the supervisor to speak", [instance])
    assert order(instance, "loglevel", "all", "config")[0] == 200
    quiet = len(instance.log_text())
    instance.kill("redis_writer")
    instance.wait_ready("redis_writer")
    assert " info " not in instance.log_text()[quiet:]


def test_shutdown_leaves_now_and_loses_nothing(stack):
    """Everything hangs, and the operator does not want to wait; what was acknowledged is counted later."""
    instance = stack.spendd(supervisor__drain_ms=60000).start(ready=WORKERS)
    stack.redis.freeze()
    outcome = Producer(instance.ingest, batches(Generator(3, "down").events(60), 20)).start().wait(20, stack.logs)
    instance.freeze("aggregator")
    code, answer = order(instance, "shutdown")
    assert code == 200 and "spool" in answer["text"]
    assert instance.process.wait(patient(8)) == 0 and not instance.members()
    stack.redis.thaw()
    instance.start(ready=WORKERS)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


# --- events ----------------------------------------------------------------------------------------

def test_events_stream_what_changes(stack):
    instance = stack.spendd(health__fail_after=1).start(ready=WORKERS)
    with Question(instance, "events") as events, Question(instance, "events") as other:
        assert events.item()["after"] == other.item()["after"] == "BEGUN"
        pid = instance.kill("redis_writer")
        fell = events.item(lambda event: event["name"] == "redis_writer" and event["after"] == "BACKOFF")
        assert fell["kind"] == "worker" and fell["before"] == "READY" and "signal 9" in fell["why"]
        assert fell["at_ms"] > 1_700_000_000_000 and fell["generation"] == 1
        rose = events.item(lambda event: event["name"] == "redis_writer" and event["after"] == "READY")
        assert rose["generation"] == 2 and rose["pid"] not in (None, pid)
        stack.postgres.stop("immediate")
        gate = events.item(lambda event: event["kind"] == "gate")
        assert gate["name"] == "database" and gate["after"] == "CLOSED" and gate["why"]
        events.item(lambda event: event["name"] == "db_flusher" and event["after"] == "HELD")
        # The other listener, who has not read so far, hears the same story.
        other.item(lambda event: event["name"] == "db_flusher" and event["after"] == "HELD")
        assert order(instance, "reload")[0] == 200
        assert other.item(lambda event: event["kind"] == "daemon")["after"] == "RELOADED"
        instance.process.send_signal(signal.SIGTERM)
        assert other.item(lambda event: event["kind"] == "daemon")["after"] == "DRAINING"
        other.item(lambda event: event["name"] == "aggregator" and event["after"] == "DRAINING")
        assert other.answer()[0] == 200
    assert instance.process.wait(patient(20)) == 0


def listening(instance):
    """A question that has a place, or None."""
    question = Question(instance, "events")
    if question.next()[0] == 102:
        return question
    question.__exit__()
    return None


def test_listeners_that_leave_give_their_place_back(spendd):
    for _ in range(3):
        questions = [wait_until(lambda: listening(spendd), 10, "a place", [spendd]) for _ in range(16)]
        code, answer = order(spendd, "events")
        assert code == 409 and "16 listen" in answer["error"]
        for question in questions:
            question.__exit__()


def test_spendctl_prints_orders_and_events(stack):
    """A table for people, a line for each event as it happens, and the exit codes."""
    instance = stack.spendd().start(ready=WORKERS)
    done = instance.ctl("restart", "redis_writer", "--wait")
    assert done.returncode == 0 and done.stdout.split()[:3] == ["WORKER", "STATE", "TEXT"], done
    assert "READY" in done.stdout
    instance.write_config(spool__dir="/elsewhere", seal__ms=120)
    done = instance.ctl("reload")
    assert done.returncode == 1 and done.stderr.startswith("refused (409): "), done
    assert "needs a full restart" in done.stderr and "applied live" in done.stderr
    with open(instance.config, "a", encoding="ascii") as file:
        file.write("nonsense = 1;\n")
    done = instance.ctl("reload", "--dry-run")
    assert done.returncode == 1 and "unknown setting nonsense" in done.stderr
    listener = subprocess.Popen([instance.program("spendctl"), "--socket", instance.admin, "events"],
                                stdout=subprocess.PIPE, text=True)
    try:
        assert "BEGUN" in listener.stdout.readline()
        instance.kill("redis_writer")
        assert "READY  BACKOFF  killed by signal 9 (Killed)" in listener.stdout.readline()
        instance.stop()
        assert listener.wait(patient(10)) == 0
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()


def test_a_quiet_stream_says_that_it_lives(spendd):
    spendd.wait_ready(*WORKERS)
    with Question(spendd, "events") as events:
        waited = [value["progress"]["waited_s"] for _, value in (events.next(), events.next(), events.next())
                  if "progress" in value]
        assert len(waited) == 2 and waited[0] < waited[1]

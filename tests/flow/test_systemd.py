"""The conversation with the service manager, on a socket that plays it: Type=notify, without surprises."""
import os
import signal
import socket

import pytest

from lib import processes
from lib.daemon import WORKERS
from lib.manager import Manager
from lib.waiting import patient, wait_until


@pytest.fixture
def manager():
    made = Manager()
    yield made
    made.close()


def lines(instance, event):
    return [line for line in instance.log_text().splitlines() if f" {event} " in line]


def test_ready_status_stopping_on_an_abstract_socket(stack, manager):
    instance = stack.spendd(environment=manager.environment).start(ready=())
    manager.wait_for("READY", logs=[instance])
    status = instance.status()
    assert all(row["state"] == "READY" for row in status["workers"] if row["name"] != "db_flusher")
    manager.wait_for("STATUS", lambda text: text == "ready", logs=[instance])
    assert instance.stop() == 0
    heard = manager.listen()
    assert [message for message in heard if "READY" in message] == [{"READY": "1"}]
    stopping = next(n for n, message in enumerate(heard) if "STOPPING" in message)
    assert any(message.get("STATUS", "").startswith("draining") for message in heard[stopping:])
    # More time is asked for: at least what is left of the drain.
    assert int(next(message for message in heard[stopping:] if "EXTEND_TIMEOUT_USEC" in message)
               ["EXTEND_TIMEOUT_USEC"]) >= 15_000_000
    assert not manager.values("WATCHDOG"), "nobody asked for it"


def test_a_path_and_a_database_that_is_down(stack):
    """Ready without PostgreSQL: events are taken.  The status line says what is missing, in one line."""
    manager = Manager(stack.place.sub("n"))
    try:
        stack.postgres.stop("immediate")
        instance = stack.spendd(environment=manager.environment).start(ready=())
        manager.wait_for("READY", logs=[instance])
        text = manager.wait_for("STATUS", lambda text: text.startswith("ready") and "db_flusher HELD" in text,
                                logs=[instance])
        assert "database gate closed (" in text
        heard = len(manager.listen())
        stack.postgres.start()
        manager.wait_for("STATUS", lambda text: text == "ready", logs=[instance], after=heard)
    finally:
        manager.close()


def test_not_ready_before_ingest_accepts(stack, manager):
    """The aggregator waits for its lane: READY=1 comes when it has it."""
    lane = os.path.join(stack.place.sub("s"), "spool")
    first = stack.spendd(spool__dir=lane).start(ready=WORKERS)
    second = stack.spendd(spool__dir=lane, environment=manager.environment).start(ready=("control", "redis_writer"))
    wait_until(lambda: any("aggregator STARTING" in text for text in manager.values("STATUS")), 10,
               "the status to say what is waited for", stack.logs)
    assert not manager.values("READY")
    assert first.stop() == 0
    manager.wait_for("READY", logs=[second])


def test_the_environment_is_not_passed_on(stack, manager):
    instance = stack.spendd(environment={**manager.environment, "WATCHDOG_USEC": "60000000"}).start(ready=WORKERS)
    for worker in WORKERS:
        with open(f"/proc/{instance.pid(worker)}/environ", "rb") as file:
            assert file.read() == b""


def test_the_watchdog_is_fed_by_the_loop_alone(stack, manager):
    """Half of the interval; a stopped supervisor feeds nothing, and a hung worker is not its business."""
    instance = stack.spendd(supervisor__beat_ms=5000, environment={
        **manager.environment, "WATCHDOG_USEC": "400000"}).start(ready=WORKERS)
    instance.freeze("redis_writer")
    before = len(manager.values("WATCHDOG"))
    wait_until(lambda: len(manager.values("WATCHDOG")) >= before + 5, 10, "five meals", [instance])
    processes.freeze(instance.process.pid)
    before = len(manager.values("WATCHDOG"))
    began = os.times().elapsed
    wait_until(lambda: os.times().elapsed - began > 1, 5, "two intervals to pass")
    assert len(manager.values("WATCHDOG")) == before
    instance.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(manager.values("WATCHDOG")) > before, 10, "it to go on", [instance])


def test_a_watchdog_of_somebody_else_is_not_fed(stack, manager):
    instance = stack.spendd(environment={**manager.environment, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
    instance.start(ready=WORKERS)
    assert instance.stop() == 0 and not manager.values("WATCHDOG")


def test_reload_is_said_before_and_after(stack, manager):
    """RELOADING=1 with its time, READY=1 when the last restarted worker is back; a bad file ends it too."""
    instance = stack.spendd(environment=manager.environment).start(ready=WORKERS)
    manager.wait_for("READY", logs=[instance])
    instance.write_config(dedupe__ids=50000)
    seen = len(manager.listen())
    instance.process.send_signal(signal.SIGHUP)
    manager.wait_for("READY", logs=[instance], after=seen)
    heard = manager.listen()[seen:]
    start = next(n for n, message in enumerate(heard) if "RELOADING" in message)
    end = next(n for n, message in enumerate(heard) if "READY" in message)
    assert start < end and heard[start]["RELOADING"] == "1"
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    assert 0 < uptime - int(heard[start]["MONOTONIC_USEC"]) / 1e6 < patient(30)
    assert len(lines(instance, "worker_restart")) == 1 and instance.state("aggregator") == "READY"
    instance.write_config(dedupe__ids=1)
    seen = len(manager.listen())
    instance.process.send_signal(signal.SIGHUP)
    manager.wait_for("READY", logs=[instance], after=seen)
    assert [name for message in manager.listen()[seen:] for name in message if name in ("RELOADING", "READY")] == [
        "RELOADING", "READY"]


def test_more_time_while_another_spendd_leaves(stack, manager):
    """A successor on the same runtime_dir says what it waits for, and that it lives."""
    first = stack.spendd().start(ready=WORKERS)
    first.freeze("aggregator")
    first.process.send_signal(signal.SIGTERM)
    wait_until(lambda: lines(first, "drain_started"), 10, "the drain", [first])
    second = stack.spendd(runtime_dir=first.run, spool__dir=first.spool, environment=manager.environment)
    second.start(ready=())
    assert "a spendd that runs here" in manager.wait_for("STATUS", logs=stack.logs)
    assert int(manager.wait_for("EXTEND_TIMEOUT_USEC", logs=stack.logs)) > 5_000_000
    assert not manager.values("READY")
    first.process.send_signal(signal.SIGTERM)
    manager.wait_for("READY", logs=stack.logs)
    assert first.process.wait(patient(5)) == 0


def test_a_manager_that_is_gone_is_no_trouble(stack, manager):
    manager.socket.close()
    manager.socket = socket.socket()
    instance = stack.spendd(environment=manager.environment).start(ready=WORKERS)
    assert instance.stop() == 0


def test_an_address_that_is_none_is_said_and_ignored(stack):
    instance = stack.spendd(environment={"NOTIFY_SOCKET": "vsock:2:1"}).start(ready=WORKERS)
    assert len(lines(instance, "notify_refused")) == 1 and instance.stop() == 0

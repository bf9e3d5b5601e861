"""The supervisor's table with real processes: every transition of child.def is caused here, by workers that do
what the test tells them (lib/impostor.py).  The unit test has every cell; `spendd --print-states` prints it.

The gate is moved by an impostor in the place of the health checker, so no store is needed."""
import signal
import time

import pytest

from lib import processes
from lib.daemon import Spendd
from lib.impostor import Impostors
from lib.operator import Question, order
from lib.waiting import patient, wait_until

QUIET = {"supervisor__beat_ms": 100, "supervisor__start_ms": 20000, "supervisor__hang_ms": 60000,
         "supervisor__drain_ms": 20000, "supervisor__backoff_min_ms": 50, "supervisor__backoff_max_ms": 200}
# Any length up to this (full jitter): the longest that there is, so that what a test does in a pause comes in time.
LONG_PAUSE = {"supervisor__backoff_min_ms": 600000, "supervisor__backoff_max_ms": 600000}


class Cast:
    """An instance, its impostors, and the events of one of them as they come."""

    def __init__(self, place, **settings):
        self.impostors = Impostors(place.sub("m"), health_checker=["ready"], aggregator=["ready"],
                                   redis_writer=["ready"], db_flusher=["ready"])
        self.instance = Spendd(place.sub("i"), build=self.impostors.build, **{**QUIET, **settings})
        self.events = None

    def start(self):
        self.instance.start(ready=("control", *(name for name in ("aggregator", "redis_writer") if self.impostors.is_born_ready(name))))
        self.events = Question(self.instance, "events")
        self.events.item()
        return self

    def tell(self, name, *orders):
        for text in orders:
            self.impostors.tell(name, text)

    def gate(self, is_open):
        self.tell("health_checker", "probe 1" if is_open else "probe 0 no such host")

    def becomes(self, name, *states):
        """Its next changes of state are these, in this order; the last event."""
        for state in states:
            event = self.events.item(lambda event: event["name"] == name)
            assert event["after"] == state, (event, states, self.instance.tail())
        return event

    def state(self, name):
        return self.instance.state(name)

    def lines(self, event):
        return [line for line in self.instance.log_text().splitlines() if f" {event} " in line]

    def close(self):
        if self.events is not None:
            self.events.__exit__()
        self.instance.close()


@pytest.fixture
def cast(place):
    made = []

    def make(**settings):
        made.append(Cast(place, **settings))
        return made[0]

    yield make
    for one in made:
        one.close()


def test_held_until_the_gate_opens_and_again_when_it_closes(cast):
    """HELD -> STARTING -> READY -> DRAINING -> (STOPPED) HELD, and around; the reason is shown."""
    play = cast(health__fail_after=2).start()
    assert play.state("db_flusher") == "HELD"
    for _ in range(2):
        play.gate(True)
        play.becomes("db_flusher", "STARTING", "READY")
        play.gate(False)
        play.gate(False)
        assert play.becomes("db_flusher", "DRAINING", "STOPPED", "HELD")["why"] == "no such host"


def test_a_gate_that_opens_again_while_it_drains(cast):
    play = cast(health__fail_after=1).start()
    play.gate(True)
    play.becomes("db_flusher", "STARTING", "READY")
    play.tell("db_flusher", "deaf")
    play.gate(False)
    play.becomes("db_flusher", "DRAINING")
    play.gate(True)
    play.events.item(lambda event: event["kind"] == "gate" and event["after"] == "OPEN")  # told by another than who ends now
    play.tell("db_flusher", "exit 0")
    play.becomes("db_flusher", "STOPPED", "STARTING", "READY")


def test_a_gate_that_closes_during_the_start(cast):
    """STARTING -> DRAINING: it is told to leave before it was ready."""
    play = cast(health__fail_after=1)
    play.impostors.born("db_flusher")
    play.start().gate(True)
    play.becomes("db_flusher", "STARTING")
    play.gate(False)
    play.becomes("db_flusher", "DRAINING", "STOPPED", "HELD")


def test_a_gate_that_closes_during_a_pause(cast):
    """BACKOFF -> HELD; it starts when the gate opens, whatever was left of the pause."""
    play = cast(health__fail_after=1, **LONG_PAUSE)
    play.impostors.born("db_flusher", "exit 1")
    play.start().gate(True)
    play.becomes("db_flusher", "STARTING", "BACKOFF")
    play.impostors.born("db_flusher", "ready")
    play.gate(False)
    play.becomes("db_flusher", "HELD")
    play.gate(True)
    play.becomes("db_flusher", "STARTING", "READY")


def test_stop_in_every_state(cast):
    play = cast(health__fail_after=1, **LONG_PAUSE).start()
    assert order(play.instance, "stop", "db_flusher")[0] == 200
    play.becomes("db_flusher", "STOPPED")  # from HELD
    order(play.instance, "start", "db_flusher")
    play.becomes("db_flusher", "HELD")  # from STOPPED, the gate being closed
    play.impostors.born("redis_writer")
    order(play.instance, "restart", "redis_writer")
    play.becomes("redis_writer", "DRAINING", "STOPPED", "STARTING")
    order(play.instance, "stop", "redis_writer")
    play.becomes("redis_writer", "DRAINING", "STOPPED")  # from STARTING
    play.impostors.born("redis_writer", "exit 1")
    order(play.instance, "start", "redis_writer")
    play.becomes("redis_writer", "STARTING", "BACKOFF")
    order(play.instance, "stop", "redis_writer")
    play.becomes("redis_writer", "STOPPED")  # from BACKOFF
    play.impostors.born("redis_writer", "exit 78")
    order(play.instance, "start", "redis_writer")
    play.becomes("redis_writer", "STARTING", "FAILED")
    order(play.instance, "stop", "redis_writer")
    play.becomes("redis_writer", "STOPPED")  # from FAILED
    play.impostors.born("redis_writer", "ready")
    order(play.instance, "start", "redis_writer")
    play.becomes("redis_writer", "STARTING", "READY")


def test_78_is_failed_before_and_after_readiness(cast):
    """Nothing is tried again, until a reload; the others do not notice."""
    play = cast().start()
    for _ in range(2):
        play.impostors.born("redis_writer", "exit 78")
        play.tell("redis_writer", "exit 78")
        assert "78" in play.becomes("redis_writer", "FAILED")["why"]
        order(play.instance, "reload")
        play.becomes("redis_writer", "STOPPED", "STARTING", "FAILED")
        play.impostors.born("redis_writer", "ready")
        play.instance.process.send_signal(signal.SIGHUP)
        play.becomes("redis_writer", "STOPPED", "STARTING", "READY")
    assert all(row["restarts"] == 0 for row in play.instance.status()["workers"] if row["name"] == "aggregator")


def test_78_while_it_drains_is_an_exit(cast):
    """It was asked to leave; what it says is judged when it is started again."""
    play = cast().start()
    play.tell("redis_writer", "deaf")
    order(play.instance, "restart", "redis_writer")
    play.becomes("redis_writer", "DRAINING")
    play.tell("redis_writer", "exit 78")
    play.becomes("redis_writer", "STOPPED", "STARTING", "READY")


def test_a_reload_ends_a_pause(cast):
    """BACKOFF -> STARTING: whoever mended the cause need not wait."""
    play = cast(**LONG_PAUSE).start()
    play.impostors.born("redis_writer", "exit 1")
    play.tell("redis_writer", "exit 1")
    play.becomes("redis_writer", "BACKOFF", "STARTING", "BACKOFF")
    play.impostors.born("redis_writer", "ready")
    order(play.instance, "reload")
    play.becomes("redis_writer", "STOPPED", "STARTING", "READY")


@pytest.mark.parametrize("when", ["starting", "ready", "draining"])
@pytest.mark.parametrize("tough", [False, True])
def test_silence_is_aborted_and_killed(cast, when, tough):
    """A worker that gives no sign of life, in every state that has a process; SIGKILL if SIGABRT does not do."""
    play = cast(supervisor__start_ms=4000 if when == "starting" else 20000, supervisor__hang_ms=2000)
    born = ["tough"] if tough else []
    if when == "starting":
        play.impostors.born("redis_writer", *born)  # beats, and is never ready: no sign of life
    else:
        play.impostors.born("redis_writer", "ready", *born)
    play.start()
    old = play.instance.pid("redis_writer")  # before its silence begins: a slow machine would see its successor
    if when == "draining":
        play.tell("redis_writer", "deaf", "silent")
        order(play.instance, "stop", "redis_writer")
        play.becomes("redis_writer", "DRAINING")
    elif when == "ready":
        play.tell("redis_writer", "silent")
    event = play.becomes("redis_writer", "STOPPED" if when == "draining" else "BACKOFF")
    assert ("signal 9" if tough else "signal 6") in event["why"]
    assert not processes.alive(old) and len(play.lines("worker_hung")) == 1
    assert len(play.lines("worker_killed")) == tough
    if when != "draining":
        play.impostors.born("redis_writer", "ready")
        play.becomes("redis_writer", "STARTING")


def test_one_that_never_says_hello_is_silent(cast):
    play = cast(supervisor__start_ms=4000)
    play.impostors.born("redis_writer", "mute")
    play.start()
    assert "signal 6" in play.becomes("redis_writer", "BACKOFF")["why"]


@pytest.mark.parametrize("lie, why", [("stranger", "another process"), ("old", "build 0.0.0-old")])
def test_a_hello_that_is_not_ours_is_refused(cast, lie, why):
    """Killed before it is given anything to do; FAILED when it is gone, so a reload starts a second one safely."""
    play = cast()
    play.impostors.born("redis_writer", lie, "ready", "deaf")
    play.start()
    wait_until(lambda: play.state("redis_writer") == "FAILED", 10, "FAILED", [play.instance])
    assert why in play.lines("worker_failed")[0] and not play.instance.pids("redis_writer")
    assert not play.lines("worker_ready worker=redis_writer")
    play.impostors.born("redis_writer", "ready")
    order(play.instance, "reload")
    play.events.item(lambda event: event["name"] == "redis_writer" and event["after"] == "STOPPED")
    play.becomes("redis_writer", "STARTING", "READY")


def test_a_pause_of_the_supervisor_in_a_drain_kills_nobody(cast):
    """Stopped for longer than the drain's deadline: who drains gets its time all the same."""
    play = cast(supervisor__drain_ms=4000, supervisor__hang_ms=2000).start()
    play.tell("redis_writer", "deaf")
    order(play.instance, "stop", "redis_writer")
    play.becomes("redis_writer", "DRAINING")
    supervisor = play.instance.process
    processes.freeze(supervisor.pid)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 5, 10, "more than the deadline to pass")
    supervisor.send_signal(signal.SIGCONT)
    wait_until(lambda: play.lines("supervisor_paused"), 10, "the pause to be noticed", [play.instance])
    play.tell("redis_writer", "exit 0")
    assert play.becomes("redis_writer", "STOPPED")["why"] == "exit code 0"
    assert not play.lines("worker_killed") and not play.lines("worker_hung")


def test_a_crash_loop_never_gives_up(cast):
    """Deaths after readiness: at once at first, then after pauses, for ever, and the others are left alone."""
    play = cast(supervisor__flap_deaths=3, supervisor__backoff_max_ms=100).start()
    for _ in range(8):
        play.tell("redis_writer", "exit 1")
        play.becomes("redis_writer", "BACKOFF", "STARTING", "READY")
    pauses = [int(line.split("in_ms=")[1].split()[0]) for line in play.lines("worker_restarts")]
    assert pauses[:2] == [0, 0] and len(pauses) == 8 and max(pauses) <= 100
    assert all(row["restarts"] == 0 for row in play.instance.status()["workers"] if row["name"] != "redis_writer"
               and row["name"] != "db_flusher")


def test_a_crash_loop_may_end_everything(cast):
    """supervisor.on_flapping = "exit": the others drain, and whoever started spendd decides."""
    play = cast(supervisor__flap_deaths=3, supervisor__on_flapping="exit").start()
    for _ in range(2):
        play.tell("redis_writer", "exit 1")
        play.becomes("redis_writer", "BACKOFF", "STARTING", "READY")
    play.tell("redis_writer", "exit 1")
    assert play.instance.process.wait(patient(10)) == 75
    assert "worker=redis_writer deaths=3" in play.lines("worker_flaps")[0]
    assert play.lines("drain_done")[0].endswith("cut_short=0") and not play.instance.members()

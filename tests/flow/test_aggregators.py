"""Several aggregators behind one address: the supervisor (or systemd) holds the listening sockets, each
aggregator accepts on them and has a lane of the spool of its own.
"""
import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from lib import conservation, processes
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.servers import free_tcp_port
from lib.waiting import patient, wait_until


def stream(name, count=10**9, shape=8):
    return batches(Generator(91, name).events(count), shape)


def ready(instance, count):
    """All aggregators ready; their pids."""
    wait_until(lambda: [row["state"] for row in (instance.status() or {"workers": ()})["workers"] if row["name"] == "aggregator"]
               == ["READY"] * count, 40, f"{count} aggregators", [instance])
    return instance.pids("aggregator")


def producer_of(instance, pid, endpoint, name, **more):
    """A producer whose connection is accepted by that one of the aggregators: the others are stopped for as long."""
    others = [other for other in instance.pids("aggregator") if other != pid]
    for other in others:
        processes.freeze(other)  # not one of its threads accepts any more
    producer = Producer(endpoint, stream(name), **more).start()
    wait_until(lambda: producer.outcome.messages > 0, 20, "an answer", [producer, instance])
    for other in others:
        processes.send(other, signal.SIGCONT)
    return producer


def merged(producers):
    whole = Outcome()
    for producer in producers:
        whole.sent.update(producer.outcome.sent)
        whole.acked.update(producer.outcome.acked)
    return whole


def lanes(instance):
    """Which lanes have segments."""
    found = set()
    for directory, _, names in os.walk(instance.spool):
        if any(".seg" in name for name in names) and "quarantine" not in directory:
            found.add(os.path.basename(directory))
    return sorted(found)


def address(instance, kind):
    return instance.ingest if kind == "ipc" else f"tcp://127.0.0.1:{free_tcp_port()}"


def raw_connect(endpoint):
    if endpoint.startswith("ipc://"):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        made.connect(endpoint[len("ipc://"):])
    else:
        host, port = endpoint[len("tcp://"):].rsplit(":", 1)
        made = socket.create_connection((host, int(port)), timeout=10)
    return made


class Connecting:
    """Connects again and again, each time until it is greeted, up to the first refusal.  A connection whose
    aggregator is killed ends: that is no refusal."""

    def __init__(self, endpoint):
        self.endpoint, self.greeted, self.cut, self.refused, self.end = endpoint, 0, 0, [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.end and not self.refused:
            try:
                made = raw_connect(self.endpoint)
            except OSError as error:
                self.refused.append(str(error))
                continue
            with made:
                try:
                    greeting = made.recv(10)
                except ConnectionResetError:
                    greeting = b""
            self.greeted += greeting != b""
            self.cut += greeting == b""

    def stop(self):
        self.end = True
        self.thread.join(30)
        return self.refused


@pytest.mark.parametrize("kind", ["ipc", "tcp"])
def test_one_address_several_aggregators_and_kills(stack, kind):
    """Each in turn is killed under load: no connection is refused, whoever asks."""
    instance = stack.spendd(aggregator__processes=2, supervisor__hang_ms=60000)
    endpoint = address(instance, kind)
    instance.write_config(ingest__acked=endpoint)
    instance.start(ready=WORKERS)
    producers = [producer_of(instance, pid, endpoint, f"{kind}{pid}", window=8, resend_s=1, rate=60) for pid in ready(instance, 2)]
    connecting = Connecting(endpoint)
    for _ in range(6):
        greeted, answered = connecting.greeted, [producer.outcome.messages for producer in producers]
        processes.send(instance.pids("aggregator")[0], signal.SIGKILL)  # the one that lives longer
        wait_until(lambda: connecting.greeted > greeted + 50 and all(
            producer.outcome.messages > count + 5 for producer, count in zip(producers, answered)), 30, "connections", [instance])
        ready(instance, 2)
    assert not connecting.stop(), connecting.refused
    for producer in producers:
        producer.finish_source()
        producer.wait(60, stack.logs)
    assert lanes(instance) == ["lane-0", "lane-1"]
    assert instance.log_text().count("worker_exited") == 6
    conservation.assert_conserved(stack.postgres, merged(producers), logs=stack.logs)
    assert instance.stop() == 0
    with pytest.raises(OSError) as refused:
        raw_connect(endpoint)
    assert refused.value.errno in (errno.ECONNREFUSED, errno.ENOENT)


def test_connections_wait_while_nobody_accepts(stack):
    """The only aggregator is gone, and nobody is refused: the backlog waits for the next life."""
    instance = stack.spendd().start(ready=WORKERS)
    assert instance.ask("stop", "aggregator")[0] == 200
    wait_until(lambda: not instance.pids("aggregator"), 20, "its end", [instance])
    waiting = [raw_connect(instance.ingest) for _ in range(50)]
    producer = Producer(instance.ingest, stream("wait", 100)).start()
    assert not instance.pids("aggregator") and instance.ask("start", "aggregator")[0] == 200
    outcome = producer.wait(40, stack.logs)
    for made in waiting:  # accepted at last: ZeroMQ's greeting
        made.settimeout(20)
        assert made.recv(10).startswith(b"\xff")
        made.close()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_three_lanes_then_one_then_three(place):
    """Stores down throughout, so that every lane keeps what it acknowledged: whoever is there adopts the rest."""
    stack = Stack(place)
    instance, every = stack.spendd(aggregator__processes=3, supervisor__hang_ms=60000, seal__ms=100, supervisor__drain_ms=2000), []
    for life, count in enumerate((3, 1, 3)):
        instance.write_config(aggregator__processes=count)
        instance.start()
        producers = [producer_of(instance, pid, instance.ingest, f"{life}{pid}", window=4, rate=100)
                     for pid in ready(instance, count)]
        wait_until(lambda: all(producer.outcome.messages > 10 for producer in producers), 30, "answers", [*producers, instance])
        for producer in producers:
            producer.stop()
        every += producers
        if life % 2:
            instance.stop()
        else:
            instance.kill_all()
        assert lanes(instance) == (["lane-0"] if count == 1 else ["lane-0", "lane-1", "lane-2"])
    instance.write_config(aggregator__processes=1)
    stack.start()
    instance.start(ready=WORKERS)
    conservation.assert_conserved(stack.postgres, merged(every), logs=stack.logs, strict=False)
    assert instance.log_text().count("lane_adopted") >= 4
    stack.close()


def test_one_of_two_is_restarted_under_load(stack):
    """Who is connected to the one that leaves is told to wait, connects again, and is served by either."""
    instance = stack.spendd(aggregator__processes=2, supervisor__hang_ms=60000).start(ready=WORKERS)
    producers = [producer_of(instance, pid, instance.ingest, f"restart{pid}", resend_s=1, rate=60) for pid in ready(instance, 2)]
    pids = instance.pids("aggregator")
    assert instance.ask("restart", "aggregator")[0] == 200
    wait_until(lambda: not set(pids) & set(instance.pids("aggregator")), 40, "two others", [instance])
    counts = [producer.outcome.messages for producer in producers]
    wait_until(lambda: all(producer.outcome.messages > count + 10 for producer, count in zip(producers, counts)), 30,
               "answers", [*producers, instance])
    for producer in producers:
        producer.finish_source()
        producer.wait(40, stack.logs)
    conservation.assert_conserved(stack.postgres, merged(producers), logs=stack.logs)


# --- files at the path ------------------------------------------------------------------------------------
def test_what_lies_at_the_path(stack):
    instance = stack.spendd()
    path = instance.ingest[len("ipc://"):]
    with open(path, "w", encoding="ascii") as file:
        file.write("somebody's")
    instance.start(ready=())
    assert instance.process.wait(patient(20)) == 75 and "is not a socket" in instance.log_text()
    os.unlink(path)
    other = socket.socket(socket.AF_UNIX)
    other.bind(path)
    other.listen()
    instance.start(ready=())
    assert instance.process.wait(patient(20)) == 75 and "somebody else listens" in instance.log_text()
    other.close()  # a stale file stays: that one is taken away
    assert os.path.exists(path)
    instance.start(ready=WORKERS)
    outcome = Producer(instance.ingest, stream("path", 50)).start().wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert os.stat(path).st_mode & 0o777 == 0o660
    assert instance.stop() == 0 and not os.path.exists(path)


# --- systemd ------------------------------------------------------------------------------------------------
RUN = """
import os, sys
descriptors = [int(word) for word in sys.argv[1].split(",")]
for to, fd in enumerate(descriptors, 100):
    os.dup2(fd, to)
for number in range(len(descriptors)):
    os.dup2(100 + number, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def start_activated(instance, sockets, names):
    """As systemd does it: descriptors from 3 on, and three variables."""
    words = ",".join(str(made.fileno()) for made in sockets)
    with open(instance.log, "ab") as log:
        instance.process = subprocess.Popen(
            [sys.executable, "-c", RUN, words, names, instance.program(), "--config", instance.config],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            pass_fds=[made.fileno() for made in sockets])
    instance._sessions.add(instance.process.pid)


def listening(port=0, host="127.0.0.1"):
    made = socket.socket()
    made.bind((host, port))
    made.listen(100)
    return made


def test_systemd_holds_the_sockets(stack):
    """Between two lives of the whole daemon a connection waits in systemd's socket."""
    acked, unacked = listening(), listening()
    endpoint = f"tcp://127.0.0.1:{acked.getsockname()[1]}"
    instance = stack.spendd(aggregator__processes=2, ingest__acked=endpoint,
                            ingest__unacked=f"tcp://127.0.0.1:{unacked.getsockname()[1]}")
    # One by its name, one by its address.
    start_activated(instance, [unacked, acked], "unknown:ingest.acked")
    instance.wait_ready(*WORKERS)
    outcome = Producer(endpoint, stream("lent", 100)).start().wait(30, stack.logs)
    assert instance.stop() == 0
    producer = Producer(endpoint, stream("between", 100), outcome).start()
    raw_connect(endpoint).close()  # nobody is there, and nobody is refused
    start_activated(instance, [unacked, acked], "unknown:ingest.acked")
    producer.wait(40, stack.logs)
    assert instance.log_text().count("socket_taken") == 4
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


@pytest.mark.parametrize("make,names,said", [
    (lambda: listening(host="0.0.0.0"), "ingest.acked", "needs CURVE"),
    (lambda: socket.socket(), "ingest.acked", "not a listening stream socket"),
    (lambda: listening(), "ingest.unacked", "another kind"),
], ids=["wide", "not-listening", "kind"])
def test_what_systemd_may_not_hand_over(place, make, names, said):
    stack = Stack(place)
    with make() as lent:
        instance = stack.spendd(ingest__acked=f"tcp://127.0.0.1:{free_tcp_port()}")
        start_activated(instance, [lent], names)
        assert instance.process.wait(patient(20)) == 78
        assert said in instance.log_text()
    stack.close()


@pytest.mark.skipif(not os.path.exists("/usr/bin/systemd-socket-activate"), reason="without systemd")
def test_systemd_socket_activate(stack):
    """The tool of systemd itself: starts us at the first connection."""
    port = free_tcp_port()
    instance = stack.spendd(ingest__acked=f"tcp://127.0.0.1:{port}")
    with open(instance.log, "ab") as log:
        instance.process = subprocess.Popen(
            ["/usr/bin/systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=ingest.acked",
             instance.program(), "--config", instance.config],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    instance._sessions.add(instance.process.pid)
    outcome = Producer(f"tcp://127.0.0.1:{port}", stream("activate", 100)).start().wait(40, stack.logs)
    instance.wait_ready(*WORKERS)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert instance.stop() == 0

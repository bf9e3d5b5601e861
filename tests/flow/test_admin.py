"""The admin socket and the probes, with the stores in every state: `status` answers always, says what it knows
and why it does not know the rest; strangers on the socket are refused and hurt nobody.
"""
import concurrent.futures
import json
import os
import signal
import socket as raw
import stat
import subprocess

import pytest
import zmq

from lib.daemon import BUILD
from lib.producer import Asker
from lib.waiting import patient, wait_until


def spendctl(instance, *words):
    return subprocess.run([os.path.join(BUILD, "bin", "spendctl"), "--runtime-dir", instance.run, *words],
                          capture_output=True, text=True, timeout=patient(20))


def status(instance):
    done = spendctl(instance, "--json", "status")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def worker(answer, name):
    return next(row for row in answer["workers"] if row["name"] == name)


@pytest.fixture
def instance(stack):
    return stack.spendd(**{"redis.command_ms": 500, "database.connect_ms": 800}).start(ready=("control", "health_checker"))


@pytest.fixture
def socket(instance):
    context = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.connect(f"ipc://{instance.run}/admin.sock")
    yield made
    made.close(0)
    context.term()


def test_status_reads_its_sources_now(instance, stack):
    wait_until(lambda: status(instance)["gate"]["database"]["open"], 10)
    client = stack.redis.client()
    client.set("{spendd}:lock:0", "somebody else \x1b", px=15000)
    answer = status(instance)
    assert answer["lock"]["holder"] == "somebody else \x1b" and 0 < answer["lock"]["ttl_ms"] <= 15000
    assert "\x1b" not in spendctl(instance, "status").stdout
    client.delete("{spendd}:lock:0")
    assert status(instance)["queue"]["known"]
    assert worker(answer, "control")["state"] == "READY" and worker(answer, "control")["pid"] > 0
    assert stat.S_IMODE(os.stat(f"{instance.run}/admin.sock").st_mode) == 0o660


def test_frozen_redis_is_unknown_for_everybody_at_once(instance, stack):
    wait_until(lambda: status(instance)["queue"]["known"], 10)
    stack.redis.freeze()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: status(instance), range(8)))
    assert all(not answer["queue"]["known"] and answer["queue"]["why"] for answer in answers)
    assert all(answer["supervisor"]["known"] for answer in answers)
    stack.redis.thaw()
    wait_until(lambda: status(instance)["queue"]["known"], 10)


def test_absent_redis_says_why(instance, stack):
    stack.redis.stop()
    wait_until(lambda: "connect" in status(instance)["queue"]["why"].lower(), 10)
    assert spendctl(instance, "status").returncode == 0


def test_gate_follows_the_database(instance, stack):
    def gate():
        return status(instance)["gate"]["database"]

    wait_until(lambda: gate()["open"], 10)
    stack.postgres.stop()
    wait_until(lambda: not gate()["open"], 15)
    assert gate()["why"]
    stack.postgres.start()
    wait_until(lambda: gate()["open"], 15)


def test_a_supervisor_that_does_not_answer_is_unknown(instance):
    instance.process.send_signal(signal.SIGSTOP)
    answer = status(instance)
    assert not answer["supervisor"]["known"] and answer["supervisor"]["why"]
    gate = answer["gate"]["database"]
    assert gate["open"] is None and not gate["known"] and answer["draining"] is None
    text = spendctl(instance, "status").stdout
    assert "gate database  unknown: " in text and all(len(line) <= 80 for line in text.split("\n\n")[0].splitlines())
    instance.process.send_signal(signal.SIGCONT)
    wait_until(lambda: status(instance)["supervisor"]["known"], 10)


def test_a_frozen_database_is_told_with_its_reason(instance, stack):
    wait_until(lambda: status(instance)["gate"]["database"]["open"], 10)
    stack.postgres.freeze()
    shown = wait_until(lambda: "database failing (" in worker(status(instance), "health_checker")["status"]
                       and status(instance), 15)
    assert shown["supervisor"]["known"] and shown["queue"]["known"]
    wait_until(lambda: not status(instance)["gate"]["database"]["open"], 15)
    stack.postgres.thaw()
    wait_until(lambda: status(instance)["gate"]["database"]["open"], 15)


def test_a_dead_aggregator_is_shown_while_it_waits(stack):
    instance = stack.spendd(supervisor__flap_deaths=1, supervisor__backoff_min_ms=600000, supervisor__backoff_max_ms=600000)
    instance.start(ready=("control", "aggregator"))
    instance.kill("aggregator")
    shown = wait_until(lambda: worker(status(instance), "aggregator")["state"] == "BACKOFF"
                       and worker(status(instance), "aggregator"), 10)
    assert shown["pid"] is None and "signal 9" in shown["why"]


def test_strangers_are_refused(instance, socket):
    def ask(*frames):
        socket.send_multipart(frames)
        assert socket.poll(patient(5) * 1000)
        return socket.recv_multipart()

    assert ask(b"spendctl/1", b"nonsense")[0] == b"404"
    assert ask(b"bla")[0] == b"400"
    assert ask(b"spendctl/1", b"version", b"now")[0] == b"400"
    assert ask(b"spendctl/1", b"\0")[0] == b"400"
    assert ask(*[b"f"] * 60)[0] == b"400"
    assert ask(b"a", b"", b"spendctl/1", b"version")[:3] == [b"a", b"", b"200"]
    stats = json.loads(spendctl(instance, "--json", "stats").stdout)["metrics"]
    assert next(row for row in stats if row["name"] == "admin_refused_total")["total"] >= 5


def test_more_askers_than_there_may_be(stack):
    """Who is there is served on, Redis included; who comes above the bound is hung up on, until others have left."""
    instance = stack.spendd(admin__max_connections=16).start(ready=("control", "health_checker"))
    with Asker(instance.admin) as first:
        assert first.raw([b"spendctl/1", b"version"])[0] == b"200"
        crowd = []
        for _ in range(80):
            one = raw.socket(raw.AF_UNIX)
            one.connect(instance.admin.removeprefix("ipc://"))
            one.setblocking(False)
            crowd.append(one)

        def left():
            return sum(not gone(one) for one in crowd)

        wait_until(lambda: left() <= 16, 20, "those above the bound to be hung up on", [instance])
        asked = first.raw([b"spendctl/1", b"status"])
        assert asked[0] == b"200" and json.loads(asked[1])["queue"]["known"], asked
        for one in crowd:
            one.close()
        rows = json.loads(first.raw([b"spendctl/1", b"stats"])[1])["metrics"]
        assert next(row for row in rows if row["name"] == "admin_connections_refused_total")["total"] >= 60
    wait_until(lambda: "admin_connections_full" in instance.log_text(), 10, "it to be said", [instance])
    wait_until(lambda: spendctl(instance, "--timeout", "2", "version").returncode == 0, 20, "room again", [instance])


def gone(connection):
    """Reads what there is: the greeting, or the end."""
    try:
        while connection.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_config_is_the_printed_configuration(instance):
    """What --print-config says of the file, the running daemon says of itself: every setting, secrets masked."""
    rows = json.loads(spendctl(instance, "--json", "config").stdout)["settings"]
    assert "redis.url" in spendctl(instance, "config").stdout
    printed, group = {}, ""
    for line in subprocess.run([instance.program(), "--config", instance.config, "--print-config"], capture_output=True,
                               text=True, check=True).stdout.splitlines():
        if line.endswith("{"):
            group = line.split(":")[0] + "."
        elif line == "};":
            group = ""
        else:
            name, _, value = line.strip().rstrip(";").partition(" = ")
            if value == "()":
                continue  # a list in which nothing stands has no settings
            printed[group + name] = value.removesuffix("L").strip('"')
    assert {row["name"]: row["value"] for row in rows} == printed and len(printed) > 80
    assert {row["apply"] for row in rows} == {"live", "worker", "full"}


def test_no_daemon_is_exit_three(instance):
    instance.stop()
    assert spendctl(instance, "status").returncode == 3

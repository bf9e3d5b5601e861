"""Spool lives: the directory wiped, rolled back, cloned (also from a running aggregator), torn and
corrupted, between and during runs.  Nothing that was acknowledged and is still on disk is lost, and
nothing counts twice.
"""
import os
import random
import shutil
import struct

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.waiting import wait_until

HEADER = 24
ENDLESS = 10**9


def load(instance, name, outcome=None, count=ENDLESS, rate=60, shape=8):
    producer = Producer(instance.ingest, batches(Generator(31, name).events(count), shape), outcome, rate=rate, resend_s=1.5)
    producer.endless = count == ENDLESS
    return producer.start()


def answers(producer, count, instance):
    target = producer.outcome.messages + count
    wait_until(lambda: producer.outcome.messages >= target, 40, f"{count} more answers", [producer, instance])


def finish(producer, stack):
    """Sees what was begun through: a load without end is told to end here."""
    if producer.endless:
        producer.finish_source()
    return producer.wait(60, stack.logs)


def conserved(stack, outcome, **more):
    return conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs, **more)


def files_of(spool):
    return sorted(os.path.join(directory, name) for directory, _, names in os.walk(spool) for name in names)


def segments(spool):
    """Files that begin as a segment does."""
    found = []
    for path in files_of(spool):
        try:
            with open(path, "rb") as file:
                if file.read(8) == b"spendseg":
                    found.append(path)
        except OSError:
            continue
    return found


def copy(spool, to):
    """A copy of a directory that may be changing: what vanishes meanwhile is not in it."""
    for directory, _, names in os.walk(spool):
        target = os.path.join(to, os.path.relpath(directory, spool))
        os.makedirs(target, exist_ok=True)
        for name in names:
            try:
                shutil.copy2(os.path.join(directory, name), os.path.join(target, name))
            except FileNotFoundError:
                pass


def empty(spool):
    for name in os.listdir(spool):
        path = os.path.join(spool, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def ids_in(path):
    """request_ids of the whole records of a segment (the first field of each)."""
    with open(path, "rb") as file:
        data = file.read()
    at, found = HEADER, []
    while at + 8 <= len(data):
        length, _ = struct.unpack_from("<II", data, at)
        payload = data[at + 8 : at + 8 + length]
        if length < 11 or len(payload) < length:
            break
        size = struct.unpack_from("<H", payload, 9)[0]
        found.append(payload[11 : 11 + size].decode("utf-8", "replace"))
        at += 8 + length
    return found


@pytest.fixture
def instance(stack):
    return stack.spendd(seal__ms=200, supervisor__drain_ms=3000).start(ready=WORKERS)


def test_wiped_between_runs(stack, instance):
    outcome = finish(load(instance, "wiped", count=300, rate=None), stack)
    conserved(stack, outcome)
    instance.stop()
    empty(instance.spool)
    instance.start()
    again = Producer(instance.ingest, batches(Generator(31, "wiped").events(300), 11), outcome).start().wait(40, stack.logs)
    assert again.accepted == 600  # the window went with the directory; the arbiter is in PostgreSQL
    finish(load(instance, "wiped-more", outcome, count=100), stack)
    conserved(stack, outcome)


def test_wiped_during_a_run(stack, instance):
    """Nothing unapplied is there when it happens; what is acknowledged afterwards must count."""
    outcome = finish(load(instance, "during", count=200, rate=None), stack)
    conserved(stack, outcome)
    # By their names: the figure of the status is a second old, and a file that is renamed just then is in its way.
    wait_until(lambda: all(path.endswith(".done") for path in segments(instance.spool)), 20, "an applied spool", stack.logs)
    empty(instance.spool)
    finish(load(instance, "during-more", outcome, count=200), stack)
    conserved(stack, outcome)


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_rolled_back(stack, instance, running, tmp_path):
    """A snapshot is taken, life goes on, the machine goes back to it.  Epochs are never used twice."""
    producer = load(instance, f"back{running}")
    answers(producer, 20, instance)
    if not running:
        instance.kill_all()
    copy(instance.spool, tmp_path / "old")
    if not running:
        instance.start(ready=())
    answers(producer, 20, instance)
    finish(producer, stack)
    conserved(stack, producer.outcome)
    instance.kill_all()
    empty(instance.spool)
    copy(tmp_path / "old", instance.spool)
    instance.start()
    more = load(instance, f"back-more{running}", producer.outcome, count=200)
    finish(more, stack)
    conserved(stack, producer.outcome)
    wait_until(lambda: instance.status()["spool"]["unapplied_segments"] == 0, 20, "an applied spool", stack.logs)
    conserved(stack, producer.outcome)


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_cloned(stack, instance, running):
    """A second instance starts from a copy of the first one's spool, while the first goes on."""
    clone = stack.spendd(seal__ms=200)
    producer = load(instance, f"clone{running}")
    answers(producer, 15, instance)
    for _ in range(3):
        if not running:
            instance.kill_all()
        copy(instance.spool, clone.spool)
        if not running:
            instance.start(ready=())
        clone.start(ready=())
        more = load(clone, f"clone-more{running}-{_}", producer.outcome, count=60)
        answers(producer, 10, instance)
        finish(more, stack)
        # Its disk goes: what it acknowledged must be counted by then, the open segment too.
        fence = clone.ctl("--timeout", "90", "flush", "--wait", timeout_s=100)
        assert fence.returncode == 0, fence.stderr + clone.tail()
        clone.kill_all()
        empty(clone.spool)
    finish(producer, stack)
    conserved(stack, producer.outcome)


def test_an_open_segment_with_a_torn_tail(stack, instance):
    """Half a record behind the last acknowledged one: cut, and the rest counts."""
    instance.stop()
    instance.write_config(seal__ms=60000)
    rng, outcome = random.Random(5), Outcome()
    for round_ in range(12):
        instance.start()
        finish(load(instance, f"torn{round_}", outcome, count=40, rate=None), stack)
        instance.kill_all()
        newest = max(segments(instance.spool), key=os.path.getmtime)
        assert os.path.basename(newest).startswith("open-")
        tail = [rng.randbytes(rng.randint(1, 300)), struct.pack("<II", 500, 1) + b"x" * 100, bytes(4096), b"\xff" * 8][round_ % 4]
        with open(newest, "ab") as file:
            file.write(tail)
    instance.start()
    instance.stop()
    instance.start()
    conserved(stack, outcome)


def test_a_corrupt_sealed_segment_is_quarantined(stack, instance):
    """One bit turned in one sealed file: loud, set aside, everything else counts."""
    stack.postgres.stop("immediate")
    queue_away = stack.redis
    queue_away.stop("immediate")
    outcome = finish(load(instance, "corrupt", count=400, rate=40), stack)
    wait_until(lambda: instance.status()["spool"]["unapplied_segments"] >= 2, 20, "two sealed segments", stack.logs)
    instance.kill_all()
    victim = max(segments(instance.spool), key=os.path.getsize)
    hurt = set(ids_in(victim))
    assert hurt and hurt <= outcome.acked
    with open(victim, "r+b") as file:
        file.seek(os.path.getsize(victim) // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 4]))
    stack.start()
    instance.start()
    safe = outcome.acked - hurt
    wait_until(lambda: conservation.settled(stack.postgres, len(safe)), 40, "the unhurt events", stack.logs)
    wait_until(lambda: instance.status()["spool"]["unapplied_segments"] == 0, 20, "an applied spool", stack.logs)
    found = {row[0] for row in stack.postgres.query("select event_id from spendd.spend_log")}
    assert safe <= found
    # The producer repeats what is missing, as one who never heard: nothing counts twice.
    again = Producer(instance.ingest, batches(Generator(31, "corrupt").events(400), 20), resend_s=60).start().wait(90, stack.logs)
    assert again.accepted + again.duplicate == 400
    assert instance.stop() == 0
    conserved(stack, outcome)
    assert "quarantine" in instance.log_text().lower()


def test_foreign_files_in_the_spool_hurt_nobody(stack, instance):
    instance.stop()
    for name, data in (("README", b"hello"), ("empty", b""), ("x.open", bytes(100)), ("y.tmp", b"spendseg")):
        for directory in {os.path.dirname(path) for path in files_of(instance.spool)} | {instance.spool}:
            with open(os.path.join(directory, name), "wb") as file:
                file.write(data)
    instance.start()
    conserved(stack, finish(load(instance, "foreign", count=100, rate=None), stack))


def test_a_second_owner_waits_and_leaves(stack, instance):
    """Two daemons on one runtime directory and one spool: the second exits 75 and hurts nobody."""
    producer = load(instance, "owner")
    second = stack.spendd(runtime_dir=instance.run, spool__dir=instance.spool, supervisor__drain_ms=1000)
    second.start(ready=())
    wait_until(lambda: not second.running(), 20, "the second owner to leave", [second])
    assert second.process.returncode == 75, second.tail()
    answers(producer, 10, instance)
    conserved(stack, finish(producer, stack))

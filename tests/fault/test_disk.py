"""The aggregator's disk, attacked call by call: a sync, a write, an open, a rename, a directory's sync that
fails.  Each time: nothing is acknowledged that is not durable, producers are told to wait, what was refused
and comes again counts once, the file takes no more records, and service goes on by itself.

dedupe.database is off where it says so: then the window and the identity of batches alone keep the sums.
"""
import os
import struct

import pytest

from lib import conservation, wire
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.faults import Faults
from lib.producer import Outcome, Producer
from lib.waiting import patient, wait_until

LOST = {"dedupe__database": False, "spend_log__enabled": False}


def load(endpoint, name, outcome=None, count=10**9, rate=60, shape=8, **more):
    return Producer(endpoint, batches(Generator(81, name).events(count), shape), outcome, rate=rate, resend_s=30, **more).start()


def answers(producer, count, logs):
    target = producer.outcome.messages + count
    wait_until(lambda: producer.outcome.messages >= target, 40, f"{count} more answers", [producer, *logs])


def conserved(stack, outcome, **more):
    return conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs, **more)


def unapplied(instance):
    status = instance.status()
    return status["spool"]["unapplied_segments"] if status else -1


def segments(instance):
    return [os.path.join(directory, name) for directory, _, names in os.walk(instance.spool)
            for name in names if ".seg" in name]


def sealed_files(instance):
    return [path for path in segments(instance) if not os.path.basename(path).startswith("open-")]


@pytest.fixture
def faulty(stack, place):
    faults = Faults(place.sub("f"))
    return stack.spendd(build=faults.build, **LOST).start(ready=WORKERS), faults


@pytest.mark.parametrize("name,number", [("fail-nth", 1), ("fail-nth", 2), ("fail-nth", 3), ("fail-nth", 4), ("fail-dirsync", None),
                                         ("short", None), ("fail-sync", None)],
                         ids=["sync-1", "sync-2", "sync-3", "sync-4", "directory", "short", "file"])
def test_a_call_that_fails_once(stack, faulty, name, number):
    instance, faults = faulty
    pid = instance.pid("aggregator")
    producer = load(instance.ingest, f"once-{name}{number}")
    for _ in range(4):
        answers(producer, 5, [instance])
        faults.set(name, number)
        wait_until(lambda: faults.taken(name), 30, "the fault", [producer, instance])
    answers(producer, 10, [instance])
    producer.finish_source()
    outcome = producer.wait(60, stack.logs)
    assert outcome.duplicate == 0, "what was refused was taken for known"
    conserved(stack, outcome, log=False)
    assert instance.pid("aggregator") == pid


@pytest.mark.parametrize("name,number", [("budget", 20000), ("full", None), ("fail-open", None), ("fail-rename", None)])
def test_a_disk_that_refuses_for_a_while(stack, faulty, name, number):
    instance, faults = faulty
    pid = instance.pid("aggregator")
    producer = load(instance.ingest, f"while-{name}")
    outcome = producer.outcome
    for _ in range(3):
        answers(producer, 5, [instance])
        faults.set(name, number)
        told = outcome.told_to_wait
        wait_until(lambda: outcome.told_to_wait > told + 20, 30, "refusals", [producer, instance])
        faults.clear(name)
        answers(producer, 20, [instance])
    producer.finish_source()
    producer.wait(60, stack.logs)
    assert outcome.duplicate == 0, "what was refused was taken for known"
    conserved(stack, outcome, log=False)
    assert instance.pid("aggregator") == pid


def test_a_name_is_on_the_disk_before_its_batch_is_pushed(stack, faulty):
    """Killed between the seal's rename and the directory's sync; the next life finds the sealed name and pushes it;
    then the power goes, and takes every rename that no sync of the directory has followed.  Had the seal's been
    one of them, the file would be an open segment again and count a second time, under a new identity.
    The disk is full during the recovery: else the window's image would sync the directory by the way."""
    instance, faults = faulty
    instance.write_config(seal__ms=60000, spool__keep_applied_s=3600)  # sealed when all is in it: by the flush below
    instance.stop()
    faults.set("journal")
    instance.start(ready=WORKERS)
    faults.set("die-rename")  # the next rename is the seal's: the window's image was written before
    pid = instance.pid("aggregator")
    producer = load(instance.ingest, "power", count=200, rate=None)
    outcome = producer.wait(40, stack.logs)
    faults.set("full")
    flush = instance.popen("--timeout", "5", "flush")
    wait_until(lambda: faults.taken("die-rename"), 30, "the seal", [instance])
    wait_until(lambda: instance.pids("aggregator") not in ([], [pid]), 30, "the next life", [instance])
    conserved(stack, outcome, log=False)
    wait_until(lambda: [path for path in segments(instance) if path.endswith(".done")], 30, "the mark", stack.logs)
    flush.wait(patient(30))
    assert len(segments(instance)) == 1, segments(instance)
    instance.kill_all()
    faults.clear("full")
    undone = faults.lose_power()
    instance.start(ready=WORKERS)
    wait_until(lambda: all(path.endswith(".done") for path in segments(instance)), 30, "an applied spool", stack.logs)
    conserved(stack, outcome, log=False)
    assert undone == 1, "not the mark alone"


def test_the_window_outlives_segments_and_a_kill(stack):
    """Segments go as soon as they are applied; the image alone must know their ids."""
    instance = stack.spendd(dedupe__seconds=3600, spool__keep_applied_s=0, **LOST).start(ready=WORKERS)
    events = [*Generator(82, "image").events(500)]
    outcome = Producer(instance.ingest, batches(iter(events), 7), resend_s=60).start().wait(90, stack.logs)
    assert outcome.accepted == 500
    conserved(stack, outcome, log=False)
    wait_until(lambda: not sealed_files(instance), 30, "the segments to go", stack.logs)
    instance.kill_all()
    instance.start(ready=WORKERS)
    again = Producer(instance.ingest, batches(iter(events), 11), resend_s=60).start().wait(90, stack.logs)
    assert (again.accepted, again.duplicate) == (0, 500)
    conserved(stack, outcome, log=False)


def test_a_window_that_is_full_forgets_the_oldest(stack):
    instance = stack.spendd(dedupe__ids=1000).start(ready=WORKERS)
    events = [*Generator(83, "full").events(3000)]
    once = {"window": 1, "resend_s": 60}
    outcome = Producer(instance.ingest, batches(iter(events), 50), **once).start().wait(90, stack.logs)
    late = Producer(instance.ingest, batches(iter(events[2000:]), 50), **once).start().wait(90, stack.logs)
    assert (late.accepted, late.duplicate) == (0, 1000)
    early = Producer(instance.ingest, batches(iter(events[:2000]), 50), **once).start().wait(90, stack.logs)
    assert (early.accepted, early.duplicate) == (2000, 0)
    conserved(stack, outcome)


def test_what_cannot_be_read_stops_nothing_else(stack):
    """Directories in the place of segments, open and sealed: reading them fails for ever."""
    instance = stack.spendd().start(ready=WORKERS)
    instance.stop()
    lane = os.path.join(instance.spool, "lane-0")
    for name in (f"{wire.uuid7()}.0.1.seg", "open-3.seg"):
        os.mkdir(os.path.join(lane, name))
    instance.start()
    producer = load(instance.ingest, "unreadable", count=400, rate=None)
    conserved(stack, producer.wait(40, stack.logs))
    assert instance.log_text().count("segment_unreadable") < 20


def test_an_orphan_drains_while_its_successor_waits(stack):
    """The supervisor is killed under load with Redis frozen, another starts at once (custody A4)."""
    instance = stack.spendd(supervisor__drain_ms=6000, **LOST).start(ready=WORKERS)
    producer = Producer(instance.ingest, batches(Generator(84, "orphan").events(10**9), 8), rate=60, resend_s=1).start()
    for _ in range(3):
        answers(producer, 20, [instance])
        stack.redis.freeze()
        orphan = instance.pid("aggregator")
        instance.kill_supervisor()
        instance.start(ready=())
        wait_until(lambda: instance.pids("aggregator") and instance.pids("aggregator")[0] != orphan, 20, "a successor", [instance])
        stack.redis.thaw()
        instance.wait_ready(*WORKERS, deadline_s=40)
    producer.finish_source()
    producer.wait(60, stack.logs)
    conserved(stack, producer.outcome, log=False)


def write_segments(lane, number, per, stem, hurt=(), open_ones=False):
    """Files as an aggregator leaves them; every event under its own id.  Returns id -> event."""
    epoch, sent, stream = wire.uuid7(), {}, Generator(85, stem)
    os.makedirs(lane, exist_ok=True)
    header = segment_header()
    for seq in range(1, number + 1):
        events = [*stream.events(per)]
        body = b"".join(wire.event_record(event) for event in events)
        name = f"open-{seq}.seg" if open_ones else f"{epoch}.0.{seq}.seg"
        data = bytearray(header + body)
        if seq in hurt:
            data[len(header) + 40] ^= 1  # in the first record
            events = events[1:]
        with open(os.path.join(lane, name), "wb") as file:
            file.write(data)
        sent.update((event["request_id"], event) for event in events)
    return sent


def segment_header():
    head = b"spendseg" + struct.pack("<II", 1, 1)
    return head + struct.pack("<II", wire.crc32c(head), 0)


def test_a_long_recovery_beats_all_the_while(stack, place):
    """3,000 segments, some of them corrupt, an abandoned lane of open ones, a disk whose every sync takes 300 ms,
    and a supervisor with little patience: nobody is taken for hung."""
    faults = Faults(place.sub("f"))
    instance = stack.spendd(build=faults.build, supervisor__hang_ms=int(patient(4000)), supervisor__start_ms=int(patient(4000)))
    faults.set("slow-sync")
    outcome = Outcome()
    lane = os.path.join(instance.spool, "lane-0")
    outcome.sent.update(write_segments(lane, 3000, 3, "long", hurt=range(7, 3000, 250)))
    outcome.sent.update(write_segments(os.path.join(instance.spool, "lane-5"), 12, 3, "left", open_ones=True))
    outcome.sent.update(write_segments(lane, 12, 3, "torn", open_ones=True))
    outcome.acked.update(outcome.sent)
    instance.start(ready=WORKERS, deadline_s=60)
    pid = instance.pid("aggregator")
    conserved(stack, outcome, deadline_s=120)
    assert instance.pid("aggregator") == pid
    assert "worker=aggregator pid=%d generation=1 " % pid in instance.log_text(), "not its first life"

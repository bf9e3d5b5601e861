"""Bounds: a full spool, a full disk, a slow disk, a failing disk.  Producers are told to wait, memory
stays flat, no acknowledgement comes before the disk has the event, and nothing acknowledged is lost.
"""
import json
import time

import pytest
import zmq

from lib import conservation, processes
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.faults import Faults
from lib.producer import Asker, Producer, payload_of
from lib.waiting import wait_until

DELAY_S = 0.300


def test_a_full_spool_tells_producers_to_wait(place):
    """Both stores down, one MiB of spool: N1 with retry_after_ms, flat memory, and afterwards exact books."""
    stack = Stack(place)
    instance = stack.spendd(spool__max_bytes=1048576, seal__bytes=65536, ingest__retry_after_ms=20).start()
    stream = batches(Generator(71, "full").events(6000), 20)
    producer = Producer(instance.ingest, stream, window=32, resend_s=5).start()
    outcome = producer.outcome
    wait_until(lambda: outcome.told_to_wait > 100, 60, "producers to be told to wait", [producer, instance])
    pid = instance.pid("aggregator")
    before, told = processes.memory_kb(pid), outcome.told_to_wait
    wait_until(lambda: outcome.told_to_wait > told + 5000, 90, "5,000 more refusals", [producer, instance])
    grown = processes.memory_kb(pid) - before
    assert grown < 8 * 1024, f"resident memory grew by {grown} kB while refusing"
    assert instance.pid("aggregator") == pid
    assert 0 < len(outcome.acked) < 6000
    status = instance.status()
    assert status["spool"]["bytes"] <= 1048576 + 262144, status["spool"]
    stack.start()
    producer.wait(90, stack.logs)
    assert len(outcome.acked) == 6000
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    stack.close()


def test_a_full_spool_stops_reading_the_unacked_socket(place):
    """Back-pressure reaches a PUSH socket as a send that waits: nothing that was taken is dropped."""
    stack = Stack(place)
    instance = stack.spendd(spool__max_bytes=1048576, seal__bytes=65536).start()
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, 10)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.connect(instance.unacked)
    stream, sent = Generator(72, "push"), {}
    socket.setsockopt(zmq.SNDTIMEO, 3000)
    blocked = False
    for _ in range(60000):
        event = stream.one()
        try:
            socket.send(json.dumps(event).encode())
        except zmq.Again:
            blocked = True
            break
        sent[event["request_id"]] = event
    assert blocked, "60,000 events of about 500 bytes went into one MiB"
    stack.start()
    wait_until(lambda: conservation.settled(stack.postgres, len(sent)), 90, f"{len(sent)} events to be counted", stack.logs, look_s=0.2)
    context.destroy(linger=0)
    report = conservation.examine(stack.postgres, sent, sent)
    assert report.ok, report.table()
    stack.close()


@pytest.fixture
def faulty(stack, place):
    faults = Faults(place.sub("f"))
    return stack.spendd(build=faults.build), faults


def test_no_ack_before_a_slow_disk_has_it(stack, faulty):
    instance, faults = faulty
    instance.start(ready=WORKERS)
    faults.set("slow-sync")
    outcome = Producer(instance.ingest, batches(Generator(73, "slow").events(400), 10), window=4).start().wait(60, stack.logs)
    assert min(outcome.latencies) >= DELAY_S, f"an acknowledgement after {min(outcome.latencies):.3f} s"
    # A repeat of an event whose first copy is on its way to the disk is acknowledged only with that copy.
    event = Generator(74, "slow").one()
    one, two = Asker(instance.ingest), Asker(instance.ingest)
    started = time.monotonic()
    for asker in (one, two):
        asker.socket.send_multipart([b"E1", b"x", payload_of([event])])
    poller = zmq.Poller()
    for asker in (one, two):
        poller.register(asker.socket, zmq.POLLIN)
    assert poller.poll(10_000), "an answer"  # whichever comes first: which of the two was taken first is chance
    assert time.monotonic() - started >= DELAY_S, "a repeat was acknowledged before its first copy was durable"
    for asker in (one, two):
        assert asker.receive(10)[0] == b"A1"
        asker.close()
    outcome.note_sent([event])
    outcome.acked.add(event["request_id"])
    faults.clear("slow-sync")
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_failed_sync_acknowledges_nothing(stack, faulty):
    """EIO once, ten times: the segment takes no more records, nothing in it that was not acked is promised,
    and a repeat of a refused event is not mistaken for a duplicate."""
    instance, faults = faulty
    instance.start(ready=WORKERS)
    producer = Producer(instance.ingest, batches(Generator(75, "eio").events(10**9), 8), window=8, rate=60, resend_s=1).start()
    for _ in range(10):
        target = producer.outcome.messages + 5
        wait_until(lambda: producer.outcome.messages >= target, 30, "answers", [producer, instance])
        faults.set("fail-sync")
        wait_until(lambda: faults.taken("fail-sync"), 30, "the sync to fail", [producer, instance])
    instance.kill_all()
    instance.start()
    producer.finish_source()
    producer.wait(60, stack.logs)
    conservation.assert_conserved(stack.postgres, producer.outcome, logs=stack.logs)


def test_short_writes_tear_no_acknowledged_record(stack, faulty):
    instance, faults = faulty
    instance.start(ready=WORKERS)
    producer = Producer(instance.ingest, batches(Generator(76, "short").events(10**9), 8), window=8, rate=60, resend_s=1).start()
    for n in range(12):
        target = producer.outcome.messages + 4
        wait_until(lambda: producer.outcome.messages >= target, 30, "answers", [producer, instance])
        faults.set("short")
        wait_until(lambda: faults.taken("short"), 30, "a short write", [producer, instance])
        if n % 3 == 2:
            instance.kill_all()
            instance.start(ready=())
    producer.finish_source()
    producer.wait(60, stack.logs)
    conservation.assert_conserved(stack.postgres, producer.outcome, logs=stack.logs)


def test_a_full_disk_refuses_before_it_loses(stack, faulty):
    instance, faults = faulty
    instance.start(ready=WORKERS)
    producer = Producer(instance.ingest, batches(Generator(77, "nospace").events(10**9), 8), window=8, rate=60, resend_s=5).start()
    outcome = producer.outcome
    wait_until(lambda: outcome.messages >= 20, 30, "answers", [producer, instance])
    faults.set("full")
    told = outcome.told_to_wait
    wait_until(lambda: outcome.told_to_wait > told + 20, 30, "refusals", [producer, instance])
    faults.clear("full")
    target = outcome.messages + 20
    wait_until(lambda: outcome.messages >= target, 30, "answers again", [producer, instance])
    producer.finish_source()
    producer.wait(60, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_stopped_unacked_peer_does_not_stop_the_drain(stack):
    """A client that sends and never reads: acknowledgements for it pile up nowhere."""
    instance = stack.spendd().start(ready=WORKERS)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVHWM, 1)
    socket.connect(instance.ingest)
    events = [*Generator(78, "deaf").events(3000)]
    socket.setsockopt(zmq.SNDTIMEO, 5000)
    for n, event in enumerate(events):
        try:
            socket.send_multipart([b"E1", b"%d" % n, payload_of([event])])
        except zmq.Again:
            break
    other = Producer(instance.ingest, batches(Generator(79, "hearing").events(200), 10)).start().wait(40, stack.logs)
    assert len(other.acked) == 200
    context.destroy(linger=0)
    assert instance.stop() == 0

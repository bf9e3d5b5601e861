"""Leaving: in order, in time, with nothing lost and nothing left that could be delivered; and being replaced."""
import itertools
import os
import shutil
import signal
import subprocess

import pytest

from lib import conservation, elements
from lib.daemon import BUILD, WORKERS
from lib.events import Generator, batches
from lib.operator import Question, order
from lib.producer import Producer
from lib.waiting import patient, wait_until


def lines(instance, event):
    return [line for line in instance.log_text().splitlines() if f" {event} " in line]


def endless(instance, seed, **more):
    """A producer that goes on until it is stopped."""
    generator = Generator(seed, f"drain{seed}")
    return Producer(instance.ingest, batches(itertools.chain.from_iterable(
        generator.events(100) for _ in itertools.count()), 10), **more).start()


def flows(producer, count=200):
    wait_until(lambda: len(producer.outcome.acked) >= count, 20, f"{count} acknowledged events", [producer])


def assert_all_counted_now(stack, producer):
    """Not some time later: the daemon is gone, and everything that it acknowledged is in PostgreSQL.  (Answers
    that were under way when it left may be lost: those events are counted too, and the producer, asked again,
    would hear that they are duplicates.  So here it is stopped, and what it does not know of is no fault.)"""
    counted = {row[0] for row in stack.postgres.query("select event_id from spendd.spend_log")}
    assert producer.outcome.acked <= counted, "".join(log.tail() for log in stack.instances)
    report = conservation.examine(stack.postgres, producer.outcome.sent, producer.outcome.acked | counted)
    assert report.ok, report.table() + "".join(log.tail() for log in stack.instances)
    assert stack.redis.client().llen("{spendd}:queue:0") == 0


@pytest.mark.parametrize("how", ["operator", "signal"])
def test_drain_under_load_counts_everything_before_it_leaves(stack, how):
    """Long pauses between seals and flushes: the drain waits for none of them."""
    instance = stack.spendd(seal__ms=300, flush__ms=30000, seal__events=200).start(ready=WORKERS)
    producer = endless(instance, 1)
    flows(producer, 400)
    if how == "operator":
        code, answer = order(instance, "drain", "--wait", deadline_s=30)
        assert (code, answer) == (200, {"text": "drained"})
    else:
        instance.process.send_signal(signal.SIGTERM)
    assert instance.process.wait(patient(20)) == 0 and not instance.members()
    producer.stop()
    assert_all_counted_now(stack, producer)
    assert lines(instance, "drain_done")[0].endswith("cut_short=0")


def test_status_while_draining(stack):
    """Who waits for a drain is told; a second order to drain shortens nothing; ingest refuses for now."""
    instance = stack.spendd(supervisor__drain_ms=60000).start(ready=WORKERS)
    frozen = instance.freeze("redis_writer")
    producer = endless(instance, 2)
    flows(producer, 40)
    with Question(instance, "drain", "--wait") as waiting:
        status = wait_until(lambda: (instance.status() or {}).get("draining") and instance.status(), 10, "draining", [instance])
        assert 0 < status["drain_left_ms"] <= 60000
        assert {row["name"]: row["state"] for row in status["workers"]}["aggregator"] == "DRAINING"
        assert order(instance, "drain") == (200, {"text": "spendd drains and leaves"})
        assert order(instance, "start", "all")[0] == 409 and order(instance, "restart", "all")[0] == 409
        wait_until(lambda: producer.outcome.told_to_wait, 10, "a producer to be told to wait", [instance])
        assert waiting.next()[1].keys() == {"progress"}
        instance.thaw(frozen)
        assert waiting.answer(30) == (200, {"text": "drained"})
    assert instance.process.wait(patient(20)) == 0
    producer.stop()
    assert_all_counted_now(stack, producer)


def test_the_deadline_is_said_to_who_waits_and_the_rest_is_counted_later(stack):
    instance = stack.spendd(supervisor__drain_ms=1500).start(ready=WORKERS)
    stack.redis.freeze()
    producer = endless(instance, 3)
    flows(producer, 100)
    code, answer = order(instance, "drain", "--wait")
    # Every worker leaves by its own deadline, within the drain's; Redis has none of it.
    assert (code, answer.get("text", answer.get("error"))) in (
        (200, "drained"), (409, "the deadline has passed: what is not delivered waits in the spool"))
    assert instance.process.wait(patient(10)) == 0
    stack.redis.thaw()
    instance.start(ready=WORKERS)
    producer.finish_source()
    conservation.assert_conserved(stack.postgres, producer.wait(30, stack.logs), logs=stack.logs)


def test_who_waits_hears_the_end_although_the_last_step_began_at_the_deadline(stack):
    """Each step takes nine tenths of what is left: the last one begins a millisecond before it, and control is slow."""
    instance = stack.spendd(supervisor__drain_ms=1500).start(ready=WORKERS)
    stack.redis.freeze()
    producer = endless(instance, 4)
    flows(producer, 100)
    with Question(instance, "drain", "--wait") as waiting:
        wait_until(lambda: lines(instance, "drain_started"), 10, "the drain", [instance])
        frozen = instance.freeze("control")
        wait_until(lambda: any("worker=health_checker" in line for line in lines(instance, "worker_exited")), 20,
                   "the last step", [instance], look_s=0.005)
        instance.thaw(frozen)
        assert waiting.answer(10)[0] in (200, 409)
    assert instance.process.wait(patient(10)) == 0
    stack.redis.thaw()
    instance.start(ready=WORKERS)
    producer.finish_source()
    conservation.assert_conserved(stack.postgres, producer.wait(30, stack.logs), logs=stack.logs)


def test_a_hung_worker_makes_the_drain_late_and_the_operator_hears_it(stack):
    instance = stack.spendd(supervisor__drain_ms=1500).start(ready=WORKERS)
    instance.freeze("redis_writer")
    code, answer = order(instance, "drain", "--wait")
    assert code in (200, 409) and instance.process.wait(patient(10)) == 0
    instance.start(ready=WORKERS)
    instance.freeze("aggregator")
    instance.freeze("db_flusher")
    code, answer = order(instance, "drain", "--wait")
    assert code == 409 and "deadline" in answer["error"]
    assert instance.process.wait(patient(10)) == 0 and not instance.members()


def test_a_worker_that_dies_in_the_drain_before_its_turn_comes_back(stack):
    """The aggregator is still handing on when the writer is killed."""
    instance = stack.spendd(supervisor__drain_ms=30000).start(ready=WORKERS)
    producer = endless(instance, 4)
    flows(producer, 100)
    frozen = instance.freeze("aggregator")
    instance.process.send_signal(signal.SIGTERM)
    wait_until(lambda: lines(instance, "drain_started"), 10, "the drain", [instance])
    old = instance.kill("redis_writer")
    wait_until(lambda: instance.pids("redis_writer") not in ([], [old]), 10, "a new writer", [instance])
    instance.thaw(frozen)
    assert instance.process.wait(patient(30)) == 0
    producer.stop()
    assert_all_counted_now(stack, producer)


def test_the_one_of_two_that_leaves_hands_over(stack):
    """Another instance holds the lock, or takes it: what the leaving one pushed is the other one's to count."""
    first, second = stack.spendd().start(ready=WORKERS), stack.spendd().start(ready=WORKERS)
    producer = endless(first, 5)
    flows(producer, 300)
    assert order(first, "drain", "--wait", deadline_s=30)[0] == 200
    assert first.process.wait(patient(10)) == 0
    # The producer asks again for what had no answer.
    first.start(ready=("aggregator",))
    producer.finish_source()
    conservation.assert_conserved(stack.postgres, producer.wait(30, stack.logs), logs=stack.logs)
    assert second.stop() == 0


# --- upgrade ---------------------------------------------------------------------------------------

def another_build(place):
    """A copy of ours whose executables all say another build."""
    to = place.sub("b")
    ours = subprocess.run([os.path.join(BUILD, "bin", "spendd"), "--version"], capture_output=True, text=True,
                          check=True).stdout.split("(")[1].split(")")[0].encode()
    for part in ("bin", "libexec/spendd"):
        os.makedirs(os.path.join(to, part))
        for name in os.listdir(os.path.join(BUILD, part)):
            path = os.path.join(to, part, name)
            with open(os.path.join(BUILD, part, name), "rb") as file:
                code = file.read()
            with open(path, "wb") as file:
                file.write(code.replace(ours, ours[:-4] + b"beef"))
            shutil.copymode(os.path.join(BUILD, part, name), path)
    return to


def test_a_new_build_waits_for_the_old_one_to_drain(stack):
    """Started beside it, on the same directories, under load: it takes over when the old one has left."""
    old = stack.spendd(supervisor__drain_ms=20000).start(ready=WORKERS)
    producer = endless(old, 6)
    flows(producer, 200)
    new = stack.spendd(build=another_build(stack.place), runtime_dir=old.run, spool__dir=old.spool,
                       supervisor__drain_ms=20000)
    new.run, new.spool = old.run, old.spool
    frozen = old.freeze("redis_writer")
    old.process.send_signal(signal.SIGTERM)
    new.start(ready=())
    wait_until(lambda: lines(new, "lock_waiting"), 10, "the new one to wait", stack.logs)
    assert old.running() and not lines(new, "worker_started")
    old.thaw(frozen)
    assert old.process.wait(patient(20)) == 0
    new.wait_ready(*WORKERS)
    assert new.ask("version")[1]["build"].endswith("beef")
    flows(producer, len(producer.outcome.acked) + 200)
    producer.finish_source()
    outcome = producer.wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert not lines(new, "worker_refused") and lines(old, "drain_done")


def test_a_new_build_beside_one_that_adopts(stack):
    """LiteLLM's lists, while pods push into them: the old one gives the pod locks back, the new one takes them; each
    element is counted once, and no claim is left."""
    elements.make_tables(stack.postgres)
    adopt = {"database__layout": "litellm", "litellm__adopt": True, "litellm__drain_ms": 50, "litellm__lock_ttl_ms": 20000,
             "litellm__lock_poll_ms": 20, "supervisor__drain_ms": 20000}
    client, books = stack.redis.client(), elements.Books(9)
    old = stack.spendd(**adopt).start(ready=WORKERS)
    wait_until(lambda: old.status()["litellm"]["held_here"], 20, "the pod locks", [old])
    new = stack.spendd(build=another_build(stack.place), runtime_dir=old.run, spool__dir=old.spool, **adopt)
    new.run, new.spool = old.run, old.spool
    books.push(client, 5)
    frozen = old.freeze("redis_writer")
    old.process.send_signal(signal.SIGTERM)
    new.start(ready=())
    wait_until(lambda: lines(new, "lock_waiting"), 10, "the new one to wait", stack.logs)
    books.push(client, 5)  # the old flusher's turn to leave comes after the writer's
    old.thaw(frozen)
    assert old.process.wait(patient(20)) == 0
    books.push(client, 5)
    new.wait_ready(*WORKERS)
    # Given back, not run out: a lease is twenty seconds.
    wait_until(lambda: new.status()["litellm"]["held_here"], 15, "the pod locks in new hands", [new])
    elements.settled(client, [new])
    books.check(stack.postgres)
    assert new.ask("version")[1]["build"].endswith("beef") and not client.keys("*:spendd:claim")
    assert new.stop() == 0 and not any(client.exists(lock) for lock in elements.LOCKS)


def test_a_new_build_on_the_same_spool_elsewhere_waits_for_the_lane(stack):
    """Another runtime_dir (a second container on the volume): its aggregator waits for the lane, and leaves
    the old one's segments alone."""
    old = stack.spendd().start(ready=WORKERS)
    producer = endless(old, 7)
    flows(producer, 200)
    new = stack.spendd(spool__dir=old.spool).start(ready=("control", "redis_writer"))
    wait_until(lambda: lines(new, "lane_wait"), 10, "the new one to wait", stack.logs)
    assert new.state("aggregator") == "STARTING"
    assert old.stop() == 0
    producer.stop()
    new.wait_ready("aggregator")
    # The old one's drain ends when its batches are in Redis, if the new one's flusher has the lock.
    wait_until(lambda: producer.outcome.acked <= {row[0] for row in stack.postgres.query("select event_id from spendd.spend_log")},
               20, "all to be counted", stack.logs)

"""`spendd --spool`: a dead pod's volume, looked at and brought into Redis without a daemon."""
import json
import os
import shutil
import subprocess

import pytest

from lib import conservation
from lib.events import Generator
from lib.producer import Producer, event_id_of
from lib.waiting import patient, wait_until


def tool(instance, *words, code=0):
    done = subprocess.run([instance.program(), "--config", instance.config, "--spool", *words], capture_output=True,
                          text=True, timeout=patient(40))
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


def dead_pod(stack, count=300, **settings):
    """An instance that was killed with everything still in its spool: some sealed, the last one open."""
    instance = stack.spendd(seal__events=100, seal__ms=60000, **settings).start(ready=("aggregator", "control"))
    assert instance.ask("pause", "push")[0] == 200
    assert instance.ask("pause", "flush")[0] == 200
    instance.paused("redis_writer")
    events = list(Generator(11).events(count))
    outcome = Producer(instance.ingest, [events[at:at + 30] for at in range(0, count, 30)], window=1).start().wait(logs=[instance])
    assert len(outcome.acked) == count
    tool(instance, "ls", instance.spool, code=75)  # in use
    instance.freeze("aggregator")  # or it would seal when it sees the supervisor gone
    instance.kill_all()
    return instance, {event_id_of(event): event for event in events}


def names(instance):
    return sorted(name for name in os.listdir(os.path.join(instance.spool, "lane-0")) if ".seg" in name)


def test_looked_at_and_pushed(stack):
    instance, events = dead_pod(stack)
    before = names(instance)
    assert any(name.startswith("open-") for name in before) and len(before) >= 3
    listed = tool(instance, "ls", instance.spool).stdout
    assert listed.count(" sealed ") + listed.count("sealed  ") >= 2 and "open" in listed and "0 damaged" in listed
    lines = [json.loads(line) for line in tool(instance, "cat", instance.spool).stdout.splitlines()]
    assert {event_id_of(event) for event in lines} == events.keys()
    assert all(conservation.money(e["spend"]) == conservation.money(events[event_id_of(e)]["spend"]) for e in lines)
    assert "0 damaged" in tool(instance, "verify", os.path.join(instance.spool, "lane-0")).stdout
    assert names(instance) == before  # nothing was touched
    first = tool(instance, "push", instance.spool).stdout
    assert f"{len(before)} segments pushed" in first and not any(name.startswith("open-") for name in names(instance))
    tool(instance, "push", os.path.join(instance.spool, "lane-0"))  # again, and by its lane: the ledger knows
    other = stack.spendd().start(ready=("db_flusher",))
    wait_until(lambda: other.metric("events_counted_total") == len(events), 30, "all of them counted", [other])
    assert f"{len(before)} were applied already" in tool(instance, "push", instance.spool).stdout
    report = conservation.examine(stack.postgres, events, events)
    assert report.ok, report.table()
    instance.start(ready=("aggregator",))  # and its own spendd may come back as well
    wait_until(lambda: instance.status()["spool"]["unapplied_segments"] == 0, 30, "the volume applied", [instance])
    assert conservation.examine(stack.postgres, events, events).ok


def test_damage_is_found(stack):
    instance, events = dead_pod(stack, 210)
    lane = os.path.join(instance.spool, "lane-0")
    sealed = next(name for name in names(instance) if not name.startswith("open-"))
    open_one = next(name for name in names(instance) if name.startswith("open-"))
    with open(os.path.join(lane, sealed), "r+b") as file:
        file.seek(300)
        byte = file.read(1)
        file.seek(300)
        file.write(bytes([byte[0] ^ 1]))
    with open(os.path.join(lane, open_one), "ab") as file:
        file.write(b"\x50\x00\x00\x00torn")
    verified = tool(instance, "verify", instance.spool, code=1)
    assert "damaged" in verified.stdout and "torn" in verified.stdout and sealed in verified.stdout
    lines = tool(instance, "cat", instance.spool, code=1).stdout.splitlines()
    assert len(lines) == len(events) - 1  # every record but the damaged one
    pushed = tool(instance, "push", instance.spool, code=1)
    assert "1 damaged" in pushed.stderr + pushed.stdout and os.path.exists(os.path.join(lane, sealed))
    assert os.listdir(os.path.join(lane, "quarantine"))  # the torn tail


def test_redis_that_is_away_changes_nothing(stack):
    instance, events = dead_pod(stack, 60)
    stack.redis.stop()
    tool(instance, "push", instance.spool, code=75)
    stack.redis.start()
    tool(instance, "push", instance.spool)
    other = stack.spendd().start(ready=("db_flusher",))
    wait_until(lambda: other.metric("events_counted_total") == len(events), 30, "all of them counted", [other])


@pytest.mark.parametrize("words, code", [
    (("ls",), 2), (("eat", "/tmp"), 2), (("ls", "/nonexistent/volume"), 75), (("ls", "/etc/passwd"), 75), (("cat", "a", "b"), 2),
])
def test_wrong_words(place, words, code):
    from lib.daemon import Spendd

    instance = Spendd(place.sub("w"))
    done = tool(instance, *words, code=code)
    assert done.stderr and not done.stdout


def test_an_empty_directory_is_an_empty_lane(place):
    from lib.daemon import Spendd

    instance = Spendd(place.sub("w"))
    assert tool(instance, "ls", instance.spool).stdout.endswith("0 damaged, 0 torn at the end\n")
    assert os.listdir(instance.spool) == []
    shutil.rmtree(instance.spool)

"""Reload: every class of setting, a bad file, secrets, restarts one at a time, and no event lost."""
import os
import signal

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Asker, Producer
from lib.waiting import patient, wait_until


def pids(instance):
    return {worker: instance.pids(worker) for worker in WORKERS}


def lines(instance, event):
    return [line for line in instance.log_text().splitlines() if f" {event} " in line]


def said(instance, event, what=""):
    return wait_until(lambda: [line for line in lines(instance, event) if what in line], 20,
                      f"{event} {what} in the log", [instance])


def reload(instance, *words, **settings):
    """Writes the settings, says reload; {setting: row} and the code."""
    if settings:
        instance.write_config(**settings)
    code, answer = instance.ask("reload", *words)
    return code, {row["setting"]: row for row in answer.get("settings", ())}, answer


def settled(instance):
    """Every restart is over and everybody is ready."""
    def quiet():
        status = instance.status()
        return status and all(row["state"] == "READY" for row in status["workers"])
    return wait_until(quiet, 20, "everybody to be ready again", [instance])


def test_a_live_setting_touches_no_process(stack):
    """seal.ms is an hour's worth at first: what is sent stays in the open segment until a reload shortens it."""
    instance = stack.spendd(seal__ms=60000, redis__applied_poll_ms=60000).start(ready=WORKERS)
    before = pids(instance)
    outcome = Producer(instance.ingest, batches(Generator(1, "live").events(40), 20)).start().wait(20, [instance])
    assert instance.status()["spool"]["unapplied_segments"] == 0
    code, rows, _ = reload(instance, seal__ms=100, redis__applied_poll_ms=100)
    assert code == 200
    assert {name: (row["outcome"], row["workers"], row["before"], row["after"]) for name, row in rows.items()} == {
        "seal.ms": ("applied live", "aggregator", "60000", "100"),
        "redis.applied_poll_ms": ("applied live", "redis_writer", "60000", "100")}
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert pids(instance) == before
    wait_until(lambda: instance.metric("segments_applied_total"), 10, "applied ranges to come back", [instance])
    assert reload(instance) [:2] == (200, {})


def test_config_is_what_is_in_effect(stack):
    """After a reload what was applied is new, and what needs a full restart is not."""
    instance = stack.spendd().start(ready=WORKERS)

    def view():
        return {row["name"]: row["value"] for row in instance.ask("config")[1]["settings"]}

    before, pid = view(), instance.pid("control")
    assert reload(instance, redis__queue_bytes=1048576, spool__max_bytes=2147483648, redis__prefix="{x}:")[0] == 409
    wait_until(lambda: view()["spool.max_bytes"] == "2147483648", 10, "the new value", [instance])
    changed = {name for name, value in view().items() if before[name] != value}
    assert changed == {"redis.queue_bytes", "spool.max_bytes"} and instance.pid("control") == pid


def test_live_bounds_of_ingest(stack):
    """The spool's bound, what a refused producer is told, the share of the disk, and how long applied segments stay."""
    instance = stack.spendd(seal__ms=50, seal__bytes=65536).start(ready=WORKERS)
    events = iter(list(batches(Generator(5, "bounds").events(8000), 200)))
    with Asker(instance.ingest) as asker:
        for _ in range(10):
            assert asker.events(next(events))[0] == "A1"
        wait_until(lambda: instance.status()["spool"]["bytes"] > 400000 and
                   instance.status()["spool"]["unapplied_segments"] == 0, 20, "all to be applied", stack.logs)
        assert reload(instance, spool__keep_applied_s=0)[0] == 200
        wait_until(lambda: instance.status()["spool"]["bytes"] < 200000, 20, "applied segments to go", [instance])
        stack.redis.freeze()
        assert reload(instance, spool__max_bytes=1048576, ingest__retry_after_ms=123)[0] == 200
        kind, answer = "A1", {}
        for _ in range(25):
            if kind == "A1":
                kind, answer = asker.events(next(events))
        assert (kind, answer.get("retry_after_ms")) == ("N1", 123), answer
        assert reload(instance, spool__max_bytes=1073741824)[0] == 200
        last = next(events)
        wait_until(lambda: asker.events(last)[0] == "A1", 10, "room again", [instance])
        free = os.statvfs(instance.spool)
        if free.f_bavail < free.f_blocks * 0.85:
            assert reload(instance, spool__keep_free_percent=90)[0] == 200
            wait_until(lambda: asker.events(last)[0] == "N1", 10, "the disk to be too full", [instance])
        stack.redis.thaw()


def test_live_bounds_of_the_queue(stack):
    """Nobody drains: the queue's bound holds pushes back when it is lowered, and lets them go when it is raised."""
    instance = stack.spendd().start(ready=WORKERS)
    assert instance.ctl("--timeout", "20", "stop", "db_flusher", "--wait", timeout_s=30).returncode == 0  # its last flush is over
    outcome = Producer(instance.ingest, batches(Generator(6, "queue").events(600), 100)).start().wait(20, stack.logs)
    wait_until(lambda: instance.status()["queue"]["bytes"] > 65536, 20, "a queue", stack.logs)
    assert reload(instance, redis__queue_bytes=65536)[0] == 200
    more = Producer(instance.ingest, batches(Generator(7, "queue").events(100), 100), outcome=outcome).start().wait(20, stack.logs)
    length = wait_until(lambda: instance.metric("queue_full_total") and instance.status()["queue"]["length"], 20,
                        "a push to be held back", stack.logs)
    assert reload(instance, redis__queue_bytes=268435456)[0] == 200
    wait_until(lambda: instance.status()["queue"]["length"] > length, 20, "the push to be let go", stack.logs)
    assert instance.ask("start", "db_flusher")[0] == 200
    conservation.assert_conserved(stack.postgres, more, logs=stack.logs)


def test_a_live_setting_of_the_supervisor(stack):
    instance = stack.spendd(supervisor__hang_ms=60000, health__fail_after=100).start(ready=WORKERS)
    code, rows, _ = reload(instance, supervisor__hang_ms=6000, health__fail_after=1, supervisor__beat_ms=100,
                           supervisor__start_ms=31000)
    assert code == 200 and {row["outcome"] for row in rows.values()} == {"applied live"}
    assert rows["supervisor.start_ms"]["workers"] == "spendd"
    old = instance.freeze("redis_writer")
    said(instance, "worker_hung", "redis_writer")
    wait_until(lambda: instance.pids("redis_writer") not in ([], [old]), 20, "a new life", [instance])
    stack.postgres.stop("immediate")
    wait_until(lambda: instance.state("db_flusher") == "HELD", 10, "one failure to close the gate", stack.logs)
    assert not any("worker_hung" in line and "redis_writer" not in line for line in instance.log_text().splitlines())


def test_the_log_level_is_live(stack):
    instance = stack.spendd(log__level="error").start(ready=WORKERS)
    before = instance.log_text()
    assert " info " not in before.split("=== start")[-1]
    assert reload(instance, log__level="debug")[0] == 200
    instance.kill("redis_writer")
    settled(instance)
    said(instance, "worker_exited", "redis_writer")
    # A worker that was there all the time speaks too.
    wait_until(lambda: [line for line in instance.log_text().splitlines() if " debug " in line or
                        " aggregator/" in line and " info " in line], 10, "a word of the others", [instance])


def test_a_worker_setting_restarts_only_its_readers(stack):
    """Under load: one worker after the other, drained; the others keep their process."""
    instance = stack.spendd().start(ready=WORKERS)
    before = pids(instance)
    producer = Producer(instance.ingest, batches(Generator(2, "restart").events(600), 10)).start()
    code, rows, _ = reload(instance, dedupe__ids=50000, flush__batches=7)
    assert code == 200 and {row["outcome"] for row in rows.values()} == {"worker restarted"}
    assert rows["dedupe.ids"]["workers"] == "aggregator" and rows["flush.batches"]["workers"] == "db_flusher"
    wait_until(lambda: len(lines(instance, "worker_restart")) == 2, 20, "both restarts", [instance])
    settled(instance)
    outcome = producer.wait(60, [instance])
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    after = pids(instance)
    changed = {worker for worker in WORKERS if before[worker] != after[worker]}
    assert changed == {"aggregator", "db_flusher"}
    # One at a time: the second is told to leave when the first is ready again.
    story = [line.split("worker=")[1].split()[0] + (" begins" if "worker_restart " in line else " is ready")
             for line in instance.log_text().splitlines()
             if "worker_restart " in line or ("worker_ready" in line and "generation=2" in line)]
    assert story == ["aggregator begins", "aggregator is ready", "db_flusher begins", "db_flusher is ready"]
    assert all("signal" not in line for line in lines(instance, "worker_exited"))


def test_what_needs_a_full_restart_is_refused_and_the_rest_applied(stack):
    instance = stack.spendd().start(ready=WORKERS)
    before = pids(instance)
    code, rows, answer = reload(instance, redis__prefix="{other}:", seal__ms=150)
    assert code == 409 and "needs a full restart" in answer["error"]
    assert rows["redis.prefix"]["outcome"] == "needs a full restart"
    assert rows["seal.ms"]["outcome"] == "applied live"
    outcome = Producer(instance.ingest, batches(Generator(3, "full").events(40), 20)).start().wait(20, [instance])
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert pids(instance) == before and not stack.redis.client().keys("{other}*")
    # Asked again, it is still said.
    code, rows, _ = reload(instance)
    assert code == 409 and list(rows) == ["redis.prefix"]


def test_dry_run_says_and_does_nothing(stack):
    instance = stack.spendd().start(ready=WORKERS)
    before, log = pids(instance), instance.log_text()
    code, rows, answer = reload(instance, "--dry-run", seal__ms=150, flush__batches=7, spool__dir="/elsewhere")
    assert code == 409 and {name: row["outcome"] for name, row in rows.items()} == {
        "seal.ms": "can be applied live", "flush.batches": "restarts its workers", "spool.dir": "needs a full restart"}
    code, rows, _ = reload(instance, "--dry-run", spool__dir=instance.spool)
    assert code == 200 and len(rows) == 2
    assert pids(instance) == before
    assert not lines(instance, "reload_setting") and log.count("worker_restart ") == 0
    assert reload(instance, seal__ms=100)[1]["flush.batches"]["outcome"] == "worker restarted"


@pytest.mark.parametrize("text, error", [
    ("seal: { ms = 5; };\n", ":1: seal.ms = 5 is out of range"),
    ("seal: {\n  mss = 50;\n};\n", ":2: unknown setting seal.mss"),
    ("seal: {\n", ": syntax error"),
    ("", ": sets nothing"),
    ("# being written\n", ": sets nothing"),
    (None, "No such file"),
])
def test_a_bad_file_changes_nothing(stack, text, error):
    instance = stack.spendd().start(ready=WORKERS)
    before = pids(instance)
    if text is None:
        os.unlink(instance.config)
    else:
        with open(instance.config, "w", encoding="ascii") as file:
            file.write(text)
    code, rows, answer = reload(instance)
    assert code == 409 and not rows and "nothing has changed" in answer["error"]
    assert any(error in line and instance.config in line for line in answer["errors"]), answer
    instance.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(lines(instance, "reload_error")) == 2 * len(answer["errors"]), 10, "the log to say it",
               [instance])
    assert instance.running() and pids(instance) == before
    assert not lines(instance, "worker_exited")


def test_a_file_that_is_a_pipe_does_not_stop_the_supervisor(stack):
    instance = stack.spendd().start(ready=WORKERS)
    os.unlink(instance.config)
    os.mkfifo(instance.config)
    code, _, answer = reload(instance)
    assert code == 409 and "not a plain file" in answer["errors"][0]
    assert instance.status()["supervisor"]["known"]


def test_sighup_reloads(stack):
    instance = stack.spendd().start(ready=WORKERS)
    before = pids(instance)
    instance.write_config(seal__ms=150, spool__commit_bytes=2097152, flush__batches=7)
    instance.process.send_signal(signal.SIGHUP)
    said(instance, "reload_done", "code=200")
    assert "before=\"100\" after=\"150\"" in said(instance, "reload_setting", "seal.ms")[0]
    wait_until(lambda: len(lines(instance, "worker_restart")) == 2, 20, "the restarts", [instance])
    settled(instance)
    after = pids(instance)
    assert {worker for worker in WORKERS if before[worker] != after[worker]} == {"aggregator", "db_flusher"}


def test_a_secret_changes_with_its_reference_only(stack):
    """Its file is read again at each connect: another password is nobody's restart.  Passwords are masked."""
    instance = stack.spendd()
    path = os.path.join(instance.dir, "secret")
    with open(path, "w", encoding="utf-8") as file:
        file.write(stack.redis.url + "\n")
    instance.write_config(redis__url=f"file:{path}")
    instance.start(ready=WORKERS)
    before = pids(instance)
    with open(path, "w", encoding="utf-8") as file:
        file.write("redis://user:hidden@127.0.0.1:1/0\n")
    assert reload(instance)[:2] == (200, {})
    assert pids(instance) == before
    code, rows, answer = reload(instance, "--dry-run", redis__url="redis://user:hidden@127.0.0.1:1/0")
    assert code == 200 and rows["redis.url"]["before"] == f"file:{path}"
    assert "***" in rows["redis.url"]["after"] and "hidden" not in str(answer)
    assert reload(instance, redis__url=stack.redis.url)[1]["redis.url"]["outcome"] == "worker restarted"
    settled(instance)
    assert "hidden" not in instance.log_text()


def test_a_failed_worker_waits_for_a_reload(tmpfs, stack):
    """Exit 78: nothing is tried until the file is another one."""
    instance = stack.spendd(spool__dir=os.path.join(tmpfs, "spool"), spool__allow_volatile=False).start(ready=("control",))
    wait_until(lambda: instance.state("aggregator") == "FAILED", 10, "FAILED", [instance])
    assert reload(instance)[0] == 200
    wait_until(lambda: len(lines(instance, "worker_failed")) == 2, 10, "another try, in vain", [instance])
    assert reload(instance, spool__allow_volatile=True)[1]["spool.allow_volatile"]["outcome"] == "worker restarted"
    instance.wait_ready("aggregator")


def test_reload_in_a_drain_is_refused(stack):
    instance = stack.spendd().start(ready=WORKERS)
    instance.freeze("aggregator")
    instance.process.send_signal(signal.SIGTERM)
    wait_until(lambda: instance.status() and instance.status()["draining"], 10, "draining", [instance])
    code, _, answer = reload(instance, seal__ms=150)
    assert code == 409 and "drain" in answer["error"]
    instance.process.send_signal(signal.SIGTERM)
    assert instance.process.wait(patient(10)) == 0

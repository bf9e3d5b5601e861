"""What the supervisor does with processes: real ones, stopped, killed, refused, orphaned."""
import itertools
import os
import shutil
import signal
import subprocess

import pytest

from lib import conservation, processes
from lib.daemon import BUILD, WORKERS
from lib.events import Generator, batches
from lib.producer import Producer
from lib.waiting import patient, wait_until


def send(instance, count, seed=1, name="sup"):
    return Producer(instance.ingest, batches(Generator(seed, name).events(count), 20)).start().wait(60, [instance])


def lines(instance, event):
    return [line for line in instance.log_text().splitlines() if f" {event} " in line]


def row(instance, worker):
    status = wait_until(instance.status, 20, "a status", [instance])
    return next((row for row in status["workers"] if row["name"] == worker), None)


def said(instance, event, deadline_s=20, what=""):
    """Waits for a line of the log that has the event and the text."""
    return wait_until(lambda: [line for line in lines(instance, event) if what in line], deadline_s,
                      f"{event} {what} in the log", [instance])


# --- leaving ---------------------------------------------------------------------------------------

def test_drain_goes_in_order_and_exits_0(stack):
    instance = stack.spendd().start(ready=WORKERS)
    assert instance.stop() == 0
    left = [line.split("worker=")[1].split()[0] for line in lines(instance, "worker_exited")]
    assert left[:3] == ["aggregator", "redis_writer", "db_flusher"], left
    assert sorted(left[3:]) == ["control", "health_checker"]
    assert lines(instance, "drain_done")[0].endswith("cut_short=0")


def test_a_second_sigterm_leaves_now(stack):
    """The first one waits for a worker that does not answer; the second one does not."""
    instance = stack.spendd(supervisor__drain_ms=60000).start(ready=WORKERS)
    instance.freeze("aggregator")
    instance.process.send_signal(signal.SIGTERM)
    said(instance, "drain_started")
    assert instance.running()
    instance.process.send_signal(signal.SIGTERM)
    assert instance.process.wait(patient(5)) == 0
    assert not instance.members()
    assert lines(instance, "drain_cut_short")


def test_drain_deadline_kills_who_hangs(stack):
    instance = stack.spendd(supervisor__drain_ms=1000).start(ready=WORKERS)
    instance.freeze("redis_writer")
    assert instance.stop(deadline_s=20) == 0


# --- hanging ---------------------------------------------------------------------------------------

def test_a_worker_that_hangs_is_aborted_killed_and_replaced(stack):
    instance = stack.spendd(supervisor__hang_ms=6000).start(ready=WORKERS)  # not a machine that is busy for a second
    old = instance.freeze("redis_writer")
    said(instance, "worker_hung", what="redis_writer")
    said(instance, "worker_exited", what="redis_writer")
    instance.wait_ready("redis_writer")
    assert instance.pid("redis_writer") != old and not processes.alive(old)
    # The others were left alone, and events flow through the new one.
    assert all(row(instance, worker)["restarts"] == 0 for worker in WORKERS if worker != "redis_writer")
    outcome = send(instance, 100)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_pause_of_the_supervisor_is_nobodys_fault(stack):
    """Stopped for longer than hang_ms, like a machine that was suspended: nobody is killed for it."""
    instance = stack.spendd(supervisor__hang_ms=4000).start(ready=WORKERS)
    before = {worker: instance.pid(worker) for worker in WORKERS}
    processes.freeze(instance.process.pid)
    began = os.times().elapsed
    wait_until(lambda: os.times().elapsed - began > 9, 20, "more than twice hang_ms to pass")
    instance.process.send_signal(signal.SIGCONT)
    said(instance, "supervisor_paused")
    began = os.times().elapsed
    wait_until(lambda: os.times().elapsed - began > 5, 10, "hang_ms to pass again")
    assert {worker: instance.pid(worker) for worker in WORKERS} == before
    assert not lines(instance, "worker_hung")


def test_the_whole_instance_paused_is_nobodys_fault(stack):
    instance = stack.spendd(supervisor__hang_ms=4000).start(ready=WORKERS)
    processes.freeze_tree(instance.process.pid)
    began = os.times().elapsed
    wait_until(lambda: os.times().elapsed - began > 9, 20, "more than twice hang_ms to pass")
    processes.thaw_tree(instance.process.pid)
    said(instance, "supervisor_paused")
    outcome = send(instance, 100)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert not lines(instance, "worker_hung") and not lines(instance, "worker_exited")


# --- dying -----------------------------------------------------------------------------------------

def test_deaths_in_a_row_back_off(stack):
    """The first deaths cost nothing; from the fourth on the worker waits, and says so."""
    instance = stack.spendd(supervisor__flap_deaths=4, supervisor__backoff_min_ms=20000,
                            supervisor__backoff_max_ms=20000).start(ready=WORKERS)
    for death in range(4):
        wait_until(lambda: instance.status() and row(instance, "redis_writer")["restarts"] == death
                   and row(instance, "redis_writer")["state"] == "READY", 20, f"life {death + 1}", [instance])
        instance.kill("redis_writer")
    pauses = wait_until(lambda: len(lines(instance, "worker_restarts")) == 4 and lines(instance, "worker_restarts"),
                        10, "four deaths", [instance])
    assert all("in_ms=0 " in line for line in pauses[:3])
    # The pause is jittered over the whole bound: that it is one is all that is known.
    assert "deaths=4" in pauses[3]
    assert send(instance, 40).counts()["acked"] == 40


def copy_of_build(place):
    """A build of our own, to put foreign executables into."""
    to = place.sub("b")
    for part in ("bin", "libexec"):
        shutil.copytree(os.path.join(BUILD, part), os.path.join(to, part))
    return to


def replace(build, worker, script):
    path = os.path.join(build, "libexec", "spendd", worker)
    os.unlink(path)
    with open(path, "w", encoding="ascii") as file:
        file.write(script)
    os.chmod(path, 0o755)


def test_a_worker_that_never_starts_backs_off_at_once(stack):
    """Death before readiness is structural: pauses from the first one on, of any length up to a bound that grows."""
    build = copy_of_build(stack.place)
    replace(build, "redis_writer", "#!/bin/sh\nexit 1\n")
    instance = stack.spendd(build=build, supervisor__backoff_min_ms=100, supervisor__backoff_max_ms=400)
    instance.start(ready=("aggregator", "control"))
    pauses = wait_until(lambda: len(lines(instance, "worker_restarts")) >= 8 and lines(instance, "worker_restarts"),
                        20, "eight deaths", [instance])
    took = [int(line.split("in_ms=")[1].split()[0]) for line in pauses[:8]]
    assert all(ms <= bound for ms, bound in zip(took, (100, 200, *[400] * 6))) and max(took[2:]) > 50, took
    wait_until(lambda: "exit code" in row(instance, "redis_writer")["why"], 20, "a pause, not the life between two", [instance])
    assert send(instance, 20).counts()["acked"] == 20


def foreign(build, worker):
    """The same executable with another build id."""
    path = os.path.join(build, "libexec", "spendd", worker)
    with open(path, "rb") as file:
        code = file.read()
    ours = subprocess.run([os.path.join(build, "bin", "spendd"), "--version"], capture_output=True, text=True,
                          check=True).stdout.split("(")[1].split(")")[0].encode()
    assert ours in code
    with open(path + ".new", "wb") as file:
        file.write(code.replace(ours, ours[:-4] + b"beef"))
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


def test_a_worker_of_another_build_is_refused(stack):
    build = copy_of_build(stack.place)
    foreign(build, "redis_writer")
    instance = stack.spendd(build=build, supervisor__drain_ms=2000).start(ready=("aggregator", "control"))
    wait_until(lambda: instance.state("redis_writer") == "FAILED", 10, "the refusal", [instance])
    shown = row(instance, "redis_writer")
    assert "beef" in shown["why"] and "restart spendd" in shown["why"] and shown["pid"] is None
    assert send(instance, 20).counts()["acked"] == 20  # into the spool
    assert instance.stop() == 0


def test_an_upgrade_under_a_running_daemon_mixes_nothing(stack):
    """Executables are opened once: what replaces the files is not started by the old supervisor."""
    build = copy_of_build(stack.place)
    instance = stack.spendd(build=build).start(ready=WORKERS)
    foreign(build, "redis_writer")
    instance.kill("redis_writer")
    wait_until(lambda: instance.status() and row(instance, "redis_writer")["restarts"] == 1, 10, "a new life", [instance])
    instance.wait_ready("redis_writer")


def test_exit_78_is_failed_and_not_tried_again(tmpfs, stack):
    """A spool on tmpfs is a matter of the configuration: starting again would not mend it."""
    instance = stack.spendd(spool__dir=os.path.join(tmpfs, "spool"), spool__allow_volatile=False).start(ready=("control",))
    wait_until(lambda: instance.state("aggregator") == "FAILED", 10, "FAILED", [instance])
    shown = row(instance, "aggregator")
    assert shown["restarts"] == 0 and "78" in shown["why"]
    assert instance.stop() == 0
    assert len(lines(instance, "worker_failed")) == 1


# --- orphans ---------------------------------------------------------------------------------------

def test_orphans_leave_soon_although_nothing_can_be_delivered(stack):
    """Events are safe in the spool: a successor does not wait for the drain deadline."""
    instance = stack.spendd(supervisor__drain_ms=60000, supervisor__orphan_drain_ms=500).start(ready=WORKERS)
    stack.redis.freeze()
    outcome = send(instance, 60)
    instance.kill_supervisor()
    began = os.times().elapsed
    instance.start(ready=("aggregator",), deadline_s=20)
    assert os.times().elapsed - began < patient(8), instance.tail()
    stack.redis.thaw()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


@pytest.mark.parametrize("worker", ["aggregator", "db_flusher"])
def test_an_orphan_that_hangs_is_killed_by_the_successor(stack, worker):
    instance = stack.spendd(supervisor__orphan_drain_ms=500).start(ready=WORKERS)
    outcome = send(instance, 60)
    hung = instance.freeze(worker)
    instance.kill_supervisor()
    instance.start(ready=WORKERS)
    assert not processes.alive(hung)
    killed = lines(instance, "orphan_killed")  # on a busy machine others, too, may need longer than they have
    assert any(f"worker={worker} pid={hung} " in line for line in killed), killed
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_no_stranger_is_killed(stack):
    """The lock's record names a pid that was given to somebody else since: that one lives on."""
    instance = stack.spendd(supervisor__orphan_drain_ms=200).start(ready=WORKERS)
    hung = instance.freeze("aggregator")
    instance.kill_supervisor()
    wait_until(lambda: len(instance.members()) == 1, 10, "the other orphans to leave", [instance])
    path = os.path.join(instance.run, "lock")
    with open(path, encoding="ascii") as file:
        text = file.read()
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        # The same place in the file, another pid with the aggregator's start time.
        line = next(line for line in text.splitlines() if line.split()[:1] == [str(hung)])
        start = line.split()[1]
        with open(f"/proc/{stranger.pid}/stat", encoding="ascii") as file:
            own = file.read().rsplit(")", 1)[1].split()[19]
        for wrong in (start, own):  # another start time; then the right one, but another program
            forged = f"{stranger.pid} {wrong} aggregator".ljust(len(line))
            with open(path, "r+", encoding="ascii") as file:
                file.write(text.replace(line, forged))
            second = stack.spendd(runtime_dir=instance.run, spool__dir=instance.spool, supervisor__orphan_drain_ms=200)
            second.start(ready=())
            assert second.process.wait(patient(20)) == 75, second.tail()
            assert stranger.poll() is None and processes.alive(hung)
            assert lines(second, "supervisor_not_started")
    finally:
        stranger.kill()
        stranger.wait()


def test_a_second_spendd_names_the_first(stack):
    instance = stack.spendd().start(ready=WORKERS)
    second = stack.spendd(runtime_dir=instance.run, spool__dir=instance.spool, supervisor__drain_ms=0)
    second.start(ready=())
    assert second.process.wait(patient(10)) == 75
    refusal = lines(second, "supervisor_not_started")[0]
    assert f"pid {instance.process.pid}." in refusal and "already" in refusal
    assert all(instance.pids(worker) for worker in WORKERS) and not lines(instance, "worker_exited")


# --- the gate --------------------------------------------------------------------------------------

def test_a_closed_gate_holds_the_flusher_with_its_reason(stack):
    instance = stack.spendd(health__fail_after=2).start(ready=WORKERS)
    stack.postgres.stop("immediate")
    held = wait_until(lambda: instance.state("db_flusher") == "HELD" and instance.status(), 20, "HELD", stack.logs)
    assert not held["gate"]["database"]["open"] and held["gate"]["database"]["why"]
    shown = next(row for row in held["workers"] if row["name"] == "db_flusher")
    assert shown["pid"] is None and shown["why"] == held["gate"]["database"]["why"]
    outcome = send(instance, 60)
    stack.postgres.start()
    instance.wait_ready(*WORKERS)
    assert row(instance, "db_flusher")["why"] == ""
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def close_by_stopping(postgres):
    postgres.stop("immediate")
    return postgres.start


def close_by_read_only(postgres):
    """For sessions that begin from now on, so the flusher's ends: as long as it commits, the gate is right to be open."""
    postgres.query("alter role spendd set default_transaction_read_only = on")
    postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename = 'spendd'")
    return lambda: postgres.query("begin read write; alter role spendd reset default_transaction_read_only; commit")


def close_by_a_newer_schema(postgres):
    postgres.query("update spendd.schema_version set version = version + 1000")
    return lambda: postgres.query("update spendd.schema_version set version = version - 1000")


def held_for(status, reason):
    """The flusher waits for the gate, and shows the gate's reason, which is this one."""
    gate = status["gate"]["database"] if status else {"open": True}
    shown = next((row for row in (status or {"workers": ()})["workers"] if row["name"] == "db_flusher"), None)
    return not gate["open"] and shown["state"] == "HELD" and reason in gate["why"] and shown["why"] == gate["why"]


def test_gate_open_close_open_under_load(stack):
    """Three ways in which a database stops to be one, while events come all the time: the flusher is held with
    the reason, ingest does not notice, and in the end everything is counted once."""
    instance = stack.spendd(health__fail_after=2).start(ready=WORKERS)
    generator = Generator(9, "gate")
    source = batches(itertools.chain.from_iterable(generator.events(100) for _ in itertools.count()), 10)
    producer = Producer(instance.ingest, source, rate=30).start()
    conservation.wait_schema(stack.postgres, stack.logs)  # one of the three ways changes what is in it
    for close, reason in ((close_by_stopping, "connect"), (close_by_read_only, "read-only"), (close_by_a_newer_schema, "schema")):
        acked = len(producer.outcome.acked)
        undo = close(stack.postgres)
        wait_until(lambda: held_for(instance.status(), reason), 30, f"the flusher to be held for {reason}", stack.logs)
        wait_until(lambda: len(producer.outcome.acked) > acked + 50, 20, "ingest to go on", stack.logs)
        undo()
        instance.wait_ready("db_flusher")
    producer.finish_source()
    outcome = producer.wait(30, stack.logs)
    assert not producer.outcome.refused
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert len(lines(instance, "gate_opened")) >= 4
    assert all(row(instance, worker)["restarts"] == 0 for worker in ("aggregator", "redis_writer", "health_checker"))


# --- PID 1 -----------------------------------------------------------------------------------------

def test_as_pid_1_it_reaps_and_leaves_in_order(stack):
    """In a pid namespace of its own, as in a container: strangers' zombies are reaped too."""
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("pid namespaces are not permitted here")
    instance = stack.spendd()
    with open(instance.log, "ab") as log:
        outer = subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", instance.program(), "--config",
                                  instance.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                 start_new_session=True)
    try:
        first = wait_until(lambda: processes.children(outer.pid), 10, "spendd as PID 1", [instance])[0]
        wait_until(lambda: instance.status(1) and all(
            row["state"] == "READY" for row in (instance.status(1) or {"workers": [{"state": ""}]})["workers"]), 20, "everybody to be ready", [instance])
        # A grandchild whose parent dies becomes ours.
        subprocess.run(["nsenter", "--target", str(first), "--pid", "sh", "-c", "sh -c 'sleep 0.1' & exit 0"],
                       check=True, timeout=10)
        wait_until(lambda: not zombies_of(first), 10, "no zombie", [instance])
        processes.send(first, signal.SIGTERM)
        assert outer.wait(patient(20)) == 0, instance.tail()
        assert lines(instance, "drain_done")[0].endswith("cut_short=0")
    finally:
        for pid in processes.children(outer.pid):
            processes.send(pid, signal.SIGKILL)
        outer.kill()
        outer.wait()


def zombies_of(parent):
    stats = [processes.stat_of(pid) for pid in processes.all_pids()]
    return [stat for stat in stats if stat and stat[2] == parent and stat[1] == "Z"]


# --- spendd --migrate ------------------------------------------------------------------------------

def migrate(instance):
    return subprocess.run([instance.program(), "--config", instance.config, "--migrate"], capture_output=True,
                          text=True, timeout=patient(30), check=False)


def test_migrate_by_hand_where_the_flusher_may_not(stack):
    """The gate says what to run; run beside the living daemon it opens the gate."""
    instance = stack.spendd(database__migrate=False).start()
    outcome = send(instance, 40)
    held = wait_until(lambda: (row(instance, "db_flusher") or {}).get("why", "").count("--migrate") and
                      instance.status(), 20, "the gate to say what to run", stack.logs)
    assert "run spendd --migrate" in held["gate"]["database"]["why"]
    done = migrate(instance)
    assert (done.returncode, done.stdout) == (0, "schema spendd is ready, version 1\n"), done
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert migrate(instance).returncode == 0  # and again: nothing to do is done


def test_migrate_says_why_it_cannot(stack):
    instance = stack.spendd(database__connect_ms=5000)
    stack.postgres.query("create role guest login")
    stack.postgres.query("revoke create on database postgres from public")
    instance.write_config(database__url=stack.postgres.url(user="guest"))
    done = migrate(instance)
    assert done.returncode == 1 and "permission denied" in done.stderr and not done.stdout, done
    stack.postgres.stop("immediate")
    done = migrate(instance)
    assert done.returncode == 75 and "spendd --migrate: no connection: " in done.stderr, done
    instance.write_config(database__url="postgresql://h/db?nonsense=1")
    assert migrate(instance).returncode == 78

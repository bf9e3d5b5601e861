"""What others on the machine can see: modes of sockets and files, core files, and whether a process that has no
business with a store's credentials has them anywhere: environment, command line, memory.

Which worker may know which secret is read from the tables (workers/roster.def, common/config/settings.def), so that a
new worker or a new secret is looked at without a change here.
"""
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess

import psycopg2
import pytest

from lib import processes
from lib.daemon import BUILD, WORKERS, Spendd
from lib.events import Generator
from lib.producer import Asker
from lib.waiting import SANITIZED, wait_until
from lib.wire import ROOT

REDIS_SECRET, DATABASE_SECRET = "r3d1s-K7Qx-s3cret", "p0stgr3s-W9Zt-s3cret"


def table(path, pattern):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return re.findall(pattern, file.read(), re.M)


def roster():
    """worker -> CORE_NEVER or CORE_ALLOWED"""
    return dict(table("workers/roster.def", r"^WORKER\((\w+),.*?(CORE_\w+)"))


def readers():
    """secret setting -> workers that are given it"""
    return {path: set(re.findall(r"FOR_(\w+)", row)) for path, row in
            table("common/config/settings.def", r'^SECRET\(\w+, "([^"]+)",(.*)$')}


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def inside(directory):
    return {os.path.relpath(os.path.join(where, name), directory): os.path.join(where, name)
            for where, directories, names in os.walk(directory) for name in directories + names}


def test_modes_of_sockets_and_files(stack):
    """A careless umask of whoever starts spendd changes nothing."""
    before = os.umask(0)
    try:
        instance = stack.spendd().start(ready=WORKERS)
    finally:
        os.umask(before)
    with Asker(instance.ingest) as asker:
        asker.events(list(Generator(1, "modes").events(5)))
    assert mode(instance.run) == 0o750 and mode(os.path.join(instance.run, "private")) == 0o700
    for name, path in inside(instance.run).items():
        assert not mode(path) & 0o007 or os.path.islink(path), f"{name}: others may {mode(path):04o}"
        if name.startswith("private/"):
            assert not mode(path) & 0o077, f"{name}: {mode(path):04o}"
    assert mode(os.path.join(instance.run, "admin.sock")) == 0o660
    assert mode(os.path.join(instance.run, "ingest.sock")) == 0o660
    assert mode(os.path.join(instance.run, "ingest-unacked.sock")) == 0o660
    found = inside(instance.spool)
    assert any(os.path.isfile(path) for path in found.values())
    for name, path in found.items():
        assert not mode(path) & 0o077, f"{name}: {mode(path):04o}"
    assert instance.stop() == 0


def core_limit(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        return next(line.split()[4] for line in file if line.startswith("Max core file size"))


@pytest.mark.skipif(SANITIZED, reason="AddressSanitizer looks into its own process")
def test_no_core_and_no_eyes_of_others(place):
    """As an ordinary user: what holds secrets belongs to root in /proc, so that nobody of the same user reads its
    memory; and an abort leaves nothing behind."""
    assert set(roster().values()) <= {"CORE_NEVER", "CORE_ALLOWED"} and len(roster()) >= 5
    secret = {worker for setting in readers().values() for worker in setting}
    assert all(roster()[worker] == "CORE_NEVER" for worker in secret), "a worker with secrets may dump core"
    build = place.sub("b")
    for part in ("bin", "libexec"):
        shutil.copytree(os.path.join(BUILD, part), os.path.join(build, part))
    # Stores that nobody serves: what runs without them is enough to look at.
    instance = Spendd(place.sub("n"), build=build, redis__url="unix:///nowhere/s", database__url="host=/nowhere")
    user = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for where, _, names in os.walk(instance.dir):
            for path in [where, *(os.path.join(where, name) for name in names)]:
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with open(instance.log, "ab") as log:
        instance.process = subprocess.Popen([instance.program(), "--config", instance.config], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env={}, start_new_session=True, cwd=instance.dir, **user)
    instance._sessions.add(instance.process.pid)
    try:
        instance.wait_ready("aggregator", "redis_writer", "health_checker", "control")
        pids = {worker: instance.pids(worker) for worker, core in roster().items() if core == "CORE_NEVER"}
        assert sum(map(len, pids.values())) >= 4, pids
        for pid in [instance.process.pid, *(pid for some in pids.values() for pid in some)]:
            assert core_limit(pid) == "0", processes.program(pid)
            # The kernel gives what is not dumpable to root, whoever it runs as.
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0, f"{processes.program(pid)} can be looked into"
        with open(f"/proc/{pids['redis_writer'][0]}/status", encoding="ascii") as file:
            ids = re.search(r"^Uid:\s+(\d+)", file.read(), re.M)[1]
        assert os.geteuid() == 0 or int(ids) == os.geteuid()
        instance.kill("redis_writer", signal.SIGABRT)
        wait_until(lambda: "worker_exited worker=redis_writer" in instance.log_text(), 20, "the abort", [instance])
        assert "core dumped" not in instance.log_text()
        assert not [name for name in inside(instance.dir) if os.path.basename(name).startswith("core")]
    finally:
        instance.close()


def regions(pid):
    """Everything of its memory that can be read."""
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        rows = [line.split() for line in file]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for row in rows:
            low, high = (int(part, 16) for part in row[0].split("-"))
            if "r" not in row[1] or row[-1] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            for at in range(low, high, 1 << 24):
                try:
                    memory.seek(at)
                    # Overlapping: what lies across a border is found, too.
                    yield memory.read(min((1 << 24) + 256, high - at))
                except OSError:
                    break


def knows(pid, words):
    """Which of the words are in its environment, its command line or its memory."""
    found = set()
    for part in ("environ", "cmdline"):
        with open(f"/proc/{pid}/{part}", "rb") as file:
            text = file.read()
        found |= {f"{word.decode()} in {part}" for word in words if word in text}
    for piece in regions(pid):
        found |= {f"{word.decode()} in memory" for word in words if word in piece}
    return found


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's shadow is terabytes to read")
def test_credentials_are_only_where_they_are_needed(stack):
    if os.geteuid() != 0:
        pytest.skip("reading another process' memory needs root")
    stack.redis.client().config_set("requirepass", REDIS_SECRET)
    redis_url = f"unix://:{REDIS_SECRET}@{stack.redis.socket}?db=0"
    database_url = f"postgresql:///postgres?host={stack.postgres.dir}&user=spendd&password={DATABASE_SECRET}"
    instance = stack.spendd(redis__url="env:SPEND_REDIS", database__url="env:SPEND_DATABASE",
                            environment={"SPEND_REDIS": redis_url, "SPEND_DATABASE": database_url}).start(ready=WORKERS)
    with Asker(instance.ingest) as asker:  # everybody has done its work once
        asker.events(list(Generator(2, "secrets").events(20)))
    wait_until(lambda: _count(stack) == 20, 20, "the events to be counted", [instance])
    instance.ctl("status")
    secrets = {"redis.url": REDIS_SECRET.encode(), "database.url": DATABASE_SECRET.encode()}
    given = readers()
    assert "aggregator" in roster() and "aggregator" not in given["redis.url"] | given["database.url"]
    seen = {}
    for worker in roster():
        for pid in instance.pids(worker):
            with open(f"/proc/{pid}/environ", "rb") as file:
                assert file.read() == b"", f"{worker} has an environment"
            forbidden = [secret for setting, secret in secrets.items() if worker not in given[setting]]
            found = knows(pid, forbidden)
            assert not found, f"{worker}: {found}"
            seen[worker] = knows(pid, [secret for setting, secret in secrets.items() if worker in given[setting]])
    print(f"\n  looked into {sorted(seen)}; who needs them: {seen}")
    # The look itself can find something: who needs a secret has it in memory, and nowhere else.
    assert f"{DATABASE_SECRET} in memory" in seen["db_flusher"] and f"{REDIS_SECRET} in memory" in seen["redis_writer"]
    assert all("in memory" in where for worker in seen.values() for where in worker)
    with open(f"/proc/{instance.process.pid}/cmdline", "rb") as file:
        line = file.read()
    assert not any(secret in line for secret in secrets.values())
    said = instance.log_text() + instance.ctl("config").stdout + instance.ctl("status", "--json").stdout
    assert REDIS_SECRET not in said and DATABASE_SECRET not in said
    assert instance.stop() == 0


def _count(stack):
    try:
        return stack.postgres.one("select count(*) from spendd.spend_log")
    except psycopg2.Error:
        return 0

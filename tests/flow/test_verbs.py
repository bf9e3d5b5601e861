"""Every word of commands.def, as an operator types it, on an instance that has everything on: every worker of the roster,
LiteLLM's tables, its lists adopted.  Good words, wrong ones, and nobody there: exit codes, tables, JSON.
"""
import json
import os
import re
import subprocess

import pytest

from lib import elements
from lib.elements import LOCKS, Books, settled
from lib.operator import order
from lib.poster import ports
from lib.processes import alive
from lib.waiting import patient, wait_until
from lib.wire import ROOT


def rows(path, pattern):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return re.findall(pattern, file.read(), re.M)


COMMANDS = rows("common/admin/commands.def", r'^(?:COMMAND|ORDER|TOOL) *\(\w+, *"([^"]+)"')
ROSTER = rows("workers/roster.def", r"^WORKER\((\w+)")

# word -> arguments, and the exit code if it is not 0.  In their order: what is changed is changed back.
GOOD = {
    "status": [()], "workers": [()], "queues": [()], "lock": [()], "health": [()], "fleet": [()], "config": [()],
    "stats": [()], "version": [()], "events": [()],
    "pause": [("flush", "--for", "2s"), ("push", "--by", "ann"), ("ingest", "--fleet")],
    "resume": [(), ("push",), ("--fleet",)],
    "stop": [("gateway", "--wait")], "start": [("gateway", "--wait"), ("all",)],
    "restart": [("db_flusher", "--wait"), ("gateway", "--wait"), ("aggregator.0", "--wait")],
    "reload": [("--dry-run",), ()], "loglevel": [("gateway", "debug"), ("spendd", "warn"), ("all", "config")],
    "wait": [("ready",), ("database",), ("redis",), ("drained",)], "flush": [(), ("--wait",)],
    "step-down": [("--for", "1s")], "dead": [("ls",), ("export",), ("requeue", "--all"), ("drop", "--class", "poison")],
    "audit": [("--days", "2")], "top": [("--count", "1"), ("--interval", "50ms", "--count", "2")],
    "support-bundle": [("BUNDLE",)], "drain": [("--wait",)], "shutdown": [()],
}
MAY_REFUSE = {"step-down"}  # without the lock at this moment
LAST = ("drain", "shutdown")  # nobody is there afterwards
NO_ARGUMENTS = ("status", "workers", "queues", "lock", "health", "fleet", "config", "stats", "version", "events", "shutdown")

# word -> arguments and exit code.
BAD = {
    **{word: [(("now",), 2)] for word in NO_ARGUMENTS},
    "pause": [((), 2), (("everything",), 2), (("flush", "--for", "soon"), 2)], "resume": [(("flush", "push"), 2), (("dinner",), 2)],
    "start": [((), 2), (("nobody",), 2), (("all", "--now"), 2)], "stop": [((), 2), (("nobody",), 2), (("control",), 1)],
    "restart": [((), 2), (("gateway.7",), 2)], "reload": [(("--wet-run",), 2), (("a", "b"), 2)],
    "loglevel": [(("gateway",), 2), (("gateway", "loud"), 2), (("nobody", "info"), 2)], "drain": [(("--now",), 2)],
    "wait": [((), 2), (("spring",), 2), (("ready", "redis"), 2)], "flush": [(("--now",), 2), (("all",), 2)],
    "step-down": [(("--for", "ever"), 2)], "dead": [((), 2), (("sell",), 2), (("show", "1"), 1), (("drop",), 2)],
    "audit": [(("--days", "x"), 2)], "top": [(("--count", "0"), 2), (("now",), 2)], "support-bundle": [(("a", "b"), 2), (("/dev/null/x",), 1)],
}


@pytest.fixture
def full(stack):
    elements.make_tables(stack.postgres)
    return stack.spendd(**ports(database__layout="litellm", litellm__adopt=True, litellm__events="logs", litellm__drain_ms=50,
                                litellm__lock_ttl_ms=2000, litellm__lock_poll_ms=20)).start(ready=ROSTER)


def test_every_word_is_here():
    assert set(GOOD) == set(BAD) == set(COMMANDS)


def answered(done, json_wanted):
    assert "\x1b" not in done.stdout and "\x1b" not in done.stderr
    if json_wanted:
        return [json.loads(line) for line in done.stdout.splitlines()]
    assert not done.stdout.lstrip().startswith("{"), done.stdout
    return done.stdout


def hears_a_change(instance, form):
    """`events` ends when it is told to, or with spendd."""
    asked = subprocess.Popen([instance.program("spendctl"), "--socket", instance.admin, *form, "events"], stdout=subprocess.PIPE, text=True)
    try:
        first = asked.stdout.readline()
        assert json.loads(first)["after"] == "BEGUN" if form else "BEGUN" in first
    finally:
        asked.terminate()
        asked.wait(patient(10))
        asked.stdout.close()


def test_good_words(full, stack, tmp_path):
    """Twice, for people and for programs; then what stands in the lists is counted, and nobody died."""
    books = Books(5)
    for form in ((), ("--json",)):
        for word in (word for word in GOOD if word not in LAST):
            for arguments in GOOD[word] if word != "events" else ():
                arguments = [str(tmp_path / f"bundle{len(form)}") if one == "BUNDLE" else one for one in arguments]
                done = full.ctl("--timeout", "30", *form, word, *arguments, timeout_s=60)
                said = answered(done, form and word != "support-bundle")
                if word in MAY_REFUSE and done.returncode == 1:
                    continue
                assert done.returncode == 0 and (said or "export" in arguments), (word, arguments, done, full.tail())
        hears_a_change(full, form)
        books.push(stack.redis.client(), 2)
    settled(stack.redis.client(), [full])
    books.check(stack.postgres)
    assert full.ask("lock")[1]["paused"] == []
    assert not [line for line in full.log_text().splitlines() if " worker_exited " in line and "exit code 0" not in line]
    done = full.ctl("--json", "--timeout", "60", "drain", "--wait", timeout_s=90)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["text"] == "drained", done
    assert full.process.wait(patient(20)) == 0 and not full.members()
    assert not any(stack.redis.client().exists(lock) for lock in LOCKS), "a pod lock outlives the drain"
    full.start(ready=("control",))
    assert full.ctl("shutdown").returncode == 0 and full.process.wait(patient(20)) == 0
    # Nobody there: 3, within the timeout; who waits for it says that it did not come.
    for word in GOOD:
        arguments = [str(tmp_path / "nobody") if one == "BUNDLE" else one for one in GOOD[word][0]]
        assert full.ctl("--timeout", "0.2", word, *arguments).returncode == (1 if word == "wait" else 3), word


def test_bad_words(full):
    before = {worker: full.pids(worker) for worker in ROSTER}
    for word, cases in BAD.items():
        for arguments, code in cases:
            done = full.ctl(word, *arguments)
            assert done.returncode == code and done.stderr and not done.stdout, (word, arguments, done)
            refused = full.ctl("--json", word, *arguments)
            assert refused.returncode == code, (word, arguments, refused)
            # What spendd refused is JSON as well; what spendctl did not even ask is a word on standard error.
            assert all("error" in json.loads(line) for line in refused.stdout.splitlines()) and (refused.stdout or refused.stderr)
    assert {worker: full.pids(worker) for worker in ROSTER} == before and full.ask("lock")[1]["paused"] == []


def test_each_worker_dies_and_comes_back(full, stack):
    """Killed, stopped and started, hung: every worker of the roster; the others keep their process."""
    order(full, "loglevel", "all", "info")
    for worker in ROSTER:
        others = {other: full.pids(other) for other in ROSTER if other != worker}
        old = full.kill(worker)
        wait_until(lambda: full.pids(worker) not in ([], [old]), 20, f"another {worker}", [full])
        full.wait_ready(*ROSTER)
        if worker != "control":
            assert order(full, "stop", worker, "--wait")[1]["workers"] == [{"worker": worker, "state": "STOPPED", "text": "stopped by the operator"}]
            shown = next(row for row in full.status()["workers"] if row["name"] == worker)
            assert (shown["pid"], shown["status"], shown["why"]) == (None, "", "stopped by the operator")
            assert order(full, "start", worker, "--wait")[1]["workers"][0]["state"] == "READY"
        assert {other: full.pids(other) for other in others} == others, worker
    assert all(alive(pid) for worker in ROSTER for pid in full.pids(worker))
    books = Books(6)
    books.push(stack.redis.client(), 2)
    settled(stack.redis.client(), [full])
    books.check(stack.postgres)

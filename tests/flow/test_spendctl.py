"""spendctl where it is more than a question: top on a terminal and in a pipe, the support bundle, the papers made
from commands.def, and the protocol as the manual shows it to other languages.
"""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios

import pytest

from lib import processes
from lib.build import make
from lib.daemon import BUILD
from lib.poster import ports
from lib.waiting import patient, wait_until
from lib.wire import ROOT

COMMANDS = re.findall(r'^(?:COMMAND|ORDER|TOOL) *\(\w+, *"([^"]+)"', open(os.path.join(ROOT, "common/admin/commands.def"),
                                                                      encoding="utf-8").read(), re.M)
ROSTER = re.findall(r"^WORKER\((\w+)", open(os.path.join(ROOT, "workers/roster.def"), encoding="utf-8").read(), re.M)


@pytest.fixture
def instance(stack):
    return stack.spendd().start(ready=("aggregator", "redis_writer", "control"))


def test_the_manuals_client(instance, tmp_path):
    with open(os.path.join(ROOT, "docs/admin.md"), encoding="utf-8") as file:
        code = re.search(r"```python\n(.*?)```", file.read(), re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    script = tmp_path / "client.py"
    script.write_text(code)

    def run(*words):
        done = subprocess.run([sys.executable, str(script), instance.admin, *words], capture_output=True, text=True,
                              timeout=patient(20))
        return [line.split(" ", 1) for line in done.stdout.splitlines()]

    assert [row[0] for row in run("version")] == ["200"]
    assert run("nonsense")[0][0] == "404"
    stream = run("wait", "drained", "--timeout", "20s")
    assert stream[-1][0] == "200" and json.loads(stream[-1][1])["waited_for"] == "drained"


def test_top_in_a_pipe(instance):
    done = instance.ctl("top", "--count", "2", "--interval", "200ms")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 and all("accepted/s=" in line and "ready=" in line for line in lines)
    assert "\x1b" not in done.stdout
    assert len(instance.ctl("--json", "top", "--count", "1").stdout.splitlines()) == 1
    for words in (("top", "--count", "0"), ("top", "--interval", "x"), ("top", "now")):
        assert instance.ctl(*words).returncode == 2
    instance.stop()
    assert instance.ctl("top", "--count", "1").returncode == 3


class Screen:
    """spendctl top on a terminal of that size; frame(): the last whole one, as lines."""

    def __init__(self, instance, rows, columns):
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.top = subprocess.Popen([instance.program("spendctl"), "--socket", instance.admin, "-t", "2", "top", "--interval", "200ms"],
                                    stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True)
        self.shown = b""

    def frame(self):
        while select.select([self.ours], [], [], 0)[0]:
            self.shown += os.read(self.ours, 65536)
        whole = [part for part in self.shown.split(b"\x1b[H")[1:] if b"q quits" in part]
        text = whole[-1].decode().replace("\x1b[K", "").replace("\x1b[J", "").replace("\r", "") if whole else ""
        return text.split("\n")

    def close(self):
        os.write(self.ours, b"q")
        wait_until(lambda: (self.frame(), self.top.poll() is not None)[1], 10, "its end")
        os.close(self.ours)
        os.close(self.theirs)


def test_top_fits_the_terminal(stack):
    """At 80x24 everything that matters, on a small one what matters most; nothing scrolls away, strangers' text included."""
    instance = stack.spendd(instance="sp\x1b[2Jend" + "d" * 60, supervisor__hang_ms=600000, **ports()).start(ready=("aggregator", "db_flusher", "gateway", "control"))
    assert instance.ask("pause", "push", "--by", "ann \x1b[31m")[0] == 200
    screens = [Screen(instance, rows, columns) for rows, columns in ((24, 80), (9, 40))]
    try:
        large, small = screens
        wait_until(lambda: all(any(line.startswith(worker) for line in large.frame()) for worker in ROSTER), 20, "every worker", [instance])
        wait_until(lambda: any("ann \\x1b[31m" in line for line in large.frame()), 10, "the pause")
        for screen, rows, columns in ((large, 24, 80), (small, 9, 40)):
            lines = wait_until(lambda: len(seen := screen.frame()) > 3 and seen, 10, "a frame")
            assert len(lines) <= rows and max(map(len, lines)) <= columns, lines
            assert "\x1b" not in "".join(lines) and lines[-1].startswith("q quits") and "UTC" in lines[0]
        assert "more lines" in small.frame()[-1] and large.frame()[-1] == "q quits"
        for begin in ("events/s", "spool", "queue", "lock", "database", "PAUSED", "WORKER"):
            assert any(line.startswith(begin) for line in large.frame()), begin
        stack.redis.freeze()
        wait_until(lambda: any(line.startswith("queue      unknown: ") for line in large.frame()), 20, "Redis unknown")
        stack.redis.thaw()
        instance.freeze("control")
        wait_until(lambda: "spendctl: " in large.frame()[0], 20, "nobody to answer")
    finally:
        for screen in screens:
            screen.close()


@pytest.mark.parametrize("end", ["q", "term", "kill"])
def test_top_gives_the_terminal_back(instance, end):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    top = subprocess.Popen([instance.program("spendctl"), "--socket", instance.admin, "top"], stdin=theirs, stdout=theirs,
                           stderr=theirs, start_new_session=True)
    shown = b""

    def seen():
        nonlocal shown
        while select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 65536)
        return b"q quits" in shown

    wait_until(seen, 10, "a screen")
    assert termios.tcgetattr(theirs)[3] != before[3]
    child = processes.children(top.pid)[0]
    if end == "q":
        os.write(ours, b"q")
    else:
        os.kill(child, signal.SIGTERM if end == "term" else signal.SIGKILL)
    wait_until(lambda: (seen(), top.poll() is not None)[1], 10, "its end")
    seen()
    assert termios.tcgetattr(theirs) == before and shown.rstrip().endswith(b"\x1b[?1049l")
    os.close(ours)
    os.close(theirs)


def test_bundle_has_no_secret(stack, tmp_path):
    instance = stack.spendd(database__url=stack.postgres.url() + "&password=hunter2db").start(ready=("control",))
    log = tmp_path / "spendd.log"
    log.write_text("x reason=\"redis://u:hunter2red@h/0 and token=hunter2t password=hunter2p\" postgres://a:hunter2q@b/c\nlast\n")
    where = str(tmp_path / "bundle")
    done = instance.ctl("support-bundle", where, "--log", str(log))
    assert done.returncode == 0 and done.stdout.strip() == where, done.stderr
    texts = {name: open(os.path.join(where, name), encoding="utf-8").read() for name in os.listdir(where)}
    assert {"status.json", "stats.json", "config.json", "version.json", "log.txt", "machine.txt"} <= texts.keys()
    assert not [name for name, text in texts.items() if "hunter2" in text]
    assert texts["log.txt"].endswith("last\n") and "***" in texts["log.txt"]
    assert json.loads(texts["status.json"])["workers"] and os.stat(where).st_mode & 0o777 == 0o700
    assert instance.ctl("support-bundle", where).returncode == 1  # nothing is written over
    instance.stop()
    assert instance.ctl("support-bundle", str(tmp_path / "dead"), "--log", str(log)).returncode == 3


def test_papers_name_every_command():
    make("man")
    man = open(os.path.join(BUILD, "man/spendctl.1"), encoding="utf-8").read()
    bash = os.path.join(BUILD, "completion/spendctl.bash")
    zsh = open(os.path.join(BUILD, "completion/spendctl.zsh"), encoding="utf-8").read()
    assert "@" not in man
    for word in COMMANDS:
        assert ".B " + word.replace("-", "\\-") + "\n" in man and f"'{word}:" in zsh

    def complete(*words):
        line = " ".join(f"'{word}'" for word in ("spendctl", *words))
        return subprocess.run(["bash", "-c", f"source {bash}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _spendctl; "
                               "echo \"${COMPREPLY[@]}\""], capture_output=True, text=True, check=True).stdout.split()

    # Each option of the help has its entry on the page and is completed.
    shown = subprocess.run([os.path.join(BUILD, "bin/spendctl"), "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^  -\w, (--[a-z-]+)", shown, re.M))
    assert len(options) >= 7 and options == set(re.findall(r"^\.BR \S+ \", \" (--[a-z-]+)", man.replace("\\-", "-"), re.M))
    assert options <= set(complete("")) and all(option in zsh for option in options)
    assert {*ROSTER, "all", "--wait"} == set(complete("restart", "")) and complete("-k", "f", "-S", "g", "stop", "gat") == ["gateway"]
    assert set(COMMANDS) <= set(complete(""))
    assert complete("pau") == ["pause"] and complete("pause", "f") == ["flush"] and "drained" in complete("-t", "5", "wait", "")

"""Log lines read back by parsers that know nothing of ours: whatever comes from outside, a record is one line, it
parses, it says what it was given, and no password is in it.
"""
import json
import os
import random
import re
import shutil
import socket
import subprocess
import time

import pytest

from lib import wire
from lib.daemon import WORKERS
from lib.events import Generator
from lib.producer import Asker
from lib.waiting import wait_until

BASE = {"ts", "level", "process", "life", "event"}
SPEAKER = r"""
#include "common/base/log.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;
    if (argc < 2)
        return 2;
    log_init("speaker", 7);
    log_set_format(argv[1]);
    log_set_burst(0);
    while (getdelim(&line, &size, '\0', stdin) > 0)
        log_warn("said", "bare=%s quoted=\"%s\" part=\"<%s>\" number=%d", line, line, line, -5);
    free(line);
    return 0;
}
"""
PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |$)')


def logfmt(line):
    """{key: text}; raises for a line that is not pairs from end to end."""
    found, at = {}, 0
    while at < len(line):
        match = PAIR.match(line, at)
        assert match, f"not logfmt at {at}: {line!r}"
        key, value = match.groups()
        assert key not in found, f"{key} twice: {line!r}"
        found[key] = json.loads(value) if value.startswith('"') else value
        at = match.end()
    return found


def lines_of(text):
    assert text.endswith("\n")
    return text[:-1].split("\n")  # splitlines() would cut at what must be escaped, too


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    where = tmp_path_factory.mktemp("speaker")
    (where / "speak.c").write_text(SPEAKER)
    sources = [f"common/base/{name}.c" for name in ("log", "log_fields", "log_limit", "utf8", "clock", "err")]
    subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-fsanitize=address,undefined", "-I.", "-o", where / "speak",
                    where / "speak.c", *sources], cwd=wire.ROOT, check=True)

    def speak(form, values, **more):
        done = subprocess.run([where / "speak", form], input=b"".join(value + b"\0" for value in values), check=True,
                              **{"capture_output": True, "env": {}, **more})
        return done.stderr

    return speak


def hostile():
    rng = random.Random(4711)
    fixed = [b"", b'"', b"\\", b'\\"', b"=", b" ", b'" level=error event=forged x="', b"a\nts=1 level=error", b'","event":"forged',
             b"\x1b]0;owned\x07", "\u2028\u2029\u202e\u0085\u009b\ufeff".encode(), b"\xff\xfe\xc0\x80\xed\xa0\x80\xf8", b"\xe2\x82",
             b"%s%n%d", b"{}", b"x" * 900, b'"' * 900, "\U0001f4b8 \u0444\u0443\u0440\u044c\u0435".encode(), b"\x7f\x01"]
    words = [b'"', b"\\", b"\n", b" ", b"=", b"level=", b"\xc2", b"\x80", b"\xe2\x80\xa8", b"a", b"{", b"\x1b", b"\xf0\x9f\x92\xb8", b"%"]
    return fixed + [b"".join(rng.choices(words, k=rng.randrange(1, 40))) for _ in range(300)] + [
        bytes(rng.randrange(1, 256) for _ in range(rng.randrange(1, 200))) for _ in range(300)]


@pytest.mark.parametrize("form", ["text", "logfmt", "json"])
def test_hostile_values_in_every_format(speaker, form):
    values = hostile()
    lines = lines_of(speaker(form, values).decode("utf-8"))  # strict: what was not text is escaped
    assert len(lines) == len(values)
    for value, line in zip(values, lines):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e]", line), line
        if form == "text":
            head, line = line.split(" said ", 1)
            assert re.fullmatch(r"\S+Z warn speaker/7", head)
        row = json.loads(line) if form == "json" else logfmt(line)
        meant = value.decode("utf-8", "replace")
        if b"\xff" not in value and value.decode("utf-8", "ignore").encode() == value:
            given = {"bare": meant, "quoted": meant, "part": f"<{meant}>"}
            assert {key: row[key] for key in given} == given if "line_cut" not in row else all(
                text.startswith(row[key]) for key, text in given.items())
        assert row["number"] == (-5 if form == "json" else "-5")
        assert set(row) - {"line_cut"} == {"bare", "quoted", "part", "number"} | (BASE if form != "text" else set())
        assert ("line_cut" in row) == (len(line.encode()) > 3900)
        assert form == "text" or row["event"] == "said"


def records(instance):
    """The log of an instance whose format is json."""
    return [json.loads(line) for line in instance.log_text().split("\n") if line and not line.startswith("=== start")]


def test_the_daemon_in_json(stack):
    """Every process writes it, with its name and life; ids from outside, server texts and URLs in it or not."""
    instance = stack.spendd(log__format="json", log__level="debug", instance='in"st\\ance', database__max_idle_s=1).start(ready=WORKERS)
    event = next(Generator(1, "json").events(1))
    ids = ['x"} {"event":"forged', "a\nb", "\u202e\x1b[2J", "event=forged"]
    with Asker(instance.ingest) as asker:
        for number, name in enumerate(ids):
            asker.events([{**event, "request_id": f"r{number}{name}"}])
            asker.events([{**event, "request_id": f"r{number}{name}", "spend": "1.5"}])  # a conflict: named somewhere
            asker.payload(b'{"request_id": "' + name.encode("unicode_escape") + b'", "spend": "NaN\x1b"}')
    instance.ask("status", 'x"}\n{"event":"forged"')
    wait_until(lambda: any(row["process"] == "db_flusher" for row in records(instance)), 20, "the flusher's word", [instance])
    instance.kill("db_flusher")
    wait_until(lambda: {2} <= {row["life"] for row in records(instance) if row["process"] == "db_flusher"}, 20,
               "the next one's", [instance])
    assert instance.stop() == 0
    rows = records(instance)
    assert {row["process"] for row in rows} >= {"spendd", "aggregator", "redis_writer", "db_flusher", "health_checker"}
    assert {row["life"] for row in rows if row["process"] == "db_flusher"} >= {1, 2}
    assert all(BASE <= set(row) and row["event"] != "forged" for row in rows)


def test_no_password_in_any_line(stack):
    """Wrong ones, unreachable stores, URLs that are none: the texts of servers and libraries repeat what they were given."""
    stack.postgres.query("create role locked login password 'other'")
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))  # bound and not listened to: refused
    port = closed.getsockname()[1]
    urls = [("redis://user:hunter2@127.0.0.1:%d/0" % port, "postgresql://locked:hunter2@127.0.0.1:%d/postgres" % port),
            ("unix://:hunter2@%s?db=0" % stack.redis.socket, "host=%s user=locked password=hunter2 dbname=nowhere" % stack.postgres.dir),
            ("redis://:hunter2@nobody.invalid:1/0", "postgresql://locked:hunter2@nobody.invalid/postgres?password=hunter2")]
    for redis, database in urls:
        instance = stack.spendd(log__level="debug", redis__url=redis, database__url=database)
        instance.start(ready=())
        wait_until(lambda: len([line for line in instance.log_text().splitlines() if "probe_failed" in line]) >= 2
                   or not instance.running(), 30, "both stores to fail", [instance])
        instance.kill_all()
        assert "hunter2" not in instance.log_text(), [line for line in instance.log_text().splitlines() if "hunter2" in line][:5]
    closed.close()


def test_a_message_that_repeats_is_counted(stack):
    """Redis away with the shortest pauses: what is not written is counted, and nothing else is lost."""
    began = time.monotonic()
    instance = stack.spendd(log__burst=5, supervisor__backoff_min_ms=10, supervisor__backoff_max_ms=10).start(ready=("aggregator",))
    for _ in range(12):
        instance.kill("redis_writer")
    instance.stop()
    text = instance.log_text()
    windows = int((time.monotonic() - began) / 10) + 2
    assert text.count(" worker_exited ") <= 5 * windows
    told = sum(int(line.split("count=")[1].split()[0]) for line in text.splitlines() if "log_suppressed message=worker_exited" in line)
    assert text.count(" worker_exited ") + told >= 12 + len(WORKERS) - 1


def test_format_and_level_change_while_it_runs(stack):
    instance = stack.spendd().start(ready=WORKERS)
    instance.write_config(log__format="json", log__level="debug")
    instance.process.send_signal(1)

    def switched():
        return {json.loads(line)["process"] for line in instance.log_text().splitlines() if line.startswith("{")}

    busy = Generator(2, "busy")
    with Asker(instance.ingest) as asker:  # again and again: a flush may be over before the flusher has heard of it
        wait_until(lambda: asker.events([busy.one()]) and switched() >= {"spendd", "db_flusher"}, 20,
                   "JSON of who has something to say", [instance])
    instance.kill("aggregator")
    wait_until(lambda: "aggregator" in switched(), 20, "its successor's", [instance])
    assert instance.stop() == 0


def test_the_journal_is_told_the_severity(place, speaker):
    """Only systemd's own socket is the journal: another one is not."""
    path = os.path.join(place.sub("j"), "stdout")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    ours = socket.socket(socket.AF_UNIX)
    ours.connect(path)
    theirs, _ = listener.accept()
    speaker("text", [b"x"], capture_output=False, stderr=ours)
    assert theirs.recv(4096).startswith(b"20")
    where = "/run/systemd/journal"
    for each in (ours, theirs, listener):
        each.close()
    if os.geteuid() != 0 or os.path.exists(where):
        pytest.skip("a journal of our own needs root and a machine without systemd")
    os.makedirs(where)
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(where + "/stdout")
        listener.listen()
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(where + "/stdout")
        theirs, _ = listener.accept()
        speaker("json", [b"x"], capture_output=False, stderr=ours)
        assert theirs.recv(4096).startswith(b"<4>{")
    finally:
        shutil.rmtree(where)

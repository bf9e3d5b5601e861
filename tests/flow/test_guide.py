"""docs/guide.md, done as it says: the commands of its runbooks are read from the page and run under load, its lines
for redis.conf and postgresql.conf are read by the servers, and its figures are measured again."""
import os
import re
import shlex
import shutil
import subprocess

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Producer, payload_of
from lib.servers import postgres_bin
from lib.waiting import patient, wait_until
from lib.wire import ROOT

PAGES = ("README.md", "docs/guide.md", "docs/admin.md", "docs/health.md", "docs/litellm.md", "docs/troubleshooting.md")
FEW = {"dedupe__ids": 50000}
MEASURED = 0.25  # how far a figure of the page may be off


def page(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blocks(path, heading):
    """The fenced blocks below a heading, each a list of lines."""
    below = re.split(rf"^#+ {re.escape(heading)}$", page(path), flags=re.M)
    assert len(below) == 2, f"{path}: one heading {heading}"
    section = re.split(r"^#+ [A-Z]", re.sub(r"(?s)```.*?```", lambda block: block[0].replace("\n#", "\n\0"), below[1]),
                       flags=re.M)[0]
    return [block.replace("\0", "#").splitlines() for block in re.findall(r"(?s)```\w*\n(.*?)\n```", section)]


class Operator:
    """Types the commands of a runbook into a shell on an instance's machine."""

    def __init__(self, instance):
        self.instance = instance
        self.bin = os.path.join(instance.dir, "bin")
        os.mkdir(self.bin)
        os.symlink(instance.program("spendctl"), os.path.join(self.bin, "spendctl"))
        path = os.path.join(self.bin, "spendd")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {instance.program()} --config {instance.config} "$@"\n')
        os.chmod(path, 0o755)

    def types(self, lines, **meant):
        """Output.  meant: what stands for the words in capitals."""
        text = "\n".join(lines)
        for word, value in meant.items():
            text = re.sub(rf"\b{word}\b", lambda _, value=value: shlex.quote(value), text)
        done = subprocess.run(["sh", "-ec", text], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patient(60),
                              env={"PATH": f"{self.bin}:{postgres_bin()}:/usr/bin:/bin", "LC_ALL": "C.UTF-8",
                                   "SPENDD_RUNTIME_DIR": self.instance.run, "ASAN_OPTIONS": "detect_leaks=0"})
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}\n{self.instance.tail()}"
        return done.stdout


class Load:
    """Events without end, until it is told that it is enough."""

    def __init__(self, instance, seed=1):
        self.instance = instance
        self.producer = Producer(instance.ingest, batches(Generator(seed, f"g{seed}").events(10**9), 4), window=8, resend_s=1,
                                 rate=30).start()

    def goes_on(self, more=40):
        until = len(self.producer.outcome.acked) + more
        wait_until(lambda: len(self.producer.outcome.acked) >= until, 30, f"{more} more acknowledged", [self.instance])
        return self

    def end(self):
        self.producer.finish_source()
        return self.producer.wait(30, [self.instance])


def conserved(postgres, outcomes, logs):
    sent, acked = {}, set()
    for outcome in outcomes:
        sent.update(outcome.sent)
        acked |= outcome.acked
    conservation.assert_conserved(postgres, None, logs=logs, show=False, sent=sent, acked=acked)


# --- runbooks ----------------------------------------------------------------------------------------------------
def test_each_runbook_is_tried_here():
    text = page("docs/guide.md").split("\n## Runbooks\n")[1]
    assert re.findall(r"^### (.*)$", text, re.M) == [
        "A new Redis", "A new PostgreSQL", "A restored backup", "Credentials", "A full spool", "A dead pod's volume", "LiteLLM"]


def test_a_new_redis(stack, place):
    pods = [stack.spendd(**FEW).start(ready=WORKERS) for _ in range(2)]
    loads = [Load(pod, seed).goes_on() for seed, pod in enumerate(pods)]
    new = place.redis().start()
    try:
        (commands,) = blocks("docs/guide.md", "A new Redis")
        for pod, load in zip(pods, loads):
            pod.write_config(redis__url=new.url)
            Operator(pod).types(commands)
            load.goes_on()
        stack.redis.stop("immediate")
        conserved(stack.postgres, [load.goes_on().end() for load in loads], [*pods, new])
        wait_until(lambda: pods[0].status()["queue"] == pods[1].status()["queue"], 20, "one queue for both", [*pods])
    finally:
        new.close()


def test_a_new_postgres(stack, place):
    """Beside a second instance, which is told too."""
    pods = [stack.spendd(**FEW).start(ready=("aggregator", "control")) for _ in range(2)]
    operators = [Operator(pod) for pod in pods]
    loads = [Load(pod, seed).goes_on() for seed, pod in enumerate(pods)]
    conservation.wait_schema(stack.postgres, pods)
    new = place.postgres().start()
    try:
        copy, told, again = blocks("docs/guide.md", "A new PostgreSQL")
        operators[0].types(copy, OLD=stack.postgres.url(), NEW=new.url())
        for pod, operator, load in zip(pods, operators, loads):
            pod.write_config(database__url=new.url())
            operator.types(told)
            load.goes_on()
        stack.postgres.stop("immediate")
        operators[0].types(again)
        conserved(new, [load.goes_on().end() for load in loads], [*pods, new])
        assert new.one("select install from spendd.schema_version") and not any("wrong_database" in pod.log_text() for pod in pods)
    finally:
        new.close()


def test_an_empty_database_is_a_wrong_one(stack, place):
    """As that runbook says, and what it says to do."""
    pod = stack.spendd(**FEW).start(ready=WORKERS)
    load = Load(pod).goes_on()
    wait_until(lambda: pod.metric("events_counted_total") > 0, 20, "a flush", [pod])
    empty = place.postgres().start()
    try:
        pod.write_config(database__url=empty.url())
        Operator(pod).types(["spendctl reload"])
        wait_until(lambda: "wrong_database" in pod.log_text(), 30, "the refusal", [pod])
        load.end()
        assert empty.one("select count(*) from spendd.spend_log") == 0
        assert pod.stop() == 0
        pod.write_config(redis__prefix="{anew}:")
        pod.start(ready=WORKERS)
        wait_until(lambda: empty.one("select count(*) from spendd.spend_log") > 0, 30, "what was not counted yet", [pod])
    finally:
        empty.close()


def test_a_restored_backup(stack, place):
    pod = stack.spendd(**FEW).start(ready=WORKERS)
    load = Load(pod).goes_on()
    wait_until(lambda: pod.metric("events_counted_total") > 0, 20, "a flush", [pod])
    data, backup = stack.postgres.data, os.path.join(place.sub("b"), "d")
    stack.postgres.stop()
    subprocess.run(["cp", "-a", data, backup], check=True)
    stack.postgres.start()
    counted = pod.metric("events_counted_total")
    wait_until(lambda: pod.metric("events_counted_total") > counted, 30, "what the backup does not have", [pod])
    stack.postgres.stop("immediate")
    shutil.rmtree(data)
    os.rename(backup, data)
    stack.postgres.start()
    assert blocks("docs/guide.md", "A restored backup") == [], "nothing is to be done"
    conserved(stack.postgres, [load.goes_on().end()], [pod, stack.postgres])
    assert "database_went_back" in pod.log_text()


def test_credentials(stack):
    """A password in the configuration: two at once, a reload, one again."""
    redis = stack.redis.client()

    def url(password):
        return f"unix://app:{password}@{stack.redis.socket}?db=0"

    redis.execute_command("ACL", "SETUSER", "app", "on", "~*", "+@all", ">first")
    pod = stack.spendd(**FEW, redis__url=url("first")).start(ready=WORKERS)
    load = Load(pod).goes_on()
    restart, reload = blocks("docs/guide.md", "Credentials")
    assert restart == ["systemctl restart spendd"], "make test-packages does it under systemd"
    redis.execute_command("ACL", "SETUSER", "app", ">second")
    pod.write_config(redis__url=url("second"))
    Operator(pod).types(reload)
    wait_until(lambda: pod.status() and pod.state("redis_writer") == pod.state("db_flusher") == "READY", 20, "the workers", [pod])
    redis.execute_command("ACL", "SETUSER", "app", "<first")
    redis.execute_command("CLIENT", "KILL", "USER", "app")
    conserved(stack.postgres, [load.goes_on().end()], [pod])
    redis.close()


def test_a_full_spool(stack):
    pod = stack.spendd(**FEW, spool__max_bytes=1048576, seal__bytes=131072).start(ready=WORKERS)
    operator, pids = Operator(pod), {name: pod.pids(name) for name in ("aggregator", "redis_writer", "control")}
    stack.postgres.stop()
    events = list(Generator(3).events(6000))
    producer = Producer(pod.ingest, batches(events, 50), window=8, resend_s=1).start()
    wait_until(lambda: producer.outcome.told_to_wait > 0, 30, "the spool to be full", [pod])
    look, more = blocks("docs/guide.md", "A full spool")
    said = operator.types(look)
    assert "gate" in said and "lock" in said
    pod.write_config(spool__max_bytes=16 << 20)
    operator.types(more)
    outcome = producer.wait(60, [pod])
    assert len(outcome.acked) == len(events) and {name: pod.pids(name) for name in pids} == pids
    stack.postgres.start()
    conserved(stack.postgres, [outcome], [pod])


def test_a_dead_pods_volume(stack):
    pod = stack.spendd(**FEW, seal__ms=60000, seal__events=100).start(ready=("aggregator", "control"))
    operator = Operator(pod)
    operator.types(["spendctl pause push"])
    pod.paused("redis_writer")
    events = list(Generator(4).events(350))
    outcome = Producer(pod.ingest, batches(events, 10), window=1).start().wait(logs=[pod])
    pod.freeze("aggregator")
    pod.kill_all()
    (commands,) = blocks("docs/guide.md", "A dead pod's volume")
    said = operator.types(commands, DIR=pod.spool)
    assert "sealed" in said and "pushed" in said
    other = stack.spendd(**FEW).start(ready=WORKERS)
    conserved(stack.postgres, [outcome], [other])
    wait_until(lambda: re.search(r"\b0 segments pushed", operator.types(commands[-1:], DIR=pod.spool)), 20, "all of it applied", [other])


# --- lines for the stores' own files -----------------------------------------------------------------------------
@pytest.mark.parametrize("number", [0, 1])
def test_lines_for_redis_conf(place, number):
    lines = blocks("docs/guide.md", "Redis")[number]
    here = place.sub("c")
    path, socket = os.path.join(here, "redis.conf"), os.path.join(here, "s")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, "port 0", f"unixsocket {socket}", f"dir {here}"]) + "\n")
    with open(os.path.join(here, "log"), "wb") as log, subprocess.Popen(["redis-server", path], stdout=log, stderr=log) as server:
        try:
            wait_until(lambda: os.path.exists(socket) or server.poll() is not None, 20, "Redis")
            with open(log.name, encoding="utf-8") as file:
                assert server.poll() is None, file.read()
        finally:
            server.kill()


def test_lines_for_postgresql_conf(place):
    (lines,) = blocks("docs/guide.md", "PostgreSQL")
    server = place.postgres()
    path = os.path.join(server.data, "postgresql.conf")
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    names = {line.split(" = ")[0] for line in lines if not line.startswith("#")}
    server.settings = {name: value for name, value in server.settings.items() if name not in names}
    server.start()
    try:
        known = server.query("select name, error from pg_file_settings where name = any(%s)", [list(names)])
        assert {name for name, _ in known} == names and all(error is None for _, error in known), known
    finally:
        server.close()


# --- figures -----------------------------------------------------------------------------------------------------
def figure(row, pattern):
    line = next(line for line in page("docs/guide.md").splitlines() if line.startswith(f"| {row} |"))
    return int(re.search(pattern, line)[1])


def near(measured, said, what):
    assert abs(measured - said) <= MEASURED * said, f"{what}: {measured:.0f}, and the guide says {said}"


def test_sizing(stack):
    pod = stack.spendd(**FEW).start(ready=WORKERS)
    events = list(Generator(8).events(6000))
    near(sum(len(payload_of([event], "lines")) for event in events) / len(events), figure("spool", r"JSON was (\d+)"), "JSON")
    outcome = Producer(pod.ingest, batches(events, 100), window=16).start().wait(60, [pod])
    conserved(stack.postgres, [outcome], [pod])
    written = pod.metric("spool_written_bytes_total")
    near(written / len(events), figure("spool", r"^\| spool \| (\d+) bytes an event"), "spool")
    near(size(stack.postgres, "spend_log") / len(events), figure("log rows", r"(\d+) bytes an event"), "log row")
    stack.postgres.query("vacuum full spendd.spend_daily")  # how often a slow machine rewrote a row is not asked
    near(size(stack.postgres, "spend_daily") / stack.postgres.one("select count(*) from spendd.spend_daily"),
         figure("daily sums", r"(\d+) bytes a row"), "daily row")
    clients = [row for row in stack.redis.client().client_list() if row["cmd"] != "client|list"]
    assert len(clients) <= figure("connections to Redis", r": (\d+) at most")
    for worker in WORKERS:
        assert len(os.listdir(f"/proc/{pod.pid(worker)}/fd")) <= figure("descriptors", r"about (\d+) besides")


def size(postgres, table):
    """Of a table with its partitions, indexes included."""
    return int(postgres.one("select coalesce((select sum(pg_total_relation_size(relid)) from pg_partition_tree(%s)), "
                            "pg_total_relation_size(%s))", [f"spendd.{table}"] * 2))


# --- names -------------------------------------------------------------------------------------------------------
def test_quick_start_is_that_of_the_readme():
    """Which make test-packages types into a machine."""
    assert blocks("docs/guide.md", "Quick start")[0] == blocks("README.md", "Installing")[0]


@pytest.mark.parametrize("path", PAGES)
def test_words_and_settings_exist(path):
    text = page(path)
    words = set(re.findall(r'^[A-Z]+ *\(\w+, +"([a-z -]+)"', page("common/admin/commands.def"), re.M))
    assert set(re.findall(r"\bspendctl ([a-z][a-z-]*)", text)) <= words | {"speaks", "with", "lists"}
    settings = set(re.findall(r'^[A-Z]+ *\(\w+, "([a-z_.]+)"', page("common/config/settings.def"), re.M))
    groups = {name.split(".")[0] for name in settings if "." in name}
    ours = {name for name in re.findall(r"`([a-z_]+\.(?!conf`)[a-z_]+)`", text) if name.split(".")[0] in groups}
    assert ours <= settings, sorted(ours - settings)

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
from lib.poster import Web, ports
from lib.producer import Asker
from lib.waiting import SANITIZED, wait_until
from lib.wire import ROOT

# What each secret setting holds in these tests; a word of base64 ends in '='.
SECRETS = {
    "redis.url": "r3d1s-K7Qx-s3cret", "database.url": "p0stgr3s-W9Zt-s3cret", "redis.sentinel_password": "s3ntin3l-Pq4v==",
    "http.tokens": "t0k3n-Lm2x-p0st==", "http.status_token": "st4tus-Bn8r-t0k3n=",
    "health.models[0].url": "m0del-Vx3k-k3y", "health.models[0].headers[0]": "h34der-Jd7w-k3y=",
}


def table(path, pattern):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return re.findall(pattern, file.read(), re.M)


def roster():
    """worker -> CORE_NEVER or CORE_ALLOWED"""
    return dict(table("workers/roster.def", r"^WORKER\((\w+),.*?(CORE_\w+)"))


def readers():
    """secret setting -> workers that are given it; of a list of models its first place stands for all, of headers too"""
    found = {path: set(re.findall(r"FOR_(\w+)", row)) for path, row in
             table("common/config/settings.def", r'^(?:SECRET|LIST  )\(\w+, "([^"]+)",(.*)$')}
    of_models = found.pop("health.models")
    for field in table("common/config/models.def", r'^ *MODEL_SECRET\(n, \w+, "([^"]+)"'):
        if not re.search(r"\[[1-9]\]", field):
            found[f"health.models[0].{field}"] = of_models
    return found


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
    instance = Spendd(place.sub("n"), build=build, **ports(redis__url="unix:///nowhere/s", database__url="host=/nowhere"))
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
        instance.wait_ready("aggregator", "redis_writer", "health_checker", "control", "gateway")
        pids = {worker: instance.pids(worker) for worker, core in roster().items() if core == "CORE_NEVER"}
        assert sum(map(len, pids.values())) >= 5, pids
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


def armed(stack):
    """An instance with every worker of the roster and every secret of the tables."""
    assert readers().keys() == SECRETS.keys(), "a secret without a value here, or the other way round"
    stack.redis.client().config_set("requirepass", SECRETS["redis.url"])
    model = {"name": "m", "url": f"http://127.0.0.1:1/v1?key={SECRETS['health.models[0].url']}",
             "headers": [f"Authorization: Basic {SECRETS['health.models[0].headers[0]']}"]}
    settings = {"redis__url": "env:SPEND_REDIS", "database__url": "env:SPEND_DATABASE", "health__models": [model],
                "redis__sentinel_password": SECRETS["redis.sentinel_password"], "http__tokens": SECRETS["http.tokens"],
                "http__status_token": SECRETS["http.status_token"], "log__level": "debug"}
    environment = {"SPEND_REDIS": f"unix://:{SECRETS['redis.url']}@{stack.redis.socket}?db=0", "SPEND_DATABASE":
                   f"postgresql:///postgres?host={stack.postgres.dir}&user=spendd&password={SECRETS['database.url']}"}
    instance = stack.spendd(environment=environment, **ports(**settings)).start(ready=roster())
    # Everybody has done its work once.
    events = list(Generator(2, "secrets").events(40))
    with Asker(instance.ingest) as asker:
        asker.events(events[:20])
    assert Web(instance, token=SECRETS["http.tokens"]).post(events[20:])[0] == 200
    assert Web(instance).post(events[20:])[0] == 401
    wait_until(lambda: _count(stack) == 40, 20, "the events to be counted", [instance])
    wait_until(lambda: "model_unhealthy" in instance.log_text(), 20, "the model to be asked", [instance])
    return instance


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's shadow is terabytes to read")
def test_credentials_are_only_where_they_are_needed(stack):
    if os.geteuid() != 0:
        pytest.skip("reading another process' memory needs root")
    instance = armed(stack)
    given = readers()
    assert not given["redis.url"] & {"aggregator", "gateway"} and not given["database.url"] & {"aggregator", "gateway", "control"}
    seen = {}
    for worker in roster():
        assert instance.pids(worker), f"{worker} is not looked at"
        for pid in instance.pids(worker):
            with open(f"/proc/{pid}/environ", "rb") as file:
                assert file.read() == b"", f"{worker} has an environment"
            # One reading of the memory: what is found is judged.
            found = knows(pid, [secret.encode() for secret in SECRETS.values()])
            forbidden = {where for setting, secret in SECRETS.items() if worker not in given[setting]
                         for where in found if where.startswith(f"{secret} in ")}
            assert not forbidden, f"{worker}: {forbidden}"
            seen[worker] = found
    print(f"\n  looked into {sorted(seen)}; who needs them: {seen}")
    # The look itself can find something: who needs a secret has it in memory, and nowhere else.
    for setting, worker in (("database.url", "db_flusher"), ("redis.url", "redis_writer"), ("http.tokens", "gateway"),
                            ("health.models[0].headers[0]", "health_checker")):
        assert f"{SECRETS[setting]} in memory" in seen[worker], (setting, seen[worker])
    assert all("in memory" in where for worker in seen.values() for where in worker)
    with open(f"/proc/{instance.process.pid}/cmdline", "rb") as file:
        line = file.read()
    assert not any(secret.encode() in line for secret in SECRETS.values())
    assert instance.stop() == 0


def said_by_everybody(stack, instance):
    """{who: text}: every view of spendctl, every page, a reload that changes each secret, the bundle, the log at debug."""
    said = {}
    for word in ("status", "workers", "queues", "lock", "health", "fleet", "config", "stats", "version"):
        for form in ((), ("--json",)):
            done = instance.ctl(*form, word)
            assert done.returncode == 0, (word, done)
            said[f"{word} {form}"] = done.stdout
    for path in [*table("workers/gateway/routes.def", r'^ROUTE\(GET, +"([^"]+)"'), "/nowhere"]:
        for token in (None, SECRETS["http.status_token"]):
            said[f"{path} {bool(token)}"] = Web(instance, token=token).ask("GET", path, face="status")[1].decode()
    said["wrong token"] = str(Web(instance, token="x").post([{"request_id": "x", "spend": 1}])[1:])
    where = os.path.join(instance.dir, "bundle")
    assert instance.ctl("support-bundle", where, "--log", instance.log).returncode == 0
    for name in os.listdir(where):
        with open(os.path.join(where, name), encoding="utf-8", errors="replace") as file:
            said["bundle/" + name] = file.read()
    before = dict(instance.settings)
    model = before["health.models"][0]
    instance.write_config(**{**{name: SECRETS[name] + "x" for name in before if name in SECRETS},
                             "health.models": [{"name": "n", "url": model["url"] + "&more=1", "headers": model["headers"] * 2}],
                             "redis.url": f"redis://:{SECRETS['redis.url']}-x@127.0.0.1:1/0",
                             "database.url": f"host=h password = '{SECRETS['database.url']} y'"})
    for words in (("reload", "--dry-run"), ("reload",)):
        said[" ".join(words)] = (done := instance.ctl(*words)).stdout + done.stderr
        assert "http.tokens" in said[" ".join(words)] and "redis.url" in said[" ".join(words)], done
    instance.write_config(**before)
    assert instance.ctl("reload").returncode == 0
    for line in ("http: { tokens = \"%s\" };\nhttp", "redis: { url = \"%s\"; };\n", "nonsense = \"%s\";\n"):
        with open(instance.config + ".bad", "w", encoding="ascii") as file:
            file.write(line.replace("%s", SECRETS["http.tokens"] * (3 if "tokens" in line else 1)))
        done = subprocess.run([instance.program(), "--check", "--config", instance.config + ".bad"], capture_output=True, text=True, check=False)
        said["check " + line] = done.stdout + done.stderr
    for word in ("--print-config", "--check"):
        done = subprocess.run([instance.program(), word, "--config", instance.config], capture_output=True, text=True, check=True,
                              env={**os.environ, **instance.environment})
        said[word] = done.stdout + done.stderr
    return said


def test_nobody_says_a_secret(stack):
    instance = armed(stack)
    said = said_by_everybody(stack, instance)
    assert instance.stop() == 0
    said["log"] = instance.log_text()
    assert "***" in said["config ()"] and "***" in said["reload"] and len(said) > 40
    bare = {setting: secret.rstrip("=") for setting, secret in SECRETS.items()}
    leaks = {(who, setting) for who, text in said.items() for setting, secret in bare.items() if secret in text}
    assert not leaks, leaks


def _count(stack):
    try:
        return stack.postgres.one("select count(*) from spendd.spend_log")
    except psycopg2.Error:
        return 0

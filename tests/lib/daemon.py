"""The daemon under test: started from a build, killed in part or as a whole, and never left behind.

Which build: SPENDD_BUILD_DIR, else build/$SPENDD_MODE, else build/release.  The log of all processes of
an instance goes to one file; a wait that fails shows its end.
"""
import atexit
import json
import os
import signal
import subprocess
import time

import zmq

from . import processes
from .waiting import BUILD_DIR, patient, tail_of, wait_until
from .wire import ROOT

BUILD = os.path.join(ROOT, BUILD_DIR)
WORKERS = ("health_checker", "aggregator", "redis_writer", "db_flusher", "control")

# What tests change of the defaults: everything that would make them wait.
QUICK = {
    "log.level": "info",
    "spool.allow_volatile": True,
    "spool.keep_free_percent": 1,
    "seal.ms": 100,
    "flush.ms": 50,
    "supervisor.beat_ms": 200,
    "supervisor.backoff_min_ms": 50,
    "supervisor.backoff_max_ms": 500,
    "supervisor.flap_deaths": 1000,
    "supervisor.drain_ms": 60000,
    "redis.backoff_max_ms": 300,
    "redis.backoff_slow_max_ms": 600,
    "redis.repush_s": 5,
    "redis.applied_poll_ms": 100,
    "redis.connect_ms": 1000,
    "redis.command_ms": 1000,
    "database.backoff_max_ms": 500,
    "database.backoff_slow_max_ms": 1000,
    "database.connect_ms": 3000,
    "health.probe_ms": 200,
    "health.idle_probe_ms": 1000,
    "lock.ttl_ms": 1500,
    "lock.renew_ms": 300,
    "lock.linger_ms": 300,
}


def render(settings):
    """{"a.b": 1} -> a libconfig file with groups; a list of dicts is a list of groups, of others an array."""
    groups = {}
    for path, value in settings.items():
        group, _, name = path.rpartition(".")
        groups.setdefault(group, {})[name] = value

    def shown(value):
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return f"{value}L" if abs(value) >= 2**31 else str(value)
        if isinstance(value, dict):
            return "{ " + " ".join(line(*pair).strip() for pair in value.items()) + " }"
        if isinstance(value, list):  # of groups, or an array
            inside = ", ".join(map(shown, value))
            return f"({inside})" if value and isinstance(value[0], dict) or not value else f"[{inside}]"
        return json.dumps(str(value), ensure_ascii=False)

    def line(name, value):
        return f"{name} = {shown(value)};\n"

    text = "".join(line(name, value) for name, value in groups.pop("", {}).items())
    for group, rows in groups.items():
        text += f"{group}:\n{{\n" + "".join("    " + line(name, value) for name, value in rows.items()) + "};\n"
    return text


class Spendd:
    """One instance.  directory: short; holds run/, spool/, the configuration and the log.
    config: a file of somebody else's that is used as it is."""

    def __init__(self, directory, postgres=None, redis=None, build=None, environment=None, quick=True,
                 config=None, **settings):
        self.dir, self.build, self.environment = directory, build or BUILD, environment or {}
        self.run = os.path.join(directory, "run")
        self.spool = os.path.join(directory, "spool")
        self.log = os.path.join(directory, "log")
        self.config = config or os.path.join(directory, "spendd.conf")
        self.name = os.path.basename(directory)
        os.makedirs(self.run, mode=0o750, exist_ok=True)
        os.makedirs(self.spool, mode=0o750, exist_ok=True)
        self.settings = {"runtime_dir": self.run, "spool.dir": self.spool, "http.status_listen": "off", **(QUICK if quick else {})}
        if redis is not None:
            self.settings["redis.url"] = redis.url
        if postgres is not None:
            self.settings["database.url"] = postgres.url()
        self.settings.update({name.replace("__", "."): value for name, value in settings.items()})
        self.process = None
        self._sessions = set()
        if config is None:
            self.write_config()
        atexit.register(self.kill_all)

    # --- where things are ---
    @property
    def ingest(self):
        return f"ipc://{self.run}/ingest.sock"

    @property
    def unacked(self):
        return f"ipc://{self.run}/ingest-unacked.sock"

    @property
    def admin(self):
        return f"ipc://{self.run}/admin.sock"

    def program(self, name="spendd"):
        return os.path.join(self.build, "bin", name)

    def write_config(self, **settings):
        self.settings.update({name.replace("__", "."): value for name, value in settings.items()})
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(render(self.settings))

    def tail(self, lines=80):
        return tail_of(self.log, lines)

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    # --- life ---
    def start(self, ready=("aggregator",), deadline_s=20):
        """Starts the supervisor; waits until the named workers are ready (() waits for nothing)."""
        assert os.path.exists(self.program()), f"not built: {self.program()}"
        environment = {**os.environ, "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0:disable_coredump=0",
                       "UBSAN_OPTIONS": "print_stacktrace=1", **self.environment}
        with open(self.log, "ab") as log:
            log.write(f"=== start {time.strftime('%H:%M:%S')}\n".encode())
            log.flush()
            self.process = subprocess.Popen([self.program(), "--config", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment, start_new_session=True, cwd="/")
        self._sessions.add(self.process.pid)
        if ready:
            self.wait_ready(*ready, deadline_s=deadline_s)
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def members(self):
        """Every living process of this instance, orphans included.  {pid: name}
        It is ours when it belongs to a session that we started, or when it writes to our log."""
        found = {}
        log, here = os.path.realpath(self.log), os.path.realpath(self.build) + "/"
        for pid in processes.all_pids():
            stat = processes.stat_of(pid)
            if stat is None or stat[1] == "Z":
                continue
            program = processes.executable(pid)
            if stat[3] in self._sessions or (program.startswith(here) and processes.descriptor(pid, 2) == log):
                found[pid] = os.path.basename(program) or stat[0]
        return found

    def pids(self, worker):
        """Living processes of one worker under the present supervisor, oldest first."""
        if not self.running():
            return []
        return sorted(pid for pid in processes.children(self.process.pid)
                      if processes.program(pid) == worker)

    def pid(self, worker, deadline_s=20):
        return wait_until(lambda: self.pids(worker), deadline_s, f"{worker} to run", [self])[0]

    def kill(self, worker, number=signal.SIGKILL, deadline_s=20):
        """Signals one worker; waits only for it to be there and (SIGKILL) to be gone.  Returns its pid."""
        pid = self.pid(worker, deadline_s)
        processes.send(pid, number)
        if number == signal.SIGKILL:
            wait_until(lambda: not processes.alive(pid), 10, f"{worker} {pid} to be gone", [self])
        return pid

    def kill_if_there(self, worker):
        """SIGKILL without waiting for anything: True when there was one."""
        pids = self.pids(worker)
        return bool(pids) and processes.send(pids[0], signal.SIGKILL)

    def kill_supervisor(self):
        """The workers are left behind as orphans: they drain and leave by themselves."""
        self.process.kill()
        self.process.wait()

    def kill_all(self):
        """Everything at once: the supervisor is stopped first, so that it starts nobody in between, and dies last, so
        that no worker hears of its death and begins to drain."""
        if self.running():
            processes.freeze(self.process.pid)
        for pid in self.members():
            if self.process is None or pid != self.process.pid:
                processes.send(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        wait_until(lambda: not self.members(), 10, "all processes to be gone", [self])

    def freeze(self, worker):
        """Nothing of it runs when this is back."""
        pid = self.pid(worker)
        processes.freeze(pid)
        return pid

    def thaw(self, pid):
        processes.send(pid, signal.SIGCONT)

    def stop(self, deadline_s=75):
        """SIGTERM; the exit code.  Nothing of ours is left afterwards: that is part of the answer."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patient(deadline_s))
        except subprocess.TimeoutExpired:
            shown = self.tail()
            self.kill_all()
            raise AssertionError(f"{self.name} did not leave within {deadline_s} s of SIGTERM\n{shown}") from None
        left = self.members()
        if left:
            self.kill_all()
            raise AssertionError(f"{self.name} left processes behind: {left}\n{self.tail()}")
        return code

    def close(self):
        """For fixtures: gone, however it stands; the sanitizers' word is heard."""
        if self.process is not None:
            self.kill_all()
        atexit.unregister(self.kill_all)
        text = self.log_text()
        for mark in ("AddressSanitizer", "runtime error:", "LeakSanitizer"):
            assert mark not in text, f"{mark} in {self.log}\n" + "\n".join(
                line for line in text.splitlines()[:100000] if mark in line or line.lstrip().startswith("#"))[:6000]

    # --- what it says of itself ---
    def paused(self, worker):
        """Waits until a pause has reached this worker: the order is answered before."""
        wait_until(lambda: any(row["name"] == worker and "paused" in row["status"]
                               for row in (self.status() or {"workers": ()})["workers"]),
                   20, f"{worker} to say that it is paused", [self])

    def ask(self, *words, timeout_s=5):
        """(status, value) of an admin command, or (None, None) when nobody answers."""
        context = zmq.Context()
        try:
            socket = context.socket(zmq.REQ)
            socket.connect(self.admin)
            socket.send_multipart([b"spendctl/1", *(word.encode() for word in words)])
            if not socket.poll(patient(timeout_s) * 1000):
                return None, None
            frames = socket.recv_multipart()
            return int(frames[0]), json.loads(frames[1])
        finally:
            context.destroy(linger=0)

    def status(self, timeout_s=10):
        """The answer to `spendctl status --json`, or None."""
        code, value = self.ask("status", timeout_s=timeout_s)
        return value if code == 200 else None

    def metric(self, name):
        """A counter or gauge of metrics.def, summed over the workers; None when nobody answers."""
        code, value = self.ask("stats")
        rows = value["metrics"] if code == 200 else ()
        return next((row["total"] for row in rows if row["name"] == name), None)

    def state(self, worker, status=None):
        status = self.status(2) if status is None else status
        for row in (status or {}).get("workers", ()):
            if row["name"] == worker:
                return row["state"]
        return None

    def wait_ready(self, *workers, deadline_s=20):
        def ready():
            if not self.running():
                raise AssertionError(f"{self.name} ended with {self.process.returncode}\n{self.tail()}")
            status = self.status(1)
            return status and all(self.state(worker, status) == "READY" for worker in workers)

        wait_until(ready, deadline_s, f"{', '.join(workers)} to be ready", [self])
        return self

    def ctl(self, *words, timeout_s=20):
        """Runs spendctl itself."""
        return subprocess.run([self.program("spendctl"), "--socket", self.admin, *words], capture_output=True,
                              text=True, timeout=patient(timeout_s), check=False)

    def popen(self, *words):
        """spendctl, not waited for."""
        return subprocess.Popen([self.program("spendctl"), "--socket", self.admin, *words],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Stack:
    """Redis, PostgreSQL and one or more instances on them, in one place."""

    def __init__(self, place, redis=None, postgres=None):
        self.place = place
        self.redis = redis or place.redis()
        self.postgres = postgres or place.postgres()
        self.instances = []

    def start(self):
        for server in (self.redis, self.postgres):
            if not server.running():
                server.start()
        return self

    def spendd(self, **settings):
        made = Spendd(self.place.sub("i"), self.postgres, self.redis, **settings)
        self.instances.append(made)
        return made

    @property
    def logs(self):
        return [*self.instances, self.redis, self.postgres]

    def close(self):
        faults = []
        for instance in self.instances:
            try:
                instance.close()
            except AssertionError as fault:
                faults.append(str(fault))
        self.redis.close()
        self.postgres.close()
        assert not faults, "\n".join(faults)

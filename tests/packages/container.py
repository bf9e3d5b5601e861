"""The container's root without an engine: assembled in a clean root by the very script that the image's second stage
runs, and its entrypoint as PID 1 of a process namespace, without rights, on a read-only root, under a bound of memory.
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from roots import Failed, layer  # noqa: E402

from lib import conservation, processes  # noqa: E402
from lib.events import Generator, batches  # noqa: E402
from lib.producer import Producer  # noqa: E402
from lib.servers import Place, free_tcp_port  # noqa: E402
from lib.waiting import tail_of, wait_until  # noqa: E402
from lib.wire import ROOT  # noqa: E402

MEMORY = 320 * 1024 * 1024
UID = "10001"
# What an engine does for the image: a root that cannot be written to, two places that can, no rights.
CAGE = """
set -e
mount --bind "$ROOT" "$ROOT"
mount --bind "$SPOOL" "$ROOT/var/lib/spendd"
mount --bind "$RUN" "$ROOT/run/spendd"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
exec chroot "$ROOT" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all \
    /usr/local/bin/spendd-entrypoint "$@"
"""


def need(condition, text):
    if not condition:
        raise Failed(text)


def image(suite, debs):
    """The second stage of the Containerfile."""
    root = layer(suite, "image")
    for path in debs:
        if os.path.basename(path).startswith("spendd_"):
            shutil.copy(path, root.inside("tmp"))
    for name in ("install.sh", "entrypoint.sh"):
        shutil.copy(os.path.join(ROOT, "packaging/container", name), root.inside("tmp"))
    root.chroot(["/tmp/install.sh"], "the image's second stage")
    need(not os.path.exists(root.inside("usr/lib/systemd/systemd")), "the image has no systemd")
    return root


class Bound:
    """A memory cgroup, of version 1 or 2, whichever is there."""

    def __init__(self):
        for base, self.limit, self.peak in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
                                            ("/sys/fs/cgroup", "memory.max", "memory.peak")):
            self.path = os.path.join(base, f"spendd-test-{os.getpid()}")
            try:
                os.mkdir(self.path)
                self._write(self.limit, MEMORY)
                return
            except OSError:
                if os.path.isdir(self.path):
                    os.rmdir(self.path)
        self.path = None

    def _write(self, name, value):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as file:
            file.write(str(value))

    def enter(self):
        if self.path is not None:
            self._write("cgroup.procs", os.getpid())

    def used(self):
        with open(os.path.join(self.path, self.peak), encoding="ascii") as file:
            return int(file.read())

    def kills(self):
        name = "memory.oom_control" if "memory/" in self.path else "memory.events"
        with open(os.path.join(self.path, name), encoding="ascii") as file:
            return int(next((line.split()[1] for line in file if line.startswith("oom_kill ")), "0"))

    def close(self):
        if self.path is not None:
            wait_until(self._gone, 20, "the cgroup to be empty")

    def _gone(self):
        try:
            os.rmdir(self.path)
            return True
        except OSError:
            return False


class Container:
    """name, tail: for waits that fail."""

    def __init__(self, root, place, environment):
        self.root, self.name, self.log = root, "container", os.path.join(place.root, "container.log")
        self.spool, self.run = place.sub("s"), place.sub("r")
        self.environment = environment
        self.bound, self.process = Bound(), None
        for path in (self.spool, self.run):
            os.chown(path, int(UID), int(UID))

    def start(self, *words):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "sh", "-c", CAGE, "sh", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=self.bound.enter,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ROOT": self.root.path, "SPOOL": self.spool, "RUN": self.run,
                     **self.environment})
        return self

    def first(self):
        """What is PID 1 in there, as we see it."""
        found = processes.children(self.process.pid)
        return found[0] if found else 0

    def inside(self, *words):
        return subprocess.run(["nsenter", "-t", str(self.first()), "-m", "-p", "-r", "-w", "setpriv", "--reuid", UID, "--regid", UID,
                               "--clear-groups", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def tail(self, lines=40):
        return tail_of(self.log, lines)


def status_of(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(line.split(":", 1)[1].strip() for line in file if line.startswith(name + ":"))


def zombies(container):
    """Dead children of PID 1 that nobody has asked after."""
    return [pid for pid in processes.children(container.first()) if (processes.stat_of(pid) or "  ")[1] == "Z"]


def caged(container):
    first = container.first()
    need(processes.executable(first).endswith("/usr/bin/spendd"), f"PID 1 is {processes.executable(first)}, and not spendd itself")
    need(status_of(first, "NSpid").split()[-1] == "1" and status_of(first, "Uid").split()[0] == UID, "PID 1, of our user")
    need(int(status_of(first, "CapEff"), 16) == int(status_of(first, "CapBnd"), 16) == 0, "capabilities")
    need("Read-only" in container.inside("touch", "/etc/x").stderr, "the root can be written to")


def life(root, suite):
    place = Place("/var/tmp")
    redis, port = place.redis(tcp=True).start(), free_tcp_port()
    postgres = place.postgres(listen_addresses="127.0.0.1", port=port).start()
    database = f"postgresql://spendd@127.0.0.1:{port}/postgres"
    environment = {"SPENDD_REDIS_URL": redis.url, "SPENDD_DATABASE_URL": database,
                   "SPENDD_SET_supervisor__data_limit_mb": "192", "SPENDD_SET_dedupe__ids": "50000",
                   "SPENDD_SET_ingest__max_connections": "256",
                   "SPENDD_SET_http__status_listen": "off", "SPENDD_SET_spool__keep_free_percent": "1",
                   "SPENDD_SET_flush__bytes": "1048576", "SPENDD_SET_log__format": "logfmt", "SPENDD_SET_instance": "caged"}
    container = Container(root, place, environment)
    try:
        container.start()
        wait_until(lambda: os.path.exists(os.path.join(container.run, "ingest.sock")) or container.process.poll() is not None,
                   60, "ingest", [container])
        need(container.process.poll() is None, f"it left: {container.process.returncode}\n{container.tail()}")
        caged(container)
        producer = Producer(f"ipc://{container.run}/ingest.sock", batches(list(Generator(5, "caged").events(4000)), 20)).start()
        outcome = producer.wait(120, [container])
        conservation.assert_conserved(postgres, outcome, logs=[container], show=False)
        need('"caged"' in container.inside("spendctl", "--json", "status").stdout, "spendctl in the container")
        # An orphan of somebody's becomes a child of PID 1, who must ask after it.
        container.inside("sh", "-c", "(true &) ; true")
        wait_until(lambda: not zombies(container), 20, "PID 1 to reap", [container])
        with open(os.path.join(container.run, "made.conf"), encoding="utf-8") as file:
            need(database not in file.read(), "a secret was written down")
        if container.bound.path:
            need(container.bound.used() <= MEMORY and container.bound.kills() == 0, "the bound of memory")
        first = container.first()
        os.kill(first, 15)
        need(container.process.wait(60) == 0, f"SIGTERM: exit {container.process.returncode}\n{container.tail()}")
        memory = f", {container.bound.used() >> 20} of {MEMORY >> 20} MiB" if container.bound.path else ", no cgroup to bound memory"
        print(f"packages: container ({suite}): PID 1, no rights, read-only root, orphans reaped, drained on SIGTERM{memory}", flush=True)
        words(container)
    finally:
        if container.process.poll() is None:
            container.process.kill()
            container.process.wait()
        container.bound.close()
        place.close()


def words(container):
    """With words the entrypoint runs those; a file that is there is taken."""
    container.start("spendd", "--version")
    need(container.process.wait(60) == 0 and "spendd 0." in container.tail(3), f"words: {container.tail(5)}")
    with open(os.path.join(container.run, "given.conf"), "w", encoding="utf-8") as file:
        file.write("flsuh: { ms = 1; };\n")
    container.environment["SPENDD_CONFIG"] = "/run/spendd/given.conf"
    container.start("--check")
    need(container.process.wait(60) == 78 and "unknown setting flsuh" in container.tail(5) and "is ignored" in container.tail(5),
         f"a given file: {container.tail(5)}")


def prove(suite, debs):
    root = image(suite, debs)
    try:
        life(root, suite)
    finally:
        root.remove()



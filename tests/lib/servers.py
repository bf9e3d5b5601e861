"""Throw-away Redis and PostgreSQL on private Unix sockets.

Everything lies in one short directory under the system's temporary one (a socket path ends at 107
bytes).  PostgreSQL is initdb'ed once per Place and copied from then on; it refuses root, so as root it
runs as the user postgres.  fsync is off by default because these tests kill processes, not power; a
test about power asks for it.
"""
import atexit
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile

import psycopg2
import redis

from . import processes
from .waiting import patient, tail_of, wait_until


_ports = []


def free_tcp_port():
    """A port that is this process' own until it ends.  Out of the range from which the kernel takes ports for
    outgoing connections (with a cluster's second one, 10000 higher), and locked against tests beside us by a name."""
    for port in random.SystemRandom().sample(range(12000, 22000), 5000):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0spendd-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _ports.append(lock)
        return port
    raise RuntimeError("no free port from 12000 to 21999")


def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    if found:
        return os.path.dirname(found[-1])
    for path in ("/usr/pgsql/bin", "/usr/bin"):
        if os.path.exists(os.path.join(path, "initdb")):
            return path
    raise RuntimeError("no PostgreSQL server programs (initdb) found")


def _postgres_user():
    """Keywords of Popen that make a child run as a user whom PostgreSQL accepts."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Place:
    """A short private directory; closes what was opened in it, newest first, and removes it."""

    def __init__(self, root=None):
        self.root = tempfile.mkdtemp(prefix="spendd-", dir=root or tempfile.gettempdir())
        os.chmod(self.root, 0o755)
        self._opened = []
        self._count = 0
        self._template = None
        atexit.register(self.close)

    def sub(self, stem):
        self._count += 1
        path = os.path.join(self.root, f"{stem}{self._count}")
        os.mkdir(path)
        return path

    def keep(self, thing):
        self._opened.append(thing)
        return thing

    def template(self):
        """The initdb'ed directory that every PostgreSQL here is copied from."""
        if self._template is None:
            path = self.sub("t")
            if os.geteuid() == 0:
                user = pwd.getpwnam("postgres")
                os.chown(path, user.pw_uid, user.pw_gid)
            subprocess.run(
                [os.path.join(postgres_bin(), "initdb"), "-D", path, "-U", "spendd", "-A", "trust",
                 "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                check=True, stdout=subprocess.DEVNULL, **_postgres_user(), cwd="/")
            self._template = path
        return self._template

    def postgres(self, **settings):
        return self.keep(Postgres(self, settings))

    def redis(self, **options):
        return self.keep(Redis(self, **options))

    def close(self):
        while self._opened:
            self._opened.pop().close()
        shutil.rmtree(self.root, ignore_errors=True)
        atexit.unregister(self.close)


class Server:
    """What the two have in common: one process, frozen, thawed, and never left behind."""

    def __init__(self, name, log):
        self.name, self.log, self.process = name, log, None

    def tail(self, lines=25):
        return tail_of(self.log, lines)

    def spawn(self, argv, **more):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", **more)

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def running(self):
        return self.process is not None and self.process.poll() is None

    def freeze(self):
        processes.freeze_tree(self.pid)

    def thaw(self):
        processes.thaw_tree(self.pid)

    def end(self, number, deadline_s=60):
        if not self.running():
            self.process = None
            return
        self.thaw()
        processes.send(self.pid, number)
        try:
            self.process.wait(patient(deadline_s))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Postgres(Server):
    DEFAULTS = {
        "listen_addresses": "", "fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB",
        "max_connections": "60", "autovacuum": "on", "log_min_messages": "warning", "log_lock_waits": "on",
        "max_wal_size": "1GB", "timezone": "UTC", "unix_socket_permissions": "0777",
        "log_line_prefix": "%m [%p] %a ",
    }

    def __init__(self, place, settings):
        self.place = place
        self.dir = place.sub("p")
        self.data = os.path.join(self.dir, "d")
        super().__init__("postgres", os.path.join(self.dir, "log"))
        self.settings = {**self.DEFAULTS, **{name: str(value) for name, value in settings.items()}}
        self.port = self.settings.get("port", "5432")
        self._fill()

    def _fill(self):
        subprocess.run(["cp", "-a", "--reflink=auto", self.place.template(), self.data], check=True)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.dir, user.pw_uid, user.pw_gid)

    def url(self, database="postgres", user="spendd"):
        port = "" if self.port == "5432" else f"&port={self.port}"
        return f"postgresql:///{database}?host={self.dir}&user={user}{port}"

    def hba(self, *lines):
        """Rules in front of those that let everybody in; read again when it runs."""
        path = os.path.join(self.data, "pg_hba.conf")
        with open(path, encoding="utf-8") as file:
            old = [line for line in file.read().splitlines() if not line.endswith("# test")]
        with open(path, "w", encoding="utf-8") as file:  # in place: it stays the server's
            file.write("\n".join([*(f"{line} # test" for line in lines), *old]) + "\n")
        if self.running():
            self.query("select pg_reload_conf()")

    def start(self, wait=True):
        argv = [os.path.join(postgres_bin(), "postgres"), "-D", self.data, "-k", self.dir]
        for name, value in self.settings.items():
            argv += ["-c", f"{name}={value}"]
        self.spawn(argv, **_postgres_user())
        if wait:
            wait_until(self.answers, 30, "PostgreSQL to answer", [self])
        return self

    def answers(self):
        try:
            with self.connect(connect_timeout=3) as connection:
                connection.cursor().execute("select 1")
            connection.close()
            return True
        except psycopg2.Error:
            return False

    def connect(self, database="postgres", **more):
        connection = psycopg2.connect(self.url(database), **more)
        connection.autocommit = True
        return connection

    def query(self, sql, args=None, database="postgres"):
        """Rows of one statement on a connection of its own ([] for statements without rows)."""
        connection = self.connect(database, application_name="test")
        try:
            cursor = connection.cursor()
            cursor.execute(sql, args)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def one(self, sql, args=None, database="postgres"):
        rows = self.query(sql, args, database)
        return rows[0][0] if rows else None

    def stop(self, mode="fast"):
        self.end({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def restart_empty(self):
        self.stop("immediate")
        shutil.rmtree(self.data)
        self._fill()
        return self.start()

    def close(self):
        self.stop("immediate")
        shutil.rmtree(self.data, ignore_errors=True)  # 40 MB each; the log stays


class Redis(Server):
    def __init__(self, place, tcp=False, **settings):
        self.dir = place.sub("r")
        super().__init__("redis", os.path.join(self.dir, "log"))
        self.socket = os.path.join(self.dir, "s")
        self.port = free_tcp_port() if tcp else 0
        self.settings = {"save": "", "appendonly": "no", "dir": self.dir, "maxclients": "500",
                         **{name.replace("_", "-"): value for name, value in settings.items()}}

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}?db=0"

    def start(self, wait=True):
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        for name, value in self.settings.items():
            argv += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
        self.spawn(argv)
        if wait:
            wait_until(self.answers, 20, "Redis to answer", [self])
        return self

    def client(self, **more):
        return redis.Redis(unix_socket_path=self.socket, socket_timeout=10, **more)

    def answers(self):
        try:
            client = self.client()
            try:
                return client.ping()
            finally:
                client.close()
        except redis.RedisError:
            return False

    def stop(self, mode="fast"):
        self.end(signal.SIGTERM if mode == "fast" else signal.SIGKILL)

    def restart_empty(self):
        self.stop("immediate")
        return self.start()

    def close(self):
        self.stop("immediate")

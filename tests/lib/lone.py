"""One worker without a supervisor: the test is the other end of fd 3.  Settings by their field names."""
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import psycopg2

from . import daemon
from . import conservation, wire
from .events import Generator
from .producer import event_id_of
from .servers import tail_of
from .waiting import patient, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SETTING, SETTINGS_END, GATE, DRAIN, STOP = 8, 9, 10, 11, 12
PAGE_MAGIC = 0x3153544154534453


def _str(text):
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def _metrics():
    with open(os.path.join(ROOT, "common/stats/metrics.def"), encoding="utf-8") as file:
        return re.findall(r"^(?:METRIC|LANE|PART)\((\w+)", file.read(), re.M)


def _histogram_bytes():
    """What stands behind the counters of a page: room for all bounds, what is above them, and the sum, of each."""
    with open(os.path.join(ROOT, "common/stats/histograms.def"), encoding="utf-8") as file:
        histograms = len(re.findall(r"^HISTOGRAM\(", file.read(), re.M))
    with open(os.path.join(ROOT, "common/stats/tables.h"), encoding="utf-8") as file:
        return 8 * histograms * (int(re.search(r"HISTOGRAM_BOUNDS_MAX (\d+)", file.read()).group(1)) + 2)


def _named_bytes():
    """Behind those: how many named rows there are, and the rows, of a name and three figures each."""
    with open(os.path.join(ROOT, "common/stats/stats.h"), encoding="utf-8") as file:
        return 8 + (int(re.search(r"STATS_NAMED_MAX (\d+)", file.read()).group(1)) + 1) * (64 + 3 * 8)


def _defaults(worker):
    """What the supervisor would send: every setting that the worker reads, by field name."""
    with open(os.path.join(ROOT, "common/config/settings.def"), encoding="utf-8") as file:
        rows = re.findall(r'^(INT|BOOL|TEXT|SECRET|CHOICE)\s*\((\w+), "[^"]*", ("[^"]*"|\w+),(.*)', file.read(), re.M)
    return {name: value.strip('"') for _, name, value, rest in rows if "FOR_ALL" in rest or f"FOR_{worker}" in rest}


class Lone:
    """settings: what is not the default.  pages: how many more pages of counters the worker is given to read (its own,
    again and again).  life: which start of it this is; page: of the one before, so that counters go on."""

    def __init__(self, worker, directory, name="lone", build=None, pages=0, life=1, page=None, **settings):
        self.name, self.worker = name, worker
        self.log = os.path.join(directory, f"{name}.log")
        self.metrics = _metrics()
        given = _defaults(worker)
        given.update({"instance": name, "log_level": "debug", "supervisor_beat_ms": 200})
        given.update(settings)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line = ours
        self.page = page
        if page is None:
            self.page = os.memfd_create("page", 0)
            os.write(self.page, struct.pack("<qq", PAGE_MAGIC, len(self.metrics)) +
                     bytes(8 * len(self.metrics) + _histogram_bytes() + _named_bytes()))
        self.tell(given, life)
        program = os.path.join(build or daemon.BUILD, "libexec/spendd", worker)
        line, page = theirs.fileno(), self.page

        def descriptors():
            low, high = (fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (line, page))
            os.dup2(low, 3)
            os.dup2(high, 4)
            for number in range(pages):
                os.dup2(high, 6 + number)

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={},
                                            close_fds=False, preexec_fn=descriptors, cwd="/")
        theirs.close()
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, settings, life=1):
        """Settings; to one that runs: a reload."""
        for field, value in settings.items():
            value = str(value).lower() if isinstance(value, bool) else str(value)
            self.line.send(bytes([SETTING]) + _str(field) + _str(value))
        self.line.send(bytes([SETTINGS_END]) + struct.pack("<II", 0, life) + _str(""))

    def _read(self):
        try:
            while self.line.recv(8192):
                pass
        except OSError:
            pass  # it died; the test looks at the process

    def metric(self, name):
        return struct.unpack("<q", os.pread(self.page, 8, 16 + 8 * self.metrics.index(name)))[0]

    def lives(self):
        """True, or the test fails at once: nothing that one waits for comes from a dead process."""
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}\n{self.tail()}"
        return True

    def drain(self, deadline_s=60):
        self.line.send(bytes([DRAIN]) + struct.pack("<q", deadline_s * 1000))
        return self.process.wait(patient(deadline_s))

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.line.close()

    close = kill

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def tail(self, lines=40):
        return tail_of(self.log, lines)


class LoneFlusher(Lone):
    def __init__(self, directory, redis, postgres, name="lone", build=None, **settings):
        quick = {"redis_url": redis.url, "database_url": postgres.url(), "flush_ms": 20, "lock_linger_ms": 100,
                 "redis_backoff_slow_max_ms": 600, "database_backoff_slow_max_ms": 1000}
        super().__init__("db_flusher", directory, name, build, **{**quick, **settings})


class Bench:
    """A Redis, a PostgreSQL, and lone flushers between them.

    The test's own statements have a bound, and go over one connection that is made again when it is lost: a
    loop of waiting must not make and leave hundreds of server processes behind.
    """

    def __init__(self, place):
        self.place, self.flushers = place, []
        self.rd, self.pg = place.redis(), place.postgres()
        self.rd.start()
        self.pg.start()
        self.client = self.rd.client()
        self.queue = wire.Queue(self.client)
        self._line = None

    def flusher(self, name=None, through=None, **settings):
        made = LoneFlusher(self.place.sub("f"), self.rd, through or self.pg, name or f"lone{len(self.flushers)}", **settings)
        self.flushers.append(made)
        return made

    def ready(self, **settings):
        """A flusher that has made the schema and its partitions."""
        made = self.flusher(**settings)
        wait_until(lambda: made.lives() and made.metric("lock_acquired_total") > 0, 20, "a schema that is ready", logs=[made])
        return made

    def sql(self, text, args=None):
        """First column of the first row, or None."""
        for last in (False, True):
            try:
                if self._line is None:
                    self._line = self.pg.connect(application_name="test", options="-c statement_timeout=20s")
                cursor = self._line.cursor()
                cursor.execute(text, args)
                row = cursor.fetchone() if cursor.description else None
                return row[0] if row else None
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if self._line is not None and not self._line.closed:
                    raise  # refused, not lost: a deadlock, a timeout
                self._line = None
                if last:
                    raise

    def push(self, *envelopes):
        generation = self.queue.look("g0")[1].decode()
        for data in envelopes:
            assert self.queue.push(generation, "g0", data)[0] == b"ok"

    def empty(self):
        return self.client.llen(self.queue.key("queue")) == 0

    def settle(self, deadline_s=20):
        wait_until(lambda: self.empty() and self.client.hlen(self.queue.key("applied")), deadline_s, "an empty queue",
                   logs=self.flushers)

    def metric(self, name):
        return sum(flusher.metric(name) for flusher in self.flushers)

    def check(self, sent, dead=(), **more):
        report = conservation.examine(self.pg, sent, set(sent) - set(dead), dead, **more)
        assert report.ok, report.table() + "\n" + "\n".join(f.tail() for f in self.flushers)

    def close(self):
        for flusher in self.flushers:
            flusher.close()
        if self._line is not None:
            self._line.close()
        self.pg.close()
        self.rd.close()


def by_id(events):
    return {event_id_of(event): event for event in events}


def envelopes(events, size=100, epoch=None, first=1):
    epoch = epoch or wire.uuid7()
    return [wire.envelope(epoch, seq, [wire.event_record(event) for event in events[at:at + size]])
            for seq, at in enumerate(range(0, len(events), size), first)]


def generated(count, seed=1, **more):
    return list(Generator(seed, **more).events(count))

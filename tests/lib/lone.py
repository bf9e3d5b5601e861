"""One db_flusher without a supervisor: the test is the other end of fd 3.  Settings by their field names."""
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import threading

from . import daemon
from .servers import tail_of

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SETTING, SETTINGS_END, GATE, DRAIN, STOP = 8, 9, 10, 11, 12
PAGE_MAGIC = 0x3153544154534453


def _str(text):
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def _metrics():
    with open(os.path.join(ROOT, "common/stats/metrics.def"), encoding="utf-8") as file:
        return [line.split("(")[1].split(",")[0] for line in file if line.startswith("METRIC(")]


def _defaults():
    """What the supervisor would send: every setting that the flusher reads, by field name."""
    with open(os.path.join(ROOT, "common/config/settings.def"), encoding="utf-8") as file:
        rows = re.findall(r'^(INT|BOOL|TEXT|SECRET|CHOICE)\s*\((\w+), "[^"]*", ("[^"]*"|\w+),(.*)', file.read(), re.M)
    return {name: value.strip('"') for _, name, value, rest in rows if "FOR_ALL" in rest or "FOR_db_flusher" in rest}


class LoneFlusher:
    def __init__(self, directory, redis, postgres, name="lone", build=None, **settings):
        self.name = name
        self.log = os.path.join(directory, f"{name}.log")
        self.metrics = _metrics()
        given = _defaults()
        given.update({"instance": name, "log_level": "debug", "redis_url": redis.url, "database_url": postgres.url(),
                 "flush_ms": 20, "lock_linger_ms": 100, "supervisor_beat_ms": 200})
        given.update(settings)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line = ours
        self.page = os.memfd_create("page", 0)
        os.write(self.page, struct.pack("<qq", PAGE_MAGIC, len(self.metrics)) + bytes(8 * len(self.metrics)))
        for field, value in given.items():
            value = str(value).lower() if isinstance(value, bool) else str(value)
            ours.send(bytes([SETTING]) + _str(field) + _str(value))
        ours.send(bytes([SETTINGS_END]) + struct.pack("<II", 0, 1))
        program = os.path.join(build or daemon.BUILD,
                               "libexec/spendd/db_flusher")
        line, page = theirs.fileno(), self.page

        def descriptors():
            low, high = (fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (line, page))
            os.dup2(low, 3)
            os.dup2(high, 4)

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={},
                                            close_fds=False, preexec_fn=descriptors, cwd="/")
        theirs.close()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while self.line.recv(8192):
            pass

    def metric(self, name):
        return struct.unpack("<q", os.pread(self.page, 8, 16 + 8 * self.metrics.index(name)))[0]

    def drain(self, deadline_s=20):
        self.line.send(bytes([DRAIN]) + struct.pack("<q", deadline_s * 1000))
        return self.process.wait(deadline_s)

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

"""The proxy that reads PostgreSQL's protocol, and so can act around a COMMIT.

    proxy.arm_commit("before")   the server never sees it; both sides are cut: nothing was committed
    proxy.arm_commit("after")    the server has answered it; the client never sees the answer: it was committed
    proxy.arm_commit("hold")     as after, but the client's side stays open and silent: its own deadline must end it
    proxy.arm_commit("reset")    as after, with a RST

It acts once, on the next COMMIT: a simple query or a Parse of it, whatever stands around it in the stream;
with of="db_flusher" on the next one of a connection whose first message has that word (its application_name).
Under TLS it carries bytes and knows nothing.
"""
import os
import struct

from .proxy import DOWN, UP, Proxy

SSL, GSS = 80877103, 80877104
ASKED = ("before", "after", "hold", "reset")


class Frames:
    """Cuts one way of a connection into messages: (kind, first bytes of the body, where it begins in the
    data - before 0 when that was in an earlier piece)."""

    KEEP = 512

    def __init__(self, startup):
        self.startup, self.part, self.left = startup, b"", 0

    def _missing(self):
        """Bytes until the part of a message that we keep is whole."""
        head = 4 if self.startup else 5
        if len(self.part) < head:
            return head - len(self.part)
        return head + min(self._body_bytes(), self.KEEP) - len(self.part)

    def _body_bytes(self):
        head = 4 if self.startup else 5
        return struct.unpack("!I", self.part[head - 4:head])[0] - 4

    def feed(self, data):
        at = 0
        while at < len(data):
            if self.left:
                step = min(self.left, len(data) - at)
                self.left, at = self.left - step, at + step
                continue
            begin = at - len(self.part)
            while at < len(data) and self._missing():
                step = self._missing()
                self.part, at = self.part + data[at:at + step], min(len(data), at + step)
            if self._missing():
                return
            head = 4 if self.startup else 5
            kind, body = self.part[:head - 4], self.part[head:]
            self.left, self.part = self._body_bytes() - len(body), b""
            yield kind, body, begin


class Wire:
    """What is known of one connection."""

    def __init__(self):
        self.frames = {UP: Frames(True), DOWN: Frames(False)}
        self.byte_due = self.opaque = False  # one byte answers an SSLRequest; behind an 'S' all is TLS
        self.hello = b""                     # parameters of the connection: user, database, application_name
        self.awaited = None                  # how to act when COMMIT is answered


def is_commit(kind, body):
    if kind == b"P":  # name, query
        body = body[body.find(b"\0") + 1:]
    elif kind != b"Q":
        return False
    return body.split(b"\0")[0].strip(b" ;\n").upper() in (b"COMMIT", b"END")


class PostgresProxy(Proxy):
    FILE = ".s.PGSQL.5432"

    def __init__(self, place, server, name="postgres-proxy", **more):
        self.commits = 0  # seen on their way up
        super().__init__(place, os.path.join(server.dir, ".s.PGSQL.5432"), name=name, **more)

    def url(self, database="postgres", user="spendd"):
        at = self.address
        if isinstance(at, str):
            return f"postgresql:///{database}?host={self.dir}&user={user}"
        return f"postgresql://{user}@{at[0]}:{at[1]}/{database}"

    def arm_commit(self, how, of=""):
        assert how in ASKED, how
        self._order(self._arm, ("commit", how, of.encode()))

    def begin(self, link):
        link.wire = Wire()

    def _end(self, link, hard):
        if link.wire.awaited:  # it has hung up before COMMIT was answered: that answer is lost as well
            link.wire.awaited = None
            self.acted += 1
        super()._end(link, hard)

    def look(self, link, way, data):
        wire = link.wire
        if not wire.opaque:
            found = self._up(wire, data) if way == UP else self._down(wire, data)
            if found:
                self.acted += 1
                return found
        return super().look(link, way, data)

    def _up(self, wire, data):
        for kind, body, begin in wire.frames[UP].feed(data):
            if kind == b"":
                code = struct.unpack("!I", body[:4])[0] if len(body) >= 4 else 0
                wire.byte_due = code in (SSL, GSS)
                wire.frames[UP].startup = wire.byte_due
                wire.hello = body
            elif is_commit(kind, body):
                self.commits += 1
                if self.armed and self.armed[0] == "commit" and self.armed[2] in wire.hello:
                    how, self.armed = self.armed[1], None
                    if how == "before":
                        return data[:max(0, begin)], "cut"
                    wire.awaited = how
        return None

    def _down(self, wire, data):
        if wire.byte_due:
            wire.byte_due = False
            wire.opaque = data[:1] in (b"S", b"G")
            return None
        for kind, body, begin in wire.frames[DOWN].feed(data):
            answered = kind == b"E" or (kind == b"C" and body.startswith((b"COMMIT", b"ROLLBACK")))
            if wire.awaited and answered:
                how, wire.awaited = wire.awaited, None
                return data[:max(0, begin)], {"after": "cut"}.get(how, how)
        return None

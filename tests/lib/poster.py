"""HTTP as a client of the gateway speaks it: whole requests, requests by the byte, and a producer that posts.

    web = Web(instance)                 an instance made with **ports()
    web.post(events)                    (status, answer, headers)
    web.get("/health/readiness")
    web.raw(b"GET ...")                 a socket that has sent that
"""
import http.client
import json
import socket
import ssl
import threading
import time

from .producer import Outcome
from .servers import free_tcp_port
from .waiting import patient, wait_until

JSON = {"Content-Type": "application/json"}


def ports(ingest=True, **settings):
    """Settings of an instance that listens on ports of its own."""
    return {"http__status_listen": f"127.0.0.1:{free_tcp_port()}",
            "http__ingest_listen": f"127.0.0.1:{free_tcp_port()}" if ingest else "off", **settings}


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


class Web:
    def __init__(self, instance, token=None, authority=None, source=None):
        self.instance, self.token, self.source = instance, token, source
        self.tls = ssl.create_default_context(cafile=authority) if authority else None
        self._kept = {}

    def address(self, face):
        return address(self.instance.settings[f"http.{face}_listen"])

    def connect(self, face="ingest", timeout_s=20):
        host, port = self.address(face)
        where = {"timeout": patient(timeout_s), "source_address": (self.source, 0) if self.source else None}
        if self.tls and face == "ingest":
            return http.client.HTTPSConnection("localhost", port, context=self.tls, **where)
        return http.client.HTTPConnection(host, port, **where)

    def ask(self, method, path, body=None, headers=None, face="ingest", timeout_s=20):
        """One request on a connection that is kept: (status, bytes, headers)."""
        headers = dict(headers or {})
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        key = face, threading.get_ident()
        connection = self._kept.pop(key, None)
        try:
            answer, content = self._once(connection, method, path, body, headers) if connection else (None, None)
        except (OSError, http.client.HTTPException):
            answer = None  # it was kept too long: whoever keeps connections must expect that
        if answer is None:
            connection = self.connect(face, timeout_s)
            answer, content = self._once(connection, method, path, body, headers)
        if answer.will_close:
            connection.close()
        else:
            self._kept[key] = connection
        return answer.status, content, answer.headers

    @staticmethod
    def _once(connection, method, path, body, headers):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()

    def post(self, events, path="/v1/events", headers=None, **more):
        """Events (a list, or a body as bytes); the answer as a value."""
        body = events if isinstance(events, (bytes, str)) else json.dumps(events)
        status, content, headers = self.ask("POST", path, body, {**JSON, **(headers or {})}, **more)
        return status, json.loads(content), headers

    def get(self, path, **more):
        status, content, _ = self.ask("GET", path, face="status", **more)
        return status, json.loads(content)

    def code(self, path):
        """The status code alone, as a kubelet sees it; None: nobody answers."""
        try:
            return self.ask("GET", path, face="status", timeout_s=5)[0]
        except (OSError, http.client.HTTPException):
            return None

    def becomes_ready(self, logs=()):
        """Waits until the status address says so: what the other workers are the gateway hears after its own start."""
        wait_until(lambda: self.code("/health/readiness") == 200, 20, "readiness", logs)

    def raw(self, text=b"", face="ingest", timeout_s=20):
        made = socket.create_connection(self.address(face), patient(timeout_s),
                                        (self.source, 0) if self.source else None)
        if text:
            made.sendall(text)
        return made


def read_all(connection):
    """What comes until the other side closes."""
    found = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionError:
            return found
        if not piece:
            return found
        found += piece


class Poster:
    """A producer over HTTP: it posts each message until it is answered with 200 or 400, from several threads."""

    def __init__(self, web, source, outcome=None, threads=4, path="/v1/events"):
        self.web, self.path, self.outcome = web, path, outcome or Outcome()
        self._source, self._lock, self._end = iter(source), threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self.name, self.error, self.later = "poster", None, 0

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def _run(self):
        try:
            while not self._end.is_set():
                with self._lock:
                    events = next(self._source, None)
                if events is None:
                    return
                self.outcome.note_sent(events)
                self._through(events)
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def _through(self, events):
        began = time.monotonic()
        while True:
            try:
                status, answer, _ = self.web.post(events, self.path)
            except (OSError, http.client.HTTPException):
                status, answer = None, None
            if status == 200:
                self.outcome.note_ack(events, answer, time.monotonic() - began)
                return
            if status == 400:
                self.outcome.note_refused(events, str(answer))
                return
            assert status in (None, 503), (status, answer)
            self.later += 1
            if self._end.wait(0.05) and time.monotonic() - began > patient(30):
                raise AssertionError(f"no answer within {patient(30)} s")

    def finish(self, deadline_s=60, logs=()):
        """No more messages; each one that began has its answer."""
        self._end.set()
        wait_until(lambda: not any(thread.is_alive() for thread in self._threads), deadline_s, "every post to be answered",
                   [self, *logs])
        if self.error:
            raise self.error
        return self.outcome

    def tail(self):
        return f"{self.outcome.counts()} later={self.later} error={self.error!r}"

"""Health checkers alone, each with an ear for what it tells, and a stub of what they ask."""
import json
import os
import shutil
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import zmq

from .lone import Lone
from .waiting import wait_until

PAGES = 5  # one for each slot of the roster, with one aggregator and no gateway


class StubModels:
    """An OpenAI-like server.  calls[model], times[model]: what was asked, and when; behaviour[model]: a function of the handler that answers."""

    def __init__(self, tls=None):
        self.calls, self.times, self.headers, self.behaviour = {}, {}, {}, {}
        self.lock = threading.Lock()
        self.gates = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                model = body.get("model") or self.path.strip("/")
                with stub.lock:
                    stub.calls[model] = stub.calls.get(model, 0) + 1
                    stub.times.setdefault(model, []).append(time.monotonic())
                    stub.headers[model] = dict(self.headers)
                self.close_connection = True
                stub.behaviour.get(model, healthy)(self)

            do_GET = do_POST = do_HEAD = answer

            def handle(self):
                try:
                    super().handle()
                except OSError:
                    pass  # who asked has left

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.scheme = "https" if tls is not None else "http"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path=""):
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}/{path}"

    def count(self, model):
        with self.lock:
            return self.calls.get(model, 0)

    def total(self):
        with self.lock:
            return sum(self.calls.values())

    def gate(self, model):
        """The model answers once the returned event is set."""
        event = threading.Event()
        self.gates.append(event)

        def wait(handler):
            event.wait()
            healthy(handler)

        self.behaviour[model] = wait
        return event

    def close(self):
        for event in self.gates:
            event.set()
        self.server.shutdown()
        self.server.server_close()


def answer(handler, status, body=b"{}", headers=()):
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def healthy(handler):
    answer(handler, 200, b'{"choices": []}')


def status(code, *headers):
    return lambda handler: answer(handler, code, headers=headers)


def model(place, name, url, **more):
    """Settings of one place in health.models, by name on fd 3."""
    fields = {"name": name, "url": url, "method": "GET", "body": "", "headers[0]": "", "headers[1]": "", "headers[2]": "",
              "headers[3]": "", "expect_status": 200, "timeout_ms": 5000, "cost": "0", **more}
    return {f"health.models[{place}].{field}": value for field, value in fields.items()}


class Checker(Lone):
    """document: the last that it told gateway."""

    def __init__(self, directory, redis, postgres, name, **settings):
        self.run = os.path.join(directory, name)
        os.makedirs(os.path.join(self.run, "private"), exist_ok=True)
        self.context = zmq.Context()
        self.ear = self.context.socket(zmq.PULL)
        self.ear.bind(f"ipc://{self.run}/private/health.sock")
        self.document = {}
        self.directory, self.life = directory, settings.pop("life", 1)
        quick = {"runtime_dir": self.run, "redis_url": redis.url, "database_url": postgres.url(), "http_status_listen": "off",
                 "redis_connect_ms": 10000, "redis_command_ms": 10000, "redis_backoff_max_ms": 200,
                 "redis_backoff_slow_max_ms": 300, "health_probe_ms": 100, "health_idle_probe_ms": 200,
                 "health_interval_s": 2, "health_cache_ttl_s": 4, "health_lock_ttl_s": 2}
        self.given = {**quick, **settings}
        super().__init__("health_checker", directory, name, pages=PAGES, life=self.life, page=settings.pop("page", None),
                         **{key: value for key, value in self.given.items() if key != "page"})

    def told(self):
        """What it tells now."""
        while self.ear.poll(0):
            self.document = json.loads(self.ear.recv())
        return self.document

    def until(self, condition, deadline_s=30, what="a document"):
        """The first document that the condition holds for."""
        def look():
            assert self.lives()
            found = self.told()
            return found and condition(found) and found
        return wait_until(look, deadline_s, what, logs=[self])

    def model(self, name):
        return next((row for row in self.told().get("models", []) if row["name"] == name), None)

    def watch(self, name):
        return next((row for row in self.told().get("stores", []) if row["watch"] == name), None)

    def close(self):
        self.kill()
        self.ear.close(0)
        self.context.term()


class Checkers:
    """A Redis, a PostgreSQL, a stub, and health checkers between them."""

    def __init__(self, place, postgres=None, redis=None):
        self.place, self.directory = place, place.sub("h")
        self.redis, self.postgres = redis or place.redis(), postgres or place.postgres()
        self.redis.start()
        self.postgres.start()
        self.stub, self.all = StubModels(), []
        self.client = self.redis.client()

    def start(self, count=1, **settings):
        made = [Checker(self.directory, self.redis, self.postgres, f"c{len(self.all) + i}", **settings)
                for i in range(count)]
        self.all += made
        return made if count > 1 else made[0]

    def models(self, *names, **more):
        found = {}
        for place, name in enumerate(names):
            found.update(model(place, name, self.stub.url(name), **more))
        return found

    def round(self):
        """When the last round that is kept ended, by the clock of Redis."""
        at = self.client.hget("{spendd}:health:round", "at")
        return int(at) if at else None

    def close(self):
        for checker in self.all:
            checker.close()
        self.stub.close()
        self.postgres.close()
        self.redis.close()
        shutil.rmtree(self.directory, ignore_errors=True)

"""The gateway: what each request is answered with, who may come in, and what Kubernetes sees.  Abuse of it is
tests/fault/test_http_deaths.py."""
import gzip
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

from lib import conservation
from lib.certificates import Authority
from lib.daemon import WORKERS, Spendd
from lib.events import Generator
from lib.producer import Outcome, event_id_of
from lib.waiting import wait_until
from lib.poster import JSON, Web, ports, read_all

NOW = int(time.time())
EVENT = b'{"request_id": "%s", "spend": 1}'


def conserved(stack, events):
    outcome = Outcome()
    outcome.note_sent(events)
    outcome.acked = {event_id_of(event) for event in events}
    return conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def many(number, size=100):
    return json.dumps([{"request_id": f"{number}-{i}", "spend": "0.5", "model": "m" * size} for i in range(20)]).encode()


# name -> method, path, headers, body, status
TABLE = {
    "an event": ("POST", "/v1/events", JSON, EVENT % b"one", 200),
    "an array": ("POST", "/v1/events", JSON, b"[" + EVENT % b"two" + b"," + EVENT % b"three" + b"]", 200),
    "lines": ("POST", "/v1/events", {"Content-Type": "application/x-ndjson"}, EVENT % b"l1" + b"\n" + EVENT % b"l2" + b"\n", 200),
    "gzip": ("POST", "/v1/events", {**JSON, "Content-Encoding": "gzip"}, gzip.compress(many(1)), 200),
    "gzip in members": ("POST", "/v1/events", {**JSON, "Content-Encoding": "x-gzip"},
                        gzip.compress(many(2)[:500]) + gzip.compress(many(2)[500:]), 200),
    "identity": ("POST", "/v1/events", {**JSON, "Content-Encoding": "identity"}, EVENT % b"i", 200),
    "no type": ("POST", "/v1/events", {}, EVENT % b"nt", 200),
    "a type with parameters": ("POST", "/v1/events", {"Content-Type": "application/JSON; charset=utf-8"}, EVENT % b"ct", 200),
    "a repeat": ("POST", "/v1/events", JSON, EVENT % b"one", 200),
    "one good, one bad": ("POST", "/v1/events", JSON, b"[{}," + EVENT % b"ob" + b"]", 200),
    "only bad": ("POST", "/v1/events", JSON, b"[{}]", 400),
    "nothing": ("POST", "/v1/events", JSON, b"", 400),
    "no JSON": ("POST", "/v1/events", JSON, b"[1", 400),
    "no gzip": ("POST", "/v1/events", {**JSON, "Content-Encoding": "gzip"}, b"plain", 400),
    "half a gzip": ("POST", "/v1/events", {**JSON, "Content-Encoding": "gzip"}, gzip.compress(many(3))[:-9], 400),
    "another coding": ("POST", "/v1/events", {**JSON, "Content-Encoding": "br"}, b"x", 415),
    "a form": ("POST", "/v1/events", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", 415),
    "text": ("POST", "/v1/events", {"Content-Type": "text/plain"}, EVENT % b"tp", 415),
    "a page in a browser": ("POST", "/v1/events", {**JSON, "Origin": "https://evil.example"}, EVENT % b"or", 403),
    "too large": ("POST", "/v1/events", JSON, many(4, 20000), 413),
    "too large, asked first": ("POST", "/v1/events", {**JSON, "Expect": "100-continue"}, many(4, 20000), 413),
    "too large unpacked": ("POST", "/v1/events", {**JSON, "Content-Encoding": "gzip"}, gzip.compress(bytes(50_000_000)), 413),
    "another path": ("POST", "/v1/event", JSON, b"{}", 404),
    "a path of the other address": ("GET", "/health", {}, None, 404),
    "another method": ("GET", "/v1/events", {}, None, 405),
    "CORS": ("OPTIONS", "/v1/events", {"Origin": "https://evil.example"}, None, 405),
    "a method of nobody's": ("BREW", "/v1/events", {}, None, 405),
}


@pytest.fixture(scope="module")
def served(place):
    """One instance for what leaves nothing behind."""
    from lib.daemon import Stack

    stack = Stack(place).start()
    instance = stack.spendd(**ports(http__max_body_bytes=200000, http__max_inflated_bytes=400000,
                                    ingest__max_message_bytes=300000)).start(ready=WORKERS + ("gateway",))
    Web(instance).becomes_ready([instance])
    yield instance
    stack.close()


@pytest.mark.parametrize("name", TABLE)
def test_conformance(served, name):
    method, path, headers, body, status = TABLE[name]
    web = Web(served)
    got, content, answered = web.ask(method, path, body, headers)
    assert got == status, content
    assert "Access-Control-Allow-Origin" not in answered
    assert answered["Content-Type"] == "application/json" and answered["X-Content-Type-Options"] == "nosniff"
    answer = json.loads(content)
    if status == 405:
        assert answered["Allow"] == "POST"
    if status == 200:
        assert answer["accepted"] + answer["duplicate"] > 0
    elif name != "only bad":
        assert answer["error"]
    # The connection is good for another one, or says that it is not.
    assert web.ask("POST", "/v1/events", EVENT % name.replace(" ", "").encode(), JSON)[0] == 200


def test_answers_are_the_aggregators(served):
    web = Web(served)
    assert web.post([{"request_id": "a1", "spend": 1}, {"request_id": "a2"}])[1] == {
        "accepted": 1, "duplicate": 0, "rejected": [{"index": 1, "error": "spend: required"}]}
    assert web.post([{"request_id": "a1", "spend": 1}])[1] == {"accepted": 0, "duplicate": 1, "rejected": []}


def test_status_address(served):
    web = Web(served)
    for path in ("/health/liveliness", "/health/liveness", "/health/readiness", "/health", "/health/services"):
        assert web.get(path)[0] == 200, path
        status, content, _ = web.ask("HEAD", path, face="status")
        assert (status, content) == (200, b"")
    assert web.ask("GET", "/v1/events", face="status")[0] == 404
    for method in ("POST", "PUT", "DELETE"):
        status, _, headers = web.ask(method, "/health", b"", face="status")
        assert status == 405 and headers["Allow"] == "GET, HEAD"
    status, services = web.get("/health/services")
    names = {row["name"]: row for row in services["workers"]}
    assert set(names) == {*WORKERS, "gateway"} and all(row["since_ms"] > 0 for row in names.values())
    assert wait_until(lambda: web.get("/health/services")[1]["stores"], 20, "the health checker's report", [served])


def test_services_tell_the_last_error(stack):
    """Of a worker that has died and of a store that was away: also when all is well again."""
    instance = stack.spendd(**ports(ingest=False)).start(ready=WORKERS + ("gateway",))
    web = Web(instance)

    def row(kind, key, name):
        return next((row for row in web.get("/health/services")[1][kind] or () if row[key] == name), None)

    wait_until(lambda: row("stores", "store", "redis"), 20, "the health checker's report", [instance])
    assert row("workers", "name", "control")["last_error"] is None and row("stores", "store", "redis")["last_error"] is None
    instance.kill("control")
    stack.redis.stop("immediate")
    wait_until(lambda: not row("stores", "store", "redis")["passed"], 30, "Redis to be missed", [instance])
    stack.redis.start()
    wait_until(lambda: row("stores", "store", "redis")["passed"], 30, "Redis to be back", [instance])
    store = row("stores", "store", "redis")
    assert store["last_error"] and 0 < store["last_error_ms"] <= store["since_ms"]
    instance.wait_ready("control")
    worker = wait_until(lambda: (seen := row("workers", "name", "control"))["state"] == "READY" and seen, 20, "it to be back", [instance])
    assert "signal 9" in worker["last_error"] and 0 < worker["last_error_ms"] <= worker["since_ms"], worker


def test_a_supervisor_that_hangs_is_no_live_one(stack):
    """Liveness fails, so that Kubernetes makes a new container; and passes again when the supervisor was only slow."""
    instance = stack.spendd(supervisor__hang_ms=1000, **ports(ingest=False)).start(ready=WORKERS + ("gateway",))
    web = Web(instance)
    wait_until(lambda: web.code("/health/liveness") == 200 and web.get("/health/services")[1]["gate"]["open"], 20, "it to live", [instance])
    os.kill(instance.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: web.code("/health/liveness") == 503, 20, "liveness to fail", [instance])
        assert web.code("/health/liveliness") == 503 and web.code("/health/readiness") == 503
        assert web.code("/metrics") == 200
    finally:
        os.kill(instance.process.pid, signal.SIGCONT)
    wait_until(lambda: web.code("/health/liveness") == 200 and web.code("/health/readiness") == 200, 20, "it to live again", [instance])


def test_without_keep_alive_and_pipelined(served):
    one = b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
    bodies = [EVENT % b"p%d" % i for i in range(20)]
    text = b"".join(one % (len(body), b"Connection: close\r\n" if body is bodies[-1] else b"", body) for body in bodies)
    with Web(served).raw(text) as connection:
        assert read_all(connection).count(b"HTTP/1.1 200 OK") == 20
    body = EVENT % b"old"
    with Web(served).raw(b"POST /v1/events HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as connection:
        assert b" 200 OK" in read_all(connection)
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, bytes([byte])) for byte in body) + b"0\r\n\r\n"
    with Web(served).raw(b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                         + chunks) as connection:
        assert b"duplicate\":1" in read_all(connection)


def test_what_is_posted_is_counted(stack):
    """Both ways in, two aggregators: each event once."""
    instance = stack.spendd(aggregator__processes=2, **ports()).start(ready=WORKERS + ("gateway",))
    web, events = Web(instance), list(Generator(7, "http").events(300))
    for at in range(0, 300, 10):
        status, answer, _ = web.post(events[at:at + 10])
        assert status == 200 and answer["accepted"] == 10
    assert web.post(events[:10])[1]["duplicate"] == 10
    conserved(stack, events)
    status, stats = instance.ask("stats")
    figures = {row["name"]: row["total"] for row in stats["metrics"]}
    assert status == 200 and figures["http_posts_total"] == 31 and figures["http_in_flight"] == 0
    assert figures["http_held_bytes"] == 0
    assert instance.stop() == 0


def payload(number, **more):
    """As LiteLLM's generic_api callback has it."""
    return {"id": f"chatcmpl-{number}", "litellm_call_id": f"call-{number}", "response_cost": 0.25 + number, "status": "success",
            "model": "gpt-4o", "startTime": NOW - number + 0.25, "endTime": NOW - number + 1.5, "prompt_tokens": 10,
            "completion_tokens": 5, "request_tags": ["a"], "end_user": "e",
            "metadata": {"user_api_key_hash": "k", "user_api_key_team_id": "t", "user_api_key_user_id": "u"},
            "messages": [{"role": "user", "content": "x" * 500}], **more}


def test_litellm_callback(stack):
    """Each of its formats, always under application/json; a batch larger than a message of the aggregator's."""
    instance = stack.spendd(ingest__max_message_bytes=20000, ingest__max_event_bytes=8192, **ports()).start(ready=WORKERS + ("gateway",))
    web = Web(instance)
    assert web.post(payload(1), "/v1/litellm")[1]["accepted"] == 1
    answer = web.post([payload(2), None, payload(3)], "/v1/litellm")[1]
    assert answer["accepted"] == 2 and [row["index"] for row in answer["rejected"]] == [1]
    assert web.post("\n".join(json.dumps(payload(n)) for n in (4, 5)), "/v1/litellm")[1]["accepted"] == 2
    status, answer, _ = web.post([payload(n % 5 + 1) if n == 150 else payload(n) for n in range(100, 300)] + [None], "/v1/litellm")
    assert status == 200 and answer["accepted"] + answer["duplicate"] == 200
    assert [row["index"] for row in answer["rejected"]] == [200]
    # A failed attempt shares the id of the call, and costs nothing.
    assert web.post(payload(1, status="failure", id="call-1", response_cost=0), "/v1/litellm")[1]["accepted"] == 1
    assert web.post(payload(1), "/v1/litellm")[1]["duplicate"] == 1
    assert web.post("nonsense", "/v1/litellm")[0] == 400
    counted = [*range(1, 6), *(n for n in range(100, 300) if n != 150)]
    total = sum(0.25 + n for n in counted)
    wait_until(lambda: instance.metric("events_counted_total") == len(counted) + 1, 30, "all to be counted", stack.logs)
    assert float(stack.postgres.one("select spend from spendd.spend where entity_type = 'team' and entity_id = 't'")) == total
    assert stack.postgres.one("select count(*) from spendd.dead_letter") == 0


# --- who may come in ------------------------------------------------------------------------------------------
def test_tokens(stack, place):
    path = os.path.join(place.sub("t"), "tokens")

    def write(text):
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".new", path)

    write("first, second\n")
    instance = stack.spendd(**ports(http__tokens=f"file:{path}", http__status_token="looker")).start(ready=("aggregator", "gateway"))

    def code(authorization, path="/v1/events"):
        web = Web(instance)
        return web.ask("POST", path, EVENT % b"t", {**JSON, **({"Authorization": authorization} if authorization else {})})[0]

    for good in ("Bearer first", "bearer second", "Bearer  first"):
        assert code(good) == 200
    for bad in (None, "", "Bearer", "Bearer firs", "Bearer firstx", "Bearer first, second", "Basic first", "first", "Bearer looker"):
        assert code(bad) == 401, bad
        assert code(bad, "/v1/litellm") == 401
    assert Web(instance).ask("POST", "/v1/events", b"", JSON)[2]["WWW-Authenticate"] == "Bearer"
    # A token that was taken away goes with the file.
    write("third")
    wait_until(lambda: code("Bearer third") == 200, 20, "the new token", [instance])
    assert code("Bearer first") == 401
    os.unlink(path)
    wait_until(lambda: code("Bearer third") == 401, 20, "nobody to be let in", [instance])
    assert "tokens_unreadable" in instance.log_text() and "third" not in instance.log_text()
    # What the status address shows beyond metrics and probes has a token of its own.
    assert Web(instance).code("/health/liveness") == 200
    Web(instance).becomes_ready([instance])
    for path_closed in ("/health", "/health/services", "/health/shared-status"):
        assert Web(instance).code(path_closed) == 401 and Web(instance, token="looker").code(path_closed) in (200, 503)
    write("third")
    instance.write_config(http__status_token="other")
    assert instance.ask("reload")[0] == 200
    wait_until(lambda: Web(instance, token="other").code("/health") == 200, 20, "the reloaded token", [instance])
    assert Web(instance, token="looker").code("/health") == 401


def test_check_wants_a_token_off_loopback(place):
    def check(**settings):
        instance = Spendd(place.sub("c"), **settings)
        done = subprocess.run([instance.program(), "--check", "--config", instance.config], capture_output=True, text=True,
                              timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    assert check(http__ingest_listen="127.0.0.1:9")[0] == 0 and check(http__ingest_listen="[::1]:9")[0] == 0
    for where in ("*:9", "0.0.0.0:9", "[::]:9", "10.0.0.1:9", "eth0:9"):
        code, said = check(http__ingest_listen=where)
        assert code == 78 and "needs a token: set http.tokens" in said, said
        code, said = check(http__ingest_listen=where, http__tokens="x")
        assert code == 0 and "in clear on the network" in said, said
        assert check(http__ingest_listen=where, http__tokens="x", http__tls_certificate="/c", http__tls_key="/k")[1].count("clear") == 0
    assert check(http__tls_certificate="/c")[0] == 78
    assert check(http__ingest_listen="nonsense")[0] == 78 and check(http__ingest_listen="tcp://127.0.0.1:9")[0] == 78
    assert check(http__ingest_listen="127.0.0.1:9", http__status_listen="127.0.0.1:9")[0] == 78


def test_tls(stack, place):
    authority = Authority(place.sub("a"))
    certificate, key = authority.sign("localhost")
    instance = stack.spendd(**ports(http__tls_certificate=certificate, http__tls_key=key, http__tokens="secret")).start(
        ready=WORKERS + ("gateway",))
    web, events = Web(instance, "secret", authority.file), list(Generator(8, "tls").events(200))
    for at in range(0, 200, 50):
        assert web.post(events[at:at + 50])[0] == 200
    web.becomes_ready([instance])  # the status address stays as it is
    with Web(instance).raw(b"GET / HTTP/1.1\r\n\r\n") as plain:
        assert b"HTTP/1.1" not in read_all(plain)
    with pytest.raises(ssl.SSLError):
        Web(instance, "secret", Authority(place.sub("a"), "other").file).post(events[:1])
    conserved(stack, events)
    assert instance.stop() == 0


# --- when it runs ---------------------------------------------------------------------------------------------
def test_no_address_no_process(stack):
    instance = stack.spendd().start(ready=WORKERS)
    assert not instance.pids("gateway") and instance.state("gateway") is None
    instance = stack.spendd(**ports(ingest=False)).start(ready=WORKERS + ("gateway",))
    Web(instance).becomes_ready([instance])
    taken = stack.spendd(http__status_listen=instance.settings["http.status_listen"])
    taken.start(ready=())
    assert taken.process.wait(60) == 75
    assert "http.status_listen: somebody else listens at" in taken.log_text()


def test_a_restart_refuses_nobody(stack):
    """Who connects while the gateway is replaced waits in the supervisor's socket."""
    instance = stack.spendd(**ports()).start(ready=WORKERS + ("gateway",))
    before = instance.pid("gateway")
    with Web(instance).raw() as idle:
        assert instance.ctl("restart", "gateway").returncode == 0
        wait_until(lambda: instance.pids("gateway") not in ([], [before]), 20, "another gateway", [instance])
        assert read_all(idle) == b""
    instance.freeze("gateway")
    waiting = Web(instance).raw(b"POST /v1/events HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 33\r\n\r\n"
                                b'{"request_id": "w", "spend": "1"}')
    instance.kill("gateway")
    with waiting:
        assert b"HTTP/1.1 200" in read_all(waiting), instance.tail()
    assert Web(instance).post([{"request_id": "w", "spend": "1"}])[1]["duplicate"] == 1


def test_what_kubernetes_sees(stack):
    """A database or a Redis that is down does not make us unready; what keeps an event from the disk does."""
    instance = stack.spendd(spool__max_bytes=1048576 * 2, seal__bytes=65536, **ports()).start(ready=WORKERS + ("gateway",))
    web = Web(instance)

    def readiness(code, what):
        wait_until(lambda: web.code("/health/readiness") == code, 30, f"readiness {code}: {what}", [instance])
        assert web.code("/health/liveness") == 200 and web.code("/health") == code

    readiness(200, "all is well")
    stack.postgres.stop("immediate")
    wait_until(lambda: web.get("/health")[1]["status"] == "degraded", 30, "the gate to close", [instance])
    readiness(200, "without a database")
    stack.redis.stop("immediate")
    wait_until(lambda: any(row["store"] == "redis" and not row["passed"] for row in web.get("/health/services")[1]["stores"] or ()),
               30, "Redis to be missed", [instance])
    readiness(200, "without Redis")
    assert web.post([{"request_id": "k", "spend": 1}])[0] == 200
    assert instance.ask("pause", "ingest")[0] == 200
    readiness(503, "paused")
    status, answer, headers = web.post([{"request_id": "k2", "spend": 1}])
    assert status == 503 and headers["Retry-After"] == "1" and "paused" in answer["error"]
    assert instance.ask("resume", "ingest")[0] == 200
    readiness(200, "resumed")
    number, status = 0, 200
    while status == 200:
        number += 1
        status, answer, headers = web.post(many(f"fill{number}", 900))
        assert number < 2000, "the spool does not fill"
    assert status == 503 and "full" in answer["error"] and headers["Retry-After"] == "1"
    readiness(503, "the spool is full")
    wait_until(lambda: "full" in web.get("/health/readiness")[1]["why"], 20, "the reason", [instance])
    instance.freeze("aggregator")  # the drain has somebody to wait for
    instance.process.terminate()
    wait_until(lambda: web.code("/health/readiness") == 503 and "draining" in web.get("/health/readiness")[1]["why"], 20,
               "the drain to be seen", [instance])
    assert web.code("/health/liveness") == 200
    wait_until(lambda: refused(web), 20, "ingest to be closed", [instance])


def refused(web):
    """Ingest takes no new connections: nobody answers (the supervisor's socket may still hold them)."""
    try:
        with web.raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", timeout_s=1) as connection:
            return connection.recv(1) == b""
    except (ConnectionError, socket.timeout):
        return True




def test_bounds_change_while_it_runs(stack):
    """Each LIVE bound of http by a reload: nobody is restarted, and the next request meets it."""
    instance = stack.spendd(http__request_ms=600000, http__keep_alive_ms=600000, **ports()).start(ready=WORKERS + ("gateway",))
    web, pid = Web(instance), instance.pid("gateway")

    def change(**settings):
        instance.write_config(**settings)
        code, answer = instance.ask("reload")
        assert code == 200 and all(row["outcome"] == "applied live" for row in answer["settings"]), answer

    def becomes(code, number, body):
        wait_until(lambda: web.ask("POST", "/v1/events", body(number), {**JSON, **more})[0] == code, 20, f"{code}", [instance])

    more = {}
    becomes(200, 1, many)
    change(http__max_body_bytes=1024)
    becomes(413, 2, many)
    change(http__max_body_bytes=1048576, http__max_inflated_bytes=1024)
    more = {"Content-Encoding": "gzip"}
    becomes(413, 3, lambda n: gzip.compress(many(n)))
    # Its text takes all of the room that is left, and what unpacks it is memory too.
    change(http__max_inflated_bytes=10485760, http__max_held_bytes=1048576)
    becomes(503, 4, lambda n: gzip.compress(many(n, 30000)))
    change(http__max_held_bytes=268435456)
    becomes(200, 5, lambda n: gzip.compress(many(n, 30000)))
    more = {}
    change(http__keep_alive_ms=100)
    with Web(instance).raw(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n") as idle:
        assert b" 404 " in read_all(idle)
    change(http__request_ms=1000)
    with Web(instance).raw(b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n") as late:
        assert b" 408 " in read_all(late)
    change(http__request_ms=600000, http__keep_alive_ms=600000, http__max_in_flight=1)
    frozen = instance.freeze("aggregator")
    waits = Web(instance).raw(b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 32\r\n\r\n"
                              b'{"request_id": "i", "spend": 1 }')
    wait_until(lambda: instance.metric("http_in_flight") == 1, 20, "one under way", [instance])
    assert web.post([{"request_id": "j", "spend": 1}])[0] == 503
    instance.thaw(frozen)
    assert b" 200 " in waits.recv(4096)
    change(http__max_address_connections=1)
    with Web(instance).raw(b"GET /x HTTP/1.1\r\n\r\n") as one_more:
        assert read_all(one_more) == b""
    waits.close()
    assert instance.pids("gateway") == [pid]

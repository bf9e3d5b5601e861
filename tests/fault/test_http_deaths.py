"""HTTP ingest while everything dies, and against those who mean harm.

Kept is the promise: 200 is said for what is durable, each event of it is counted once.  And whoever is slow, large,
broken or many harms nobody else: while each of the abuses below goes on, others post and are answered.
"""
import contextlib
import gzip
import random
import resource
import socket
import time

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.faults import Faults
from lib.poster import Poster, Web, ports, read_all
from lib.waiting import patient, wait_until

ALL = WORKERS + ("gateway",)


# --- deaths ---------------------------------------------------------------------------------------------------
def kills(instance, poster, seed, rounds):
    """Somebody dies with posts under way; the next one when answers flow again."""
    rng = random.Random(seed)
    for _ in range(rounds):
        wait_until(lambda before=poster.outcome.messages: poster.error or poster.outcome.messages > before + 5, 60,
                   "answers", [poster, instance])
        instance.kill(rng.choice(["aggregator", "gateway", "aggregator", "redis_writer"]))


@pytest.mark.parametrize("aggregators", [1, 2])
def test_kill_9_of_each(stack, aggregators):
    instance = stack.spendd(aggregator__processes=aggregators, **ports()).start(ready=ALL)
    poster = Poster(Web(instance), batches(Generator(91, "kill").events(10**9), 7)).start()
    kills(instance, poster, 91 + aggregators, 6)
    outcome = poster.finish(logs=[instance])
    assert len(outcome.acked) > 200
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_kill_9_of_all_around_the_answers(stack):
    """All at once, at a moment of an answer: what was answered with 200 is there."""
    instance = stack.spendd(**ports()).start(ready=ALL)
    poster = Poster(Web(instance), batches(Generator(92, "all").events(10**9), 3)).start()
    for _ in range(3):
        wait_until(lambda before=poster.outcome.messages: poster.error or poster.outcome.messages > before, 60, "an answer",
                   [poster, instance], look_s=0.001)
        instance.kill_all()
        instance.start(ready=())
    outcome = poster.finish(logs=[instance])
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_client_hangs_up(stack):
    """In its request, and while it waits; the event of a whole request may be counted, once."""
    instance = stack.spendd(**ports()).start(ready=ALL)
    web, events = Web(instance), list(Generator(93, "gone").events(60))
    poster = Poster(web, [])
    for event in events[:30]:
        body = poster_body([event])
        with web.raw(head(len(body)) + body[:-5]):
            pass
        with web.raw(head(len(body)) + body):
            pass
    poster.outcome.note_sent(events)
    for event in events[30:]:
        poster.outcome.note_ack([event], web.post([event])[1], 0)
    wait_until(lambda: [instance.metric(f"http_{name}") for name in ("connections", "held_bytes", "in_flight")] == [1, 0, 0], 30,
               "the others to be gone, and what they held", [instance])
    conservation.assert_conserved(stack.postgres, poster.outcome, logs=stack.logs, strict=False)


def test_not_before_the_disk(stack, place):
    """A sync that takes 300 ms more, one that fails, one that never ends."""
    faults = Faults(place.sub("f"))
    instance = stack.spendd(build=faults.build, http__request_ms=10000, **ports()).start(ready=ALL)
    web = Web(instance)
    faults.set("slow-sync")
    for number in range(3):
        began = time.monotonic()
        assert web.post([{"request_id": f"s{number}", "spend": 1}])[0] == 200
        assert time.monotonic() - began >= 0.3
    faults.clear("slow-sync")
    faults.set("fail-sync")
    status, answer, headers = web.post([{"request_id": "f", "spend": 1}])
    assert status == 503 and headers["Retry-After"] and "spool" in answer["error"]
    assert wait_until(lambda: web.post([{"request_id": "f", "spend": 1}])[0] == 200, 20, "the disk to be back", [instance])
    frozen = instance.freeze("aggregator")
    status, answer, headers = web.post([{"request_id": "late", "spend": 1}])
    assert status == 503 and headers["Retry-After"] and "not durable in time" in answer["error"]
    instance.thaw(frozen)
    status, answer, _ = wait_until(lambda: [row for row in [web.post([{"request_id": "late", "spend": 1}])] if row[0] == 200],
                                   20, "the repeat", [instance])[0]
    assert answer["accepted"] + answer["duplicate"] == 1
    wait_until(lambda: instance.metric("http_in_flight") == 0, 20, "nothing in flight", [instance])


def test_a_drain_answers_what_is_under_way(stack):
    """SIGTERM under load: each post has an answer or a closed door, and 200 was the truth."""
    instance = stack.spendd(**ports()).start(ready=ALL)
    poster = Poster(Web(instance), batches(Generator(94, "drain").events(10**9), 5)).start()
    wait_until(lambda: poster.outcome.messages > 20, 30, "answers", [poster, instance])
    assert instance.stop() == 0
    instance.start(ready=())
    outcome = poster.finish(logs=[instance])
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_drain_refuses_what_no_aggregator_has_taken(stack):
    """It waits for one that serves again, and none will: it is told so, not at its own deadline."""
    instance = stack.spendd(http__request_ms=600000, supervisor__drain_ms=600000, **ports()).start(ready=ALL)
    assert instance.ask("stop", "aggregator", timeout_s=20)[0] == 200
    wait_until(lambda: Web(instance).code("/health/readiness") == 503, 20, "the gateway to know it", [instance])
    body = poster_body([{"request_id": "waits", "spend": 1}])
    with Web(instance).raw(head(len(body)) + body) as waiting:
        wait_until(lambda: instance.metric("http_in_flight") == 1, 20, "it to wait", [instance])
        assert instance.stop() == 0
        answer = read_all(waiting)
    assert b" 503 " in answer and b"Retry-After" in answer and b"none will" in answer, answer
    assert "drain_done cut_short=0" in instance.log_text(), instance.tail()


# --- abuse ----------------------------------------------------------------------------------------------------
def poster_body(events):
    from lib.producer import payload_of

    return payload_of(events)


def head(length, *lines):
    return (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % length
            + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


@pytest.fixture(scope="module")
def wall(place):
    """One instance with narrow bounds, for all of them: it must still be there after each."""
    from lib.daemon import Stack

    stack = Stack(place).start()
    made = stack.spendd(http__request_ms=1500, http__keep_alive_ms=1500, http__max_body_bytes=100000,
                        http__max_inflated_bytes=200000, http__max_header_bytes=16384, http__max_held_bytes=1048576,
                        http__max_connections=300, http__max_address_connections=200, http__max_in_flight=50,
                        **ports()).start(ready=ALL)
    yield made
    stack.close()


def served(web, name):
    """Whoever posts as one should is served; again, where the short deadline of this wall has passed on a busy machine."""
    wait_until(lambda: web.post([{"request_id": name, "spend": 1}])[0] == 200, 20, f"{name} to be served", [web.instance])


@contextlib.contextmanager
def time_to_think(wall):
    """The deadline of a request is a long one for a while: nothing that is under way ends by it."""
    wall.write_config(http__request_ms=60000)
    assert wall.ask("reload")[0] == 200
    yield
    wall.write_config(http__request_ms=1500)
    assert wall.ask("reload")[0] == 200


def closed_by_the_other_side(connection, deadline_s=30):
    connection.settimeout(patient(deadline_s))
    return read_all(connection)


def drip(connection, piece, instance):
    """A byte now and then, until it is hung up on: the pause is the sender's manner, nothing waits for it."""
    def sent():
        try:
            connection.sendall(piece)
            return connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) in (b"", b"H")
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    wait_until(sent, 30, "the slow one to be hung up on", [instance], look_s=0.1)


# name -> what is sent; then either a status in the answer, or only that it ends
ABUSES = {
    "garbage": (b"\x00\x01\x02 nonsense\r\n\r\n", b""),
    "TLS hello": (bytes([22, 3, 1, 2, 0, 1]) + bytes(600), b""),
    "endless request line": (b"GET /" + b"a" * 100000, b""),
    "endless headers": (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 90) for n in range(2000)), b""),
    "one long header": (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 200000, b""),
    "headers above the bound": (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: " + b"y" * 20000 + b"\r\n\r\n", b"431"),
    "two lengths": (head(2, b"Content-Length: 40", b"Connection: close") + b"{}", b"400"),
    "a length and chunks": (head(4, b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + head(2, b"Connection: close") + b"{}", b"400"),
    "a space before the colon": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Length : 2\r\nConnection: close\r\n\r\n{}", b"400"),
    "a folded header": (b"GET /nothing HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\nConnection: close\r\n\r\n", b""),
    "a header without colon": (b"GET /nothing HTTP/1.1\r\nHost: h\r\nnonsense\r\nConnection: close\r\n\r\n", b"400"),
    "a NUL in a header": (b"GET /nothing HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\nConnection: close\r\n\r\n", b""),
    "another transfer coding": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n", b""),
    "no chunk": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b""),
    "huge chunk": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b""),
    "broken chunk": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", b""),
    "endless chunks": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                       + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 200, b""),
    "negative length": (head(-5) + b"{}", b""),
    "length of nonsense": (head(5).replace(b": 5", b": five") + b"{}", b""),
    "a length beyond all": (head(10**30), b""),
    "a length beyond ours": (head(10**9) + b"x" * 1000, b"413"),
    "no host": (b"POST /v1/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"400"),
    "truncated body": (head(1000) + b"{", b"408"),
    "silence": (b"", b""),
    "half a request line": (b"POST /v1/ev", b""),
    "a bomb": (head(len(gzip.compress(bytes(40_000_000), 9)), b"Content-Encoding: gzip", b"Connection: close")
               + gzip.compress(bytes(40_000_000), 9), b"413"),
    "deep JSON": (head(90000, b"Connection: close") + b"[" * 90000, b"400"),
    "a NUL in the path": (b"GET /\x00 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b""),
    "another version": (b"GET / HTTP/9.9\r\nHost: h\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", ABUSES)
def test_abuse(wall, name):
    text, wanted = ABUSES[name]
    web, pid = Web(wall), wall.pid("gateway")
    with web.raw() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(text)
        served(web, f"beside {name}")
        found = closed_by_the_other_side(connection)
        assert wanted in found.split(b"\r\n")[0], found[:200]
    served(web, f"after {name}")
    assert wall.pids("gateway") == [pid]
    assert wait_until(lambda: wall.metric("http_held_bytes") == 0, 20, "all memory back", [wall])


@pytest.mark.parametrize("first,piece", [(b"POST /v1/events HTTP/1.1\r\nHost: h\r\n", b"X: y\r\n"), (b"", b"P"),
                                         (head(90000), b" "), (b"POST /v1/events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:"
                                                               b" chunked\r\n\r\n", b"1\r\n \r\n")],
                         ids=["headers", "request line", "body", "chunks"])
def test_slow_loris(wall, first, piece):
    """Never silent, never done: it has the time of a request, and no more."""
    web = Web(wall)
    slow = [web.raw(first) for _ in range(20)]
    drip(slow[0], piece, wall)
    served(web, "beside")
    for connection in slow[1:]:
        closed_by_the_other_side(connection)
        connection.close()
    slow[0].close()


def test_a_slow_reader(wall):
    """It asks and asks and reads nothing."""
    web = Web(wall)
    with web.raw() as connection:
        connection.settimeout(patient(20))
        ask = b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n" * 100
        with contextlib.suppress(ConnectionError, socket.timeout):
            for _ in range(2000):
                connection.sendall(ask)
    served(web, "reader")


def test_many_from_one_address(wall):
    """What one address may not have, another one still gets."""
    web, other = Web(wall), Web(wall, source="127.0.0.2")
    before = wall.metric("http_connections_refused_total")
    with time_to_think(wall):
        crowd = [web.raw() for _ in range(260)]
        wait_until(lambda: wall.metric("http_connections_refused_total") >= before + 60, 20, "those above the bound", [wall])
        served(other, "other")
        for connection in crowd:
            connection.close()
    served(web, "again")


def test_too_many_in_all(stack):
    """Connections of either address, whoever has them: the ones above wait, and the other address does not notice."""
    instance = stack.spendd(http__max_connections=20, http__max_status_connections=8, http__request_ms=600000,
                            http__keep_alive_ms=600000, **ports()).start(ready=ALL)
    for face, most, path in (("ingest", 20, b"/nothing"), ("status", 8, b"/health/liveness")):
        crowd = [Web(instance, source=f"127.0.0.{2 + n % 4}").raw(face=face) for n in range(most)]
        wait_until(lambda: instance.metric("http_connections") >= most, 20, "all that there may be", [instance])
        with Web(instance).raw(b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % path, face=face) as above:
            if face == "ingest":
                Web(instance).becomes_ready([instance])
            else:
                assert Web(instance).post([{"request_id": "beside", "spend": 1}])[0] == 200
            above.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert above.recv(1) == b"", "one above the bound was served"
        for connection in crowd:
            connection.close()
        wait_until(lambda: instance.metric("http_connections") <= 2, 20, "room again", [instance])
        served(Web(instance), face)
    assert instance.stop() == 0


def test_many_large_bodies_at_once(wall):
    """Each within its bound, together beyond that of all: some are told to come again, none is held for ever."""
    with time_to_think(wall):
        web, other = Web(wall), Web(wall, source="127.0.0.2")
        body = b" " * 99000
        slow = [web.raw(head(100000) + body) for _ in range(40)]
        wait_until(lambda: wall.metric("http_held_bytes") > 800000, 20, "the room to be taken", [wall])
        assert wall.metric("http_held_bytes") <= 1048576
        status = other.post([{"request_id": "held", "spend": 1}])[0]
        assert status in (200, 503)
        for connection in slow:
            with contextlib.suppress(ConnectionError):  # told to come again, and hung up on
                connection.sendall(b" " * 1000)
        answers = [closed_by_the_other_side(connection)[:12] for connection in slow]
        assert b"HTTP/1.1 503" in answers and set(answers) <= {b"HTTP/1.1 503", b"HTTP/1.1 400", b"HTTP/1.1 408", b""}
        for connection in slow:
            connection.close()
        served(other, "held")


def test_more_in_flight_than_may_be(wall):
    """An aggregator that stands still fills the bound; then everybody is told at once, and it passes."""
    with time_to_think(wall):
        web = Web(wall)
        frozen = wall.freeze("aggregator")
        bodies = [b'{"request_id": "flight %05d", "spend": 1.0}' % n for n in range(50)]
        waiting = [web.raw(head(len(body)) + body) for body in bodies]
        wait_until(lambda: wall.metric("http_in_flight") == 50, 20, "the bound", [wall])
        status, answer, _ = web.post([{"request_id": "above", "spend": 1}])
        assert status == 503 and "http.max_in_flight" in answer["error"]
        wall.thaw(frozen)
        for connection in waiting:
            assert closed_by_the_other_side(connection)[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 503")
            connection.close()
        served(web, "above")


def test_two_thousand_connections(stack):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("the limit of open files is too low for the test itself")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    instance = stack.spendd(http__max_address_connections=2000, **ports()).start(ready=ALL)
    web, other = Web(instance), Web(instance, source="127.0.0.2")
    crowd = [web.raw(b"POST /v1/events HTTP/1.1\r\n") for _ in range(2000)]
    wait_until(lambda: instance.metric("http_connections") >= 2000, 30, "all of them", [instance])
    for number in range(20):
        served(other, f"among {number}")
    for connection in crowd:
        connection.close()
    wait_until(lambda: instance.metric("http_connections") <= 1, 30, "none of them", [instance])
    assert instance.stop() == 0

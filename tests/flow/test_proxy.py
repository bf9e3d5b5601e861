"""The test proxy looks at itself: each fault is what it says, and is over when it is taken back.

A small echo server stands for Redis, a real PostgreSQL for the protocol.  No daemon.
"""
import errno
import os
import socket
import threading
import time

import psycopg2
import pytest

from lib import netns
from lib.commits import Frames, PostgresProxy
from lib.proxy import DOWN, UP, Proxy
from lib.waiting import patient, wait_until

TCP_AND_UNIX = pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "unix"])


class Echo:
    """Answers each line with itself; keeps what it got."""

    def __init__(self, place):
        self.path = os.path.join(place.sub("e"), "s")
        self.got, self.ended = b"", 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer:
            while True:
                try:
                    data = peer.recv(65536)
                    self.got += data
                    if not data:
                        self.ended += 1
                        return
                    peer.sendall(data)
                except OSError:
                    self.ended += 1
                    return

    def close(self):
        self._listener.close()


@pytest.fixture
def echo(place):
    return place.keep(Echo(place))


def connected(proxy, timeout_s=5):
    made = socket.socket(socket.AF_UNIX if isinstance(proxy.address, str) else socket.AF_INET)
    made.settimeout(patient(timeout_s))
    made.connect(proxy.address)
    return made


def silent(peer, timeout_s=0.2):
    """No byte and no end within that time."""
    peer.settimeout(timeout_s)
    try:
        return peer.recv(1) is None
    except TimeoutError:
        return True
    finally:
        peer.settimeout(patient(5))


def told(peer, text):
    peer.sendall(text)
    got = b""
    while len(got) < len(text):
        piece = peer.recv(65536)
        assert piece, f"ended after {got!r}"
        got += piece
    return got


@TCP_AND_UNIX
def test_it_carries_and_counts(place, echo, tcp):
    proxy = Proxy(place, echo.path, tcp=tcp)
    peers = [connected(proxy) for _ in range(5)]
    big = os.urandom(3_000_000)
    sender = threading.Thread(target=peers[0].sendall, args=(big,))
    sender.start()
    got = b""
    while len(got) < len(big):
        got += peers[0].recv(65536)
    sender.join()
    assert got == big and proxy.carried == {UP: len(big), DOWN: len(big)}
    assert (proxy.opened, proxy.open, proxy.most_attempts()) == (5, 5, 5)
    for peer in peers:
        peer.close()
    wait_until(lambda: proxy.closed == 5 and echo.ended == 5, 5, "five ends", [proxy])


@TCP_AND_UNIX
def test_delay_keeps_the_order(place, echo, tcp):
    proxy = Proxy(place, echo.path, tcp=tcp).set("delay", ms=30, to_ms=60)
    peer = connected(proxy)
    started = time.monotonic()
    text = b"".join(b"%06d" % n for n in range(1000))
    assert told(peer, text) == text
    assert time.monotonic() - started >= 0.06  # up and down


@TCP_AND_UNIX
@pytest.mark.parametrize("way", [UP, DOWN])
def test_a_dropped_way_stays_silent(place, echo, tcp, way):
    proxy = Proxy(place, echo.path, tcp=tcp)
    peer = connected(proxy)
    told(peer, b"one")
    proxy.set("drop", way=way)
    peer.sendall(b"two")
    assert silent(peer)
    if way == DOWN:
        wait_until(lambda: echo.got == b"onetwo", 5, "the server to be told")
    assert echo.got == (b"one" if way == UP else b"onetwo")
    proxy.set("pass")
    peer.sendall(b"three")
    assert silent(peer), "bytes were lost: the stream must not go on behind them"
    fresh = connected(proxy)
    assert told(fresh, b"four") == b"four"
    peer.close()
    wait_until(lambda: proxy.closed == 1, 5, "the end of it", [proxy])
    if way == DOWN:
        wait_until(lambda: echo.ended == 1, 5, "the server to be told")
    assert echo.ended == (0 if way == UP else 1)  # who cannot be reached is not told either


def test_a_frozen_peer_goes_on_where_it_was(place, echo):
    proxy = Proxy(place, echo.path)
    peer = connected(proxy)
    proxy.set("freeze")
    late = connected(proxy)  # the kernel accepts
    for each in (peer, late):
        each.sendall(b"x")
        assert silent(each)
    assert proxy.opened == 1 and echo.got == b""
    proxy.set("pass")
    assert peer.recv(1) == b"x" and late.recv(1) == b"x"


@TCP_AND_UNIX
def test_a_black_hole_answers_no_connect(place, echo, tcp):
    proxy = Proxy(place, echo.path, tcp=tcp)
    told(connected(proxy), b"x")
    proxy.set("blackhole")
    probe = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
    probe.setblocking(False)
    assert probe.connect_ex(proxy.address) == (errno.EINPROGRESS if tcp else errno.EAGAIN)
    probe.settimeout(0.3)
    assert probe.connect_ex(proxy.address) != 0
    proxy.set("pass")
    assert told(connected(proxy), b"y") == b"y"
    assert proxy.opened <= 3 and proxy.error is None


@TCP_AND_UNIX
def test_refuse_and_turn_away(place, echo, tcp):
    proxy = Proxy(place, echo.path, tcp=tcp)
    peer = connected(proxy)
    proxy.set("refuse")
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    assert told(peer, b"still") == b"still" and len(proxy.attempts) == 1
    proxy.set("turn_away")
    with pytest.raises((OSError, AssertionError)):  # in the connect or behind it
        told(connected(proxy), b"x")
    wait_until(lambda: proxy.opened == 2 and proxy.closed == 1, 5, "the count", [proxy])
    proxy.set("pass")
    assert told(connected(proxy), b"again") == b"again"


def test_slow_accept_serves_one_at_a_time(place, echo):
    proxy = Proxy(place, echo.path).set("slow_accept", ms=100)
    peers = [connected(proxy) for _ in range(4)]
    for peer in peers:
        assert told(peer, b"x") == b"x"
    gaps = [after - before for before, after in zip(proxy.attempts, list(proxy.attempts)[1:])]
    assert min(gaps) >= 0.09


def test_reset_is_a_reset_and_cut_is_an_end(place, echo):
    proxy = Proxy(place, echo.path)
    peer = connected(proxy)
    told(peer, b"x")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
    peer = connected(proxy)
    told(peer, b"x")
    proxy.cut()
    assert peer.recv(1) == b""
    wait_until(lambda: echo.ended == 2 and proxy.open == 0, 5, "the server to be told", [proxy])


@pytest.mark.parametrize("how", ["cut", "reset", "hold"])
def test_cut_in_the_middle_of_a_reply(place, echo, how):
    proxy = Proxy(place, echo.path)
    peer = connected(proxy)
    proxy.arm(how, way=DOWN, after=1005)
    assert told(peer, b"a" * 1000) == b"a" * 1000 and proxy.acted == 0
    peer.sendall(b"b" * 10)
    assert peer.recv(100) == b"b" * 5
    if how == "hold":
        assert silent(peer)
    elif how == "cut":
        assert peer.recv(1) == b""
    else:
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    assert proxy.acted == 1 and proxy.armed is None
    assert told(connected(proxy), b"fresh") == b"fresh"


def test_a_word_on_its_way_is_the_moment(place, echo):
    proxy = Proxy(place, echo.path)
    peer = connected(proxy)
    proxy.arm("cut", way=UP, match=b"EVALSHA")
    assert told(peer, b"EVAL EVA") == b"EVAL EVA"
    peer.sendall(b"LSHA 1")  # the word in two pieces
    assert peer.recv(100) == b"" and echo.got == b"EVAL EVA"


def test_a_store_that_is_away_or_moves(place, echo):
    proxy = Proxy(place, os.path.join(place.root, "nobody"))
    with pytest.raises((OSError, AssertionError)):
        told(connected(proxy), b"x")
    proxy.target = echo.path
    assert told(connected(proxy), b"x") == b"x"


def test_the_same_seed_delays_the_same(place, echo):
    ways = []
    for seed in (5, 5, 6):
        proxy = Proxy(place, echo.path, seed=seed)
        ways.append([proxy.rng.random() for _ in range(5)])
    assert ways[0] == ways[1] != ways[2]


# --- PostgreSQL ---------------------------------------------------------------------------------------------
def test_messages_are_found_however_the_stream_is_cut():
    long = b"Q" + (4 + 700).to_bytes(4, "big") + b"x" * 699 + b"\0"
    commit = b"Q" + (11).to_bytes(4, "big") + b"COMMIT\0"
    stream = (16).to_bytes(4, "big") + bytes([0, 3, 0, 0]) + b"user\0\0a\0" + long + commit + b"S\0\0\0\4" + commit
    for size in (1, 2, 3, 5, 7, 64, 1000):
        frames, found, at = Frames(True), [], 0
        while at < len(stream):
            for kind, body, begin in frames.feed(stream[at:at + size]):
                frames.startup = False
                found.append((kind, len(body), begin + at))
            at += size
        first = 16 + len(long)
        assert found == [(b"", 12, 0), (b"Q", 512, 16), (b"Q", 7, first), (b"S", 0, first + 12), (b"Q", 7, first + 17)], size


@pytest.fixture(scope="module")
def postgres(place):
    server = place.postgres().start()
    server.query("create table t(n int)")
    yield server
    server.stop()


@pytest.mark.parametrize("how", ["before", "after", "reset", "hold"])
@TCP_AND_UNIX
def test_the_answer_to_commit(place, postgres, tcp, how):
    proxy = PostgresProxy(place, postgres, tcp=tcp)
    postgres.query("truncate t")
    connection = psycopg2.connect(proxy.url(), application_name="counted")
    cursor = connection.cursor()
    cursor.execute("insert into t values (1)")
    connection.commit()
    other = psycopg2.connect(proxy.url(), application_name="other")
    proxy.arm_commit(how, of="counted")
    other.cursor().execute("select 1")
    other.commit()  # not meant
    other.close()
    cursor.execute("insert into t values (2)")
    if how == "hold":
        threading.Thread(target=lambda: pytest.raises(psycopg2.Error, connection.commit), daemon=True).start()
        wait_until(lambda: proxy.acted, 5, "the answer to be swallowed", [proxy])
        assert proxy.open == 1 and silent(socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM))
        proxy.reset()  # lets the thread go
    else:
        with pytest.raises(psycopg2.OperationalError):
            connection.commit()
    wait_until(lambda: proxy.open == 0, 5, "the end", [proxy])
    assert postgres.one("select count(*) from t") == (1 if how == "before" else 2)
    assert (proxy.acted, proxy.armed, proxy.commits) == (1, None, 3)
    with psycopg2.connect(proxy.url()) as fresh:
        fresh.cursor().execute("select 1")


# --- the cable ----------------------------------------------------------------------------------------------
def test_a_pulled_cable_says_nothing(place, echo):
    netns.require()
    space = netns.NetNs(place)
    proxy = Proxy(place, echo.path, netns=space)
    peer = connected(proxy)
    assert told(peer, b"one") == b"one"
    space.pull()
    peer.sendall(b"two")
    assert silent(peer) and echo.got == b"one"
    space.plug()
    assert peer.recv(3) == b"two"  # sent again by the kernel
    space.pull()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    peer.sendall(b"three")
    with pytest.raises(OSError, match="timed out|unreachable|No route"):
        peer.recv(1)

"""A hostile peer on the ingest port.  Whatever it sends, or does not send: memory stays below RLIMIT_DATA, other
producers are served or the worker is back by itself, and nothing that was acknowledged is lost.

The port speaks ZMTP 3 without CURVE here: on loopback anybody may try.  Every case ends with the books.
"""
import datetime
import os
import random
import socket
import struct
import threading
import time

import pytest

from lib import conservation, processes
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Producer
from lib.servers import free_tcp_port
from lib.waiting import SANITIZED, patient, wait_until

LIMIT_MB = 128
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
MORE, LONG, COMMAND = 1, 2, 4


def frame(flags, body):
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


class Peer:
    """A raw connection."""

    def __init__(self, port, greet=False):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        if greet:
            self.socket.sendall(GREETING + frame(COMMAND, READY))
            got = 0
            while got < 64 + 2 + 28:
                got += len(self.socket.recv(4096)) or 10**9

    def push(self, data):
        """False when it was hung up on."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def gone(self):
        """Reads what there is; True at the end of the connection."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self):
        self.socket.close()


@pytest.fixture
def stack(tmpfs, stack):
    """With a spool in memory: what is measured here is what a hostile peer costs the others, not the disk."""
    stack.tmpfs = tmpfs
    return stack


class Victim:
    """An aggregator under a limit of its own, with an honest producer; notes the most memory that it had."""

    def __init__(self, stack, limit_mb=LIMIT_MB, resend_s=1, **settings):
        self.stack, self.port, self.limit_mb = stack, free_tcp_port(), limit_mb
        settings = {"supervisor__data_limit_mb": limit_mb, "dedupe__ids": 20000, "ingest__max_connections": 500,
                    "spool__dir": os.path.join(stack.tmpfs, "spool"), **settings}
        self.instance = stack.spendd(ingest__acked=f"tcp://127.0.0.1:{self.port}", **settings).start(ready=WORKERS)
        self.most_kb, self.end = 0, threading.Event()
        self.producer = Producer(f"tcp://127.0.0.1:{self.port}", batches(Generator(93, "honest").events(10**9), 5),
                                 window=8, resend_s=resend_s, rate=100).start()
        self.served()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.end.wait(0.01):
            for pid in self.instance.pids("aggregator"):
                self.most_kb = max(self.most_kb, processes.memory_kb(pid, "VmData"))

    def served(self, more=20):
        """How long until the honest one has so many more answers."""
        target, began = self.producer.outcome.messages + more, time.monotonic()
        wait_until(lambda: self.producer.outcome.messages >= target, 30, "answers to the honest one", [self.producer, self.instance])
        return time.monotonic() - began

    def served_soon(self):
        """A second; 20 answers take a fifth of it at this rate.  Unless the worker has died: then see back_soon()."""
        deaths, took = self.deaths(), self.served()
        assert took <= patient(1) or self.deaths() > deaths or deaths > 0, f"served after {took:.1f} s"
        return took

    def deaths(self):
        return self.instance.log_text().count("worker_exited worker=aggregator")

    def back_soon(self):
        """Each worker that died had a successor within a second."""
        died = None
        for line in self.instance.log_text().splitlines():
            at = line.split(" ")[0].replace("Z", "+00:00")
            if " worker_exited worker=aggregator " in line:
                died = datetime.datetime.fromisoformat(at)
            elif died and " worker_ready worker=aggregator " in line:
                took, died = (datetime.datetime.fromisoformat(at) - died).total_seconds(), None
                assert took <= patient(1), f"back after {took:.1f} s\n{line}"
        assert died is None, "it died and did not come back"

    def conserved(self):
        self.producer.finish_source()
        self.producer.wait(60, self.stack.logs)
        self.end.set()
        self.thread.join(20)
        if not SANITIZED:
            assert self.most_kb <= self.limit_mb * 1024, f"VmData was {self.most_kb} kB"
        self.back_soon()
        print(f"\n  most memory {self.most_kb // 1024} of {self.limit_mb} MiB, deaths {self.deaths()}")
        conservation.assert_conserved(self.stack.postgres, self.producer.outcome, logs=self.stack.logs)


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's shadow is larger than any RLIMIT_DATA: there is none")
def test_endless_multipart_frames(stack):
    """libzmq keeps the frames of an unfinished message, however many.  At the limit either that connection ends (no
    memory for a frame) or the worker does (none for anything else), and another one is there."""
    victim = Victim(stack)
    piece = frame(MORE, bytes(60000)) * 16
    for _ in range(3):
        peer, sent, deaths = Peer(victim.port, greet=True), 0, victim.deaths()
        while peer.push(piece) and sent < 4 * LIMIT_MB << 20:
            sent += len(piece)
        assert sent < 4 * LIMIT_MB << 20, "it took four times its limit"
        print(f"\n  hung up on after {sent >> 20} MiB; deaths {victim.deaths() - deaths}; "
              f"the honest one served {victim.served_soon():.2f} s later")
        peer.close()
    victim.conserved()


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's shadow is larger than any RLIMIT_DATA: there is none")
def test_an_unfinished_message_that_is_held(stack):
    """Almost all of the memory is somebody's unfinished message, and he says no more: what the honest one was
    promised goes its way all the same, if need be in a new life of the worker."""
    victim = Victim(stack)
    peer, piece = Peer(victim.port, greet=True), frame(MORE, bytes(60000)) * 16
    peer.socket.settimeout(2)
    for _ in range((LIMIT_MB << 20) // len(piece)):
        size = processes.memory_kb(victim.instance.pid("aggregator"), "VmData")
        if size > (LIMIT_MB - 4) * 1024 or not peer.push(piece):
            break
    print(f"\n  {size >> 10} of {LIMIT_MB} MiB are taken")
    victim.served(60)
    victim.conserved()
    peer.close()


def test_a_huge_frame_is_not_waited_for(stack):
    """A length beyond the largest message: hung up on, before any memory is taken."""
    victim = Victim(stack)
    pid = victim.instance.pid("aggregator")
    for length in (2**63, 2**62, 2**40, 9 << 20):
        peer = Peer(victim.port, greet=True)
        peer.push(bytes([LONG]) + struct.pack(">Q", length) + b"x")
        wait_until(peer.gone, 10, f"the end of a frame of {length}", [victim.instance])
    victim.served_soon()
    assert victim.instance.pid("aggregator") == pid
    victim.conserved()


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's shadow is larger than any RLIMIT_DATA: there is none")
def test_many_large_frames_are_announced(stack):
    """Each within the largest message, none ever sent: all together more than the limit.  Before the handshake
    is over as well as behind it."""
    victim = Victim(stack)
    announced = bytes([LONG]) + struct.pack(">Q", 8 << 20) + b"x"
    for greet in (False, True):
        deaths = victim.deaths()
        peers = []
        try:
            while len(peers) < 60 and victim.deaths() == deaths:
                peers.append(Peer(victim.port, greet=greet))
                if not peers[-1].push(announced if greet else GREETING + announced):
                    break
        except OSError:
            pass  # it has died under us
        print(f"\n  {len(peers)} announced 8 MiB each; the honest one served {victim.served_soon():.2f} s later")
        for peer in peers:
            peer.close()
    victim.conserved()


@pytest.mark.parametrize("said", [b"", GREETING[:10], GREETING[:11], GREETING], ids=["silent", "signature", "version", "greeting"])
def test_half_handshakes_are_cut(stack, said):
    """Whoever connects and does not introduce himself is hung up on; 300 of them cost nobody anything."""
    victim = Victim(stack)
    pid = victim.instance.pid("aggregator")
    peers = [Peer(victim.port) for _ in range(300)]
    for peer in peers:
        peer.push(said)  # the first of them may have been cut before the last one was there
    victim.served_soon()
    wait_until(lambda: all(peer.gone() for peer in peers), 30, "the last to be cut", [victim.instance], look_s=0.2)
    victim.served_soon()
    assert victim.instance.pid("aggregator") == pid
    victim.conserved()


def test_a_greeting_byte_by_byte_is_cut(stack):
    """Slow loris: a byte now and then keeps nobody in."""
    victim = Victim(stack)
    pid, peers = victim.instance.pid("aggregator"), [Peer(victim.port) for _ in range(50)]
    sent = 0

    def all_gone():
        nonlocal sent
        for peer in peers:
            peer.push(GREETING[sent % 64:sent % 64 + 1])
        sent += 1
        return all([peer.gone() for peer in peers])

    wait_until(all_gone, 30, "the slow ones to be cut", [victim.instance], look_s=0.3)
    assert sent < 64, "they had time for a whole greeting"
    victim.served_soon()
    assert victim.instance.pid("aggregator") == pid
    victim.conserved()


def test_random_bytes(stack):
    """Before, in and behind the handshake; seeded."""
    victim = Victim(stack)
    rng = random.Random(94)
    for n in range(300):
        peer = Peer(victim.port, greet=n % 3 == 0)
        if n % 3 == 1:
            peer.push(GREETING)
        peer.push(bytes(rng.choice((0, 1, 2, 3, 4, 5, 6, 7, rng.randrange(256))) for _ in range(rng.randrange(1, 4096))))
        if n % 7:
            peer.close()
    victim.served_soon()
    print(f"\n  deaths {victim.deaths()}")
    victim.conserved()


def test_a_flood_of_commands(stack):
    """PINGs whose answers nobody reads, words that there are not, subscriptions to a ROUTER, READY again."""
    victim = Victim(stack)
    for body in (b"\x04PING\x00\x00" + b"x" * 16, b"\x07UNKNOWN" + b"y" * 200, b"\x09SUBSCRIBE" + b"z" * 100, READY, b"", b"\xffX"):
        peer, flood = Peer(victim.port, greet=True), frame(COMMAND, body) * 2000
        peer.socket.settimeout(2)
        for _ in range(50):
            if not peer.push(flood):
                break
        victim.served_soon()
        peer.close()
    print(f"\n  deaths {victim.deaths()}")
    victim.conserved()


def test_two_thousand_connections_that_talk(stack):
    """Below the bound: all of them are served, and so is the honest one."""
    victim = Victim(stack, limit_mb=256, ingest__max_connections=2500)
    pid = victim.instance.pid("aggregator")
    peers = [Peer(victim.port, greet=True) for _ in range(2000)]
    hello = frame(MORE, b"E1") + frame(MORE, b"7") + frame(0, b"no JSON")
    assert all(peer.push(hello) for peer in peers)
    for peer in peers:
        peer.socket.settimeout(patient(30))
        got = b""
        while b"N1" not in got:  # behind the PINGs of the meantime, where it took one
            piece = peer.socket.recv(4096)
            assert piece, "hung up on"
            got += piece
    victim.served_soon()
    print(f"\n  2,000 connections take {victim.most_kb >> 10} MiB in all")
    for peer in peers:
        peer.close()
    assert victim.instance.pid("aggregator") == pid
    victim.conserved()


def test_more_connections_than_there_may_be(stack):
    """2,000 on a bound of 100: who was there is served on, who comes later is hung up on until others have left;
    the spool never lacks a descriptor."""
    victim = Victim(stack, resend_s=60, ingest__max_connections=100)
    pid = victim.instance.pid("aggregator")
    peers = [Peer(victim.port) for _ in range(2000)]
    wait_until(lambda: sum(not peer.gone() for peer in peers) <= 110, 20, "those above the bound to be hung up on",
               [victim.instance], look_s=0.1)
    # The peer sees the end before ZeroMQ's thread has closed its own.
    wait_until(lambda: processes.descriptors(pid) < 200, 20, "their descriptors to be closed", [victim.instance])
    honest = victim.producer.outcome.resends
    victim.served(60)
    wait_until(lambda: victim.instance.metric("connections_refused_total") >= 1800, 10, "the figure", [victim.instance])
    wait_until(lambda: all(peer.gone() for peer in peers), 30, "the silent ones to be cut", [victim.instance], look_s=0.2)
    late = Producer(victim.producer.endpoints, batches(Generator(95, "late").events(50), 5), resend_s=1).start()
    late.wait(40, victim.stack.logs)
    victim.producer.outcome.sent.update(late.outcome.sent)
    victim.producer.outcome.acked.update(late.outcome.acked)
    assert victim.instance.pid("aggregator") == pid and "commit_failed" not in victim.instance.log_text()
    assert victim.producer.outcome.resends == honest, "the honest one was there first, and was hung up on"
    victim.conserved()


def test_every_worker_is_under_the_limits(stack):
    victim = Victim(stack)
    for worker in WORKERS:
        pid = victim.instance.pid(worker)
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            rows = {line[:26].strip(): line[26:].split() for line in file}
        if not SANITIZED:
            assert rows["Max data size"][:2] == [str(LIMIT_MB << 20)] * 2, worker
            assert rows["Max core file size"][0] == "0", worker
        if worker == "aggregator":
            assert int(rows["Max open files"][0]) == 500 + 1280
    victim.conserved()

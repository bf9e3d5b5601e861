"""A producer with the manners that spendd asks of one: it keeps ids, repeats until it has an answer,
and waits when it is told to.  It runs in its own thread; what is in flight is bounded by the window.

What it knows afterwards, per event id: that it was sent, acknowledged, or refused and why.  That is
one half of the conservation check; the other half is in PostgreSQL.
"""
import collections
import json
import re
import threading
import time

import zmq

from .waiting import patient, wait_until


JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def event_id_of(event):
    return event.get("event_id") or event["request_id"]


def payload_of(events, style="array"):
    """array, lines (NDJSON), or single (exactly one event).  A spend that is text in the event goes out
    as a JSON number when its id says so: both ways must give the same money."""
    texts = []
    for event in events:
        text = json.dumps(event, ensure_ascii=False)
        as_number = JSON_NUMBER.fullmatch(str(event.get("spend"))) and sum(str(event_id_of(event)).encode()) % 2
        if isinstance(event.get("spend"), str) and as_number:
            text = text.replace(f'"spend": "{event["spend"]}"', f'"spend": {event["spend"]}', 1)
        texts.append(text)
    if style == "array":
        return ("[" + ",".join(texts) + "]").encode()
    return "\n".join(texts).encode()


class Outcome:
    """Everything that is known about what was sent, over one or more producers."""

    def __init__(self):
        self.sent = {}  # id -> event, first contents
        self.acked = set()
        self.refused = {}  # id -> reason
        self.accepted = self.duplicate = self.resends = self.told_to_wait = self.messages = 0
        self.latencies = collections.deque(maxlen=20000)
        self._lock = threading.Lock()

    def note_sent(self, events):
        with self._lock:
            for event in events:
                self.sent.setdefault(event_id_of(event), event)

    def note_ack(self, events, answer, latency_s):
        rejected = {row["index"]: row["error"] for row in answer.get("rejected", ())}
        with self._lock:
            self.messages += 1
            self.accepted += answer["accepted"]
            self.duplicate += answer["duplicate"]
            self.latencies.append(latency_s)
            for index, event in enumerate(events):
                if index in rejected:
                    self.refused[event_id_of(event)] = rejected[index]
                else:
                    self.acked.add(event_id_of(event))

    def note_refused(self, events, reason):
        with self._lock:
            for event in events:
                self.refused[event_id_of(event)] = reason

    def counts(self):
        return {"sent": len(self.sent), "acked": len(self.acked), "refused": len(self.refused),
                "accepted": self.accepted, "duplicate": self.duplicate, "resends": self.resends}


class Producer:
    """Sends the messages (lists of events) that `source` yields to one endpoint or round over several.

    window     messages in flight at most
    resend_s   no answer for this long: the same message again, under a new id of transport
    rate       messages per second, or None
    keys       CURVE (lib/curve.py), or None
    """

    def __init__(self, endpoints, source, outcome=None, window=16, resend_s=3.0, rate=None, style="array", keys=None):
        self.endpoints = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        self.source, self.outcome = iter(source), outcome or Outcome()
        self.window, self.resend_s, self.rate, self.style = window, resend_s, rate, style
        self.name, self.error = "producer", None
        self.keys = keys
        self._asked_to_stop = threading.Event()
        self._no_more = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self._flight = {}  # transport id -> [events, socket index, deadline, first sent]
        self._former = collections.OrderedDict()  # id of a message that was sent again -> its row; bounded
        self._later = []  # [when, events]
        self._number = 0

    def start(self):
        self._thread.start()
        return self

    def finish_source(self):
        """Take no more from the source; what is in flight is still seen through."""
        self._no_more.set()

    def done(self):
        return not self._thread.is_alive()

    def wait(self, deadline_s=60, logs=()):
        """Until every message has its answer."""
        wait_until(self.done, deadline_s, "every message to be answered", [self, *logs], look_s=0.05)
        if self.error:
            raise self.error
        return self.outcome

    def stop(self):
        self._asked_to_stop.set()
        self._thread.join(20)

    def tail(self):
        return f"{self.outcome.counts()} in flight {len(self._flight)} waiting {len(self._later)}"

    def in_flight(self):
        return len(self._flight)

    # --- the thread ---
    def _run(self):
        context = zmq.Context()
        try:
            self._loop(context)
        except Exception as error:  # shown by wait()
            self.error = error
        finally:
            context.destroy(linger=0)

    def _connect(self, context):
        sockets = []
        for endpoint in self.endpoints:
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, 50)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
            socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
            # A message for a daemon that is away waits in our own window, not in a socket.
            socket.setsockopt(zmq.IMMEDIATE, 1)
            if self.keys is not None:
                self.keys.into(socket)
            socket.connect(endpoint)
            sockets.append(socket)
        return sockets

    def _loop(self, context):
        sockets = self._connect(context)
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        exhausted, next_at = False, time.monotonic()
        while not self._asked_to_stop.is_set():
            now = time.monotonic()
            self._resend_overdue(sockets, now)
            while not exhausted and len(self._flight) + len(self._later) < self.window and now >= next_at:
                events = None if self._no_more.is_set() else next(self.source, None)
                if events is None:
                    exhausted = True
                    break
                self.outcome.note_sent(events)
                self._send(sockets, events, now, now)
                if self.rate:
                    next_at = max(next_at + 1 / self.rate, now - 1)
            if exhausted and not self._flight and not self._later:
                return
            for socket, _ in poller.poll(10):
                self._receive(socket)

    def _send(self, sockets, events, now, first):
        self._number += 1
        key = self._number.to_bytes(8, "big")
        index = self._number % len(sockets)
        self._flight[key] = [events, index, now + patient(self.resend_s), first]
        try:
            sockets[index].send_multipart([b"E1", key, payload_of(events, self.style)], zmq.DONTWAIT)
        except zmq.Again:  # nobody there: looked at again soon
            self._flight[key][2] = now + 0.1

    def _resend_overdue(self, sockets, now):
        for key in [key for key, row in self._flight.items() if row[2] <= now]:
            events, _, _, first = self._former[key] = self._flight.pop(key)
            while len(self._former) > 4096:
                self._former.popitem(last=False)
            self.outcome.resends += 1
            self._send(sockets, events, now, first)
        due = [row for row in self._later if row[0] <= now]
        self._later = [row for row in self._later if row[0] > now]
        for _, events, first in due:
            self._send(sockets, events, now, first)

    def _receive(self, socket):
        while True:
            try:
                kind, key, text = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            row = self._flight.pop(key, None)
            answer = json.loads(text)
            if row is None:
                # A late answer to a message that we have sent again since: an ack is a promise all the same.
                row = self._former.pop(key, None)
                if row is None or kind != b"A1":
                    continue
            if kind == b"A1":
                self.outcome.note_ack(row[0], answer, time.monotonic() - row[3])
            elif kind == b"N1" and "retry_after_ms" in answer:
                self.outcome.told_to_wait += 1
                self._later.append([time.monotonic() + answer["retry_after_ms"] / 1000, row[0], row[3]])
            else:
                self.outcome.note_refused(row[0], f"{kind.decode()}: {answer}")


class Asker:
    """One socket, one question at a time: for tests that look at single answers and raw frames."""

    def __init__(self, endpoint, kind=zmq.DEALER):
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self._number = 0

    def raw(self, frames, timeout_s=10):
        self.socket.send_multipart(frames)
        return self.receive(timeout_s)

    def receive(self, timeout_s=10):
        """The frames of the next answer, or None."""
        if not self.socket.poll(patient(timeout_s) * 1000):
            return None
        return self.socket.recv_multipart()

    def payload(self, payload, timeout_s=10):
        """(kind, answer) for a payload, or (None, None)."""
        self._number += 1
        key = b"q%d" % self._number
        self.socket.send_multipart([b"E1", key, payload])
        while True:
            frames = self.receive(timeout_s)
            if frames is None:
                return None, None
            if frames[-2] == key:
                return frames[-3].decode(), json.loads(frames[-1])

    def events(self, events, timeout_s=10):
        return self.payload(payload_of(events), timeout_s)

    def close(self):
        self.context.destroy(linger=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def push_unacked(endpoint, payloads, deadline_s=10):
    """Fire and forget over PUSH; waits until the peer has taken them off this socket."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDTIMEO, int(patient(deadline_s) * 1000))
    socket.connect(endpoint)
    for payload in payloads:
        socket.send(payload)
    socket.close(linger=int(patient(deadline_s) * 1000))
    context.term()

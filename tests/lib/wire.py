"""The batch format and the conversation with Redis (common/redis/scripts.def), written a second time, in Python.

The order of fields comes from common/event/fields.def and the scripts from common/redis/scripts.def:
contracts between programs are read, not copied.  Everything else (framing, CRC, identity, what to push
again and when) is written from the papers, so that it checks the daemon instead of mirroring it.

LightPusher is an instance without a daemon: it pushes envelopes, watches the generation, and pushes
again what is not applied.
"""
import collections
import functools
import hashlib
import os
import random
import re
import struct
import subprocess
import threading
import time
import uuid

import redis

from . import conservation
from .producer import event_id_of

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PREFIX = "{spendd}:"
RECORD_EVENT, RECORD_DEAD = 1, 2


# --- CRC-32C ---------------------------------------------------------------------------------------------
def _table():
    rows = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        rows.append(value)
    return rows


_CRC = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


# --- records ---------------------------------------------------------------------------------------------
def _fields():
    """[(name, kind, flags)] in the order of the presence bits."""
    with open(os.path.join(ROOT, "common/event/fields.def"), encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    return [tuple(part.strip() for part in row.split(",")) for row in re.findall(r"^FIELD\(([^)]*)\)", text, re.M)]


FIELDS = _fields()


def _micros(value):
    import datetime

    if isinstance(value, (int, float)):
        return round(value * 1e6)
    moment = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


def _text(value):
    data = value.encode()
    return struct.pack("<H", len(data)) + data


def encode_event(event, received_micros=None):
    """The body of a RECORD_EVENT from an event as a producer would send it."""
    import json

    event = dict(event, received=received_micros or int(time.time() * 1e6))
    event["api_key"] = conservation.key_of(event)
    if event.get("status") == "success":
        event.pop("status")
    if event.get("event_id") == event["request_id"]:
        event.pop("event_id")
    bits, body = 0, b""
    for number, (name, kind, _) in enumerate(FIELDS):
        value = event.get(name)
        if value is None or value == "" or value == [] or (kind == "COUNT" and value == 0):
            continue
        bits |= 1 << number
        if kind == "TEXT":
            body += _text(value)
        elif kind == "COUNT":
            body += struct.pack("<q", value)
        elif kind == "MONEY":
            body += struct.pack("<q", int(conservation.money(value).scaleb(12)))
        elif kind == "TIME":
            body += struct.pack("<q", value if name == "received" else _micros(value))
        elif kind == "TAGS":
            tags = sorted({tag.encode() for tag in value if tag})
            body += bytes([len(tags)]) + b"".join(struct.pack("<H", len(tag)) + tag for tag in tags)
        elif kind == "JSON":
            data = json.dumps(value).encode()
            body += struct.pack("<I", len(data)) + data
    return struct.pack("<Q", bits) + body


def record(kind, body):
    payload = bytes([kind]) + body
    return struct.pack("<II", len(payload), crc32c(payload)) + payload


def event_record(event, received_micros=None):
    return record(RECORD_EVENT, encode_event(event, received_micros))


def dead_record(reason, refused):
    return record(RECORD_DEAD, _text(reason) + refused)


def envelope(epoch, seq, records, shard=0, magic="spendd1"):
    body = b"".join(records)
    line = f"{magic} {epoch} {shard} {seq} {len(records)} {crc32c(body):08x}\n"
    return line.encode() + body


def uuid7(rng=random):
    """A UUIDv7: 48 bits of milliseconds, the rest random."""
    value = int(time.time() * 1000) << 80 | rng.getrandbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(3 << 62) | 2 << 62))


# --- scripts ---------------------------------------------------------------------------------------------
def _literals(text):
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    return "".join(part.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\") for part in parts)


@functools.cache
def scripts():
    """name -> lua.  The C preprocessor reads scripts.def, as it does for the daemon."""
    program = "#define SCRIPT(name, keys, oom, ...) @@ name oom @@ __VA_ARGS__\n#include \"common/redis/scripts.def\"\n"
    mutant = os.environ.get("SPENDD_MUTANT")  # of the build under test (tests/mutants)
    defines = [f"-DMUTANT_{mutant}"] if mutant else []
    text = subprocess.run(["cc", "-E", "-P", *defines, "-I", ROOT, "-x", "c", "-"], input=program, capture_output=True, text=True,
                          check=True).stdout
    head = {"ALLOW_OOM": "#!lua flags=allow-oom\n", "REFUSE_OOM": "#!lua\n"}
    parts = re.split(r"@@ (\w+) (\w+) @@", text)[1:]
    return {name: head[oom] + _literals(body) for name, oom, body in zip(parts[::3], parts[1::3], parts[2::3])}


class Queue:
    """The scripts of one shard on one connection, as Python functions.  Replies are lists of bytes and ints."""

    def __init__(self, client, prefix=PREFIX, shard=0):
        self.client, self.prefix, self.shard = client, prefix, shard
        self._sha = {}

    def key(self, name):
        return f"{self.prefix}{name}:{self.shard}"

    def run(self, name, keys, *argv):
        lua = scripts()[name]
        sha = self._sha.setdefault(name, hashlib.sha1(lua.encode()).hexdigest())
        names = [self.key(key) for key in keys]
        try:
            return self.client.evalsha(sha, len(names), *names, *argv)
        except redis.exceptions.NoScriptError:
            return self.client.eval(lua, len(names), *names, *argv)

    def look(self, fresh, *epochs):
        return self.run("look", ("queue", "meta", "applied"), fresh, *epochs)

    def push(self, generation, fresh, data, most=1 << 30):
        return self.run("push", ("queue", "meta"), generation, fresh, most, data)

    def peek(self, fresh, count=1000, most=1 << 30):
        return self.run("peek", ("queue", "meta"), fresh, count, most)

    def publish(self, generation, ranges, identities):
        flat = [part for row in ranges for part in row]
        return self.run("publish", ("queue", "meta", "applied"), generation, len(ranges), *flat, *identities)

    def lock_holder(self):
        return self.client.get(self.key("lock"))


class LightPusher:
    """Pushes batches of events in its own thread until all of them are applied.

    repush_s: a batch not applied this long after its push is pushed again."""

    def __init__(self, client, batches, name="light", repush_s=20.0, fresh_rng=None, prefix=PREFIX):
        self.queue = Queue(client, prefix)
        self.epoch = uuid7()
        self.name, self.repush_s = name, repush_s
        self.sent = {}
        self._unapplied = collections.OrderedDict()  # seq -> [envelope, generation of push, time of push]
        for seq, events in enumerate(batches, 1):
            self._unapplied[seq] = [envelope(self.epoch, seq, [event_record(event) for event in events]), None, 0.0]
            self.sent.update((event_id_of(event), event) for event in events)
        self.pushes, self.generations, self.error = 0, set(), None
        self._rng = fresh_rng or random.Random(self.epoch)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def start(self):
        self._thread.start()
        return self

    def done(self):
        return not self._thread.is_alive()

    def stop(self):
        self._stop.set()
        self._thread.join(15)

    def tail(self):
        return f"{self.name}: {len(self._unapplied)} batches not applied, {self.pushes} pushes, error {self.error}"

    def _fresh(self):
        return f"{self._rng.getrandbits(128):032x}"

    def _run(self):
        while self._unapplied and not self._stop.is_set():
            try:
                self._round()
            except redis.RedisError as error:  # away: looked at again
                self.error = error
            self._stop.wait(0.1)

    def _round(self):
        answer = self.queue.look(self._fresh(), self.epoch)
        generation, field = answer[1].decode(), answer[-1].decode()
        self.generations.add(generation)
        if field:
            for low, high in conservation.spans(field.split(" ", 1)[1]):
                for seq in range(low, high):
                    self._unapplied.pop(seq, None)
        now = time.monotonic()
        for row in self._unapplied.values():
            if row[1] == generation and now - row[2] < self.repush_s:
                continue
            reply = self.queue.push(generation, self._fresh(), row[0])
            if reply[0] != b"ok":
                return
            row[1:] = [generation, now]
            self.pushes += 1

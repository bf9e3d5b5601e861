"""spendd_callback.py - LiteLLM's requests to spendd, one acknowledged event each.

    litellm_settings:
      callbacks: spendd_callback.handler        # this file lies beside config.yaml

What a request pays for this is one json.dumps and an append to a queue.  Everything else is done by one thread of
each process: it sends (ZeroMQ, acknowledged once spendd has the event on disk), and what spendd has not
acknowledged for a moment, or what fills more than half of the memory, goes to files, is sent again when spendd is
back, and is recovered by the next process after a crash.  No exception leaves this file; what goes wrong is counted
(handler.stats()) and logged once a minute.

The environment: SPENDD_ENDPOINT, SPENDD_SPILL_DIR, SPENDD_SPILL_MAX_BYTES, SPENDD_MEMORY_MAX_BYTES,
SPENDD_REJECT_MAX_BYTES, SPENDD_BATCH_MS, SPENDD_ANSWER_MS, SPENDD_SPILL_AFTER_MS, SPENDD_CLOSE_MS, and for
tcp:// SPENDD_CURVE_SERVERKEY, SPENDD_CURVE_PUBLICKEY, SPENDD_CURVE_SECRETKEY (Z85 text).  Bounds hold for each
process.

What is true if the process dies on any line: an event that spendd acknowledged is counted once; one in a file is
sent by the next process, with the same bytes; one that was in memory alone, younger than SPENDD_SPILL_AFTER_MS or
in flight, is lost with the process, as the rows in LiteLLM's own queues are.
"""
import atexit
import collections
import fcntl
import hashlib
import json
import logging
import math
import os
import re
import sys
import threading
import time
import uuid

try:
    from litellm.integrations.custom_logger import CustomLogger
except ImportError:  # unit tests, and whoever feeds it by hand

    class CustomLogger:
        pass


EVENT_BYTES = 60000  # spendd takes events of 64 KiB
BATCH_BYTES = 512 * 1024
BATCH_EVENTS = 200
WINDOW = 8
TAGS = 64
FILES = 100000

log = logging.getLogger("spendd")


class Settings:
    def __init__(self, environment=None):
        environment = os.environ if environment is None else environment

        def number(name, default):
            try:
                return max(0, int(environment.get(name, default)))
            except ValueError:
                return default

        self.endpoint = environment.get("SPENDD_ENDPOINT", "ipc:///run/spendd/ingest.sock")
        self.spill_dir = environment.get("SPENDD_SPILL_DIR", "/var/tmp/spendd-callback")
        self.spill_max_bytes = number("SPENDD_SPILL_MAX_BYTES", 1 << 30)
        self.memory_max_bytes = number("SPENDD_MEMORY_MAX_BYTES", 64 << 20)
        self.reject_max_bytes = number("SPENDD_REJECT_MAX_BYTES", 16 << 20)
        self.batch_s = number("SPENDD_BATCH_MS", 50) / 1000
        self.answer_s = number("SPENDD_ANSWER_MS", 5000) / 1000
        self.spill_after_s = number("SPENDD_SPILL_AFTER_MS", 1000) / 1000
        self.close_s = number("SPENDD_CLOSE_MS", 3000) / 1000
        self.curve = [environment.get("SPENDD_CURVE_" + name, "") for name in ("SERVERKEY", "PUBLICKEY", "SECRETKEY")]


# --- LiteLLM's payload to our event -------------------------------------------------------------------

def text(value):
    """NUL and lone surrogates are refused by PostgreSQL and by spendd; nothing of a request's cost hangs on them."""
    if value is None or isinstance(value, bool):
        return None
    value = value if isinstance(value, str) else str(value)
    return within(value.replace("\0", "").encode("utf-8", "replace").decode(), 1024) or None


def seconds(value, default):
    """Epoch seconds of what LiteLLM calls a time: a float, or a datetime."""
    if hasattr(value, "timestamp"):
        value = value.timestamp()
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if good else default


def count(value):
    return min(max(int(value), 0), 10**12) if isinstance(value, (int, float)) and math.isfinite(value) else 0


def within(value, limit):
    """A text of at most `limit` bytes that is still its own."""
    raw = value.encode()
    if len(raw) <= limit:
        return value
    return raw[:limit - 64].decode("utf-8", "ignore") + hashlib.sha256(raw).hexdigest()


# Of StandardLoggingPayload's own metadata, and of the payload, what LiteLLM keeps in SpendLogs.metadata.
KEPT = ("user_api_key_alias", "user_api_key_team_alias", "user_api_key_user_email", "user_api_key_project_id",
        "spend_logs_metadata", "requester_ip_address", "user_agent", "applied_guardrails", "mcp_tool_call_metadata",
        "vector_store_request_metadata", "usage_object", "cold_storage_object_key", "user_api_key_request_route")
BESIDE = ("cost_breakdown", "error_information", "guardrail_information", "model_id", "cache_key", "model_map_information")


def metadata_of(payload, metadata):
    kept = {name: metadata[name] for name in KEPT if metadata.get(name) is not None}
    kept.update({name: payload[name] for name in BESIDE if payload.get(name) is not None})
    return kept


def plain(value):
    """json.dumps' last resort."""
    return str(value)[:2048]


def identity(kwargs, payload, start):
    """(event_id, request_id).  The call id is LiteLLM's own and unique; providers reuse response ids.  One call may
    have several attempts, so the start of this one belongs to it; both are the same whenever it is logged again."""
    call = text(kwargs.get("litellm_call_id") or payload.get("litellm_call_id"))
    request = text(payload.get("id")) or call or str(uuid.uuid4())
    if payload.get("call_type") == "aretrieve_batch":  # one cost, asked for again and again
        return within("batch:" + request, 256), within(request, 256)
    failed = ":failure" if payload.get("status") == "failure" else ""
    return within(f"{call or request}:{int(start * 1e6)}{failed}", 256), within(request, 256)


def endpoint_of(call_type):
    """LiteLLM's own table, where the proxy is loaded."""
    routes = getattr(sys.modules.get("litellm.proxy.route_llm_request"), "ROUTE_ENDPOINT_MAPPING", None)
    return routes.get(call_type) if isinstance(routes, dict) else None


def tags_of(payload):
    tags = payload.get("request_tags")
    good = dict.fromkeys(tag for tag in map(text, tags if isinstance(tags, (list, tuple)) else ()) if tag)
    kept, size = [], 0
    for tag in list(good)[:TAGS]:
        size += 2 * len(tag.encode())
        if size < EVENT_BYTES // 2:
            kept.append(tag)
    return kept


def spend_of(payload, kept):
    cost = payload.get("response_cost")
    if payload.get("cache_hit") is True or cost is None:
        return 0
    if isinstance(cost, (int, float)) and math.isfinite(cost):
        return cost
    kept["spendd_callback"] = f"response_cost was {cost!r}"
    return 0


def event_of(kwargs, start_time=None, end_time=None, failed=False, now=None):
    """(event, metadata) of one finished request, in the fields of LiteLLM's own SpendLogs row."""
    payload = kwargs.get("standard_logging_object") or {}
    if not payload:  # LiteLLM could not make one: the cost is still known
        payload = {"model": kwargs.get("model"), "response_cost": kwargs.get("response_cost"),
                   "call_type": kwargs.get("call_type"), "custom_llm_provider": kwargs.get("custom_llm_provider")}
    payload = {**payload, "status": payload.get("status") or ("failure" if failed else "success")}
    metadata = payload.get("metadata") or {}
    start = seconds(payload.get("startTime"), seconds(start_time, time.time() if now is None else now))
    event_id, request_id = identity(kwargs, payload, start)
    usage = metadata.get("usage_object") or {}
    kept = metadata_of(payload, metadata)
    first = seconds(payload.get("completionStartTime"), None)
    if first is not None:
        kept["completionStartTime"] = first
    mcp = metadata.get("mcp_tool_call_metadata") or {}
    event = {
        "request_id": request_id, "event_id": event_id, "spend": spend_of(payload, kept), "start_time": start,
        "end_time": seconds(payload.get("endTime"), seconds(end_time, start)),
        "status": "failure" if payload["status"] == "failure" else "success",
        "api_key": text(metadata.get("user_api_key_hash")), "user_id": text(metadata.get("user_api_key_user_id")),
        "end_user": text(payload.get("end_user") or metadata.get("user_api_key_end_user_id")),
        "team_id": text(metadata.get("user_api_key_team_id")),
        "organization_id": text(metadata.get("user_api_key_org_id")),
        "agent_id": text(kwargs.get("agent_id") or metadata.get("agent_id")), "tags": tags_of(payload),
        "model": text(payload.get("model")), "model_group": text(payload.get("model_group")),
        "custom_llm_provider": text(payload.get("custom_llm_provider")),
        "mcp_namespaced_tool_name": text(mcp.get("namespaced_tool_name")),
        "call_type": text(payload.get("call_type")), "endpoint": text(endpoint_of(payload.get("call_type"))),
        "prompt_tokens": count(payload.get("prompt_tokens")), "completion_tokens": count(payload.get("completion_tokens")),
        "cache_read_input_tokens": count(usage.get("cache_read_input_tokens")),
        "cache_creation_input_tokens": count(usage.get("cache_creation_input_tokens")),
        "cache_hit": str(payload.get("cache_hit")), "session_id": text(payload.get("trace_id")),
        "api_base": text(payload.get("api_base")),
        "requester_ip_address": text(payload.get("requester_ip_address") or metadata.get("requester_ip_address")),
    }
    return {name: value for name, value in event.items() if value not in (None, [])}, kept


NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def encode(event, kept):
    """One line of JSON, in good UTF-8 whatever the text was.  (bytes, was the metadata kept?)"""
    line = json.dumps(event, allow_nan=False).encode()
    try:
        meta = json.dumps(kept, default=plain, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError):
        return line, False
    meta = NUL.sub(rb"\1", meta)
    if len(line) + len(meta) > EVENT_BYTES:
        return line, False
    return line[:-1] + b', "metadata": ' + meta + b"}", True


# --- files ---------------------------------------------------------------------------------------------

class Spill:
    """Batches on disk.  Each process has a lane of its own, a directory that it locks; lanes whose owner is gone
    are taken over, file by file.  A file is whole or not there: written aside, synced, renamed, directory synced."""

    def __init__(self, root, max_bytes, reject_bytes):
        self.root, self.max_bytes, self.reject_bytes = root, max_bytes, reject_bytes
        self.lane = os.path.join(root, uuid.uuid4().hex)
        self.bytes, self.number, self.files = 0, 0, collections.OrderedDict()
        os.makedirs(self.lane, mode=0o700)
        self.lock = self._lock(self.lane)
        self._sync(root)
        self.recover()

    @staticmethod
    def _lock(lane):
        try:
            fd = os.open(os.path.join(lane, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return fd

    @staticmethod
    def _sync(directory):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def recover(self):
        """Takes over what processes that are gone have left behind."""
        for name in sorted(os.listdir(self.root)):
            lane = os.path.join(self.root, name)
            if lane == self.lane or not os.path.isdir(lane):
                continue
            fd = self._lock(lane)
            if fd is None:
                continue
            try:
                for file in sorted(os.listdir(lane)):
                    if file.endswith(".events") and len(self.files) < FILES:
                        self._adopt(os.path.join(lane, file), f"{name[:8]}-{file}")
                    elif file.endswith(".part"):  # never whole: its events were in memory when it died
                        os.unlink(os.path.join(lane, file))
                self._sync(self.lane)
                if os.listdir(lane) == ["lock"]:
                    os.unlink(os.path.join(lane, "lock"))
                    os.rmdir(lane)
            finally:
                os.close(fd)

    def _adopt(self, path, name):
        to = os.path.join(self.lane, name[-200:])
        os.rename(path, to)
        self.files[to] = os.path.getsize(to)
        self.bytes += self.files[to]

    def write(self, payload):
        """The path, or None: no room."""
        if self.bytes + len(payload) > self.max_bytes or len(self.files) >= FILES:
            return None
        self.number += 1
        path = os.path.join(self.lane, f"{self.number:012}.events")
        part = path[:-len("events")] + "part"
        try:
            with open(part, "wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, path)
        except OSError:
            if os.path.exists(part):
                os.unlink(part)
            raise
        self._sync(self.lane)
        self.files[path] = len(payload)
        self.bytes += len(payload)
        return path

    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def remove(self, path):
        size = self.files.pop(path, None)
        if size is not None:
            self.bytes -= size
            os.unlink(path)

    def reject(self, rows):
        """What spendd will never take, with its reason: kept for a human, in two files at most."""
        path = os.path.join(self.root, "rejected.ndjson")
        data = b"".join(json.dumps({"error": why, "event": line.decode("utf-8", "replace")}).encode() + b"\n"
                        for line, why in rows)
        if os.path.exists(path) and os.path.getsize(path) + len(data) > self.reject_bytes:
            os.replace(path, path + ".1")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data[:self.reject_bytes])
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self):
        if not self.files:
            os.unlink(os.path.join(self.lane, "lock"))
            os.rmdir(self.lane)
        os.close(self.lock)


# --- the thread ----------------------------------------------------------------------------------------

class Batch:
    __slots__ = ("payload", "path", "first", "sent", "after")

    def __init__(self, payload, path, now):
        self.payload, self.path, self.first, self.sent, self.after = payload, path, now, 0.0, 0.0


class Sender:
    """One thread, one socket.  take() is called by requests, everything else by the thread."""

    def __init__(self, settings):
        self.settings, self.pid = settings, os.getpid()
        self.counts = collections.Counter()
        self.queue, self.queue_bytes, self.flight_bytes = collections.deque(), 0, 0
        self.condition = threading.Condition()
        self.flight, self.former, self.number = collections.OrderedDict(), collections.OrderedDict(), 0
        self.spill, self.socket, self.context, self.stopping, self.alive = None, None, None, False, True
        self.said, self.looked, self.disk_failed = 0.0, 0.0, -1.0
        self.thread = threading.Thread(target=self._run, name="spendd", daemon=True)
        self.thread.start()

    def take(self, line):
        with self.condition:
            if self.stopping or self.queue_bytes + self.flight_bytes + len(line) > self.settings.memory_max_bytes:
                self.counts["dropped"] += 1
                return
            self.queue.append((line, time.monotonic()))
            self.queue_bytes += len(line)
            self.counts["events"] += 1
            if len(self.queue) == 1:
                self.condition.notify()

    def idle(self):
        """Nothing that spendd has not answered, here or on disk."""
        with self.condition:
            return not (self.queue or self.flight or self.spill is None or self.spill.files)

    def stop(self):
        """Sends for SPENDD_CLOSE_MS what it can; the rest goes to files."""
        with self.condition:
            self.stopping = True
            self.condition.notify()
        self.thread.join(self.settings.close_s + 10)

    def _run(self):
        while True:
            try:
                self._serve()
                return
            except Exception as error:  # a full disk, no pyzmq: the events stay, it is tried again
                self.counts["errors"] += 1
                self._say(f"{type(error).__name__}: {error}")
                if self.stopping:
                    return
                with self.condition:
                    self.condition.wait(1)

    def _open(self):
        import zmq

        self.context = self.context or zmq.Context()
        if self.socket is not None:
            self.socket.close(0)
        self.socket = self.context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.IMMEDIATE, 1), (zmq.RECONNECT_IVL, 100),
                              (zmq.RECONNECT_IVL_MAX, 2000), (zmq.HEARTBEAT_IVL, 5000), (zmq.HEARTBEAT_TIMEOUT, 15000)):
            self.socket.setsockopt(option, value)
        if all(self.settings.curve):
            for option, value in zip((zmq.CURVE_SERVERKEY, zmq.CURVE_PUBLICKEY, zmq.CURVE_SECRETKEY), self.settings.curve):
                self.socket.setsockopt(option, value.encode())
        self.socket.connect(self.settings.endpoint)

    def _serve(self):
        if self.spill is None:
            self.spill = Spill(self.settings.spill_dir, self.settings.spill_max_bytes, self.settings.reject_max_bytes)
        self._open()
        end = None
        while True:
            with self.condition:
                if not (self.queue or self.flight or self.spill.files or self.stopping):
                    self.condition.wait(1)
                if self.stopping and end is None:
                    end = time.monotonic() + self.settings.close_s
            now = time.monotonic()
            self._fill(now, end is not None)
            self._overdue(now)
            if self.socket.poll(20):
                self._receive()
            if now - self.looked > 30:  # a process beside us may have died
                self.looked = now
                self.spill.recover()
            if end is not None and (self.idle() or now > end):
                self._leave()
                return

    # Messages on their way are few while spendd does not answer: one asks for all of them.
    def _fill(self, now, closing):
        window = WINDOW if self.alive else 1
        flying = {batch.path for batch in self.flight.values()}
        for path in list(self.spill.files)[:WINDOW * 2] if len(self.flight) < window else ():
            if path not in flying and len(self.flight) < window:
                self._send(Batch(self.spill.read(path), path, now), now)
        while self._due(now, closing):
            if len(self.flight) < window:
                self._send(Batch(self._take_batch(), None, now), now)
            elif self._rather_on_disk(now - self.queue[0][1]):
                if not self._put_away_new(now):
                    return
            else:
                return

    def _put_away_new(self, now):
        batch = Batch(self._take_batch(), None, now)
        done = self._put_away(batch)
        if not done:  # memory is the other bound: take() refuses when it is reached
            self._put_back(batch.payload)
        return done

    def _rather_on_disk(self, age):
        """Half of the memory stays free for what comes while files are written."""
        return age > self.settings.spill_after_s or \
            2 * (self.queue_bytes + self.flight_bytes) > self.settings.memory_max_bytes

    def _due(self, now, closing):
        with self.condition:
            return self.queue and (closing or len(self.queue) >= BATCH_EVENTS or self.queue_bytes >= BATCH_BYTES or
                                   now - self.queue[0][1] >= self.settings.batch_s)

    def _take_batch(self):
        lines, size = [], 0
        with self.condition:
            while self.queue and len(lines) < BATCH_EVENTS and (not lines or size + len(self.queue[0][0]) < BATCH_BYTES):
                lines.append(self.queue.popleft()[0])
                size += len(lines[-1])
            self.queue_bytes -= size
            self.flight_bytes += size
        return b"\n".join(lines)

    def _put_back(self, payload):
        with self.condition:
            for line in reversed(payload.split(b"\n")):
                self.queue.appendleft((line, time.monotonic()))
                self.queue_bytes += len(line)
                self.flight_bytes -= len(line)

    def _forget(self, batch):
        """The bytes of a batch are no longer in memory."""
        if batch.path is None:
            with self.condition:
                self.flight_bytes -= len(batch.payload) - batch.payload.count(b"\n")

    def _send(self, batch, now):
        import zmq

        self.number += 1
        key = self.number.to_bytes(8, "big")
        batch.sent, batch.after = now, now + self.settings.answer_s
        self.flight[key] = batch
        try:
            self.socket.send_multipart([b"E1", key, batch.payload], zmq.DONTWAIT)
        except zmq.Again:  # nobody there
            batch.after = now + 0.2
            self.alive = False

    def _overdue(self, now):
        for key, batch in list(self.flight.items()):
            if batch.path is None and self._rather_on_disk(now - batch.first) and self._put_away(batch):
                self._drop_flight(key, batch)
            elif batch.after <= now:
                del self.flight[key]
                self.former[key] = batch.path
                self.counts["resent"] += 1
                if batch.after - batch.sent >= self.settings.answer_s:
                    self.alive = False
                    self._open()  # whatever the old connection still holds, it is answered there or not at all
                self._send(batch, now)
        while len(self.former) > 1000:
            self.former.popitem(last=False)

    def _drop_flight(self, key, batch):
        """On disk now: a late answer still finds its file."""
        del self.flight[key]
        self.former[key] = batch.path

    def _put_away(self, batch):
        """False: it stays in memory, and sending goes on beside it.  A disk that fails is left alone for a second."""
        path, now = None, time.monotonic()
        try:
            if now - self.disk_failed >= 1:
                path = self.spill.write(batch.payload)
        except OSError as error:
            self.disk_failed = now
            self.counts["errors"] += 1
            self._say(f"{type(error).__name__}: {error}")
        if path is None:
            self.counts["spill_full"] += 1
            return False
        self._forget(batch)
        batch.path = path
        self.counts["spilled"] += batch.payload.count(b"\n") + 1
        return True

    def _receive(self):
        import zmq

        while True:
            try:
                kind, key, answer = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            batch = self.flight.get(key)
            if batch is None and self.former.get(key) in self.spill.files and kind == b"A1":
                path = self.former.pop(key)
                batch = Batch(self.spill.read(path), path, 0.0)
            if batch is None:
                continue
            self.alive = True
            self._answered(kind, key, batch, json.loads(answer))

    def _answered(self, kind, key, batch, answer):
        if kind == b"N1" and "retry_after_ms" in answer:
            self.counts["told_to_wait"] += 1
            batch.sent, batch.after = time.monotonic(), time.monotonic() + answer["retry_after_ms"] / 1000
            return
        lines = batch.payload.split(b"\n")
        if kind == b"A1":
            rows = [(lines[row["index"]], row["error"]) for row in answer.get("rejected", ()) if row["index"] < len(lines)]
            self.counts["accepted"] += answer.get("accepted", 0)
            self.counts["duplicate"] += answer.get("duplicate", 0)
        else:
            rows = [(line, str(answer.get("error"))) for line in lines]
        if rows:  # kept first: then the batch may go
            self.counts["rejected"] += len(rows)
            self.spill.reject(rows)
            self._say(f"spendd refuses {len(rows)} events: {rows[0][1]}; see rejected.ndjson in {self.spill.root}")
        self.flight.pop(key, None)
        self._forget(batch)
        if batch.path is not None:
            self.spill.remove(batch.path)

    def _leave(self):
        self.disk_failed = -1.0  # this is the last chance: it is tried once more
        for key, batch in list(self.flight.items()):
            if batch.path is None and self._put_away(batch):
                self._drop_flight(key, batch)
        while self.queue and self._put_away_new(0.0):
            pass
        left = len(self.queue) + sum(batch.path is None for batch in self.flight.values())
        if left:
            self._say(f"{left} events or batches are lost: no room in {self.spill.root}")
        self.spill.close()
        self.context.destroy(linger=0)

    def _say(self, words):
        if time.monotonic() - self.said > 60 or not self.said:
            self.said = time.monotonic()
            log.warning("spendd: %s", words)


class SpenddLogger(CustomLogger):
    """What LiteLLM calls.  It starts its thread with the first event, and again in a process that was forked."""

    def __init__(self, settings=None):
        try:
            super().__init__()
        except Exception:
            pass
        self.settings, self.sender, self.lock = settings or Settings(), None, threading.Lock()
        self.failed = 0
        atexit.register(self.close)

    def _sender(self):
        sender = self.sender
        if sender is None or sender.pid != os.getpid():
            with self.lock:
                if self.sender is None or self.sender.pid != os.getpid():
                    if self.sender is not None and self.sender.spill is not None:
                        os.close(self.sender.spill.lock)  # the parent's lane: its lock must go with the parent
                    self.sender = Sender(self.settings)
                sender = self.sender
        return sender

    def _log(self, kwargs, start_time, end_time, failed):
        try:
            line, whole = encode(*event_of(kwargs or {}, start_time, end_time, failed))
            sender = self._sender()
            if not whole:
                sender.counts["metadata_left_out"] += 1
            sender.take(line)
        except Exception as error:
            self.failed += 1
            if self.failed == 1:
                log.warning("spendd: an event could not be made: %s: %s", type(error).__name__, error)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs, start_time, end_time, False)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs, start_time, end_time, True)

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs, start_time, end_time, False)

    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs, start_time, end_time, True)

    def stats(self):
        return {"failed": self.failed, **(self.sender.counts if self.sender else {})}

    def close(self):
        try:
            if self.sender is not None and self.sender.pid == os.getpid():
                self.sender.stop()
        except Exception:
            self.failed += 1


handler = SpenddLogger()

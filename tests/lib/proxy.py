"""A man in the middle of a link to a store, who can be told at any moment what to do with it.

He stands on a port (or a Unix socket) of his own and carries every connection to the store's socket.

    proxy = RedisProxy(place, stack.redis)            proxy.url    is what spendd is given
    proxy = PostgresProxy(place, stack.postgres)      proxy.url()  likewise; see lib/commits.py for COMMIT

    proxy.set("pass")                 carries on
    proxy.set("delay", ms=20, to_ms=80)   each chunk waits that long (seeded, between ms and to_ms)
    proxy.set("drop", way=UP)         swallows what comes, closes nothing: the link is half-open.  A connection that
                                      lost bytes stays silent that way for ever, also after the next set()
    proxy.set("freeze")               like a stopped process: the kernel accepts, nobody reads or answers
    proxy.set("blackhole")            nothing is answered, not even a SYN (Unix: connect() says EAGAIN)
    proxy.set("refuse")               no listener: ECONNREFUSED; connections that are open go on
    proxy.set("turn_away")            accepts and resets at once: refusals that are counted
    proxy.set("slow_accept", ms=300)  accepts one each so many ms
    proxy.reset()  proxy.cut()        all connections now: RST (over Unix: closed), FIN
    proxy.arm("reset", way=DOWN, after=100)   once, when so many more bytes have gone that way: what was the 101st
                                      does not arrive.  "cut", "reset", or "hold" (half-open).  match=b"EVALSHA":
                                      on the bytes before that word instead
    proxy.armed  proxy.acted          what waits to happen, how often it has

Counted: opened, closed (the client's side), most_open (at a time), attempts (times of all of them), carried (bytes by way).

One thread does everything, so nothing here is locked: what a test asks for is done by that thread, and is done
when the call returns.
"""
import collections
import errno
import os
import random
import selectors
import socket
import struct
import threading
import time

UP, DOWN = "up", "down"  # client to store, store to client
BOTH = (UP, DOWN)
MODES = ("pass", "delay", "drop", "freeze", "blackhole", "refuse", "turn_away", "slow_accept")
CHUNK, QUEUE_BYTES = 1 << 16, 1 << 20
AWAY = (BlockingIOError, InterruptedError)


def _socket(address):
    made = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    made.setblocking(False)
    return made


class Link:
    """One connection that is carried: two sockets, and what is on its way between them."""

    def __init__(self, client, server):
        self.end = {UP: client, DOWN: server}  # where the bytes of a way come from
        self.to = {UP: server, DOWN: client}
        self.queue = {UP: collections.deque(), DOWN: collections.deque()}  # [due, bytes]
        self.waiting = {UP: 0, DOWN: 0}
        self.lost = set()   # ways in which bytes were swallowed: nothing passes there any more
        self.ended = set()  # ways whose sender has closed
        self.tail = {UP: b"", DOWN: b""}  # for match=
        self.connecting = True
        self.wire = None    # what a protocol remembers of it


class Proxy:
    def __init__(self, place, target, tcp=True, seed=0, name="proxy", netns=None):
        """target: a path or (host, port); may be changed at any moment, new connections go there.
        netns: of lib/netns.py; listens at that address inside, and the target must be a path."""
        self.name, self.target, self.rng, self.netns = name, target, random.Random(seed), netns
        self.dir = place.sub("x")
        self.address = ((netns.address if netns else "127.0.0.1"), 0) if tcp else os.path.join(self.dir, self.FILE)
        self.mode, self.way, self.ms, self.to_ms = "pass", BOTH, 0, 0
        self.opened = self.closed = self.acted = self.most_open = 0
        self.attempts = collections.deque(maxlen=1_000_000)
        self.carried = {UP: 0, DOWN: 0}
        self.armed = None
        self._links, self._sockets = set(), {}
        self._orders, self._filler, self._filler_name, self._not_before = collections.deque(), None, None, 0.0
        self._selector, self._listener = selectors.DefaultSelector(), None
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)[::-1]
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ending, self.error = False, None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()
        self._order(self._listen)
        place.keep(self)

    FILE = "s"

    # --- what a test asks for ---------------------------------------------------------------------------
    def set(self, mode, way=BOTH, ms=0, to_ms=None):
        assert mode in MODES, mode
        self._order(self._set, mode, (way,) if isinstance(way, str) else way, ms / 1000, (ms if to_ms is None else to_ms) / 1000)
        return self

    def reset(self):
        self._order(self._end_all, True)

    def cut(self):
        self._order(self._end_all, False)

    def arm(self, how, way=DOWN, after=0, match=None):
        assert how in ("cut", "reset", "hold"), how
        self._order(self._arm, [how, way, after, match])

    def disarm(self):
        self._order(self._arm, None)

    @property
    def open(self):
        return self.opened - self.closed

    def most_attempts(self, window_s=1.0, since=0.0):
        """The most connection attempts that any window of that length has seen since a time.monotonic()."""
        most, first, times = 0, 0, [at for at in list(self.attempts) if at >= since]
        for last, at in enumerate(times):
            while at - times[first] >= window_s:
                first += 1
            most = max(most, last - first + 1)
        return most

    def tail(self):
        return (f"{self.mode}; opened {self.opened}, closed {self.closed}, carried {self.carried}, armed {self.armed},"
                f" acted {self.acted}, error {self.error}")

    def close(self):
        if self._thread.is_alive():
            self._order(self._leave)
            self._thread.join(10)
            os.close(self._wake)
            os.close(self._woken)

    # --- the thread -------------------------------------------------------------------------------------
    def _order(self, function, *arguments):
        if threading.current_thread() is self._thread:
            function(*arguments)
            return
        done = threading.Event()
        self._orders.append((function, arguments, done))
        os.write(self._wake, b"!")
        while not done.wait(0.1):
            if not self._thread.is_alive():
                break
        if self.error or not done.is_set():
            raise AssertionError(f"{self.name} does not answer: {self.error!r}")

    def _run(self):
        try:
            if self.netns:
                self.netns.enter()
            while not self._ending:
                for key, events in self._selector.select(self._due_in()):
                    if key.fileobj == self._woken:
                        os.read(self._woken, 4096)
                    elif key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._sockets:  # not closed by the one before
                        self._serve(key.fileobj, events)
                while self._orders:
                    function, arguments, done = self._orders.popleft()
                    function(*arguments)
                    done.set()
                self._look_again()
        except Exception as error:  # shown by the next order and by tail()
            self.error = error
        finally:
            for _, _, done in self._orders:
                done.set()

    def _leave(self):
        self._end_all(False)
        for thing in (self._listener, self._filler):
            if thing is not None:
                thing.close()
        self._selector.close()
        self._ending = True

    def _due_in(self):
        dues = [queue[0][0] for link in self._links for queue in link.queue.values() if queue]
        if self.mode == "slow_accept":
            dues.append(self._not_before)
        future = [due for due in dues if due > time.monotonic()]  # what is due now waits for its socket
        return max(0.0, min(future) - time.monotonic()) + 0.001 if future else None

    def _wants(self, thing, events):
        """Registers, changes or forgets a descriptor; one that nobody wants must not report HUP for ever."""
        try:
            key = self._selector.get_key(thing)
        except KeyError:
            if events:
                self._selector.register(thing, events)
            return
        if not events:
            self._selector.unregister(thing)
        elif events != key.events:
            self._selector.modify(thing, events)

    def _look_again(self):
        """What each descriptor is waited for now: the only place that decides it."""
        if self._ending:
            return
        now, still = time.monotonic(), self.mode in ("freeze", "blackhole")
        if self._listener is not None:
            self._wants(self._listener, 0 if still or (self.mode == "slow_accept" and now < self._not_before)
                        else selectors.EVENT_READ)
        for link in self._links:
            wanted = dict.fromkeys(link.end.values(), 0)
            for way in () if still else BOTH:
                queue = link.queue[way]
                if way not in link.ended and link.waiting[way] < QUEUE_BYTES:
                    wanted[link.end[way]] |= selectors.EVENT_READ
                if queue and queue[0][0] <= now and link.to[way] is not None:
                    wanted[link.to[way]] |= selectors.EVENT_WRITE
            if link.connecting and not still:
                wanted[link.end[DOWN]] = selectors.EVENT_WRITE
            for thing, events in wanted.items():
                if thing is not None:
                    self._wants(thing, events)

    # --- modes ------------------------------------------------------------------------------------------
    def _listen(self):
        made = _socket(self.address)
        if not isinstance(self.address, str):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif os.path.exists(self.address):
            os.unlink(self.address)
        made.bind(self.address)
        made.listen(1024)
        if isinstance(self.address, str):
            os.chmod(self.address, 0o777)
        else:
            self.address = made.getsockname()
        self._listener = made

    def _set(self, mode, way, ms, to_ms):
        self.mode, self.way, self.ms, self.to_ms = mode, way, ms, to_ms
        self._not_before = time.monotonic() + ms
        if mode == "refuse" and self._listener is not None:
            self._wants(self._listener, 0)
            self._listener.close()
            self._listener = None
        elif mode != "refuse" and self._listener is None:
            self._listen()
        if mode == "blackhole" and self._filler is None:
            self._fill()
        elif mode != "blackhole" and self._filler is not None:
            self._filler.close()
            self._filler = None
            self._listener.listen(1024)

    def _fill(self):
        """A full queue of the listener: the kernel answers no further SYN.  Our own connection is known by its name."""
        self._listener.listen(0)
        self._filler = _socket(self.address)
        if isinstance(self.address, str):
            self._filler.bind(f"\0filler-{os.getpid()}-{id(self)}")
        try:
            self._filler.connect(self.address)
        except OSError as error:
            if error.errno not in (errno.EINPROGRESS, errno.EAGAIN):
                raise
        self._filler_name = self._filler.getsockname()

    def _accept(self):
        while self._listener is not None:
            try:
                client, peer = self._listener.accept()
            except AWAY:
                return
            if self._filler_name and peer == self._filler_name:
                client.close()
                continue
            self.opened += 1
            self.most_open = max(self.most_open, self.open)
            self.attempts.append(time.monotonic())
            client.setblocking(False)
            if self.mode == "turn_away":
                self._shut(client, True)
                self.closed += 1
                continue
            self._connect(client)
            if self.mode == "slow_accept":
                self._not_before = time.monotonic() + self.ms
                return

    def _connect(self, client):
        server = _socket(self.target)
        link = Link(client, server)
        self._links.add(link)
        self._sockets[client], self._sockets[server] = (link, UP), (link, DOWN)
        self.begin(link)
        try:
            server.connect(self.target)
            link.connecting = False
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                self._end(link, True)

    # --- carrying ---------------------------------------------------------------------------------------
    def _serve(self, thing, events):
        link, way = self._sockets[thing]
        if link.connecting and way == DOWN:
            link.connecting = False
            if thing.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._end(link, True)
            return
        if events & selectors.EVENT_WRITE:
            self._write(link, DOWN if way == UP else UP)
        if events & selectors.EVENT_READ and thing in self._sockets:
            self._read(link, way)

    def _read(self, link, way):
        try:
            data = link.end[way].recv(CHUNK)
        except AWAY:
            return
        except OSError:
            data = b""
        if not data:
            link.ended.add(way)
            self._finish(link, way)
        elif self._swallowed(link, way) or link.to[way] is None:
            return
        else:
            self._carry(link, way, data)

    def _swallowed(self, link, way):
        if self.mode == "drop" and way in self.way:
            link.lost.add(way)
        return way in link.lost

    def _carry(self, link, way, data):
        data, how = self.look(link, way, data)
        if data:
            due = time.monotonic() + self.rng.uniform(self.ms, self.to_ms) if self.mode == "delay" else 0.0
            if link.queue[way]:
                due = max(due, link.queue[way][-1][0])
            link.queue[way].append([due, data])
            link.waiting[way] += len(data)
            self.carried[way] += len(data)
            self._write(link, way)
        if how and link in self._links:
            self.act(link, how)

    def _write(self, link, way):
        queue = link.queue[way]
        while queue and queue[0][0] <= time.monotonic() and link.to[way] is not None and not (link.connecting and way == UP):
            try:
                sent = link.to[way].send(queue[0][1])
            except AWAY:
                return
            except OSError:  # the reader is gone: the other way tells who must know
                queue.clear()
                link.waiting[way] = 0
                break
            link.waiting[way] -= sent
            queue[0][1] = queue[0][1][sent:]
            if not queue[0][1]:
                queue.popleft()
        if way in link.ended:
            self._finish(link, way)

    def _finish(self, link, way):
        """The sender of a way has closed.  The other one is told when he has everything - or never, if bytes of
        this way are swallowed."""
        if self._swallowed(link, way):
            self._close_end(link, way)
            if all(end is None for end in link.end.values()):
                self._end(link, False)
        elif not link.queue[way]:
            self._end(link, False)

    def _close_end(self, link, way):
        thing = link.end[way]
        if thing is None:
            return
        other = DOWN if way == UP else UP
        link.end[way] = link.to[other] = None
        link.ended.add(way)
        link.queue[other].clear()
        link.waiting[other] = 0
        del self._sockets[thing]
        self._wants(thing, 0)
        thing.close()
        self.closed += way == UP

    def _shut(self, thing, hard):
        if hard and thing.family != socket.AF_UNIX:
            thing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        thing.close()

    def _end(self, link, hard):
        if link not in self._links:
            return
        self._links.discard(link)
        for way in BOTH:
            if link.end[way] is not None:
                del self._sockets[link.end[way]]
                self._wants(link.end[way], 0)
                self._shut(link.end[way], hard)
                self.closed += way == UP
        link.end = link.to = {UP: None, DOWN: None}

    def _end_all(self, hard):
        for link in list(self._links):
            self._end(link, hard)

    # --- faults that happen once ------------------------------------------------------------------------
    def _arm(self, armed):
        self.armed = armed

    def begin(self, link):
        """A protocol prepares what it remembers of a connection."""

    def look(self, link, way, data):
        """What of the data passes, and what is done to the connection then (None: nothing)."""
        if not self.armed or self.armed[0] not in ("cut", "reset", "hold") or self.armed[1] != way:
            return data, None
        how, _, after, match = self.armed
        if match is None:
            if len(data) <= after:
                self.armed[2] -= len(data)
                return data, None
            keep = after
        else:
            known = len(link.tail[way])
            at = (link.tail[way] + data).find(match)
            if at < 0:
                link.tail[way] = (link.tail[way] + data)[-len(match) + 1:] if len(match) > 1 else b""
                return data, None
            keep = max(0, at - known)
        self.armed = None
        self.acted += 1
        return data[:keep], how

    def act(self, link, how):
        if how == "hold":
            link.lost.update(BOTH)
            return
        # What was let through must arrive: a reset would take it back out of the kernel's buffers.
        for way in BOTH:
            self._write(link, way)
        self._end(link, how == "reset")


class RedisProxy(Proxy):
    def __init__(self, place, server, name="redis-proxy", **more):
        super().__init__(place, server.socket, name=name, **more)

    @property
    def url(self):
        at = self.address
        return f"unix://{at}?db=0" if isinstance(at, str) else f"redis://{at[0]}:{at[1]}/0"


# Everything that a link can do to those who depend on it: name -> begin it.
FAULTS = {
    "delay": lambda proxy, rng: proxy.set("delay", ms=5, to_ms=120),
    "half_open": lambda proxy, rng: proxy.set("drop", way=BOTH),
    "half_open_up": lambda proxy, rng: proxy.set("drop", way=UP),
    "half_open_down": lambda proxy, rng: proxy.set("drop", way=DOWN),
    "freeze": lambda proxy, rng: proxy.set("freeze"),
    "blackhole": lambda proxy, rng: (proxy.set("blackhole"), proxy.reset()),
    "refuse": lambda proxy, rng: (proxy.set("refuse"), proxy.reset()),
    "turn_away": lambda proxy, rng: (proxy.set("turn_away"), proxy.cut()),
    "slow_accept": lambda proxy, rng: (proxy.set("slow_accept", ms=100), proxy.reset()),
    "reset": lambda proxy, rng: proxy.reset(),
    "cut": lambda proxy, rng: proxy.cut(),
    "cut_in_a_question": lambda proxy, rng: proxy.arm(rng.choice(("cut", "reset", "hold")), way=UP, after=rng.randrange(9000)),
    "cut_in_a_reply": lambda proxy, rng: proxy.arm(rng.choice(("cut", "reset", "hold")), way=DOWN, after=rng.randrange(400)),
}

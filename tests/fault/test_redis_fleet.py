"""Redis behind Sentinels, and Redis Cluster: masters die, are demoted, freeze and come back; slots move under
load.  Ingest acknowledges throughout, and the books are right afterwards.
"""
import random
import socketserver
import threading
import time

import pytest

from lib import conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.fleet import Cluster, Watched
from lib.producer import Producer
from lib.waiting import wait_until
from lib.wire import PREFIX

SEED = 4815


class Scene:
    """A fleet, a PostgreSQL, one instance and its producer."""

    def __init__(self, place, fleet, name, rate=60, started=True, fleet_settings=None, **settings):
        self.fleet, self.stack = fleet, Stack(place, redis=fleet)
        self.stack.postgres.start()
        if started:
            fleet.start()
        self.instance = self.stack.spendd(**(fleet.settings if fleet_settings is None else fleet_settings), **settings)
        self.instance.start(ready=WORKERS if started else ("aggregator", "redis_writer", "control"))
        stream = batches(Generator(SEED, name).events(10**9), 8)
        self.producer = Producer(self.instance.ingest, stream, window=12, resend_s=2.0, rate=rate).start()

    def more(self, count, deadline_s=30):
        target = self.producer.outcome.messages + count
        wait_until(lambda: self.producer.outcome.messages >= target, deadline_s,
                   f"{count} more answers while ingest must go on", [self.producer, self.instance])

    def counted(self):
        return self.stack.postgres.one("select coalesce(sum(requests), 0) from spendd.spend where entity_type = 'key'")

    def flows(self, deadline_s=40):
        """What is acknowledged from now on is counted; how long it took, in seconds."""
        began, acked = time.monotonic(), len(self.producer.outcome.acked)
        self.more(3)
        wait_until(lambda: conservation.settled(self.stack.postgres, acked + 1), deadline_s, "the flow to go on",
                   [*self.stack.logs, self.producer])
        return time.monotonic() - began

    def log(self, word, deadline_s=20):
        wait_until(lambda: word in self.instance.log_text(), deadline_s, f"the log to say {word!r}", [self.instance])

    def node(self):
        status = self.instance.status()
        return status and status["queue"].get("node")

    def finish(self, deadline_s=60):
        self.producer.finish_source()
        self.producer.wait(60, self.stack.logs)
        report = conservation.assert_conserved(self.stack.postgres, self.producer.outcome, deadline_s=deadline_s,
                                               logs=self.stack.logs)
        self.stack.close()
        return report


# --- Sentinel -----------------------------------------------------------------------------------------------
def test_sentinel_master_killed_under_load(place):
    """The master dies twice; each time it comes back empty and is made a replica."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "killed")
    for _ in range(2):
        scene.more(20)
        old = watched.master()
        wait_until(lambda: scene.node() == f"127.0.0.1:{old.port}", 20, "status to show the node", scene.stack.logs)
        old.stop("immediate")
        new = watched.wait_other(old)
        print(f"flows {scene.flows():.1f} s after the new master")
        watched.start_server(old)
        watched.wait_replica(old)
        wait_until(lambda: scene.node() == f"127.0.0.1:{new.port}", 20, "status to show the new node", scene.stack.logs)
    scene.finish()
    assert "redis_down" in scene.instance.log_text()


def test_sentinel_switches_living_masters(place):
    """SENTINEL FAILOVER: the old master lives on, takes writes for a while, and becomes a replica."""
    watched = Watched(place, replicas=2)
    scene = Scene(place, watched, "switched", redis__repush_s=2)
    for _ in range(2):
        scene.more(10)
        old = watched.master()
        watched.sentinels[0].client().execute_command("sentinel", "failover", watched.MASTER)
        watched.wait_other(old)
        watched.wait_replica(old)
        scene.flows()
        wait_until(lambda: scene.node() == f"127.0.0.1:{watched.master().port}", 20, "status to show the new node",
                   scene.stack.logs)
    scene.finish()


def test_sentinel_master_frozen_and_back(place):
    """Away but alive: it comes back as the master it was, for the moment until it is told."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "frozen")
    scene.more(20)
    old = watched.master()
    old.freeze()
    watched.wait_other(old)
    scene.flows()
    old.thaw()
    scene.more(20)
    watched.wait_replica(old)
    scene.finish()


def test_replica_promoted_by_hand_is_left(place):
    """A demotion that no Sentinel made: READONLY is a reason to ask again.  (They put it right by themselves.)"""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "byhand")
    scene.more(10)
    old = watched.master()
    watched.says(old, "replicaof", "127.0.0.1", watched.servers[1].port)
    wait_until(lambda: "READONLY" in scene.instance.log_text() or "redis_down" in scene.instance.log_text(), 20,
               "READONLY to be noticed", scene.stack.logs)
    wait_until(watched.master, 30, "the Sentinels to settle it", scene.stack.logs)
    scene.flows()
    scene.finish()


def test_sentinels_down_while_the_master_lives(place):
    """Nobody to ask is no harm to a connection that stands; a lost one waits for them, and says so."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "nosentinel")
    scene.more(10)
    for sentinel in watched.sentinels:
        sentinel.end(9)
    scene.flows()
    watched.client().execute_command("client", "kill", "type", "normal", "skipme", "yes")
    scene.log("no Sentinel says where spendd-test is")
    scene.more(20)
    watched.sentinels[2].start(watched.master(), watched.MASTER, 2) if watched.master() else \
        watched.sentinels[2].start(watched.servers[0], watched.MASTER, 2)
    scene.flows()
    scene.finish()


class LiarHandler(socketserver.StreamRequestHandler):
    """A Sentinel that says what it is told to say."""

    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line:
                return
            words = [(self.rfile.readline(), self.rfile.readline().strip())[1] for _ in range(int(line[1:]))]
            if words and words[0].upper() == b"SENTINEL":
                self.server.asked += 1
                self.wfile.write(self.server.answer)
            else:
                self.wfile.write(b"+PONG\r\n")


class Liar(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), LiarHandler)
        self.answer, self.asked = answer, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


def bulk(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def test_a_stale_or_lying_sentinel_is_not_believed(place):
    """The first Sentinel names a replica, the second talks nonsense, the third is right."""
    watched = Watched(place, replicas=1).start()
    stale = Liar(bulk(b"127.0.0.1", str(watched.servers[1].port).encode()))
    mad = Liar(bulk(b"ho st\r\n", b"99999"))
    names = [f"127.0.0.1:{liar.server_address[1]}" for liar in (stale, mad)]
    settings = {**watched.settings,
                "redis__sentinels": ",".join([*names, f"127.0.0.1:{watched.sentinels[0].port}"])}
    scene = Scene(place, watched, "liar", started=False, fleet_settings=settings)
    scene.flows()
    for _ in range(5):
        scene.more(5)
        watched.client().execute_command("client", "kill", "type", "normal", "skipme", "yes")
    scene.flows()
    assert stale.asked > 0 and mad.asked > 0
    scene.finish()
    stale.shutdown()
    mad.shutdown()


def test_passwords_of_sentinels_and_of_the_master(place):
    """Two passwords; a wrong one for the Sentinels is named, and they are asked again."""
    watched = Watched(place, replicas=1, sentinel_password="s3ntinel", requirepass="m@ster", masterauth="m@ster")
    watched.url = watched.url.replace("m@ster", "m%40ster")
    scene = Scene(place, watched, "passwords")
    scene.flows()
    old = watched.master()
    old.stop("immediate")
    watched.wait_other(old)
    scene.flows()
    for sentinel in watched.sentinels:
        sentinel.client().config_set("requirepass", "other") if False else \
            sentinel.client().execute_command("sentinel", "config", "set", "announce-port", "0")
    scene.finish()
    assert "s3ntinel" not in scene.instance.log_text() and "m@ster" not in scene.instance.log_text()

"""Redis behind Sentinels, and Redis Cluster: masters die, are demoted, freeze and come back; slots move under
load.  Ingest acknowledges throughout, and the books are right afterwards.
"""
import random
import re
import socketserver
import subprocess
import threading
import time

import pytest
import redis

from lib import conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.fleet import Cluster, Watched, front
from lib.producer import Producer
from lib.servers import Redis
from lib.waiting import wait_until
from lib.wire import Queue

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

    def shows(self, server):
        """spendctl status names this server."""
        def named():
            status = self.instance.status()
            return status and status["queue"]["node"] == f"127.0.0.1:{front(server)}"

        wait_until(named, 20, f"status to show 127.0.0.1:{front(server)}", self.stack.logs)

    def finish(self, deadline_s=60):
        self.producer.finish_source()
        self.producer.wait(60, self.stack.logs)
        report = conservation.assert_conserved(self.stack.postgres, self.producer.outcome, deadline_s=deadline_s,
                                               logs=self.stack.logs)
        self.stack.close()
        print("refusals in the log:", *sorted(set(re.findall(r" refusal=(\w+)", self.instance.log_text()))))
        return report


# --- Sentinel -----------------------------------------------------------------------------------------------
def test_sentinel_master_killed_under_load(place):
    """The master dies, and comes back empty as a replica of the new one."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "killed")
    scene.more(20)
    old = watched.master()
    scene.shows(old)
    old.stop("immediate")
    new = watched.wait_other(old)
    print(f"counted again {scene.flows():.1f} s after there was a new master")
    scene.shows(new)
    watched.start_server(old)  # a second one that says it is the master, until it is told
    scene.flows()
    scene.finish()


def test_sentinel_switches_living_masters(place):
    """SENTINEL FAILOVER: the old master lives on, takes writes for a while that nobody will ever see, and is
    made a replica."""
    watched = Watched(place, replicas=2)
    scene = Scene(place, watched, "switched", redis__repush_s=2)
    scene.more(10)
    old = watched.master()
    watched.sentinels[0].client().execute_command("sentinel", "failover", watched.MASTER)
    watched.wait_other(old)
    new = watched.wait_settled()
    print(f"counted again {scene.flows():.1f} s after the old master was one no more")
    scene.shows(new)
    scene.finish()


def test_sentinel_master_frozen_and_back(place):
    """Away but alive: it comes back as the master that it was, for the moment until it is told."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "frozen")
    scene.more(20)
    old = watched.master()
    old.freeze()
    watched.wait_other(old)
    print(f"counted again {scene.flows():.1f} s after there was a new master")
    old.thaw()
    scene.more(20)
    scene.shows(watched.wait_settled())
    scene.finish()


def test_a_master_demoted_by_hand_is_left(place):
    """No Sentinel knows yet: READONLY is noticed, and what the Sentinels still say is not believed."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "byhand")
    scene.more(10)
    master = watched.master()
    watched.says(master, "replicaof", "127.0.0.1", watched.servers[1].port)
    scene.log("READONLY")
    scene.log("it is a replica, not the master that Sentinel says it is")
    watched.says(master, "replicaof", "no", "one")
    scene.flows()
    scene.finish()


def test_sentinels_down_while_the_master_lives(place):
    """Nobody to ask is no harm to a connection that stands; a lost one waits for them, and says so."""
    watched = Watched(place, replicas=1)
    scene = Scene(place, watched, "nosentinel")
    scene.more(10)
    for sentinel in watched.sentinels:
        sentinel.close()
    scene.flows()
    watched.client().execute_command("client", "kill", "type", "normal", "skipme", "yes")
    scene.log("no Sentinel says where spendd-test is")
    scene.more(20)
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
    """Two passwords, neither is the other's, and neither is ever written to the log."""
    watched = Watched(place, replicas=1, sentinel_password="s3ntinel", requirepass="m@ster", masterauth="m@ster")
    watched.url = watched.url.replace("m@ster", "m%40ster")
    scene = Scene(place, watched, "passwords")
    scene.flows()
    old = watched.master()
    old.stop("immediate")
    watched.wait_other(old)
    scene.flows()
    scene.finish()
    assert not [word for word in ("s3ntinel", "m@ster", "m%40ster") if word in scene.instance.log_text()]


def test_a_user_of_the_sentinels(place):
    """Their ACL is their own: a user that may ask where the master is, and no more; then its password changes."""
    right = "watcher on >w@tch -@all +ping +sentinel|get-master-addr-by-name"
    watched = Watched(place, replicas=1, sentinel_password="s3ntinel", users=[right])
    scene = Scene(place, watched, "users", fleet_settings={
        **watched.settings, "redis__sentinel_user": "watcher", "redis__sentinel_password": "w@tch"})
    scene.flows()
    for sentinel in watched.sentinels:
        sentinel.client().execute_command("acl", "setuser", "watcher", ">other", "<w@tch")
    watched.client().execute_command("client", "kill", "type", "normal", "skipme", "yes")
    scene.log(" redis_refused refusal=sentinelauth ")
    scene.more(20)
    for sentinel in watched.sentinels:
        sentinel.client().execute_command("acl", "setuser", "watcher", "<other", ">w@tch")
    scene.flows()
    scene.finish()
    assert "w@tch" not in scene.instance.log_text()


def test_sentinels_and_master_behind_tls(place):
    """rediss:// holds for the Sentinels as well; the certificate is verified for the address that they name."""
    watched = Watched(place, replicas=1, tls=True)
    scene = Scene(place, watched, "sentineltls")
    scene.flows()
    old = watched.master()
    old.stop("immediate")
    new = watched.wait_other(old)
    scene.flows()
    scene.shows(new)
    scene.finish()


# --- Cluster ------------------------------------------------------------------------------------------------
def test_cluster_slot_moved_key_by_key_under_load(place):
    """There and back, each key by itself and some time between: ASK is followed, TRYAGAIN waited for, MOVED
    followed; list, hashes and lock arrive whole."""
    cluster = Cluster(place, masters=3)
    scene = Scene(place, cluster, "slot", lock__linger_ms=20)
    rng = random.Random(SEED)
    scene.flows()
    for _ in range(3):
        source = cluster.owner()
        target = rng.choice([node for node in cluster.members if node is not source])
        scene.shows(source)
        cluster.begin_move(source, target)
        for _ in range(4):  # the lock comes and goes: what is not there yet is asked for over there
            scene.more(rng.randint(1, 4))
            keys = cluster.keys(source)
            cluster.move_keys(source, target, *rng.sample(keys, min(len(keys), 2)))
        while cluster.keys(source):
            cluster.move_keys(source, target, *cluster.keys(source))
        scene.more(5)
        wait_until(lambda: "asking" in str(cluster.ask(target, "info", "commandstats")), 30, "a command behind ASKING", scene.stack.logs)
        cluster.end_move(source, target)
        print(f"counted {scene.flows():.1f} s after the slot had moved")
        scene.shows(target)
    scene.finish()


def test_scripts_while_their_slot_is_leaving(place):
    """The last element of a list goes, and the key with it: on this node there is no way back, and none is needed."""
    cluster = Cluster(place, masters=2).start()
    source = cluster.owner()
    target = next(node for node in cluster.members if node is not source)
    queue = Queue(redis.Redis(port=source.port))
    epoch, generation = "01234567-89ab-7def-8123-456789abcdef", queue.look("f")[1]
    for seq in (1, 2):
        assert queue.push(generation, "f", f"spendd1 {epoch} 0 {seq} 1 00000000\n")[0] == b"ok"
    queue.publish(generation, [(epoch, 0, "{}")], [])
    cluster.begin_move(source, target)
    assert queue.publish(generation, [(epoch, 1, "{[1,3)}")], [f"{epoch} 1", f"{epoch} 2"]) == [b"ok", 2]
    assert queue.client.hmget(queue.key("meta"), "pushed", "popped", "bytes") == [b"2", b"2", b"0"]
    assert queue.client.hget(queue.key("applied"), epoch) == b"1 {[1,3)}"
    # Nobody can tell an empty list from one that has left.  (Some releases of redis-py keep the word from us.)
    with pytest.raises(redis.ResponseError, match="TRYAGAIN|^Multiple keys request during rehashing"):
        queue.look("g")
    cluster.move_keys(source, target, *cluster.keys(source))
    cluster.end_move(source, target)
    queue = Queue(redis.Redis(port=target.port))
    assert queue.look("g", epoch) == [b"ok", generation, 2, 2, 0, 0, b"1 {[1,3)}"]
    cluster.close()


def test_cluster_resharded_under_load(place):
    """redis-cli --cluster reshard takes slots away, ours among them."""
    cluster = Cluster(place, masters=3)
    scene = Scene(place, cluster, "reshard")
    scene.flows()
    source = cluster.owner()
    target = next(node for node in cluster.members if node is not source)
    first = cluster.SLOTS // 3 * cluster.members.index(source)
    subprocess.run(["redis-cli", "--cluster", "reshard", f"127.0.0.1:{source.port}", "--cluster-from", cluster.id(source),
                    "--cluster-to", cluster.id(target), "--cluster-slots", str(cluster.slot - first + 1), "--cluster-yes"],
                   check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert cluster.wait_owner() is target
    print(f"counted {scene.flows():.1f} s after the reshard")
    scene.shows(target)
    scene.finish()


def test_cluster_owner_killed_and_replica_promoted(place):
    """The node of our slot dies; its replica takes over; the dead one comes back as a replica of it."""
    cluster = Cluster(place, masters=3, replicas=1)
    scene = Scene(place, cluster, "promoted")
    scene.more(20)
    old = cluster.owner()
    replica = cluster.replica_of(old)
    scene.shows(old)
    old.stop("immediate")
    assert cluster.wait_owner(old) is replica
    print(f"counted again {scene.flows():.1f} s after there was a new owner")
    scene.shows(replica)
    old.start()
    wait_until(lambda: cluster.linked(old), 20, "the old owner to be a replica", scene.stack.logs)
    cluster.switch_to(old)  # both alive: back to where it was
    scene.flows()
    scene.shows(old)
    scene.finish()


def test_cluster_behind_tls(place):
    """Redirects name the TLS ports, and are followed with TLS; ASK as well."""
    cluster = Cluster(place, masters=2, tls=True)
    scene = Scene(place, cluster, "clustertls")
    scene.flows()
    source = cluster.owner()
    target = next(node for node in cluster.members if node is not source)
    cluster.begin_move(source, target)
    cluster.move_keys(source, target, *cluster.keys(source))
    scene.more(5)
    cluster.end_move(source, target)
    scene.flows()
    scene.shows(target)
    scene.finish()


def test_cluster_owner_frozen(place):
    """No answer and no refusal: the deadline finds it, the others know who took over."""
    cluster = Cluster(place, masters=3, replicas=1)
    scene = Scene(place, cluster, "clusterfrozen")
    scene.more(20)
    old = cluster.owner()
    replica = cluster.replica_of(old)
    old.freeze()
    wait_until(lambda: (cluster.says(replica, "role") or [""])[0] == "master", 30, "the replica to take over", [cluster])
    print(f"counted again {scene.flows():.1f} s after there was a new owner")
    old.thaw()
    scene.more(10)
    wait_until(lambda: cluster.linked(old), 20, "the old owner to be a replica", scene.stack.logs)
    scene.shows(replica)
    scene.finish()


def test_cluster_down_is_named(place):
    """Another slot's node dies and nobody replaces it: the whole cluster refuses; it passes when it is back."""
    cluster = Cluster(place, masters=3)
    scene = Scene(place, cluster, "clusterdown")
    scene.more(10)
    other = next(node for node in cluster.members if node is not cluster.owner())
    other.stop("immediate")
    scene.log("CLUSTERDOWN")
    scene.more(30)
    other.start()
    wait_until(cluster.ok, 20, "the cluster to be ok", scene.stack.logs)
    scene.flows()
    scene.finish()


def test_cluster_start_nodes_that_are_gone(place):
    """One start node lives at the start; later none of them does, and the slot's node dies: who was learnt is
    asked."""
    cluster = Cluster(place, masters=3, replicas=1).start()
    owner = cluster.owner()
    others = [node for node in cluster.members[:3] if node is not owner]
    dead = Redis(place, tcp=True)  # never started
    scene = Scene(place, cluster, "gone", started=False, fleet_settings=cluster.through(dead, others[0]))
    scene.flows()
    scene.shows(owner)
    stand_in = cluster.replica_of(others[0])
    others[0].stop("immediate")
    cluster.wait_promoted(stand_in)
    owner.stop("immediate")
    new = cluster.wait_owner(owner)
    print(f"counted again {scene.flows():.1f} s after there was a new owner")
    wait_until(lambda: f"127.0.0.1:{new.port}" in str(scene.instance.status()["workers"]), 20, "the writer to show the node",
               scene.stack.logs)
    scene.finish()

"""Redis servers that fail over: a master with replicas watched by Sentinels, and a cluster.

Both look like a Redis of lib/servers.py to a Stack (url, start, running, close, name, tail), and have
`settings`, which an instance needs besides.  With tls=True everybody speaks TLS with everybody, instances
included; plain ports are there for the test alone.
"""
import os
import shutil
import signal
import time

import redis

from . import certificates
from .servers import Redis, Server, free_tcp_port
from .waiting import wait_until
from .wire import PREFIX


def front(server):
    """The port that others know it by."""
    return int(server.settings.get("tls-port", server.port))


class Fleet:
    """Several servers as one: what Stack and the waits ask of a server."""

    def __init__(self, name, place, tls, login=""):
        self.name, self.members, self.tls, self.settings = name, [], {}, {}
        self.url = f"redis{'s' if tls else ''}://{login}not-used.invalid/0"
        if tls:
            authority = certificates.Authority(place.sub("c"))
            certificate, key = authority.sign("localhost", names="IP:127.0.0.1")
            self.tls = {"tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": authority.file,
                        "tls_auth_clients": "no", "tls_replication": "yes"}
            self.settings["redis__tls_ca"] = authority.file

    def server(self, place, **settings):
        own = {"tls_port": free_tcp_port(), **self.tls} if self.tls else {}
        made = Redis(place, tcp=True, repl_diskless_sync_delay=0, **settings, **own)
        self.members.append(made)
        return made

    def tail(self, lines=15):
        return "\n".join(f"--- {member.name} {member.port}\n{member.tail(lines)}" for member in self.members)

    def running(self):
        return any(member.running() for member in self.members)

    def close(self):
        for member in self.members:
            member.close()


class Sentinel(Server):
    def __init__(self, place, password, tls, users=()):
        super().__init__("sentinel", os.path.join(place.sub("s"), "log"))
        self.users = users
        self.dir, self.port, self.password = os.path.dirname(self.log), free_tcp_port(), password
        self.settings = {name.replace("_", "-"): value for name, value in tls.items()}
        if tls:
            self.settings["tls-port"] = str(free_tcp_port())

    def start(self, master, name, quorum):
        """Its file is its memory: written once, rewritten by itself."""
        config = os.path.join(self.dir, "conf")
        if not os.path.exists(config):
            lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.dir}",
                     *(f"{option} {value}" for option, value in self.settings.items()),
                     f"sentinel monitor {name} 127.0.0.1 {front(master)} {quorum}",
                     f"sentinel down-after-milliseconds {name} 1000", f"sentinel failover-timeout {name} 2000",
                     f"sentinel parallel-syncs {name} 2"]
            if "requirepass" in master.settings:
                lines.append(f"sentinel auth-pass {name} {master.settings['requirepass']}")
            if self.password:
                lines += [f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"]
            lines += [f"user {rule}" for rule in self.users]
            with open(config, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        self.spawn(["redis-server", config, "--sentinel"])

    def client(self):
        return redis.Redis(port=self.port, password=self.password, socket_timeout=5, decode_responses=True)

    def master(self, name):
        try:
            found = self.client().sentinel_get_master_addr_by_name(name)
            return found and found[1]
        except redis.RedisError:
            return None

    def close(self):
        self.end(signal.SIGKILL)


class Watched(Fleet):
    """A master, replicas, and Sentinels that agree before anybody is told."""
    MASTER = "spendd-test"

    def __init__(self, place, replicas=1, sentinels=3, sentinel_password=None, tls=False, users=(), **settings):
        self.password = settings.get("requirepass")
        super().__init__("watched", place, tls, f":{self.password}@" if self.password else "")
        self.servers = [self.server(place, **settings) for _ in range(1 + replicas)]
        self.sentinels = [Sentinel(place, sentinel_password, self.tls, users) for _ in range(sentinels)]
        self.members += self.sentinels
        self.settings["redis__sentinels"] = ", ".join(f"127.0.0.1:{front(s)}" for s in self.sentinels)
        self.settings["redis__sentinel_master"] = self.MASTER
        if sentinel_password:
            self.settings["redis__sentinel_password"] = sentinel_password
        place.keep(self)

    def start(self):
        for server in self.servers:
            if server is not self.servers[0]:
                server.settings["replicaof"] = f"127.0.0.1 {front(self.servers[0])}"
            self.start_server(server)
        for sentinel in self.sentinels:
            sentinel.start(self.servers[0], self.MASTER, len(self.sentinels) // 2 + 1)
        wait_until(self._settled, 30, "the Sentinels to know each other and the replicas", [self])
        return self

    def start_server(self, server):
        server.start(wait=False)
        wait_until(lambda: self.says(server, "ping"), 20, "Redis to answer", [server])

    def client(self, server=None):
        return redis.Redis(port=(server or self.servers[0]).port, password=self.password, socket_timeout=5,
                           decode_responses=True)

    def says(self, server, *words):
        """A reply, or None while it does not answer."""
        try:
            return self.client(server).execute_command(*words)
        except redis.RedisError:
            return None

    def _settled(self):
        rows = []
        for sentinel in self.sentinels:
            try:
                rows.append(sentinel.client().sentinel_master(self.MASTER))
            except redis.RedisError:
                return False
        return all(row["num-other-sentinels"] == len(self.sentinels) - 1
                   and row["num-slaves"] == len(self.servers) - 1 for row in rows)

    def named(self):
        """The server that every Sentinel names, or None while they differ."""
        ports = {sentinel.master(self.MASTER) for sentinel in self.sentinels if sentinel.running()}
        return next((s for s in self.servers if {front(s)} == ports), None) if len(ports) == 1 else None

    def master(self):
        """The server that is named and is one."""
        server = self.named()
        role = server and self.says(server, "role")
        return server if role and role[0] == "master" else None

    def wait_other(self, old, deadline_s=30):
        return wait_until(lambda: (self.master() not in (None, old)) and self.master(), deadline_s,
                          "another master", [self])

    def wait_settled(self, deadline_s=60):
        """One master, and all others its replicas (a busy machine may see more than one failover).  The master."""
        def settled():
            master = self.master()
            roles = [self.says(server, "role") for server in self.servers if server is not master]
            return master if master and all(r and r[0] == "slave" and r[3] == "connected" for r in roles) else None

        return wait_until(settled, deadline_s, "one master and its replicas", [self])


class Cluster(Fleet):
    """Masters that share the slots evenly, each with as many replicas."""
    SLOTS = 16384

    def __init__(self, place, masters=3, replicas=0, tls=False, **settings):
        super().__init__("cluster", place, tls)
        self.masters = masters
        if tls:
            settings["tls_cluster"] = "yes"
        for _ in range(masters * (1 + replicas)):
            node = self.server(place, cluster_enabled="yes", cluster_node_timeout="1500", cluster_port=free_tcp_port(),
                               cluster_replica_validity_factor="0", **settings)
            node.name = "node"
        self.settings.update(self.through(*self.members[:masters]))
        place.keep(self)

    @staticmethod
    def through(*nodes):
        return {"redis__cluster_nodes": ", ".join(f"127.0.0.1:{front(node)}" for node in nodes)}

    def start(self):
        for node in self.members:
            node.start()
        first = self.members[0]
        share = self.SLOTS // self.masters
        for number, node in enumerate(self.members):
            if number < self.masters:
                last = self.SLOTS - 1 if number == self.masters - 1 else (number + 1) * share - 1
                self.ask(node, "cluster", "addslotsrange", number * share, last)
                self.ask(node, "cluster", "set-config-epoch", number + 1)
            if node is not first:
                self.ask(node, "cluster", "meet", "127.0.0.1", front(first), first.settings["cluster-port"])
        wait_until(lambda: all(self.known(node) == len(self.members) for node in self.members), 20, "all to have met", [self])
        for number, node in enumerate(self.members[self.masters:]):
            self.ask(node, "cluster", "replicate", self.id(self.members[number % self.masters]))
        wait_until(self.ok, 30, "the cluster to be ok", [self])
        wait_until(lambda: all(self.linked(node) for node in self.members[self.masters:]), 30, "the replicas to be linked", [self])
        return self

    @staticmethod
    def ask(node, *words):
        return redis.Redis(port=node.port, socket_timeout=10, decode_responses=True).execute_command(*words)

    def says(self, node, *words):
        try:
            return self.ask(node, *words)
        except redis.RedisError:
            return None

    def id(self, node):
        return self.ask(node, "cluster", "myid")

    def info(self, node):
        lines = (self.says(node, "cluster", "info") or "").split()
        return dict(line.split(":", 1) for line in lines)

    def known(self, node):
        return int(self.info(node).get("cluster_known_nodes", 0))

    def ok(self):
        return all(self.info(node).get("cluster_state") == "ok" for node in self.members if node.running())

    def linked(self, node):
        role = self.says(node, "role")
        return role and role[0] == "slave" and role[3] == "connected"

    @property
    def slot(self):
        return int(self.ask(self.members[0], "cluster", "keyslot", PREFIX))

    def owner(self):
        """The node that serves our slot and says so itself, or None."""
        for node in self.members:
            role = self.says(node, "role") if node.running() else None
            if role and role[0] == "master" and self._serves(node):
                return node
        return None

    def _serves(self, node):
        try:
            self.ask(node, "exists", PREFIX)
            return True
        except redis.ResponseError as error:  # the slot is leaving, but has not left
            return str(error).startswith("ASK")
        except redis.RedisError:
            return False

    def replica_of(self, node):
        replicas = " ".join(self.ask(node, "cluster", "replicas", self.id(node)))
        return next(other for other in self.members
                    if other is not node and other.running() and self.id(other) in replicas.split())

    def wait_owner(self, other_than=None, deadline_s=30):
        def found():
            owner = self.owner()
            return owner if owner is not None and owner is not other_than else None

        return wait_until(found, deadline_s, "a node to serve our slot", [self])

    def wait_promoted(self, replica, deadline_s=30):
        """This replica is a master, and all of the cluster has heard of it."""
        wait_until(lambda: (self.says(replica, "role") or [""])[0] == "master" and self.ok(), deadline_s,
                   f"{replica.port} to be a master", [self])

    def switch_to(self, replica, deadline_s=30):
        """A failover between two that live.  Redis gives one up that takes longer than 5 s: said again until then."""
        def master():
            role = self.says(replica, "role") or [""]
            if role[0] == "slave" and time.monotonic() > self._said + 6:
                self._said = time.monotonic()
                self.says(replica, "cluster", "failover")
            return role[0] == "master"

        self._said = 0
        wait_until(master, deadline_s, f"{replica.port} to take over by hand", [self])

    # --- a slot on its way, step by step ---
    def begin_move(self, source, target):
        self.ask(target, "cluster", "setslot", self.slot, "importing", self.id(source))
        self.ask(source, "cluster", "setslot", self.slot, "migrating", self.id(target))

    def keys(self, node):
        return self.ask(node, "cluster", "getkeysinslot", self.slot, 1000)

    def move_keys(self, source, target, *keys):
        for key in keys:
            self.ask(source, "migrate", "127.0.0.1", front(target), key, 0, 5000)

    def end_move(self, source, target):
        for node in (target, source, *(n for n in self.members[:self.masters] if n not in (source, target))):
            self.ask(node, "cluster", "setslot", self.slot, "node", self.id(target))

    def close(self):
        super().close()
        for node in self.members:
            shutil.rmtree(node.dir, ignore_errors=True)

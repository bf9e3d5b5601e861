"""Redis refuses, hangs, hangs up, is full, is somebody else: each row of common/redis/refusals.def as it happens
in life.  What an operator sees is asserted (log line, metric), then that it passes, then the books.
"""
import contextlib
import os
import re
import socket
import threading

import pytest
import redis as redis_client

from lib import certificates, conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.producer import Producer
from lib.proxy import RedisProxy
from lib.servers import free_tcp_port
from lib.waiting import wait_until
from lib.wire import ROOT, Queue

SEED = 911
PUSHERS = ("aggregator", "redis_writer", "control")  # what runs whatever Redis does


class World:
    """A stack, one instance whose redis.url stands in a file, and a producer that never stops."""

    def __init__(self, place, redis=None, **redis_settings):
        self.stack = Stack(place, redis=redis or place.redis(tcp=True, **redis_settings))
        self.redis = self.stack.redis
        self.url_file = os.path.join(place.sub("u"), "url")
        self.instance = self.producer = self._client = None

    def url(self, text):
        with open(self.url_file + ".new", "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(self.url_file + ".new", self.url_file)

    def start(self, url=None, ready=WORKERS, rate=40, **settings):
        self.stack.start()
        self.url(url or self.redis.url)
        self.instance = self.stack.spendd(redis__url=f"file:{self.url_file}", **settings).start(ready=ready)
        stream = batches(Generator(SEED, self.url_file).events(10**9), 8)
        self.producer = Producer(self.instance.ingest, stream, window=12, resend_s=2.0, rate=rate).start()
        return self

    @property
    def client(self):
        """The test's own connection; it stays open, so it works when there is room for nobody else."""
        if self._client is None:
            self._client = self.redis.client(single_connection_client=True)
        return self._client

    def kill_clients(self):
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    @contextlib.contextmanager
    def crowd(self):
        """No room for anybody who is not connected yet."""
        before = self.client.config_get("maxclients")["maxclients"]
        self.client.config_set("maxclients", 1)
        yield
        self.client.config_set("maxclients", before)

    def more(self, count, deadline_s=30):
        """Ingest goes on, whatever Redis does."""
        target = self.producer.outcome.messages + count
        wait_until(lambda: self.producer.outcome.messages >= target, deadline_s, f"{count} more answers", self.logs)

    def counted(self, deadline_s=30):
        """Something that is acknowledged from now on arrives in PostgreSQL: the whole way works again."""
        before = self.instance.metric("batches_applied_total") or 0
        wait_until(lambda: (self.instance.metric("batches_applied_total") or 0) > before + 1, deadline_s,
                   "more batches to be applied", self.logs)

    def refused(self, name, metric=None, deadline_s=20, worker="redis_writer"):
        """The operator sees the refusal by its name, and it was counted."""
        wait_until(lambda: any(f" {worker}/" in line and f" redis_refused refusal={name} " in line
                               for line in self.instance.log_text().splitlines()),
                   deadline_s, f"{worker} to log refusal={name}", self.logs)
        if metric:
            wait_until(lambda: self.instance.metric(f"redis_refused_{metric}_total"), deadline_s, f"{metric} to be counted", self.logs)

    def not_said(self, *names):
        text = self.instance.log_text()
        for name in names:
            assert f" redis_refused refusal={name} " not in text, self.instance.tail()

    @property
    def logs(self):
        return [*([self.producer] if self.producer else []), *self.stack.logs]

    def finish(self, deadline_s=60):
        self.producer.finish_source()
        self.producer.wait(60, self.logs)
        report = conservation.assert_conserved(self.stack.postgres, self.producer.outcome, deadline_s=deadline_s,
                                               logs=self.logs)
        self.stack.close()
        return report


@pytest.fixture
def world(place):
    made = []

    def make(*arguments, **more):
        made.append(World(place, *arguments, **more))
        return made[-1]

    yield make
    for one in made:
        if one.producer:
            one.producer.finish_source()
        one.stack.close()


# --- TLS ----------------------------------------------------------------------------------------------------
class Tls:
    """A Redis behind TLS, whose certificate and whose clients' authority can be replaced."""

    def __init__(self, place, clients="no", plain=False):
        self.dir = place.sub("c")
        self.authority = certificates.Authority(self.dir)
        self.stranger = certificates.Authority(self.dir, "stranger")
        self.cert, self.key, self.ca = (os.path.join(self.dir, name) for name in ("s.crt", "s.key", "ca.crt"))
        certificates.put(self.good(), self.cert, self.key)
        self.trust(self.authority)
        self.port = free_tcp_port()
        self.redis = place.redis(tcp=plain, tls_port=self.port, tls_cert_file=self.cert, tls_key_file=self.key,
                                 tls_ca_cert_file=self.authority.file, tls_auth_clients=clients)

    def good(self):
        return self.authority.sign("localhost", names="DNS:localhost,IP:127.0.0.1")

    def trust(self, authority):
        """What redis.tls_ca names."""
        with open(authority.file, encoding="ascii") as source, open(self.ca + ".new", "w", encoding="ascii") as file:
            file.write(source.read())
        os.replace(self.ca + ".new", self.ca)

    def url(self, host="localhost", port=None, login=""):
        return f"rediss://{login}{host}:{port or self.port}/0"

    def serve(self, pair):
        """The running server takes another certificate; who is connected must come again."""
        certificates.put(pair, self.cert, self.key)
        client = self.redis.client()
        client.config_set("tls-cert-file", self.cert)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_tls_works_with_name_address_and_client_certificate(place, world):
    server = Tls(place, clients="yes")
    cert, key = server.authority.sign("client")
    one = world(server.redis).start(server.url(), redis__tls_ca=server.ca, redis__tls_cert=cert,
                                    redis__tls_key=key)
    one.counted()
    one.url(server.url("127.0.0.1"))  # an address is verified as one
    one.kill_clients()
    one.counted()
    assert one.instance.metric("redis_refused_tls_total") == 0
    one.finish()


TLS_ROWS = ("tls_ca", "tls_name", "tls_expired")


@pytest.mark.parametrize("row", TLS_ROWS)
def test_a_certificate_that_is_not_good(place, world, row):
    """It was good, then it is replaced by one that is not, then by a good one."""
    server = Tls(place)
    bad = {"tls_ca": lambda: server.stranger.sign("localhost"),
           "tls_name": lambda: server.authority.sign("elsewhere.example"),
           "tls_expired": lambda: server.authority.sign("localhost", expired=True)}[row]()
    one = world(server.redis).start(server.url(), redis__tls_ca=server.ca)
    one.counted()
    server.serve(bad)
    one.refused(row, "tls")
    one.more(20)
    server.serve(server.good())
    one.counted()
    one.finish()


def test_tls_authorities_are_read_at_each_connect(place, world):
    server = Tls(place)
    server.trust(server.stranger)
    one = world(server.redis).start(server.url(), ready=PUSHERS, redis__tls_ca=server.ca)
    one.refused("tls_ca", "tls")
    server.trust(server.authority)
    one.counted()
    one.finish()


def test_tls_name_that_is_asked_for(place, world):
    """redis.tls_name: connected to by an address, verified (and asked for, SNI) by a name."""
    server = Tls(place)
    certificates.put(server.authority.sign("redis.example"), server.cert, server.key)
    one = world(server.redis).start(server.url("127.0.0.1"), redis__tls_ca=server.ca, redis__tls_name="redis.example")
    one.counted()
    one.finish()


def test_tls_unverified_takes_any_certificate(place, world):
    server = Tls(place)
    certificates.put(server.stranger.sign("elsewhere.example", expired=True), server.cert, server.key)
    one = world(server.redis).start(server.url(), redis__tls_verify=False)
    one.counted()
    one.finish()


def test_tls_server_refuses_us(place, world):
    """It wants a certificate and we have none."""
    server = Tls(place, clients="yes")
    one = world(server.redis).start(server.url(), ready=PUSHERS, redis__tls_ca=server.ca)
    one.refused("tls_refused", "tls")
    one.client.config_set("tls-auth-clients", "no")
    one.counted()
    one.finish()


def test_tls_and_plain_ports_mixed_up(place, world):
    """rediss:// at a plain port, redis:// at a TLS port: both say what to write instead."""
    server = Tls(place, plain=True)
    one = world(server.redis).start(f"redis://localhost:{server.port}/0", ready=PUSHERS, redis__tls_ca=server.ca)
    one.refused("cut_greeting", "closed")  # Redis hangs up; others say an alert first
    with plain_words(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        one.url(f"redis://localhost:{port}/0")
        one.refused("plain_tls", "tls")
    with plain_words() as port:  # a server that says something that is not TLS
        one.url(server.url(port=port))
        one.refused("tls_plain", "tls")
    said = len(one.instance.log_text())
    one.url(server.url(port=server.redis.port))  # Redis itself waits for the end of an inline command; from 8 on it does not
    wait_until(lambda: re.search("refusal=tls_(silent|plain) ", one.instance.log_text()[said:]), 30, "Redis' plain port to be named",
               one.logs)
    one.url(server.url())
    one.counted()
    one.finish()


@contextlib.contextmanager
def plain_words(words=b"HTTP/1.1 400 Bad Request\r\n\r\n"):
    """A server that answers the same to everybody, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(words)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_tls_files_that_cannot_be_used(place, world):
    server = Tls(place)
    one = world(server.redis).start(server.url(), ready=PUSHERS, redis__tls_ca=server.ca + ".none")
    one.refused("tls_setup", "setup")
    with open(server.ca, encoding="ascii") as source, open(server.ca + ".none", "w", encoding="ascii") as file:
        file.write(source.read())
    one.counted()
    one.finish()


def test_tls_maxclients_is_silent(place, world):
    """At maxclients a TLS server closes without a word: we come back slowly."""
    server = Tls(place)
    one = world(server.redis).start(server.url(), redis__tls_ca=server.ca)
    one.counted()
    with one.crowd():
        one.kill_clients()
        one.refused("tls_cut", "tls")
        one.more(10)
    one.counted()
    one.finish()


# --- reaching it --------------------------------------------------------------------------------------------
def test_unix_socket_database_number_and_acl_user(world, place):
    one = world(place.redis())
    one.redis.start()
    one.client.execute_command("ACL", "SETUSER", "writer", "on", ">p@ss:word", "~*", "+@all")
    one.start(f"unix://writer:p%40ss%3aword@{one.redis.socket}?db=3")
    one.counted()
    assert one.redis.client(db=3).exists("{spendd}:meta:0") and not one.client.exists("{spendd}:meta:0")
    names = {row["name"] for row in one.client.client_list() if row["user"] == "writer" and row["db"] == "3"}
    assert "spendd-redis_writer" in names and any(name.startswith("spendd-db_flusher-") for name in names), names
    one.finish()


URLS = {
    "secret": lambda redis: "http://localhost/",
    "unresolved": lambda redis: f"redis://{'x' * 64}.invalid:6379/0",  # a name that no name server is asked for
    "unreachable": lambda redis: f"redis://127.0.0.1:{free_tcp_port()}/0",
    "nodatabase": lambda redis: f"redis://127.0.0.1:{redis.port}/99",
    "nopassword": lambda redis: f"redis://:secret@127.0.0.1:{redis.port}/0",
    "wrongpass": lambda redis: f"redis://nobody:secret@127.0.0.1:{redis.port}/0",
}
URL_METRICS = {"secret": "setup", "unresolved": "unreachable", "unreachable": "unreachable"}


@pytest.mark.parametrize("row", URLS)
def test_a_url_that_is_wrong_until_its_file_is_mended(world, row):
    """The file of redis.url is read again at each connect: mending it is all that must be done."""
    one = world()
    one.redis.start()
    one.url(one.redis.url)  # a URL that is none would be refused at the start
    one.start(ready=WORKERS)
    one.url(URLS[row](one.redis))
    one.kill_clients()
    one.refused(row, URL_METRICS.get(row, "auth"))
    one.more(20)
    one.url(one.redis.url)
    one.counted()
    one.finish()


def test_password_rotated(world):
    """The server's password changes first, then the file: nothing is restarted."""
    one = world()
    one.redis.start()
    one.client.execute_command("ACL", "SETUSER", "writer", "on", ">first", "~*", "+@all")
    one.start(f"redis://writer:first@127.0.0.1:{one.redis.port}/0")
    one.counted()
    one.client.execute_command("ACL", "SETUSER", "writer", "resetpass", ">second")
    one.kill_clients()
    one.refused("wrongpass", "auth")
    assert "first" not in one.instance.log_text().replace("first_", "")
    one.url(f"redis://writer:second@127.0.0.1:{one.redis.port}/0")
    one.counted()
    one.finish()


def test_a_password_is_asked_for_that_we_do_not_have(world):
    one = world().start()
    one.counted()
    one.client.config_set("requirepass", "later")
    one.kill_clients()
    one.refused("noauth", "auth")
    one.url(f"redis://:later@127.0.0.1:{one.redis.port}/0")
    one.counted()
    one.finish()


def test_what_answers_is_not_redis(world):
    with plain_words() as port:
        one = world().start(f"redis://127.0.0.1:{port}/0", ready=PUSHERS)
        one.refused("protocol", "protocol")
    one.url(one.redis.url)
    one.counted()
    one.finish()


# --- connections --------------------------------------------------------------------------------------------
def ours(client):
    return [row for row in client.client_list() if row["name"].startswith("spendd-")]


def test_three_connections_at_most(world):
    """redis_writer's and db_flusher's stay; control has one because somebody asks for the status here; a probe
    has one for a moment.  Nobody has two, and nobody comes again."""
    one = world().start(health__idle_probe_ms=100, redis__command_ms=10000, redis__connect_ms=10000)
    one.counted()
    seen = set()
    for _ in range(40):
        names = [row["name"] for row in ours(one.client) if "health" not in row["name"]]  # the last probe's may be closing
        assert len(names) == len(set(names)), names
        seen |= {(row["name"], row["id"]) for row in ours(one.client) if "health" not in row["name"]}
        one.more(1)
    assert {name.split("-")[1] for name, _ in seen} == {"redis_writer", "db_flusher", "control"} and len(seen) == 3, seen
    one.finish()


def test_clients_killed_every_second_under_load(world):
    one = world().start()
    one.counted()
    for _ in range(5):
        one.kill_clients()
        one.more(40)  # 40 messages a second
    one.refused("closed", "closed")
    one.counted()
    one.finish()


def test_idle_connections_closed_by_the_server_are_no_news(world):
    """timeout 1, and nothing to do: closed and opened again, without a warning and without a growing pause."""
    one = world(timeout=1)
    one.start(rate=1, redis__applied_poll_ms=10000, seal__ms=2000, flush__ms=5000, lock__ttl_ms=15000, lock__renew_ms=5000)
    wait_until(lambda: one.instance.metric("redis_refused_closed_idle_total") >= 3, 40, "connections closed while idle", one.logs)
    text = one.instance.log_text()
    assert "redis_refused" not in text, one.instance.tail()
    one.finish()


def test_maxclients_before_we_come(world):
    one = world()
    one.redis.start()
    with one.crowd():
        one.start(ready=PUSHERS)
        one.refused("maxclients", "maxclients")
        one.more(20)
    one.counted()
    one.finish()


def test_maxclients_while_we_are_there(world):
    """Who is connected works on; a probe is refused; who is cut off then comes back slowly."""
    one = world().start(health__idle_probe_ms=200, redis__command_ms=10000, redis__connect_ms=10000)  # nothing is late here
    one.counted()
    with one.crowd():
        one.counted()
        wait_until(lambda: "probe_failed store=redis" in one.instance.log_text(), 20, "a probe to be refused", one.logs)
        assert 'probe_failed store=redis detail="maxclients: ' in one.instance.log_text()
        one.not_said("maxclients")
        one.kill_clients()
        one.refused("maxclients", "maxclients")
        one.more(10)
    one.counted()
    one.finish()


# --- what it refuses ----------------------------------------------------------------------------------------
def test_loading(world):
    one = world(loading_process_events_interval_bytes=1024).start()
    one.counted()
    with one.client.pipeline() as pipe:
        for n in range(400):
            pipe.set(f"filler:{n}", "x" * 1000)
        pipe.execute()
    one.client.save()
    one.redis.stop("immediate")
    one.redis.settings["key-load-delay"] = "10000"  # microseconds for each key: 4 s
    one.redis.start(wait=False)
    one.refused("loading", "loading")
    one.more(10)
    one.counted()
    one.finish()


def test_demoted_to_a_replica_and_promoted_again(world, place):
    """READONLY: let go, ask again; a replica that is promoted serves."""
    one = world().start()
    other = place.redis(tcp=True).start()
    one.counted()
    for _ in range(2):
        one.client.replicaof("127.0.0.1", other.port)
        one.refused("readonly", "readonly")
        one.more(10)
        one.client.replicaof("NO", "ONE")
        one.counted()
    other.close()
    one.finish()


def test_replica_without_its_primary(world):
    one = world(replica_serve_stale_data="no").start()
    one.counted()
    one.client.replicaof("127.0.0.1", free_tcp_port())
    one.refused("masterdown", "masterdown")
    one.more(10)
    one.client.replicaof("NO", "ONE")
    one.counted()
    one.finish()


def fill_then_no_memory(one):
    """Batches stand in the queue, PostgreSQL is away, and Redis has no memory left."""
    queue = Queue(one.client)
    one.stack.postgres.stop("immediate")
    wait_until(lambda: one.client.llen(queue.key("queue")) > 3, 20, "batches in the queue", one.logs)
    one.client.config_set("maxmemory", 1 << 20)  # less than an empty Redis takes
    one.refused("oom", "oom")
    one.more(10)
    refusals, answers = one.instance.metric("redis_refused_oom_total"), one.producer.outcome.messages
    assert refusals < answers, "a refused push is tried again by its row, not at once"
    one.stack.postgres.start()
    wait_until(lambda: one.client.llen(queue.key("queue")) == 0, 30, "the queue of a full Redis to be drained", one.logs)
    one.client.config_set("maxmemory", 0)


def test_out_of_memory_and_the_drain_works(world):
    one = world().start()
    one.counted()
    fill_then_no_memory(one)
    one.counted()
    one.finish()


class OlderRedis(RedisProxy):
    """Scripts arrive with a first line that this server does not know, as at a Redis before 7."""

    def look(self, link, way, data):
        return super().look(link, way, data.replace(b"#!lua", b"#?lua"))


def test_before_redis_7_scripts_lose_their_first_line(world, place):
    """Its load is refused (cannot compile), once for each connection; and a full Redis is drained there, too."""
    one = world()
    one.start(OlderRedis(place, one.redis).url)
    one.counted()
    assert one.instance.metric("redis_refused_nocompile_total") > 0
    fill_then_no_memory(one)
    one.counted()
    one.not_said("nocompile")
    one.finish()


class NoLua(RedisProxy):
    """Scripts arrive in a language that no server compiles, whatever their first line."""

    broken = True

    def look(self, link, way, data):
        return super().look(link, way, data.replace(b"redis.call", b"redis(call") if self.broken else data)


def test_a_server_that_cannot_compile_our_scripts(world, place):
    """The other first line does not help: said as an error, and asked for slowly."""
    one = world()
    one.redis.start()
    proxy = NoLua(place, one.redis)
    one.start(proxy.url, ready=PUSHERS)
    one.refused("nocompile", "nocompile")
    one.refused("nocompile", worker="db_flusher")
    one.more(20)
    assert one.instance.metric("redis_errors_total") < one.producer.outcome.messages + 40, "slowly"
    proxy.broken = False
    one.counted()
    one.finish()


def test_scripts_flushed_under_load(world):
    one = world().start()
    for _ in range(20):
        one.more(5)
        one.client.script_flush()
    assert one.instance.metric("redis_refused_noscript_total") > 0
    one.not_said("noscript")
    one.finish()


def test_disk_of_redis_is_broken(world, place):
    """MISCONF: no writes at all until somebody looks after its disk."""
    gone = place.sub("g")
    one = world(dir=gone, save="3600 1").start()
    one.counted()
    os.rmdir(gone)
    one.client.bgsave()
    one.refused("misconf", "misconf")
    one.more(20)
    one.client.config_set("stop-writes-on-bgsave-error", "no")
    one.counted()
    one.finish()


def test_too_few_replicas(world):
    one = world().start()
    one.counted()
    one.client.config_set("min-replicas-to-write", 1)
    one.refused("noreplicas", "misconf")
    one.more(20)
    one.client.config_set("min-replicas-to-write", 0)
    one.counted()
    one.finish()


def test_busy_with_a_script_of_somebody_else(world):
    one = world(busy_reply_threshold=50).start()
    one.counted()
    stuck = one.redis.client()
    thread = threading.Thread(target=lambda: pytest.raises(redis_client.RedisError, stuck.eval, "while true do end", 0))
    thread.start()
    one.refused("busy", "busy")
    one.more(10)
    one.redis.client().script_kill()
    thread.join(10)
    one.counted()
    one.finish()


def test_a_key_of_ours_is_somebody_elses(world):
    one = world().start()
    one.counted()
    queue = Queue(one.client)
    one.client.delete(queue.key("meta"))
    wait_until(lambda: one.client.set(queue.key("meta"), "mine now", nx=True) or one.client.delete(queue.key("meta")) is None,
               20, "the key to be taken", one.logs, look_s=0)
    one.refused("wrongtype", "wrongtype")
    one.more(10)
    one.client.delete(queue.key("meta"))
    one.counted()
    one.finish()


def test_cluster_without_slots(world):
    one = world(cluster_enabled="yes", cluster_config_file="nodes.conf", cluster_port=free_tcp_port())
    one.start(ready=PUSHERS)
    one.refused("clusterdown", "clusterdown")
    one.more(10)
    one.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    one.counted()
    one.finish()


def least_rights():
    """What README.md says that our user must be allowed."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return re.search(r"`(~\{spendd\}:\* -@all [^`]*)`", file.read())[1].split()


def test_the_least_rights_allow_every_script():
    with open(os.path.join(ROOT, "common/redis/scripts.def"), encoding="utf-8") as file:
        used = {word.lower() for word in re.findall(r"redis\.call\('([A-Z]+)'", file.read())}
    assert used and not used - {right.lstrip("+") for right in least_rights()}


def test_a_user_with_the_least_rights(world):
    """No INFO, no CLIENT, no CONFIG: "unknown" is said, and everything works."""
    one = world()
    one.redis.start()
    one.client.execute_command("ACL", "SETUSER", "least", "on", ">pw", *least_rights())
    one.start(f"redis://least:pw@127.0.0.1:{one.redis.port}/0")
    one.counted()
    wait_until(lambda: "maxmemory-policy unknown" in one.instance.log_text(), 20, "the probe to say unknown", one.logs)
    wait_until(lambda: one.instance.status()["queue"]["known"], 20, "the queue to be known", one.logs)
    one.not_said("noperm", "unknown")
    one.finish()


def test_renamed_commands(world):
    """rename-command INFO "": an unknown command, not a lack of rights."""
    one = world(rename_command=("INFO", "not-info")).start()
    one.counted()
    wait_until(lambda: "maxmemory-policy unknown" in one.instance.log_text(), 20, "the probe to say unknown", one.logs)
    one.not_said("noperm", "unknown")
    one.finish()


def test_a_right_is_taken_away(world):
    one = world()
    one.redis.start()
    one.client.execute_command("ACL", "SETUSER", "least", "on", ">pw", *least_rights())
    one.start(f"redis://least:pw@127.0.0.1:{one.redis.port}/0")
    one.counted()
    recent = tuple(map(int, one.client.info("server")["redis_version"].split(".")[:2])) >= (7, 2)
    # Within a script, and the command itself.
    for right, row in (("rpush", "noperm_acl" if recent else "noperm_script"), ("evalsha", "noperm")):
        one.client.execute_command("ACL", "SETUSER", "least", f"-{right}")
        one.refused(row, "noperm")
        assert f" error redis_writer/1 redis_refused refusal={row} " in one.instance.log_text()
        one.more(10)
        one.client.execute_command("ACL", "SETUSER", "least", f"+{right}")
    one.counted()
    one.finish()


def test_what_is_published_is_overwritten_with_nonsense(world):
    one = world().start()
    one.counted()
    queue = Queue(one.client)

    def spoil():
        for epoch in one.client.hkeys(queue.key("applied")):
            one.client.hset(queue.key("applied"), epoch, "nonsense")
        return "refusal=unexpected" in one.instance.log_text()

    wait_until(spoil, 20, "the nonsense to be read", one.logs)
    one.refused("unexpected", None)
    one.counted()
    one.finish()


def test_a_dangerous_maxmemory_policy_is_warned_about_once(world):
    one = world(maxmemory="200mb", maxmemory_policy="allkeys-lru").start(health__idle_probe_ms=100)
    before = one.instance.metric("probes_passed_total")
    wait_until(lambda: one.instance.metric("probes_passed_total") > before + 10, 30, "more probes", one.logs)
    assert one.instance.log_text().count("maxmemory-policy allkeys-lru can evict the queue") == 1
    one.finish()


# --- links --------------------------------------------------------------------------------------------------
def behind_proxy(world, place, **settings):
    one = world()
    one.redis.start()
    proxy = RedisProxy(place, one.redis, seed=SEED)
    return one.start(proxy.url, **settings), proxy


def test_each_way_in_which_a_link_fails_has_a_name(world, place):
    """Half open, frozen, refusing, cut in a reply, and a proxy with nobody behind it.  (That nothing is lost under
    each of them is tests/fault/test_links.py.)"""
    one, proxy = behind_proxy(world, place)
    one.counted()
    for how, row, metric in (("drop", "slow_command", "timeout"), ("freeze", "slow_connect", "timeout"),
                             ("refuse", "unreachable", "unreachable"), ("turn_away", "cut_greeting", "closed"),
                             ("pass", "closed", "closed")):
        proxy.set(how)
        if how in ("refuse", "turn_away"):
            proxy.reset()
        if how == "pass":
            proxy.arm("reset", after=5)
        one.refused(row, metric)
        one.more(5)
        proxy.set("pass")
        one.counted()
    one.finish()

"""The way to PostgreSQL: names, addresses, TLS and a pooler, each failing in its own way, each named."""
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time

import psycopg2
import pytest

from lib.certificates import Authority
from lib.commits import PostgresProxy
from lib.daemon import WORKERS, Spendd
from lib.pooler import Pooler
from lib.servers import free_tcp_port
from lib.site import BEFORE, Site, secret, write_secret



# --- TLS -------------------------------------------------------------------------------------------------------
class Encrypted:
    """A server that wants TLS over TCP, its authority, and an authority that has nothing to do with it."""

    def __init__(self, place, sites):
        owner = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
        self.dir = place.sub("k")
        os.chmod(self.dir, 0o755)
        self.owner, self.right, self.wrong = owner, Authority(self.dir, "right"), Authority(self.dir, "wrong")
        self.certificate, self.key = (os.path.join(self.dir, name) for name in ("server.pem", "server.key"))
        self.use(self.right.sign("localhost", owner=owner), None)
        self.port = free_tcp_port()
        self.stack = sites(place.postgres(listen_addresses="127.0.0.1", port=self.port, ssl="on",
                                          ssl_cert_file=self.certificate, ssl_key_file=self.key), start=False)
        self.stack.postgres.hba("hostssl all all 127.0.0.1/32 trust", "hostnossl all all 127.0.0.1/32 reject")
        self.stack.start()

    def use(self, signed, server):
        for source, target in zip(signed, (self.certificate, self.key)):
            shutil.copy2(source, target + ".new")
            if self.owner is not None:
                os.chown(target + ".new", self.owner, self.owner)
            os.rename(target + ".new", target)
        if server is not None:
            server.query("select pg_reload_conf()")

    def url(self, rest):
        return f"postgresql://spendd@localhost:{self.port}/postgres?{rest}"


def test_tls_refusals_are_named_and_mended(sites, place):
    """verify-full: wrong authority, a missing file, a certificate for another name, an expired one, none at all; each
    in the gate's reason, without a restart; then right."""
    world = Encrypted(place, sites)
    good = world.url(f"sslmode=verify-full&sslrootcert={world.right.file}")
    path = secret(place, world.url(f"sslmode=verify-full&sslrootcert={world.wrong.file}"))
    site = Site(world.stack, ready=BEFORE, database__url=f"file:{path}")
    site.closed("certificate verify failed", "local issuer", "tls_certificate")
    write_secret(path, world.url("sslmode=verify-full&sslrootcert=/nowhere/ca.pem"))
    site.closed("root certificate file", "tls_file")
    world.use(world.right.sign("db.elsewhere", owner=world.owner), world.stack.postgres)
    write_secret(path, good)
    site.closed("db.elsewhere", "tls_host_name")
    world.use(world.right.sign("localhost", expired=True, owner=world.owner), world.stack.postgres)
    site.closed("certificate has expired", "tls_expired")
    write_secret(path, world.url("sslmode=disable"))
    site.closed("pg_hba.conf", "password")
    site.metric("database_refused_tls_total", 4)
    site.acknowledges()
    world.use(world.right.sign("localhost", owner=world.owner), world.stack.postgres)
    write_secret(path, good)
    site.opened()
    site.finish()
    assert world.stack.postgres.one("select bool_and(ssl) from pg_stat_ssl s join pg_stat_activity a using (pid)"
                                    " where application_name like 'spendd%'") in (True, None)


@pytest.mark.parametrize("rest, works", [
    ("sslmode=require&sslcert={right}&sslaccept=strict", True),
    ("sslmode=require&sslcert={wrong}&sslaccept=strict", False),
    ("sslmode=require&sslaccept=strict", False),  # the system's authorities do not know ours
    ("sslmode=require&sslcert={wrong}&sslaccept=accept_invalid_certs", True),
    ("sslmode=require", True),
])
def test_tls_in_the_words_of_another_engine(sites, place, rest, works):
    world = Encrypted(place, sites)
    path = secret(place, world.url(rest.format(right=world.right.file, wrong=world.wrong.file)))
    site = Site(world.stack, ready=BEFORE, database__url=f"file:{path}")
    if not works:
        site.closed("tls_")
        write_secret(path, world.url(f"sslmode=verify-full&sslrootcert={world.right.file}"))
    site.opened()
    site.finish()


def test_tls_where_the_server_has_none(sites, place):
    port = free_tcp_port()
    stack = sites(place.postgres(listen_addresses="127.0.0.1", port=port))
    path = secret(place, f"postgresql://spendd@127.0.0.1:{port}/postgres?sslmode=require")
    site = Site(stack, ready=BEFORE, database__url=f"file:{path}")
    site.closed("does not support SSL", "tls_not_offered")
    write_secret(path, f"postgresql://spendd@127.0.0.1:{port}/postgres")
    site.finish()


# --- names and addresses -----------------------------------------------------------------------------------------
class NameServer:
    """Answers questions for A with these addresses, in this order; silent until it is told them."""

    def __init__(self, number):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = f"127.{40 + number // 250 % 200}.{number % 250 + 1}.53"
        self.socket.bind((self.address, 53))
        self.asked, self.addresses = 0, None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(2048)
            except OSError:
                return
            self.asked += 1
            if self.addresses is not None:
                self.socket.sendto(self._answer(question), peer)

    def _answer(self, question):
        end = question.index(b"\0", 12) + 5
        kind = int.from_bytes(question[end - 4:end - 2], "big")
        found = self.addresses if kind == 1 else ()
        head = question[:2] + b"\x81\x80\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
        return head + question[12:end] + b"".join(
            b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address) for address in found)

    def close(self):
        self.socket.close()


class InOwnNames(Spendd):
    """An instance whose /etc/resolv.conf is another one: started in a mount namespace of its own."""

    resolv = None

    def program(self, name="spendd"):
        if name != "spendd":
            return super().program(name)
        path = os.path.join(self.dir, "start")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\nmount --bind {self.resolv} /etc/resolv.conf && exec {super().program()} \"$@\"\n")
        os.chmod(path, 0o755)
        wrapper = os.path.join(self.dir, "apart")
        with open(wrapper, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\nexec unshare --mount {path} \"$@\"\n")
        os.chmod(wrapper, 0o755)
        return wrapper


def test_name_server_that_never_answers(sites, place, monkeypatch):
    """The look-up hangs for longer than a worker may: nobody is killed, the gate says why.  Then it answers, with an
    address where nobody listens before the right one."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("a mount namespace needs root")
    names = NameServer(os.getpid())
    try:
        resolv = os.path.join(place.sub("n"), "resolv.conf")
        with open(resolv, "w", encoding="ascii") as file:
            file.write(f"nameserver {names.address}\noptions timeout:6 attempts:3\n")
        monkeypatch.setattr(InOwnNames, "resolv", resolv)
        monkeypatch.setattr("lib.daemon.Spendd", InOwnNames)
        port = free_tcp_port()
        stack = sites(place.postgres(listen_addresses="127.0.0.1", port=port))
        began = time.monotonic()
        site = Site(stack, ready=BEFORE, database__url=f"postgresql://spendd@db.spendd.test:{port}/postgres",
                    database__connect_ms=800, supervisor__hang_ms=4000)
        site.closed("cannot resolve the host", "unresolved")
        pids = {name: site.instance.pids(name) for name in BEFORE}
        site.metric("database_refused_unresolved_total", 4)
        site.acknowledges(60)
        assert {name: site.instance.pids(name) for name in BEFORE} == pids
        # Tries in plenty, but one look-up in flight: a hanging resolver keeps one thread, not one per try.  It asks
        # for both kinds of address every six seconds.
        assert names.asked <= 2 * (int((time.monotonic() - began) / 6) + 2), f"{names.asked} questions"
        assert "SIGABRT" not in site.instance.log_text()
        names.addresses = ["127.0.0.2", "127.0.0.1"]
        site.opened(deadline_s=60)
        site.finish()
    finally:
        names.close()


def test_first_address_swallows_packets(sites, place):
    """Several hosts: one that accepts and says nothing must not eat the time of the one that answers."""
    stack = sites(place.postgres())
    silent, good = (PostgresProxy(place, stack.postgres, name=name) for name in ("silent", "good"))
    silent.set("freeze")
    (a, b), (c, d) = silent.address, good.address
    site = Site(stack, database__url=f"host={a},{c} port={b},{d} dbname=postgres user=spendd", database__connect_ms=1500)
    site.flushes()
    assert silent.opened == 0 and good.opened > 0
    good.set("refuse")
    good.cut()
    site.closed()
    silent.set("pass")  # the other way round: the first one is back, the second gone
    site.opened()
    site.finish()


# --- a pooler ------------------------------------------------------------------------------------------------------
def test_pooler_in_transaction_mode(sites, place):
    """The whole way through PgBouncer with fewer server sessions than clients, while the pooler is killed, its server
    sessions are ended, and its server restarts."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer")
    stack = sites(place.postgres())
    pooler = Pooler(place, stack.postgres, pool=2).start()
    site = Site(stack, database__url=pooler.url(), flush__ms=20)
    other = stack.spendd(database__url=pooler.url(), flush__ms=20).start(ready=WORKERS)
    for turn in range(3):
        site.flushes(2)
        stack.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                             " and backend_type = 'client backend'")
        site.acknowledges(5)
        pooler.kill()
        site.acknowledges(5)
        pooler.start()
        if turn == 1:
            stack.postgres.stop("immediate")
            stack.postgres.start()
    assert other.running()
    site.finish()
    # Nothing of ours stays with a server session that is somebody else's next.
    for name, default in (("lock_timeout", "0"), ("statement_timeout", "0"), ("jit", "on"), ("tcp_user_timeout", "0")):
        assert {row[0] for row in shows(pooler, name)} == {default}, name


def shows(pooler, name):
    connection = psycopg2.connect(pooler.url().split("?")[0])
    connection.autocommit = True
    try:
        found = []
        for _ in range(8):
            cursor = connection.cursor()
            cursor.execute(f"show {name}")
            found += cursor.fetchall()
        return found
    finally:
        connection.close()


def test_pooler_without_room_or_server(sites, place):
    """Its own refusals have no SQLSTATE that means anything: they are known by their words."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer")
    stack = sites(place.postgres())
    pooler = Pooler(place, stack.postgres, pool=2, clients=1)
    pooler.start()
    holder = psycopg2.connect(pooler.url().split("?")[0])
    site = Site(stack, ready=BEFORE, database__url=pooler.url())
    site.closed("no more connections allowed", "too_many_clients")
    holder.close()
    site.opened()
    site.acknowledges()
    stack.postgres.stop("immediate")
    site.closed("pooler_waits")
    stack.postgres.start()
    site.finish()

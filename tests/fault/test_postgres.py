"""PostgreSQL says no, in every way that it knows: each refusal has its name in the log, its metric, a gate that
says why, and an end after which everything is counted once.  The rows stand in tests/fault/README.md.
"""
import contextlib
import os
import subprocess
import threading
import time

import psycopg2
import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Producer
from lib.servers import _postgres_user, postgres_bin
from lib.site import BEFORE, SEED, Base, Site, make_role, secret, write_secret
from lib.standby import Standby
from lib.waiting import wait_until


def sessions(server, application="spendd db_flusher"):
    return server.one("select count(*) from pg_stat_activity where application_name = %s", [application])


# --- slots -----------------------------------------------------------------------------------------------------
def take_slots(server, user="spendd"):
    """All connections that this role can have: one that is just being closed is not free yet, and would be later."""
    look = server.connect(application_name="look")
    wait_until(lambda: _others(look) == 0, 20, "the test's own connections to be closed", [server])
    return [look, *_take(server, user)]


def _others(connection):
    cursor = connection.cursor()
    cursor.execute("select count(*) from pg_stat_activity where application_name = 'test' and pid <> pg_backend_pid()")
    return cursor.fetchone()[0]


def _take(server, user):
    taken = []
    with contextlib.suppress(psycopg2.OperationalError):
        while len(taken) < 100:
            taken.append(psycopg2.connect(server.url(user=user), application_name="test"))
    return taken


def give_back(taken):
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("reserved", [False, True])
def test_too_many_clients_before_we_come(sites, place, reserved):
    """Also where free slots are kept for superusers: the same code, other words."""
    stack = sites(place.postgres(max_connections=12, superuser_reserved_connections=3 if reserved else 0))
    make_role(stack.postgres, more="login")
    stack.postgres.query("create role other login")
    taken = take_slots(stack.postgres, user="other")
    site = Site(stack, ready=BEFORE, database__url=stack.postgres.url(user="app"))
    site.closed("too_many_clients", "reserved" if reserved else "too many clients already")
    site.metric("database_refused_too_many_clients_total", 2)
    site.acknowledges()
    give_back(taken)
    site.opened()
    site.finish()


def test_too_many_clients_while_we_are_there(sites, place):
    """Our session is ended and its slot is somebody else's before we are back."""
    stack = sites(place.postgres(max_connections=10, superuser_reserved_connections=2))
    make_role(stack.postgres, more="login")
    stack.postgres.query("create role other login")
    site = Site(stack, database__url=stack.postgres.url(user="app"))
    site.flushes()
    keeper, taken = stack.postgres.connect(application_name="keeper"), []

    def crowded():
        taken.extend(_take(stack.postgres, "other"))
        keeper.cursor().execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
        taken.extend(_take(stack.postgres, "other"))
        gate = site.gate()
        return gate and not gate["open"] and "too_many_clients" in gate["why"]

    wait_until(crowded, 60, "our slot to be somebody else's", site.logs)
    site.acknowledges()
    give_back([keeper, *taken])
    site.opened()
    site.finish()


# --- who, where, what we may ------------------------------------------------------------------------------------
def test_password_rotated_through_its_file(sites, place):
    """Wrong at first, then right, then changed under us: the file is read at each connect, nothing restarts."""
    stack = sites(place.postgres())
    make_role(stack.postgres)
    stack.postgres.hba("local all app scram-sha-256")

    def url(password):
        return stack.postgres.url(user="app") + f"&password={password}"

    path = secret(place, url("wrong"))
    site = Site(stack, ready=BEFORE, database__url=f"file:{path}")
    site.closed("password authentication failed", "password")
    assert "refusal" not in (site.word() or "")
    write_secret(path, url("first"))
    site.opened()
    site.flushes()
    stack.postgres.query("alter role app password 'second'")
    stack.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
    site.closed("password")
    site.says("refusal=password class=operator")
    assert "first" not in site.instance.log_text() and "second" not in site.instance.log_text()
    pids = {name: site.instance.pids(name) for name in BEFORE}
    write_secret(path, url("second"))
    site.opened()
    site.finish()
    assert {name: site.instance.pids(name) for name in BEFORE} == pids


def test_url_file_that_is_gone_or_wrong(sites, place):
    stack = sites(place.postgres())
    path = secret(place, "postgresql:///nowhere?ssImode=require")
    site = Site(stack, ready=BEFORE, database__url=f"file:{path}")
    site.closed("unknown query parameter", "settings")
    os.unlink(path)
    site.closed("No such file", "settings")
    write_secret(path, stack.postgres.url())
    site.finish()


def test_database_that_does_not_exist_or_has_another_encoding(sites, place):
    stack = sites(place.postgres())
    site = Site(stack, Base(stack.postgres, "books"), ready=BEFORE, database__url=stack.postgres.url("books"))
    site.closed("no_database")
    stack.postgres.query("create database books encoding 'SQL_ASCII' locale 'C' template template0")
    site.closed("SQL_ASCII", "UTF8")
    site.acknowledges()
    stack.postgres.query("drop database books with (force)")
    stack.postgres.query("create database books")
    site.finish()


def test_role_without_rights(sites, place):
    """To make the schema, to write, to make temporary tables: each named before a flush is tried."""
    stack = sites(place.postgres())
    server = stack.postgres
    server.query("create role app login")
    server.query("revoke create, temporary on database postgres from public")
    site = Site(stack, ready=BEFORE, database__url=server.url(user="app"), database__migrate=False)
    site.closed("GRANT TEMPORARY")
    server.query("grant temporary on database postgres to app")
    site.closed("spendd --migrate")
    maker = subprocess.run([site.instance.program(), "--migrate", "--config", maker_config(stack)], check=False,
                           capture_output=True, text=True)
    assert maker.returncode == 0, maker.stderr
    site.closed("GRANT SELECT, INSERT, UPDATE")
    server.query("grant usage on schema spendd to app")
    server.query("grant select, insert, update, delete on all tables in schema spendd to app")
    server.query("grant usage on all sequences in schema spendd to app")
    site.opened()
    site.flushes()
    server.query("revoke update on spendd.spend from app")  # and taken away while it works
    site.metric("database_refused_no_rights_total")
    site.says("refusal=no_rights class=operator")
    site.acknowledges()
    server.query("grant update on spendd.spend to app")
    site.finish()


def maker_config(stack):
    return stack.spendd(database__migrate=True).config


# --- servers that are not for us ---------------------------------------------------------------------------------
def test_read_only_by_default(sites, place):
    stack = sites(place.postgres())
    site = Site(stack, database__max_idle_s=1)
    site.flushes()
    stack.postgres.query("alter database postgres set default_transaction_read_only = on")
    stack.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'spendd%'")
    site.closed("read-only")
    site.metric("database_refused_read_only_total")
    site.says("refusal=read_only class=stand_down")
    site.acknowledges()
    connection = stack.postgres.connect(options="-c default_transaction_read_only=off")
    connection.cursor().execute("alter database postgres reset default_transaction_read_only")
    connection.close()
    assert site.finish().figures["dead letters"] == 0


def test_standby_alone_then_promoted(sites, place):
    """A URL that leads to a standby: not used, the gate says why, and opens by itself after the promotion."""
    stack = sites(place.postgres(wal_level="replica"))
    standby = Standby(stack.postgres).start()
    site = Site(stack, standby, ready=BEFORE, database__url=standby.url())
    site.closed("standby")
    site.acknowledges()
    assert standby.one("select count(*) from pg_namespace where nspname = 'spendd'") == 0
    stack.postgres.stop("immediate")
    standby.promote()
    site.opened()
    site.finish()


@pytest.mark.parametrize("how", ["synchronous", "asynchronous"])
def test_failover_to_a_standby(sites, place, how):
    """Two hosts in the URL, the standby first.  Asynchronous: it has never heard of the last commits, so the ledger
    went back, and what was applied since is pushed again."""
    wait = "standby" if how == "synchronous" else ""
    stack = sites(place.postgres(synchronous_standby_names=""))
    primary, standby = stack.postgres, Standby(stack.postgres).start()
    primary.query(f"alter system set synchronous_standby_names = '{wait}'")
    primary.query("select pg_reload_conf()")
    hosts = f"host={standby.dir},{primary.dir} dbname=postgres user=spendd"
    site = Site(stack, standby, database__url=hosts, database__max_idle_s=2)
    site.flushes(5)
    if how == "asynchronous":
        standby.hears_no_more()
        site.flushes(5)
    primary.stop("immediate")
    standby.promote()
    site.flushes(3)
    went_back = site.instance.metric("database_went_back_total")
    site.finish()
    assert (site.instance.metric("database_went_back_total") or went_back) if how == "asynchronous" else went_back == 0


def test_server_that_starts_up_and_shuts_down(sites, place):
    """57P03 both ways: a standby that does not answer before it is promoted; a smart shutdown."""
    stack = sites(place.postgres())
    standby = Standby(stack.postgres, hot_standby="off")
    standby.start(wait=False)
    wait_until(standby.streams, 20, "the standby to stream", [standby])
    site = Site(stack, standby, ready=BEFORE, database__url=standby.url())
    site.closed("starting_up")
    site.acknowledges()
    stack.postgres.stop("immediate")
    subprocess.run([os.path.join(postgres_bin(), "pg_ctl"), "promote", "-D", standby.data], check=True,
                   stdout=subprocess.DEVNULL, cwd="/", **_postgres_user())
    site.opened()
    site.flushes()
    holder = standby.connect(application_name="holder")  # a smart shutdown waits for it
    refused = site.instance.metric("database_refused_starting_up_total")
    ender = threading.Thread(target=standby.stop, args=("smart",))
    ender.start()

    def turned_away():
        """It waits for our flusher's session as well, which would go on for ever: whoever comes again is refused."""
        holder.cursor().execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'spendd%'")
        return site.instance.metric("database_refused_starting_up_total") > refused

    wait_until(turned_away, 30, "somebody to be refused", site.logs)
    site.closed("starting_up")
    site.acknowledges()
    holder.close()
    ender.join()  # it has a deadline of its own
    standby.start(wait=False)
    site.finish()


# --- rows, disks -------------------------------------------------------------------------------------------------
def test_rows_locked_for_long(sites, place):
    """Somebody's open transaction holds all our sums: the flush times out, halves, tries for ever; other instances
    take events all the same, and it drains when he lets go."""
    stack = sites(place.postgres())
    settings = {"database__lock_ms": 200, "flush__batches": 64}
    site, other = Site(stack, **settings), stack.spendd(**settings).start(ready=WORKERS)
    site.flushes()
    foreign = stack.postgres.connect(application_name="foreign")
    foreign.autocommit = False
    foreign.cursor().execute("select from spendd.spend for update")
    both = (site.instance, other)  # whichever has the lock
    wait_until(lambda: sum(instance.metric("database_refused_lock_timeout_total") or 0 for instance in both) >= 8, 30,
               "lock timeouts", site.logs)
    wait_until(lambda: all(instance.status()["gate"]["database"]["open"] for instance in both), 20, "open gates", site.logs)
    for instance in both:  # it is not the database
        assert "gate_closed" not in instance.log_text().split("gate_opened", 1)[1], instance.tail()
    assert any("refusal=lock_timeout class=retry_soon" in instance.log_text() for instance in both)
    second = Producer(other.ingest, batches(Generator(SEED, "other").events(80), 4), site.producer.outcome).start()
    second.wait(20, site.logs)
    site.acknowledges()
    foreign.rollback()
    foreign.close()
    site.finish()


def test_session_ended_by_the_server_while_it_waits(sites, place):
    """What the server says before it cuts us is heard: ended by hand, and by its own idle timeout."""
    stack = sites(place.postgres())
    site = Site(stack)
    site.flushes()
    foreign = stack.postgres.connect(application_name="foreign")
    foreign.autocommit = False
    foreign.cursor().execute("select from spendd.shard for update")
    ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'spendd db_flusher'" \
            " and wait_event_type = 'Lock'"
    wait_until(lambda: stack.postgres.one(ended), 30, "our session to wait", site.logs)
    site.metric("database_refused_shut_down_total")
    site.says("refusal=shut_down class=retry_soon")
    foreign.rollback()
    foreign.close()
    site.flushes()
    stack.postgres.query("alter database postgres set idle_session_timeout = '300ms'")
    stack.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'spendd%'")
    site.flushes(10)
    site.finish()


def test_probes_that_wait_for_a_lock_leave_nothing_behind(sites, place):
    """An ACCESS EXCLUSIVE lock on what each probe reads: without limits on the server every probe would leave one
    more session waiting, until there are too many clients."""
    stack = sites(place.postgres())
    site = Site(stack, database__socket_timeout_ms=600, database__lock_ms=300)
    site.flushes()
    foreign = stack.postgres.connect(application_name="foreign")
    foreign.autocommit = False
    foreign.cursor().execute("lock table spendd.schema_version in access exclusive mode")
    most, seen = 0, site.instance.metric("probes_failed_total") or 0
    while (site.instance.metric("probes_failed_total") or 0) < seen + 8:
        most = max(most, sessions(stack.postgres, "spendd health_checker"))
        site.acknowledges(2)
    site.closed("lock_timeout")
    foreign.rollback()
    foreign.close()
    assert most <= 3, f"{most} sessions of probes at a time"  # of eight; one may be leaving
    site.finish()


@pytest.fixture
def small_disk(place):
    """A file system of 30 MB that belongs to the server."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = place.sub("m")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "spendd-test", path], check=False).returncode:
        pytest.skip("no tmpfs may be mounted here")
    user = _postgres_user()
    os.chown(path, user["user"], user["group"])
    os.chmod(path, 0o700)
    yield path
    subprocess.run(["umount", "-l", path], check=False)


def test_disk_of_the_server_full(sites, place, small_disk):
    """53100 in the middle of the work; nothing moves, and it goes on when there is room again."""
    stack = sites(place.postgres())
    server = stack.postgres
    server.query(f"create tablespace small location '{small_disk}'")
    server.query("create database books tablespace small")
    site = Site(stack, Base(server, "books"), database__url=server.url("books"))
    site.flushes()
    filler = os.path.join(small_disk, "filler")
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    site.metric("database_refused_disk_full_total", 2, deadline_s=60)
    site.says("refusal=disk_full class=stand_down")
    site.acknowledges()
    os.unlink(filler)
    assert site.finish().figures["dead letters"] == 0
    server.stop("immediate")  # before its file system goes


# --- what is said ------------------------------------------------------------------------------------------------
def test_status_while_frozen(sites, place):
    """The server stops in the middle of the work: the flusher's own word says so, and for how long."""
    stack = sites(place.postgres())
    site = Site(stack, database__statement_ms=3000, database__socket_timeout_ms=3000, health__fail_after=100)
    site.flushes()
    wait_until(lambda: site.word() == "database ready", 30, "a word of the flusher", site.logs)
    stack.postgres.freeze()
    wait_until(lambda: "database silent for" in site.word(), 30, "the flusher to say that it waits", site.logs)
    site.acknowledges()
    site.metric("database_refused_deadline_total")
    stack.postgres.thaw()
    site.finish()
    wait_until(lambda: site.word() == "database ready", 30, "the status to be right again", site.logs)


def probes(server):
    """Connections of the health checker so far, by the server's log."""
    with open(server.log, encoding="utf-8", errors="replace") as file:
        return sum("connection authorized" in line and "health_checker" in line for line in file)


def test_flushes_count_as_probes(sites, place):
    """While commits come, the holder's database is not probed; when they stop coming, it is, and soon."""
    stack = sites(place.postgres(log_connections="on"))
    site = Site(stack, health__probe_ms=500, health__idle_probe_ms=600000, database__lock_ms=500, lock__linger_ms=60000)
    site.flushes(5)
    before, started = probes(stack.postgres), time.monotonic()
    site.flushes(40)
    looks = (time.monotonic() - started) / 0.5 + 1  # a busy machine has pauses between flushes, and probes in them
    assert probes(stack.postgres) - before <= looks / 2, "a database that commits is probed all the same"
    before = probes(stack.postgres)
    foreign = stack.postgres.connect(application_name="foreign")
    foreign.autocommit = False
    foreign.cursor().execute("select from spendd.shard for update")
    wait_until(lambda: probes(stack.postgres) >= before + 5, 30, "probes while nothing is committed", site.logs)
    foreign.rollback()
    foreign.close()
    site.finish()


def test_idle_connection_is_closed_by_us(sites, place):
    """Nothing to do: no session, and none is opened while that lasts; then one, without a failure."""
    stack = sites(place.postgres())
    site = Site(stack, database__max_idle_s=1, health__probe_ms=100, health__idle_probe_ms=100)
    site.flushes()
    site.producer.finish_source()
    site.producer.wait(30, site.logs)
    wait_until(lambda: sessions(stack.postgres) == 0, 30, "our session to be closed", site.logs)
    # Opened are from now on the probes' own, one each.
    counts = ("database_connects_total", "probes_passed_total", "probes_failed_total")
    connects, passed = (site.instance.metric(name) for name in counts[:2])
    site.metric("probes_passed_total", passed + 20)
    assert site.instance.metric("database_connects_total") - connects <= site.instance.metric("probes_passed_total") - passed
    assert sessions(stack.postgres) == 0
    second = Producer(site.instance.ingest, batches(Generator(SEED, "later").events(40), 4), site.producer.outcome).start()
    second.wait(30, site.logs)
    conservation.assert_conserved(stack.postgres, site.producer.outcome, logs=site.logs, show=False)
    assert site.instance.metric("flush_failures_total") == 0
    assert sessions(stack.postgres) <= 1


def test_parameters_of_another_engine(sites, place):
    """A gateway's DATABASE_URL as it is: what has no meaning here is said once, and nothing breaks."""
    stack = sites(place.postgres())
    url = stack.postgres.url() + ("&connection_limit=10&pool_timeout=20&max_idle_connection_lifetime=300&socket_timeout=5"
                                  "&pgbouncer=true&schema=public&sslaccept=accept_invalid_certs&statement_cache_size=0")
    site = Site(stack, database__url=url, database__max_idle_s=1)
    site.flushes()
    stack.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'spendd%'")
    site.flushes()
    site.finish()
    assert site.instance.log_text().count("url_parameters_ignored") == 1
    assert 'names="connection_limit, pool_timeout, max_idle_connection_lifetime, socket_timeout, schema"' in \
        site.instance.log_text()

"""Watching the stores: each figure crosses its threshold and comes back, on real servers; what may not be asked is
unknown."""
import os
import threading

import pytest
import redis

from lib.checkers import Checkers
from lib.waiting import wait_until


@pytest.fixture
def checkers(place):
    made = []

    def make(**settings):
        made.append(Checkers(place, redis=place.redis(**settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def state(checker, name, wanted, deadline_s=30):
    """Waits for the line of `name` to be in that state; returns it."""
    checker.until(lambda told: checker.watch(name) and checker.watch(name)["state"] == wanted, deadline_s,
                  f"{name} to be {wanted}: {checker.watch(name)}")
    return checker.watch(name)


def crosses(checker, name, over, back):
    """over() and back() make the figure cross its threshold, there and back; the log and the metric say so."""
    state(checker, name, "ok")
    over()
    line = state(checker, name, "over")
    assert line["value"] >= line["threshold"] > 0
    wait_until(lambda: f"watch_over watch={name} " in checker.text(), 10, "the line in the log", logs=[checker])
    assert checker.metric(f"watch_{name}") >= line["threshold"]
    back()
    assert state(checker, name, "ok")["value"] < line["threshold"]
    wait_until(lambda: f"watch_back watch={name} " in checker.text(), 10, "the line in the log", logs=[checker])


def connections(client, count):
    return [redis.Redis(connection_pool=redis.ConnectionPool(**client.connection_pool.connection_kwargs,
                                                             connection_class=client.connection_pool.connection_class))
            for _ in range(count)]


def test_clients_of_redis(checkers):
    made = checkers(maxclients=32)
    checker = made.start(watch_redis_idle_clients=8, watch_idle_client_s=1, watch_client_list_s=1,
                         watch_redis_clients_percent=60)
    held = []

    def over():
        held.extend(connections(made.client, 20))
        for one in held:
            one.ping()

    def back():
        while held:
            held.pop().close()

    state(checker, "redis_clients_percent", "ok")
    state(checker, "redis_idle_clients", "ok")
    over()
    assert "of 32" in state(checker, "redis_clients_percent", "over")["detail"]
    assert "most clients: " in state(checker, "redis_idle_clients", "over")["detail"]
    back()
    state(checker, "redis_clients_percent", "ok")
    state(checker, "redis_idle_clients", "ok")
    for name in ("redis_clients_percent", "redis_idle_clients"):
        assert f"watch_over watch={name} " in checker.text() and f"watch_back watch={name} " in checker.text()


def test_rejected_and_new_connections(checkers):
    made = checkers()
    checker = made.start(watch_redis_connections_per_s=200)
    state(checker, "redis_rejected", "ok")

    def knock():
        """A connection beyond maxclients is rejected; the admin's own stays."""
        made.client.config_set("maxclients", made.client.info("clients")["connected_clients"])
        try:
            connections(made.client, 1)[0].ping()
        except redis.RedisError:
            pass
        finally:
            made.client.config_set("maxclients", 1000)

    def rejected():
        knock()
        return "watch_over watch=redis_rejected " in checker.text()

    wait_until(rejected, 30, "a rejected connection that is seen", logs=[checker])
    state(checker, "redis_rejected", "ok")
    stop = threading.Event()

    def storm():
        while not stop.is_set():
            for one in connections(made.client, 20):
                one.ping()
                one.close()

    threads = [threading.Thread(target=storm, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: "watch_over watch=redis_connections_per_s " in checker.text(), 60, "many connections",
                   logs=[checker])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    state(checker, "redis_connections_per_s", "ok")


def test_memory_policy_and_eviction(checkers):
    made = checkers()
    checker = made.start(watch_redis_memory_percent=70)
    client = made.client
    assert state(checker, "redis_memory_percent", "ok")["value"] == 0  # no bound
    used = client.info("memory")["used_memory"]
    crosses(checker, "redis_memory_percent", lambda: client.config_set("maxmemory", used * 10 // 9),
            lambda: client.config_set("maxmemory", used * 20))
    crosses(checker, "redis_eviction_policy", lambda: client.config_set("maxmemory-policy", "allkeys-lru"),
            lambda: client.config_set("maxmemory-policy", "noeviction"))
    state(checker, "redis_evicted", "ok")

    def evict():
        client.config_set("maxmemory-policy", "allkeys-lru")
        for i in range(200):
            client.set(f"filler{i}", "x" * 10000)
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 500000)
        client.set("one more", "x" * 10000)

    evict()
    # Since the last look: over for one look alone, which a slow reader of the documents may miss.
    wait_until(lambda: "watch_over watch=redis_evicted " in checker.text(), 30, "evictions", logs=[checker])
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    state(checker, "redis_evicted", "ok")


def test_persistence_and_role(checkers):
    made = checkers()
    checker = made.start()
    client = made.client
    state(checker, "redis_persistence", "ok")
    target = os.path.join(client.config_get("dir")["dir"], client.config_get("dbfilename")["dbfilename"])

    def fail():
        os.mkdir(target)  # where the file is to be renamed to
        client.bgsave()

    def mend():
        os.rmdir(target)
        client.bgsave()

    crosses(checker, "redis_persistence", fail, mend)
    crosses(checker, "redis_replica", lambda: client.replicaof("127.0.0.1", 1), lambda: client.replicaof("NO", "ONE"))


def test_database(checkers):
    made = checkers()
    most = int(made.postgres.one("SHOW max_connections")) - int(made.postgres.one("SHOW superuser_reserved_connections"))
    checker = made.start(watch_database_connections_percent=50, watch_database_transaction_s=1)
    held = []

    def over():
        held.extend(made.postgres.connect() for _ in range(most // 2 + 1))

    def back():
        while held:
            held.pop().close()

    crosses(checker, "database_connections_percent", over, back)
    crosses(checker, "database_read_only",
            lambda: made.postgres.query("ALTER ROLE spendd SET default_transaction_read_only = on"),
            lambda: made.postgres.query("SET transaction_read_only = off; ALTER ROLE spendd RESET default_transaction_read_only"))

    def begin():
        held.append(made.postgres.connect())
        held[-1].autocommit = False
        held[-1].cursor().execute("SELECT pg_catalog.txid_current()")

    crosses(checker, "database_transaction_s", begin, back)


def test_host(checkers):
    made = checkers()
    checker = made.start(spool_dir=made.directory, watch_host_spool_disk_percent=100)
    line = state(checker, "host_spool_disk_percent", "ok")
    state(checker, "host_files_percent", "ok")
    checker.tell({"watch_host_files_percent": 1})
    state(checker, "host_files_percent", "over")
    checker.tell({"watch_host_files_percent": 1000})
    state(checker, "host_files_percent", "ok")
    # Others write and delete on this disk too: a threshold right at its figure could be crossed by them.
    checker.tell({"watch_host_spool_disk_percent": max(1, line["value"] // 2)})
    state(checker, "host_spool_disk_percent", "over")
    checker.tell({"watch_host_spool_disk_percent": 0})
    state(checker, "host_spool_disk_percent", "off")


def test_what_may_not_be_asked_is_unknown(checkers):
    made = checkers()
    made.client.execute_command("ACL", "SETUSER", "default", "-info", "-config", "-client|list")
    made.postgres.query("REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC; CREATE ROLE plain LOGIN")
    checker = made.start(database_url=made.postgres.url(user="plain"), spool_dir=made.directory)

    def looked(told):
        states = {row["watch"]: row["state"] for row in told["stores"]}
        return (all(probe["passed"] is not None for probe in told["probes"]) and states["host_files_percent"] != "unknown"
                and states["host_spool_disk_percent"] != "unknown" and states["database_replica"] == "ok")

    told = checker.until(looked)
    rows = {row["watch"]: row for row in told["stores"]}
    for name, row in rows.items():
        known = row["store"] == "host" or name in ("database_read_only", "database_replica")
        assert (row["state"] == "unknown") == (not known), row
        assert (row["value"] is None) == (not known)
        assert known or checker.metric(f"watch_{name}") == -1
    assert next(probe for probe in told["probes"] if probe["store"] == "redis")["passed"]
    made.client.execute_command("ACL", "SETUSER", "default", "+@all")
    made.postgres.query("GRANT SELECT ON pg_catalog.pg_stat_activity TO PUBLIC")
    state(checker, "redis_clients_percent", "ok")
    state(checker, "database_connections_percent", "ok")
    assert checker.watch("database_transaction_s")["state"] == "unknown"  # of others' sessions it is not told


def test_a_full_redis_is_known_by_its_refusal(checkers):
    made = checkers()
    checker = made.start()
    state(checker, "redis_clients_percent", "ok")
    made.client.config_set("maxclients", 1)  # ours alone
    assert "max number of clients" in state(checker, "redis_clients_percent", "over")["detail"]
    made.client.config_set("maxclients", 100)
    state(checker, "redis_clients_percent", "ok")

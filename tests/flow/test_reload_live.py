"""Every LIVE setting of settings.def has its effect in a process that runs, and a test that sees it: EFFECTS is the
table, and a LIVE row without a line in it is a failure here.

Each effect is one that the setting's first value would not have had within the deadline of any wait: hours at first,
then a reload, then a moment.
"""
import gzip
import inspect
import os
import re
import time

import pytest

from lib import conservation
from lib.checkers import StubModels
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.impostor import Impostors
from lib.operator import order
from lib.poster import Web, ports
from lib.producer import Producer
from lib.waiting import patient, wait_until
from lib.wire import ROOT, Queue

HERE = os.path.dirname(os.path.abspath(__file__))
HOUR_MS = 3600000


def lines(instance, event):
    return [line for line in instance.log_text().splitlines() if f" {event} " in line]


def change(instance, **settings):
    """Applied live, all of them: nobody is restarted for it."""
    instance.write_config(**settings)
    code, answer = instance.ask("reload")
    outcomes = {row["setting"]: row["outcome"] for row in answer["settings"]}
    assert code == 200 and outcomes == {name.replace("__", "."): "applied live" for name in settings}, answer


def send(instance, name, count=20, size=20):
    return Producer(instance.ingest, batches(Generator(17, name).events(count), size), resend_s=60).start().wait(90, [instance])


def sealed(instance):
    return instance.metric("segments_sealed_total")


# --- the supervisor's --------------------------------------------------------------------------------------
def test_beats_come_more_often(stack):
    """Who went on beating once a minute would be taken for hung."""
    instance = stack.spendd(supervisor__beat_ms=60000, supervisor__hang_ms=600000).start(ready=WORKERS)
    before = {worker: instance.pids(worker) for worker in WORKERS}
    change(instance, supervisor__beat_ms=200, supervisor__hang_ms=6000)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 8, 20, "hang_ms to pass")
    assert {worker: instance.pids(worker) for worker in WORKERS} == before and not lines(instance, "worker_hung")
    old = instance.freeze("redis_writer")
    wait_until(lambda: any(f"pid={old} " in line for line in lines(instance, "worker_hung")), 30, "silence to be noticed", [instance])


def test_a_drain_is_cut_short_sooner(stack):
    instance = stack.spendd(supervisor__drain_ms=HOUR_MS).start(ready=WORKERS)
    instance.freeze("redis_writer")
    change(instance, supervisor__drain_ms=1000)
    assert instance.stop() == 0
    assert lines(instance, "drain_done")[0].endswith("cut_short=1")


def test_orphans_leave_sooner(stack):
    """Nothing can be delivered: they would wait for it."""
    instance = stack.spendd(supervisor__drain_ms=HOUR_MS, supervisor__orphan_drain_ms=HOUR_MS).start(ready=WORKERS)
    change(instance, supervisor__orphan_drain_ms=300)
    # An order is told to the workers in turn: who has heard this one has heard the one before.
    assert order(instance, "pause", "push")[0] == 200
    instance.paused("redis_writer")
    stack.redis.freeze()
    send(instance, "orphans")
    instance.kill_supervisor()
    wait_until(lambda: not instance.members(), 60, "the orphans to leave", [instance])
    stack.redis.thaw()


def test_a_worker_that_does_not_start_is_killed_sooner(stack):
    """It says hello and lives, and is never ready."""
    impostors = Impostors(stack.place.sub("m"), redis_writer=[])
    instance = stack.spendd(build=impostors.build, supervisor__start_ms=600000).start(ready=("aggregator", "control"))
    change(instance, supervisor__start_ms=1500)
    wait_until(lambda: any("worker=redis_writer" in line for line in lines(instance, "worker_hung")), 30, "it to be killed", [instance])


def test_pauses_get_shorter(stack):
    """A worker that dies at each start: a reload ends its long pause, and the next ones are short."""
    impostors = Impostors(stack.place.sub("m"), redis_writer=["exit 1"])
    instance = stack.spendd(build=impostors.build, supervisor__backoff_min_ms=600000, supervisor__backoff_max_ms=600000)
    instance.start(ready=("aggregator", "control"))
    wait_until(lambda: instance.state("redis_writer") == "BACKOFF", 20, "a pause", [instance])
    change(instance, supervisor__backoff_min_ms=10, supervisor__backoff_max_ms=40)
    known = len(lines(instance, "worker_restarts"))
    pauses = wait_until(lambda: lines(instance, "worker_restarts")[known:][7:] and lines(instance, "worker_restarts")[known:], 60,
                        "eight more deaths", [instance])
    assert all(int(line.split("in_ms=")[1].split()[0]) <= 40 for line in pauses), pauses


def killed_and_back(instance):
    old = instance.kill("redis_writer")
    wait_until(lambda: instance.pids("redis_writer") not in ([], [old]), 20, "a new life", [instance])
    instance.wait_ready("redis_writer")


def test_flapping_means_something_else(stack):
    """A thousand deaths cost nothing; from the reload on two are too many, and end everything."""
    instance = stack.spendd(supervisor__flap_deaths=1000, supervisor__flap_window_ms=HOUR_MS).start(ready=WORKERS)
    change(instance, supervisor__flap_deaths=2, supervisor__on_flapping="exit")
    killed_and_back(instance)
    change(instance, supervisor__flap_window_ms=1000)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.2, 10, "the window to pass")
    killed_and_back(instance)  # the death before is forgotten
    change(instance, supervisor__flap_window_ms=HOUR_MS)
    instance.kill("redis_writer")
    assert instance.process.wait(patient(30)) == 75 and lines(instance, "worker_flaps")


def test_a_message_is_written_less_often(stack):
    instance = stack.spendd(log__burst=0).start(ready=WORKERS)
    change(instance, log__burst=1)
    for _ in range(4):
        killed_and_back(instance)
    assert instance.stop() == 0
    assert "log_suppressed message=worker_exited" in instance.log_text()


# --- the aggregator's --------------------------------------------------------------------------------------
def test_a_segment_is_full_sooner(stack):
    """By events, then by bytes."""
    instance = stack.spendd(seal__ms=60000, seal__events=1000000, seal__bytes=67108864).start(ready=WORKERS)
    send(instance, "few")
    assert sealed(instance) == 0
    change(instance, seal__events=10)
    send(instance, "events")
    wait_until(lambda: sealed(instance) >= 1, 20, "a seal for its events", [instance])
    change(instance, seal__events=1000000)
    send(instance, "between")
    before = sealed(instance)
    change(instance, seal__bytes=65536)
    send(instance, "bytes", 400, 50)
    wait_until(lambda: sealed(instance) > before, 20, "a seal for its bytes", [instance])


# --- the writer's --------------------------------------------------------------------------------------------
def test_applied_ranges_are_read_sooner(stack):
    """Everything is in PostgreSQL, and the writer does not know: its next look is a minute away."""
    instance = stack.spendd(seal__ms=100, redis__applied_poll_ms=60000).start(ready=WORKERS)
    outcome = send(instance, "first", 40)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    change(instance, redis__applied_poll_ms=50)
    wait_until(lambda: instance.metric("segments_applied_total") == sealed(instance) > 0, 10, "applied ranges", [instance])


def test_a_batch_is_pushed_again_sooner(stack):
    """Taken from the queue as a flusher takes it, and never applied: the next push of it is a day away."""
    instance = stack.spendd(redis__repush_s=86400).start(ready=WORKERS)
    assert order(instance, "stop", "db_flusher", "--wait")[0] == 200
    outcome = send(instance, "again")
    queue = Queue(stack.redis.client())
    wait_until(lambda: queue.client.llen(queue.key("queue")) > 0, 20, "a batch in the queue", stack.logs)
    for batch in queue.client.lpop(queue.key("queue"), 100):
        queue.client.hincrby(queue.key("meta"), "popped", 1)
        queue.client.hincrby(queue.key("meta"), "bytes", -len(batch))
    change(instance, redis__repush_s=1)
    wait_until(lambda: queue.client.llen(queue.key("queue")) > 0, 30, "the same batch again", stack.logs)
    assert order(instance, "start", "db_flusher", "--wait")[0] == 200
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


# --- the gateway's -------------------------------------------------------------------------------------------
def test_bounds_of_http(stack):
    """Each refuses what was taken a moment ago."""
    instance = stack.spendd(**ports()).start(ready=("aggregator", "gateway", "control"))
    event = b'[{"request_id": "one", "spend": 1}]'
    large, bomb = event + b" " * 5000, gzip.compress(event + b" " * 50000)

    def post(body, code, token=None, **headers):
        wait_until(lambda: Web(instance, token=token).post(body, headers=headers)[0] == code, 20, f"{code} for {len(body)} bytes", [instance])

    post(large, 200)
    change(instance, http__max_body_bytes=2048)
    post(large, 413)
    packed = {"Content-Encoding": "gzip"}
    post(bomb, 200, **packed)
    change(instance, http__max_inflated_bytes=4096)
    post(bomb, 413, **packed)
    change(instance, http__tokens="word")
    post(event, 401)
    post(event, 200, token="word")
    # Who asks slowly, who asks nothing, who comes twice.
    change(instance, http__request_ms=500)
    with Web(instance).raw(b"POST /v1/events HTTP/1.1\r\nHost: h\r\n") as slow:
        wait_until(lambda: ended(slow), 20, "the end of half a request", [instance])
    change(instance, http__request_ms=60000, http__keep_alive_ms=300)
    with Web(instance).raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") as idle:
        wait_until(lambda: ended(idle), 20, "the end of an idle connection", [instance])
    change(instance, http__keep_alive_ms=60000, http__max_address_connections=1)
    with Web(instance).raw(b""):
        def refused():
            with Web(instance).raw(b""):
                return instance.metric("http_connections_refused_total")

        wait_until(refused, 20, "a second connection to be refused", [instance])


def ended(connection):
    connection.setblocking(False)
    try:
        return connection.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# --- the health checker's ------------------------------------------------------------------------------------
def shown(instance, kind, name, **wanted):
    """Waits until the line of a model or a watch in `health` has these values."""
    key = "model" if kind == "models" else "watch"

    def look():
        rows = instance.ask("health")[1].get(kind) or ()
        row = next((row for row in rows if name in (row.get(key), row.get("name"))), None)
        return row if row and all(row[field] == value for field, value in wanted.items()) else None

    return wait_until(look, 30, f"{name} to be {wanted}", [instance])


@pytest.fixture
def stub():
    made = StubModels()
    yield made
    made.close()


def models_are(instance, stub, *names):
    """A reload of the list; every row that changes is applied live."""
    instance.write_config(health__models=[{"name": name, "url": stub.url(name), "timeout_ms": 60000} for name in names])
    code, answer = instance.ask("reload")
    assert code == 200 and {row["outcome"] for row in answer["settings"]} == {"applied live"}, answer
    wait_until(lambda: [row["name"] for row in instance.ask("health")[1]["models"]] == list(names), 20, f"{names}", [instance])


def grows(stub, name, by, stack):
    calls = stub.count(name)
    wait_until(lambda: stub.count(name) >= calls + by, 30, f"{by} more calls of {name}", stack.logs)


def test_models_come_and_go(stack, stub):
    """At once, as many as there may be in one reload: the round that is kept would have been good for a day."""
    instance = stack.spendd(health__interval_s=86400, health__cache_ttl_s=604800).start(ready=("health_checker", "control"))
    pid = instance.pid("health_checker")
    models_are(instance, stub, "a")
    shown(instance, "models", "a", healthy=True)
    all_names = [f"m{number}" for number in range(31)] + ["a"]
    models_are(instance, stub, *all_names)
    shown(instance, "models", "m30", healthy=True)
    assert stub.count("m30") == 1 and stub.count("a") == 2
    models_are(instance, stub)
    models_are(instance, stub, "m7")
    assert instance.pid("health_checker") == pid


def test_rounds_of_models(stack, stub):
    """How often, how many at once, for how long kept and locked."""
    instance = stack.spendd(health__interval_s=86400, health__cache_ttl_s=604800, health__lock_ttl_s=3600, health__concurrency=1,
                            health__models=[{"name": name, "url": stub.url(name), "timeout_ms": 60000} for name in "ab"])
    instance.start(ready=("health_checker", "control"))
    client = stack.redis.client()
    shown(instance, "models", "b", healthy=True)
    assert client.pttl("{spendd}:health:round") > HOUR_MS
    change(instance, health__interval_s=1)
    grows(stub, "a", 2, stack)
    change(instance, health__cache_ttl_s=50)
    wait_until(lambda: 0 < client.pttl("{spendd}:health:round") <= 50000, 20, "a shorter life", [instance])
    gate = stub.gate("a")
    wait_until(lambda: client.pttl("{spendd}:health:lock") > 60000, 20, "a round that hangs", [instance])
    change(instance, health__lock_ttl_s=7, health__concurrency=2)
    gate.set()
    grows(stub, "b", 1, stack)
    stub.gate("a")
    grows(stub, "b", 1, stack)  # beside the one that hangs
    wait_until(lambda: 0 < client.pttl("{spendd}:health:lock") <= 7000, 20, "a shorter lock", [instance])


def test_where_results_are_shared(stack, stub):
    instance = stack.spendd(health__interval_s=1, health__on_redis_down="last_known", health__models=[{"name": "a", "url": stub.url("a")}])
    instance.start(ready=("health_checker", "control"))
    client = stack.redis.client()
    shown(instance, "models", "a", healthy=True)
    assert not client.exists("health_check_results")
    change(instance, health__litellm_shared=True)
    wait_until(lambda: client.exists("health_check_results"), 20, "LiteLLM's key", [instance])
    change(instance, health__litellm_namespace="ns")
    wait_until(lambda: client.exists("ns:health_check_results"), 20, "LiteLLM's key in its namespace", [instance])
    stack.redis.stop()
    wait_until(lambda: "models_redis_away" in instance.log_text(), 20, "Redis to be missed", [instance])
    change(instance, health__on_redis_down="local")
    grows(stub, "a", 2, stack)


# What is over from 1 on, or would be; 0: off.
WATCHED = dict(
    watch__redis_clients_percent=1, watch__redis_rejected=1, watch__redis_connections_per_s=1, watch__redis_idle_clients=1,
    watch__redis_evicted=1, watch__redis_eviction_policy=1, watch__redis_memory_percent=1, watch__redis_persistence=1,
    watch__redis_replica=1, watch__database_connections_percent=1, watch__database_read_only=1, watch__database_replica=1,
    watch__database_transaction_s=1, watch__host_files_percent=1, watch__host_spool_disk_percent=1)


def test_what_is_watched(stack):
    """Nothing is, and after a reload everything, with the thresholds that it brought."""
    instance = stack.spendd(**{name: 0 for name in WATCHED}, watch__idle_client_s=86400, watch__client_list_s=86400)
    instance.start(ready=("health_checker", "control"))
    client = stack.redis.client()
    names = [name.partition("__")[2] for name in WATCHED]
    for name in names:
        assert shown(instance, "stores", name, state="off")["threshold"] == 0
    change(instance, **WATCHED)
    for name in names:
        wait_until(lambda: shown(instance, "stores", name, threshold=1)["state"] in ("ok", "over"), 20, f"{name} to be judged", [instance])
    for name in ("host_files_percent", "host_spool_disk_percent"):  # 0 on a large machine
        line = shown(instance, "stores", name, threshold=1)
        assert line["state"] == ("over" if line["value"] >= 1 else "ok"), line
    change(instance, watch__host_files_percent=1000)
    shown(instance, "stores", "host_files_percent", state="ok", threshold=1000)

    def lists():
        return client.info("commandstats").get("cmdstat_client|list", {"calls": 0})["calls"]

    change(instance, watch__client_list_s=1)
    before = lists()
    wait_until(lambda: lists() >= before + 2, 30, "the list of clients to be asked for again", [instance])
    idle = stack.redis.client()
    idle.ping()
    change(instance, watch__idle_client_s=1)
    shown(instance, "stores", "redis_idle_clients", state="over")


# --- the table ---------------------------------------------------------------------------------------------
EFFECTS = {
    "log.level": "test_reload.py::test_the_log_level_is_live",
    "log.format": "test_logs.py::test_format_and_level_change_while_it_runs",
    "log.burst": test_a_message_is_written_less_often,
    "supervisor.beat_ms": test_beats_come_more_often,
    "supervisor.hang_ms": test_beats_come_more_often,
    "supervisor.drain_ms": test_a_drain_is_cut_short_sooner,
    "supervisor.orphan_drain_ms": test_orphans_leave_sooner,
    "supervisor.start_ms": test_a_worker_that_does_not_start_is_killed_sooner,
    "supervisor.backoff_min_ms": test_pauses_get_shorter,
    "supervisor.backoff_max_ms": test_pauses_get_shorter,
    "supervisor.flap_window_ms": test_flapping_means_something_else,
    "supervisor.flap_deaths": test_flapping_means_something_else,
    "supervisor.on_flapping": test_flapping_means_something_else,
    "ingest.retry_after_ms": "test_reload.py::test_live_bounds_of_ingest",
    "spool.max_bytes": "test_reload.py::test_live_bounds_of_ingest",
    "spool.keep_free_percent": "test_reload.py::test_live_bounds_of_ingest",
    "spool.keep_applied_s": "test_reload.py::test_live_bounds_of_ingest",
    "seal.ms": "test_reload.py::test_a_live_setting_touches_no_process",
    "seal.events": test_a_segment_is_full_sooner,
    "seal.bytes": test_a_segment_is_full_sooner,
    "redis.queue_bytes": "test_reload.py::test_live_bounds_of_the_queue",
    "redis.repush_s": test_a_batch_is_pushed_again_sooner,
    "redis.applied_poll_ms": test_applied_ranges_are_read_sooner,
    "health.fail_after": "test_reload.py::test_a_live_setting_of_the_supervisor",
    "health.shared": "test_models.py::test_reload_of_shared_and_details",
    "health.details": "test_models.py::test_reload_of_shared_and_details",
    "http.tokens": test_bounds_of_http,
    "http.status_token": "test_http.py::test_tokens",
    "http.page": "test_page.py::test_parts_of_the_page",
    "http.max_body_bytes": test_bounds_of_http,
    "http.max_inflated_bytes": test_bounds_of_http,
    "http.max_address_connections": test_bounds_of_http,
    "http.max_in_flight": "test_http.py::test_bounds_change_while_it_runs",
    "http.max_held_bytes": "test_http.py::test_bounds_change_while_it_runs",
    "http.request_ms": test_bounds_of_http,
    "http.keep_alive_ms": test_bounds_of_http,
    "health.interval_s": test_rounds_of_models,
    "health.cache_ttl_s": test_rounds_of_models,
    "health.lock_ttl_s": test_rounds_of_models,
    "health.concurrency": test_rounds_of_models,
    "health.on_redis_down": test_where_results_are_shared,
    "health.litellm_shared": test_where_results_are_shared,
    "health.litellm_namespace": test_where_results_are_shared,
    "health.models": models_are,
    "watch.idle_client_s": test_what_is_watched,
    "watch.client_list_s": test_what_is_watched,
    **{name.replace("__", "."): test_what_is_watched for name in WATCHED},
}


def source(test):
    if callable(test):
        return inspect.getsource(test)
    file, name = test.split("::")
    with open(os.path.join(HERE, file), encoding="utf-8") as text:
        return re.search(rf"^def {name}\(.*?(?=^def |\Z)", text.read(), re.M | re.S)[0]


def live():
    with open(os.path.join(ROOT, "common/config/settings.def"), encoding="utf-8") as file:
        return re.findall(r'^[A-Z]+ *\(\w+, "([^"]+)",.*, LIVE, ', file.read(), re.M)


def test_every_live_setting_has_an_effect_that_is_tested():
    assert len(live()) > 20
    assert set(live()) == EFFECTS.keys(), "a LIVE row without a test of its effect, or a line here without a row"


@pytest.mark.parametrize("setting", EFFECTS)
def test_the_test_changes_the_setting(setting):
    """Named in the table is a test that writes it."""
    written = source(EFFECTS[setting])
    if setting.startswith("watch.") and setting.replace(".", "__") in WATCHED:
        assert "**WATCHED" in written
        return
    assert setting.replace(".", "__") + "=" in written or f'"{setting.replace(".", "_")}":' in written

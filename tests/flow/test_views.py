"""What is shipped to look at: the exposition as promtool and the official parser read it.

The unit test test_exposition leaves the text that it rendered in the file that EXPOSITION_TEXT names.
"""
import os
import re
import shutil
import subprocess

import pytest

from lib import daemon, elements
from lib.checkers import StubModels
from lib.daemon import WORKERS
from lib.events import Generator
from lib.producer import Asker
from lib.waiting import wait_until
from lib.web import get, status_port


def rendered(tmp_path):
    """Both text forms, from the renderer itself."""
    program = os.path.join(daemon.BUILD, "tests/unit/test_exposition")
    if not os.path.exists(program):
        pytest.skip("tests/unit/test_exposition is not built: make unit")
    paths = tmp_path / "text", tmp_path / "openmetrics"
    env = {**os.environ, "EXPOSITION_TEXT": str(paths[0]), "EXPOSITION_OPENMETRICS": str(paths[1])}
    subprocess.run([program], env=env, check=True, capture_output=True, timeout=60)
    return [path.read_text() for path in paths]


def promtool(*words, text=None):
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: Debian's package prometheus has it")
    return subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, check=False, timeout=60)


def test_promtool_accepts_the_exposition(tmp_path):
    done = promtool("check", "metrics", text=rendered(tmp_path)[0])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_official_parser_reads_both_forms(tmp_path):
    parser = pytest.importorskip("prometheus_client.parser", reason="Debian's package python3-prometheus-client")
    from prometheus_client.openmetrics import parser as openmetrics  # noqa: PLC0415
    text, newer = rendered(tmp_path)
    samples = {(sample.name, tuple(sample.labels.items())): sample.value
               for family in parser.text_string_to_metric_families(text) for sample in family.samples}
    assert samples["spendd_ingest_events_total", (("outcome", "accepted"),)] == 7
    assert samples["spendd_ledger_lag_seconds", ()] == 2.5
    assert samples["spendd_build_info", (("version", "0.1.0"), ("build", 'a"b\\c\nd'))] == 1
    types = {family.name: family.type for family in openmetrics.text_string_to_metric_families(newer)}
    assert types["spendd_build"] == "info"
    assert types["spendd_ingest_events"] == "counter"
    assert types["spendd_flush_seconds"] == "histogram"
    assert types["litellm_redis_spend_update_queue_size"] == "gauge"


def histograms(instance):
    code, stats = instance.ask("stats")
    assert code == 200
    return {row["name"]: row for row in stats["histograms"]}


def scraped(port):
    """{(name, labels): value} of a live scrape, as the official parser reads it."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415
    answer = get(port, "/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.text
    return {(sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text) for sample in family.samples}


def send(instance, events, count):
    with Asker(instance.ingest) as asker:
        kind, answer = asker.events(list(events.events(count)))
    assert (kind, answer["accepted"]) == ("A1", count), answer


def test_scrape_over_restarts(stack):
    """Counters go on when workers die, and begin anew, with another start time, when spendd does."""
    pytest.importorskip("prometheus_client", reason="Debian's package python3-prometheus-client")
    port, settings = status_port()
    instance = stack.spendd(**settings).start(ready=WORKERS + ("gateway",))
    events, counted = Generator(seed=5), ("spendd_ledger_events_total", "counted")
    send(instance, events, 60)
    wait_until(lambda: scraped(port)[counted] == 60, 30, "60 counted", stack.logs)
    wait_until(lambda: scraped(port)["spendd_ledger_lag_seconds",] == 0, 30, "no lag", stack.logs)
    wait_until(lambda: scraped(port).get(("spendd_gate_open", "database")) == 1, 30, "the gate", stack.logs)
    first = scraped(port)
    assert first["spendd_supervisor_up",] == 1
    assert first["spendd_ingest_events_total", "accepted"] == 60 and first["spendd_ingest_bytes_total",] > 60 * 20
    assert promtool("check", "metrics", text=get(port, "/metrics").text).returncode == 0
    for worker in ("aggregator", "db_flusher", "gateway"):
        instance.kill(worker)
    instance.wait_ready(*WORKERS, "gateway")
    send(instance, events, 40)
    wait_until(lambda: scraped(port)[counted] == 100, 30, "100 counted", stack.logs)
    wait_until(lambda: [scraped(port).get(("spendd_worker_restarts_total", f"{name}.0")) for name in
                        ("aggregator", "db_flusher", "gateway", "control")] == [1, 1, 1, 0], 30, "restarts", stack.logs)
    second = scraped(port)
    assert all(second[key] >= value for key, value in first.items() if key[0].endswith(("_total", "_bucket", "_count")))
    openmetrics = get(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text") and openmetrics.text.endswith("# EOF\n")
    assert instance.stop() == 0
    instance.start(ready=WORKERS + ("gateway",))
    wait_until(lambda: ("spendd_start_time_seconds",) in scraped(port), 30, "the supervisor's word", stack.logs)
    third = scraped(port)
    assert third[counted] == 0 and ("litellm_pod_lock_manager_size",) not in {key[:1] for key in third}
    assert third["spendd_start_time_seconds",] > second["spendd_start_time_seconds",]


def test_names_that_users_of_litellm_graph(stack):
    """An instance that adopts has them, under the instance's own name; and only such a one."""
    pytest.importorskip("prometheus_client", reason="Debian's package python3-prometheus-client")
    elements.make_tables(stack.postgres)
    port, settings = status_port()
    instance = stack.spendd(database__layout="litellm", litellm__adopt=True, litellm__drain_ms=50, instance="pod-1", **settings)
    instance.start(ready=("db_flusher", "gateway"))
    held = "litellm_pod_lock_manager_size", "db_spend_update_job:pod-1"
    waiting = "litellm_redis_spend_update_queue_size", "redis_spend_update_queue"
    wait_until(lambda: scraped(port).get(held) == 1, 30, f"{held} to be held", stack.logs)
    assert instance.ask("pause", "flush")[0] == 200
    client, books = stack.redis.client(), elements.Books(5)
    books.push(client, 3)
    wait_until(lambda: scraped(port)[waiting] >= 3, 30, "lists that grow while nobody takes from them", stack.logs)
    with open(os.path.join(daemon.ROOT, "common/stats/metrics.def"), encoding="utf-8") as file:
        foreign = set(re.findall(r"^FOREIGN\((\w+)", file.read(), re.M))
    assert {"litellm_pod_lock_manager_size", "litellm_in_memory_daily_spend_update_queue_size",
            "litellm_redis_daily_spend_update_queue_size", "litellm_in_memory_spend_update_queue_size",
            "litellm_redis_spend_update_queue_size"} < foreign  # LiteLLM's page on high availability
    assert {name for name, *_ in scraped(port) if name.startswith("litellm_")} == foreign
    assert promtool("check", "metrics", text=get(port, "/metrics").text).returncode == 0
    assert instance.ask("resume", "flush")[0] == 200
    elements.settled(client, stack.logs)
    wait_until(lambda: scraped(port)[waiting] == 0, 30, "none that waits", stack.logs)
    books.check(stack.postgres)


def test_models_in_a_scrape(stack):
    pytest.importorskip("prometheus_client", reason="Debian's package python3-prometheus-client")
    port, settings = status_port()
    stub = StubModels()
    stub.behaviour["bad"] = lambda handler: handler.send_error(429)
    try:
        instance = stack.spendd(health__interval_s=1, health__cache_ttl_s=1, **settings)
        with open(instance.config, encoding="utf-8") as file:
            text = file.read()
        rows = ", ".join('{ name = "%s"; url = "%s"; cost = "0.002"; }' % (name, stub.url(name)) for name in ("good", "bad"))
        with open(instance.config, "w", encoding="utf-8") as file:
            file.write(text.replace("health:\n{", f"health:\n{{ models = ( {rows} );", 1))
        instance.start(ready=("health_checker", "gateway"))
        wait_until(lambda: scraped(port).get(("spendd_model_checks_total", "bad"), 0) >= 2, 40, "two checks", stack.logs)
        now = scraped(port)
        assert (now["spendd_model_healthy", "good"], now["spendd_model_healthy", "bad"]) == (1, 0)
        assert now["spendd_model_check_failures_total", "good"] == 0 and now["spendd_model_check_failures_total", "bad"] >= 2
        assert now["spendd_model_check_cost_usd_total", "bad"] == pytest.approx(0.002 * now["spendd_model_checks_total", "bad"])
    finally:
        stub.close()


def test_histograms_count_what_the_counters_count(stack):
    """... and go on where they were when a worker died."""
    instance = stack.spendd().start(ready=WORKERS)
    events = Generator(seed=3)
    pairs = {"spool_commit_seconds": "spool_commits_total", "redis_push_seconds": "batches_pushed_total",
             "flush_seconds": "flushes_total", "event_commit_seconds": "events_counted_total"}

    send(instance, events, 300)
    wait_until(lambda: instance.metric("events_counted_total") == 300, 30, "300 counted", stack.logs)
    wait_until(lambda: all(histograms(instance)[name]["count"] == instance.metric(metric)
                           for name, metric in pairs.items()), 20, "the same counts", stack.logs)
    before = histograms(instance)
    assert before["event_commit_seconds"]["count"] == 300
    assert all(row["sum_us"] > 0 for row in before.values())
    for worker in ("aggregator", "redis_writer", "db_flusher"):
        instance.kill(worker)
    instance.wait_ready(*WORKERS)
    send(instance, events, 100)
    wait_until(lambda: instance.metric("events_counted_total") == 400, 30, "400 counted", stack.logs)
    wait_until(lambda: all(row["count"] > before[name]["count"] and row["sum_us"] > before[name]["sum_us"]
                           for name, row in histograms(instance).items()), 20, "all of them to go on", stack.logs)

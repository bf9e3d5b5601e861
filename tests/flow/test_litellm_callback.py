"""packaging/litellm/spendd_callback.py on a real spendd, without LiteLLM: what it makes of LiteLLM's payload,
and that nothing is lost or doubled while spendd, or the process itself, dies."""
import asyncio
import errno
import importlib.util
import json
import multiprocessing
import os
import signal
import time

import pytest

from lib import conservation
from lib.waiting import wait_until
from lib.wire import ROOT

spec = importlib.util.spec_from_file_location(
    "spendd_callback", os.path.join(ROOT, "packaging", "litellm", "spendd_callback.py"))
callback = importlib.util.module_from_spec(spec)
spec.loader.exec_module(callback)


def payload(n=1, **more):
    """StandardLoggingPayload, as far as we look at it."""
    metadata = {"user_api_key_hash": "9f" * 32, "user_api_key_user_id": "u-1", "user_api_key_team_id": "t-1",
                "user_api_key_org_id": "o-1", "user_api_key_end_user_id": None, "spend_logs_metadata": {"a": ["b", 1.5]},
                "usage_object": {"cache_read_input_tokens": 7, "cache_creation_input_tokens": None}}
    return {"id": f"chatcmpl-{n}", "trace_id": "trace", "call_type": "acompletion", "response_cost": 0.000125,
            "status": "success", "custom_llm_provider": "openai", "total_tokens": 30, "prompt_tokens": 20,
            "completion_tokens": 10, "startTime": time.time() - 2, "endTime": time.time(), "model": "gpt-4o",
            "completionStartTime": time.time() - 1, "model_group": "group", "api_base": "https://api", "cache_hit": None,
            "request_tags": ["prod", "prod", "User-Agent: x"], "end_user": "customer", "requester_ip_address": "10.0.0.1",
            "metadata": metadata, "hidden_params": {}, **more}


def kwargs(n=1, call=None, **more):
    return {"litellm_call_id": call or f"call-{n}", "standard_logging_object": payload(n, **more)}


def settings(spendd, directory, **more):
    return callback.Settings({
        "SPENDD_ENDPOINT": spendd.ingest, "SPENDD_SPILL_DIR": str(directory), "SPENDD_ANSWER_MS": "1000",
        "SPENDD_SPILL_AFTER_MS": "200", "SPENDD_CLOSE_MS": "500", **more})


@pytest.fixture
def logger(spendd, tmp_path):
    made = []

    def make(**more):
        made.append(callback.SpenddLogger(settings(spendd, tmp_path / "spill", **more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def rows(stack):
    return stack.postgres.query("select request_id, event_id, spend::float8, status, tags::text, metadata::text, model,"
                                " api_key, team_id, session_id, cache_read_input_tokens from spendd.spend_log")


def delivered(logger, stack, count):
    conservation.wait_schema(stack.postgres, stack.logs)
    wait_until(lambda: logger.sender.idle() and stack.postgres.one("select count(*) from spendd.spend_log") >= count, 30,
               f"{count} rows", stack.logs)
    return rows(stack)


def test_mapping():
    event, kept = callback.event_of(kwargs())
    assert event["event_id"].startswith("call-1:") and event["request_id"] == "chatcmpl-1"
    assert event["tags"] == ["prod", "User-Agent: x"] and event["api_key"] == "9f" * 32
    assert (event["spend"], event["prompt_tokens"], event["cache_read_input_tokens"]) == (0.000125, 20, 7)
    assert event["end_user"] == "customer" and event["session_id"] == "trace" and event["cache_hit"] == "None"
    assert kept["spend_logs_metadata"] == {"a": ["b", 1.5]} and "completionStartTime" in kept
    again, _ = callback.event_of(kwargs(1, startTime=event["start_time"]))
    assert again["event_id"] == event["event_id"]  # logged twice: the same event
    other, _ = callback.event_of(kwargs(1, call="call-2", startTime=event["start_time"]))
    assert other["event_id"] != event["event_id"]  # a response id that the provider has used before
    failed, _ = callback.event_of(kwargs(1, status="failure", response_cost=None, startTime=event["start_time"]))
    assert failed["event_id"] == event["event_id"] + ":failure" and failed["spend"] == 0
    assert callback.event_of(kwargs(1, cache_hit=True))[0]["spend"] == 0
    nan, kept = callback.event_of(kwargs(1, response_cost=float("nan")))
    assert nan["spend"] == 0 and "nan" in kept["spendd_callback"]
    bare, _ = callback.event_of({"litellm_call_id": "c", "response_cost": 0.5, "model": "m"}, start_time=1000.0)
    assert (bare["spend"], bare["start_time"], bare["model"]) == (0.5, 1000.0, "m")


@pytest.mark.parametrize("odd", ["\0", "\ud800", "\U0001f600", "\\u0000", "a" * 70000, '"\n'])
def test_odd_text_is_still_an_event(odd):
    made = kwargs(request_tags=[odd + str(n) for n in range(200)], end_user=odd)
    made["standard_logging_object"]["metadata"]["spend_logs_metadata"] = {odd: [odd]}
    line, _ = callback.encode(*callback.event_of(made))
    read = json.loads(line.decode("utf-8"))
    assert len(line) < 65536 and b"\n" not in line and len(read["tags"]) <= 64
    assert "\0" not in json.dumps(read, ensure_ascii=False) and "\\u0000" not in json.dumps(read).replace("\\\\u0000", "")


def test_each_request_one_row(logger, stack):
    one = logger(SPENDD_ANSWER_MS="60000")  # a slow disk is not asked twice: what is accepted is counted here
    asyncio.run(one.async_log_success_event(kwargs(1), None, None, None))
    asyncio.run(one.async_log_failure_event(kwargs(2, status="failure"), None, None, None))
    one.log_success_event(kwargs(3, call="reused"), None, None, None)
    one.log_success_event(kwargs(3, call="other"), None, None, None)  # a response id that has been used before
    found = delivered(one, stack, 4)
    assert sorted(row[0] for row in found) == ["chatcmpl-1", "chatcmpl-2", "chatcmpl-3", "chatcmpl-3"]
    assert sum(row[2] for row in found) == pytest.approx(4 * 0.000125)
    assert one.stats()["accepted"] == 4 and not one.stats()["failed"]
    assert os.listdir(one.sender.spill.lane) == ["lock"]


def test_spendd_away_and_back(logger, spendd, stack):
    """Bounded memory, files meanwhile, each event once afterwards."""
    one = logger()
    for n in range(300):
        one.log_success_event(kwargs(n), None, None, None)
    wait_until(lambda: one.sender.counts["accepted"] > 0, 20, "the first answers", stack.logs)
    spendd.kill_all()
    for n in range(300, 600):
        one.log_success_event(kwargs(n), None, None, None)
    wait_until(lambda: one.sender.counts["spilled"] and not one.sender.queue, 20, "files", stack.logs)
    spendd.start()
    for n in range(600, 700):
        one.log_success_event(kwargs(n), None, None, None)
    found = delivered(one, stack, 700)
    assert sorted(row[0] for row in found) == sorted(f"chatcmpl-{n}" for n in range(700))
    assert not one.stats().get("dropped") and one.sender.spill.bytes == 0 and one.sender.flight_bytes == 0


def test_half_full_memory_goes_to_files_at_once(logger, spendd, stack):
    """A burst while spendd is away is not lost for being younger than SPENDD_SPILL_AFTER_MS."""
    spendd.kill_all()
    one = logger(SPENDD_MEMORY_MAX_BYTES="100000", SPENDD_SPILL_AFTER_MS="600000")
    for n in range(400):
        one.log_success_event(kwargs(n), None, None, None)
        if n % 20 == 19:
            wait_until(lambda: one.sender.queue_bytes + one.sender.flight_bytes <= 50000, 20, "half of the memory")
    assert one.stats()["spilled"] > 200 and not one.stats().get("dropped")
    spendd.start()
    assert len(delivered(one, stack, 400)) == 400


def test_a_full_disk_does_not_keep_it_from_sending(logger, spendd, stack, monkeypatch):
    """spendd away, no file can be written, memory half full: all of it is sent when spendd is back."""
    def full(spill, payload):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callback.Spill, "write", full)
    spendd.kill_all()
    one = logger(SPENDD_MEMORY_MAX_BYTES="200000")
    for n in range(100):
        one.log_success_event(kwargs(n), None, None, None)
    wait_until(lambda: one.sender.counts["errors"] > 1, 20, "files that cannot be written", stack.logs)
    assert 2 * (one.sender.queue_bytes + one.sender.flight_bytes) > 100000 and not one.stats().get("dropped")
    spendd.start()
    assert len(delivered(one, stack, 100)) == 100
    assert not one.stats().get("spilled")


def pod(values, count, ready):
    one = callback.SpenddLogger(values)
    for n in range(count):
        one.log_success_event(kwargs(n), None, None, None)
    wait_until(lambda: one.sender.counts["spilled"] >= count, 20, "files")
    ready.set()
    signal.pause()


def test_files_of_a_killed_process_are_sent_by_the_next(logger, spendd, stack):
    spendd.kill_all()
    ready = multiprocessing.get_context("fork").Event()
    one = logger()
    child = multiprocessing.get_context("fork").Process(target=pod, args=(one.settings, 50, ready))
    child.start()
    try:
        assert ready.wait(30)
    finally:
        child.kill()
        child.join()
    spendd.start()
    one.log_success_event(kwargs(50), None, None, None)
    found = delivered(one, stack, 51)
    assert sorted(row[0] for row in found) == sorted(f"chatcmpl-{n}" for n in range(51))


def test_leaving_writes_down_what_was_not_taken(logger, spendd, stack):
    spendd.kill_all()
    one = logger()
    for n in range(30):
        one.log_success_event(kwargs(n), None, None, None)
    one.close()
    assert not one.sender.thread.is_alive()
    spendd.start()
    two = logger()
    two.log_success_event(kwargs(30), None, None, None)
    assert len(delivered(two, stack, 31)) == 31


def test_what_is_refused_for_ever_is_kept_and_counted(logger, stack):
    one = logger()
    one.log_success_event(kwargs(1, startTime=time.time() - 400 * 86400), None, None, None)  # older than spendd takes
    one.log_success_event(kwargs(2), None, None, None)
    delivered(one, stack, 1)
    assert one.stats()["rejected"] == 1
    path = os.path.join(one.settings.spill_dir, "rejected.ndjson")
    (row,) = [json.loads(line) for line in open(path, encoding="utf-8")]
    assert "start_time" in row["error"] and json.loads(row["event"])["request_id"] == "chatcmpl-1"


def test_everything_full_drops_and_counts(logger, spendd, stack):
    """spendd away, no room on disk, memory at its bound: requests go on, and the figure says what was lost."""
    spendd.kill_all()
    one = logger(SPENDD_SPILL_MAX_BYTES="100", SPENDD_MEMORY_MAX_BYTES="20000")
    for n in range(200):
        one.log_success_event(kwargs(n), None, None, None)
    assert one.stats()["dropped"] > 0 and one.sender.queue_bytes + one.sender.flight_bytes <= 20000
    kept = one.stats()["events"]
    assert kept + one.stats()["dropped"] == 200
    spendd.start()
    assert len(delivered(one, stack, kept)) == kept


def test_nothing_leaves_the_callback(logger):
    one = logger()
    for odd in (None, {}, {"standard_logging_object": 5}, {"standard_logging_object": {"metadata": "x", "id": []}}):
        one.log_success_event(odd, None, object(), None)
    assert one.stats()["failed"] > 0

"""The health of models: one instance of many checks, all know; with everything going wrong around it."""
import os
import subprocess
import threading
import time

import pytest

from lib.checkers import Checkers, StubModels, model, status
from lib.servers import free_tcp_port
from lib.waiting import wait_until

MODELS = ("gpt", "claude", "gemini")


@pytest.fixture
def checkers(place):
    made = Checkers(place)
    yield made
    made.close()


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.rename(path + ".new", path)


def self_signed(directory):
    key, certificate = os.path.join(directory, "key.pem"), os.path.join(directory, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "2", "-subj", "/CN=stub", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return key, certificate


def knows(*names):
    """A document that has a result of every model."""
    return lambda told: all(row["healthy"] is not None for row in told["models"]) and \
        {row["name"] for row in told["models"]} == set(names)


def test_twelve_instances_one_call_per_interval(checkers):
    """A call to a model comes an interval after the end of the round before, whoever makes it; so no two are closer."""
    all_of_them = checkers.start(12, **checkers.models(*MODELS, cost="0.25", timeout_ms=60000), health_interval_s=2,
                                 health_cache_ttl_s=60, health_lock_ttl_s=60, redis_command_ms=60000, redis_connect_ms=60000)
    wait_until(lambda: all(checkers.stub.count(name) >= 4 for name in MODELS), 60, "four rounds", logs=all_of_them)
    for name in MODELS:
        times = list(checkers.stub.times[name])
        assert all(later - earlier > 1.9 for earlier, later in zip(times, times[1:])), (name, times)
    for checker in all_of_them:
        told = checker.until(knows(*MODELS))
        assert all(row["healthy"] for row in told["models"])
    for checker in all_of_them:
        assert "kind=alone" not in checker.text()
    rows = [row for checker in all_of_them for row in checker.told()["models"]]
    assert sum(float(row["cost_usd_total"]) for row in rows) == 0.25 * sum(row["checks_total"] for row in rows) > 0


def lock(checkers):
    return checkers.client.get("{spendd}:health:lock")


def test_a_dead_checkers_round_is_taken_over(checkers):
    """Killed in the middle of a round: another instance takes it over once the lock has ended, and all know."""
    gate = checkers.stub.gate("gpt")
    first = checkers.start(**checkers.models(*MODELS))
    wait_until(lambda: checkers.stub.count("gpt") == 1, 20, "a round that hangs", logs=[first])
    others = checkers.start(2, **checkers.models(*MODELS))
    first.kill()
    assert checkers.round() is None
    gate.set()
    for other in others:
        told = other.until(knows(*MODELS))
        assert all(row["healthy"] and "@c0" not in row["checked_by"] for row in told["models"])
    checkers.all.remove(first)


def test_the_lock_is_renewed_while_a_long_round_runs(checkers):
    """A round that is longer than its lease stays one round: each of five instances waits for its end."""
    gate = checkers.stub.gate("gpt")
    all_of_them = checkers.start(5, **checkers.models("gpt", timeout_ms=60000), health_lock_ttl_s=6)
    wait_until(lambda: checkers.stub.count("gpt") == 1, 20, "a round that hangs", logs=all_of_them)
    holder, renewals, before = lock(checkers), 0, checkers.client.pttl("{spendd}:health:lock")

    def renewed():
        nonlocal renewals, before
        left = checkers.client.pttl("{spendd}:health:lock")
        renewals += left > before + 100
        before = left
        return renewals >= 4  # each third of the lease: longer than that

    wait_until(renewed, 30, "renewals", logs=all_of_them, look_s=0.01)
    assert lock(checkers) == holder and checkers.stub.count("gpt") == 1
    gate.set()
    for checker in all_of_them:
        checker.until(knows("gpt"))


def test_no_round_is_kept_and_who_holds_the_lock_does_not_renew_it(checkers):
    """A stranger's lock without end: after as long as a lock lives the models are checked all the same, and kept."""
    checkers.client.set("{spendd}:health:lock", "pod_1")
    checker = checkers.start(health_lock_ttl_s=1, health_interval_s=60, health_cache_ttl_s=60, **checkers.models("gpt"))
    told = checker.until(lambda told: told["shared_status"].get("status", {}).get("lock_owner") == "pod_1")
    assert told["shared_status"]["status"]["lock_in_progress"] is True
    checker.until(knows("gpt"))
    assert "models_checked_alone" in checker.text() and lock(checkers) == b"pod_1"
    wait_until(checkers.round, 10, "the round that is kept", logs=[checker])
    assert checkers.stub.count("gpt") == 1


def test_the_cache_has_expired_while_another_checks(checkers):
    """Its document is gone; who waits has the last result still, asks nobody, and reads the next one."""
    one = checkers.start(**checkers.models("gpt", timeout_ms=60000), health_lock_ttl_s=20)
    one.until(knows("gpt"))
    other = checkers.start(**checkers.models("gpt", timeout_ms=60000), health_lock_ttl_s=20)
    other.until(knows("gpt"))
    gate = checkers.stub.gate("gpt")
    seen = checkers.stub.count("gpt")
    wait_until(lambda: checkers.stub.count("gpt") == seen + 1, 20, "a round that hangs", logs=checkers.all)
    wait_until(lambda: checkers.round() is None, 20, "the cache to expire", logs=checkers.all)
    for checker in (one, other):
        told = checker.until(lambda told: told["shared_status"]["status"].get("cache_available") is False)
        assert told["models"][0]["healthy"] is True and told["shared_status"]["status"]["lock_in_progress"] is True
    assert checkers.stub.count("gpt") == seen + 1
    gate.set()
    wait_until(checkers.round, 20, "the next round", logs=checkers.all)


def test_redis_away_each_for_itself(checkers):
    two = checkers.start(2, **checkers.models("gpt"), health_interval_s=1)
    for checker in two:
        checker.until(knows("gpt"))
    checkers.redis.stop()
    for checker in two:
        checker.until(lambda told: told["shared_status"]["status"]["redis_available"] is False)
    before = {checker.name: checker.model("gpt")["checks_total"] for checker in two}
    for checker in two:
        told = checker.until(lambda told: told["models"][0]["checks_total"] >= before[checker.name] + 2)
        assert f"@{checker.name}" in told["models"][0]["checked_by"]
        assert set(told["shared_status"]["status"]) == {"pod_id", "redis_available", "lock_ttl", "cache_ttl"}
    checkers.redis.start()
    for checker in two:
        checker.until(lambda told: told["shared_status"]["status"]["redis_available"] is True)
    wait_until(lambda: len({checker.model("gpt")["checked_by"] for checker in two}) == 1, 20, "one result", logs=two)


def test_redis_away_the_last_result_grows_old(checkers):
    two = checkers.start(2, **checkers.models("gpt"), health_interval_s=1, health_on_redis_down="last_known")
    for checker in two:
        checker.until(knows("gpt"))
    checkers.redis.stop()
    for checker in two:
        checker.until(lambda told: told["shared_status"]["status"]["redis_available"] is False)
    calls = checkers.stub.count("gpt")
    for checker in two:
        told = checker.until(lambda told: told["models"][0]["age_s"] >= 3)  # three intervals
        assert told["models"][0]["healthy"] is True
    assert checkers.stub.count("gpt") <= calls + 1  # one may have been under way


def test_reload_of_shared_and_details(checkers):
    two = checkers.start(2, **checkers.models("gpt"), health_interval_s=1)
    for checker in two:
        row = checker.until(knows("gpt"))["models"][0]
        assert row["status"] == 200 and row["latency_ms"] is not None
        checker.tell({"health_details": False})
        row = checker.until(lambda told: told["models"][0]["status"] is None)["models"][0]
        assert row["healthy"] is True and row["latency_ms"] is None and row["error"] is None
        checker.tell({"health_shared": False})
        told = checker.until(lambda told: told["shared_status"]["shared_health_check_enabled"] is False)
        assert told["shared_status"]["message"]
    before = {checker.name: checker.model("gpt")["checks_total"] for checker in two}
    for checker in two:  # each for itself
        checker.until(lambda told: told["models"][0]["checks_total"] >= before[checker.name] + 2)
    for checker in two:
        checker.tell({"health_shared": True, "health_details": True})
        checker.until(lambda told: told["shared_status"]["shared_health_check_enabled"] is True)
    wait_until(lambda: len({checker.model("gpt")["checked_by"] for checker in two}) == 1, 20, "one result", logs=two)
    two[0].tell(model(0, "claude", checkers.stub.url("claude")))
    two[0].until(knows("claude"), 20)
    two[0].tell(model(0, "", ""))
    two[0].until(lambda told: told["models"] == [])


def test_a_model_that_a_reload_adds_is_checked_soon(checkers):
    """Not an interval later; by one of those that have it in their list, and the others find it checked."""
    two = checkers.start(2, **checkers.models("gpt"), health_interval_s=600, health_cache_ttl_s=600)
    for checker in two:
        checker.until(knows("gpt"))
    for checker in two:
        checker.tell(checkers.models("gpt", "claude"))
    for checker in two:
        checker.until(knows("gpt", "claude"))
    assert (checkers.stub.count("gpt"), checkers.stub.count("claude")) == (2, 1)
    # The same for one that begins with a longer list; who has a shorter one begins no round for that.
    third = checkers.start(**checkers.models("gpt", "claude", "gemini"), health_interval_s=600, health_cache_ttl_s=600)
    third.until(knows("gpt", "claude", "gemini"))
    two[0].tell(checkers.models("gpt"))
    two[0].tell(model(1, "", ""))
    two[0].until(knows("gpt"))
    assert (checkers.stub.count("gpt"), checkers.stub.count("gemini")) == (3, 1)
    # Without sharing each asks at once.
    two[1].tell({**checkers.models("gpt", "claude", "gemini", "mistral"), "health_shared": False})
    two[1].until(knows("gpt", "claude", "gemini", "mistral"))


def test_figures_of_a_model_outlive_the_worker(checkers):
    checker = checkers.start(**checkers.models("gpt", cost="0.0012"))
    before = checker.until(lambda told: told["models"] and told["models"][0]["checks_total"] >= 2)["models"][0]
    checker.kill()
    checkers.all.remove(checker)
    again = checkers.start(page=checker.page, life=2, **checkers.models("gpt", cost="0.0012"))
    row = again.until(lambda told: told["models"])["models"][0]
    assert row["checks_total"] >= before["checks_total"] and float(row["cost_usd_total"]) >= float(before["cost_usd_total"])
    again.until(lambda told: told["models"][0]["checks_total"] > row["checks_total"])


# --- endpoints that mean harm, or are broken: each is one unhealthy model, and the others are checked ---------------

def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def endless_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Fill: " + b"x" * 1000 + b"\r\n")


def silent(handler):
    handler.rfile.read(1)


def slow(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        handler.wfile.flush()
        handler.server.pause.wait(0.05)


def nonsense(handler):
    handler.wfile.write(b"\x00\xff no HTTP at all\r\n\r\n" * 10)


HARM = {"endless": (endless, "larger than 1 MiB"), "endless_headers": (endless_headers, ""), "silent": (silent, "timed out"),
        "slow": (slow, "timed out"), "nonsense": (nonsense, ""), "broken": (status(500), "status 500, 200 was expected"),
        "moved": (status(302, ("Location", "http://127.0.0.1:1/")), "redirects are not followed")}


def test_hostile_endpoints(checkers, place):
    key, certificate = self_signed(place.sub("tls"))
    tls = StubModels(tls=(certificate, key))
    checkers.stub.server.pause = threading.Event()
    checkers.stub.behaviour.update({name: behaviour for name, (behaviour, _) in HARM.items()})
    urls = {name: checkers.stub.url(name) for name in HARM}
    urls["untrusted"] = tls.url("untrusted")
    urls["refused"] = f"http://127.0.0.1:{free_tcp_port()}/"
    urls["unresolved"] = "http://no-such-host.invalid/"
    urls["plain"] = checkers.stub.url("plain").replace("http:", "https:")
    urls["good"] = checkers.stub.url("good")
    models = {}
    for at, (name, url) in enumerate(urls.items()):
        models.update(model(at, name, url, timeout_ms=1500 if name in ("silent", "slow") else 20000))
    checker = checkers.start(health_concurrency=4, health_interval_s=60, health_cache_ttl_s=60, health_lock_ttl_s=60, **models)
    told = checker.until(knows(*urls), 60)
    rows = {row["name"]: row for row in told["models"]}
    assert rows.pop("good")["healthy"]
    for name, row in rows.items():
        assert row["healthy"] is False and row["error"], row
        assert row["failures_total"] == row["checks_total"] == 1
        assert HARM.get(name, (None, ""))[1] in row["error"], row
    assert "ertificate" in rows["untrusted"]["error"] and tls.total() == 0
    assert checkers.stub.count("moved") == 1
    for name in ("endless", "endless_headers"):
        assert rows[name]["latency_ms"] < 20000  # ended by the bound, not by the deadline
    tls.close()


def test_what_is_sent(checkers):
    """A POST with its body and headers, a secret of a file as it is now, the status that is expected."""
    secret = os.path.join(checkers.directory, "header")
    write(secret, "Authorization: Bearer first")
    checkers.stub.behaviour["gpt"] = status(418)
    fields = {"method": "POST", "body": '{"model": "gpt", "max_tokens": 1}', "headers[0]": "X-Team: search",
              "headers[1]": f"file:{secret}", "expect_status": 418}
    checker = checkers.start(**model(0, "a model", checkers.stub.url("v1/chat/completions"), **fields), health_interval_s=1)
    assert checker.until(knows("a model"))["models"][0]["healthy"]
    sent = checkers.stub.headers["gpt"]
    assert sent["X-Team"] == "search" and sent["Content-Type"] == "application/json" and sent["User-Agent"] == "spendd"
    assert sent["Authorization"] == "Bearer first"
    write(secret, "Authorization: Bearer second")
    wait_until(lambda: checkers.stub.headers["gpt"]["Authorization"] == "Bearer second", 20, "the new secret", logs=[checker])
    assert "Bearer" not in checker.text()


def test_what_redis_holds_is_not_believed(checkers):
    """Somebody writes into our keys: read as far as it goes, never followed, and the next round puts it right."""
    key = "{spendd}:health:round"
    checker = checkers.start(health_interval_s=4, health_cache_ttl_s=60, **checkers.models("gpt"))
    checker.until(knows("gpt"))

    def plant(by, document, at=None):
        if checkers.client.hget(key, "by") != by.encode():  # a round of its own may come in between
            checkers.client.hset(key, mapping={"at": int(time.time() * 1000) if at is None else at, "by": by, "document": document})

    def believed(by, document):
        def look(told):
            plant(by, document)
            return told["shared_status"]["status"].get("last_checked_by", "").startswith(by[:100])
        checker.until(look, 60)

    for number, document in enumerate((
            "no JSON", '{"models": 7}', '{"at_ms": 99999999999999999999, "models": [{}, {"model": 3}, 5]}', "[" * 5000, "",
            '{"models": [' + ",".join('{"model": "%s"}' % ("x" * 500) for _ in range(100)) + "]}", "x" * 200000)):
        believed(f"stranger{number}" + "x" * 5000, document)
    for at in ("-5", "9" * 30, "soon", ""):
        plant("stranger" + at, "{}", at)
        wait_until(lambda: b"@c0" in checkers.client.hget(key, "by"), 60, f"a round after at={at}", logs=[checker])
    assert checker.until(knows("gpt"))["models"][0]["healthy"] is True


def test_a_leaving_checker_gives_the_lock_back(checkers):
    checkers.stub.gate("gpt")
    checker = checkers.start(**checkers.models("gpt"), health_lock_ttl_s=600)
    wait_until(lambda: checkers.stub.count("gpt") == 1, 20, "a round that hangs", logs=[checker])
    assert lock(checkers)
    assert checker.drain() == 0
    assert lock(checkers) is None

"""Shared health checks with LiteLLM's own SharedHealthCheckManager: its pods read spendd's results and never check for
themselves, and the two sides respect each other's lock."""
import json

import pytest

import pods
from lib.checkers import Checkers, status
from lib.waiting import wait_until

LONG = {"health_interval_s": 2, "health_cache_ttl_s": 30, "health_lock_ttl_s": 5, "health_litellm_shared": True}


class HealthPod:
    """One of LiteLLM's managers; all of them live in one process, for importing LiteLLM takes long."""

    def __init__(self, process, **words):
        self.process = process
        self.number, self.id = process.ask("open", **words)

    def ask(self, name):
        return self.process.ask(name, pod=self.number)


@pytest.fixture(scope="session")
def process(place, litellm):
    made = pods.Pod(litellm, place.sub("pods"), driver="health.py")
    yield made
    made.close()


@pytest.fixture(params=("", "ns"))
def site(request, place, process):
    checkers = Checkers(place, redis=place.redis(tcp=True))
    checkers.namespace = request.param
    checkers.stub.behaviour["broken"] = status(500)
    checkers.pod = lambda lock_ttl=5: HealthPod(
        process, redis={"host": "127.0.0.1", "port": checkers.redis.port}, namespace=checkers.namespace, ttl=30, lock_ttl=lock_ttl)
    yield checkers
    checkers.close()


def checker(site, **more):
    return site.start(**{**LONG, **site.models("gpt", "broken"), "health_litellm_namespace": site.namespace, **more})


def test_pods_read_our_results_and_never_check(site):
    ours = checker(site)
    told = ours.until(lambda told: told["models"] and all(row["healthy"] is not None for row in told["models"]))
    key = site.namespace + ":health_check_results" if site.namespace else "health_check_results"
    wait_until(lambda: site.client.get(key), 20, "the results in LiteLLM's key", logs=[ours])
    assert isinstance(json.loads(site.client.get(key)), str)  # double encoded, as LiteLLM's own are
    pods_ = [site.pod() for _ in range(3)]
    for calls in range(1, 4):  # over rounds that come and go
        wait_until(lambda: site.stub.count("gpt") > calls, 30, "another round", logs=[ours])
        for pod in pods_:
            seen = pod.ask("perform")
            assert [row["model"] for row in seen["healthy"]] == ["gpt"]
            assert [row["model"] for row in seen["unhealthy"]] == ["broken"] and "500" in seen["unhealthy"][0]["error"]
            assert seen["checks"] == 0
    theirs = pods_[0].ask("status")
    assert theirs["cache_available"] and theirs["last_checked_by"] == told["models"][0]["checked_by"]
    assert theirs["last_checked_by"].startswith("pod_") and theirs["cache_age_seconds"] < 30

    def same_members():
        """Ours has the members that theirs has, of the same kinds, in one moment's state of the lock."""
        mine, seen = ours.told()["shared_status"]["status"], pods_[0].ask("status")
        return set(mine) == set(seen) and all(
            type(mine[name]) is type(seen[name]) for name in mine if name not in ("lock_owner", "cache_age_seconds"))

    wait_until(same_members, 20, "the members of the status", logs=[ours])


def test_each_side_respects_the_others_lock(site):
    pod = site.pod(lock_ttl=8)  # LiteLLM before June 2026 cannot give a namespaced lock back: it ends by itself
    assert pod.ask("acquire")
    ours = checker(site, health_lock_ttl_s=60)
    told = ours.until(lambda told: told["shared_status"].get("status", {}).get("lock_owner"))
    assert told["shared_status"]["status"]["lock_owner"] == pod.id and site.stub.total() == 0
    gate = site.stub.gate("gpt")
    pod.ask("release")
    wait_until(lambda: site.stub.count("gpt") == 1, 30, "our round", logs=[ours])
    assert not pod.ask("acquire") and pod.ask("in_progress")
    wait_until(lambda: pod.ask("status")["lock_owner"] == ours.told()["shared_status"]["status"]["pod_id"], 10, "our id", logs=[ours])
    gate.set()
    ours.until(lambda told: told["models"] and told["models"][0]["healthy"])
    wait_until(lambda: pod.ask("status")["cache_available"], 10, "our results", logs=[ours])
    assert pod.ask("perform")["checks"] == 0

"""Layout litellm, the flusher alone: what events add to LiteLLM's own tables."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import litellm
from lib.lone import Bench, envelopes
from lib.waiting import wait_until

FULL = {"database_layout": "litellm", "litellm_events": "full"}


@pytest.fixture
def bench(place):
    made = Bench(place)
    yield made
    made.close()


def plain(events):
    """As an older LiteLLM has them: without agents."""
    return [{name: value for name, value in event.items() if name != "agent_id"} for event in events]


@pytest.mark.parametrize("version", [litellm.OLD, litellm.BASELINE, litellm.NEWEST])
def test_full(bench, version):
    """Entities, days and log rows of every release; nothing is ever made in LiteLLM's schema."""
    old = version == litellm.OLD
    events = plain(litellm.events(1500)) if old else list(litellm.events(1500))
    litellm.make(bench.pg, version=version)
    litellm.fill(bench.pg, events)
    before = litellm.catalog(bench.pg)
    bench.push(*envelopes(events, 200))
    bench.flusher(**FULL)
    bench.settle()
    assert litellm.catalog(bench.pg) == before
    if old:
        assert litellm.stored_entities(bench.pg, categories=set(litellm.ENTITIES) - {"agent"}) == {
            key: amount for key, amount in litellm.entities_of(events).items() if amount}
        assert litellm.stored_days(bench.pg, endpoint=False) == litellm.days_of(events, endpoint=False)
    else:
        litellm.check(bench.pg, events)

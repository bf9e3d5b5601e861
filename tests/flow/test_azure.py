"""28,185 requests of two production traces (Azure LLM inference, 2023: code and conversation), priced
from a table of real model prices and spread over keys, users, teams and tags by seed 20231116.

They are sent twice with the same ids, in two different shapes of message.  PostgreSQL then holds each of
them once, and per entity and day exactly the sums of an independent Decimal computation.
The traces are moved by whole days: spendd refuses what is older than ingest.max_age_days.
"""
import datetime
import os
import random

import pytest

from lib import conservation
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Producer

SEED = 20231116
TRACES = {"code": 8819, "conv": 19366}


@pytest.fixture
def requests(shared_data):
    directory = os.path.join(shared_data, "azure-llm-2023")
    if not os.path.isdir(directory):
        pytest.skip(f"the Azure traces are not there: {directory}")
    found = []
    today = datetime.datetime.now(datetime.timezone.utc).date()
    for days_ago, (name, count) in enumerate(TRACES.items(), 1):
        path = os.path.join(directory, f"AzureLLMInferenceTrace_{name}.csv")
        events = [*Generator(SEED, name).trace(path, today - datetime.timedelta(days=days_ago))]
        assert len(events) == count
        found += events
    return found


def test_azure_traces_sent_twice_count_once(stack, requests):
    instance = stack.spendd(seal__ms=200, flush__ms=200).start(ready=WORKERS)
    first = Producer(instance.ingest, batches(requests, random.Random(SEED)), window=32, resend_s=60).start().wait(120, stack.logs)
    assert (first.accepted, first.duplicate) == (28185, 0)
    report = conservation.assert_conserved(stack.postgres, first, deadline_s=120, logs=stack.logs)
    assert report.figures["counted"] == 28185

    shuffled = requests[:]
    random.Random(SEED + 1).shuffle(shuffled)
    second = Producer(instance.ingest, batches(shuffled, 500), style="lines", window=8, resend_s=60).start().wait(120, stack.logs)
    assert (second.accepted, second.duplicate) == (0, 28185)
    instance.stop()
    report = conservation.assert_conserved(stack.postgres, first, logs=stack.logs)
    assert report.figures["counted"] == 28185

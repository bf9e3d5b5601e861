"""The health of models: one instance of many checks, all know; with everything going wrong around it."""
import pytest

from lib.checkers import Checkers
from lib.waiting import wait_until

MODELS = ("gpt", "claude", "gemini")


@pytest.fixture
def checkers(place):
    made = Checkers(place)
    yield made
    made.close()


def knows(*names):
    """A document that has a result of every model."""
    return lambda told: all(row["healthy"] is not None for row in told["models"]) and \
        {row["name"] for row in told["models"]} == set(names)


def test_twelve_instances_one_call_per_interval(checkers):
    """Judged by rounds: each model was called once for each round that was kept, whoever made it."""
    all_of_them = checkers.start(12, **checkers.models(*MODELS, cost="0.25"))
    first = checkers.rounds(4)
    for checker in all_of_them:
        told = checker.until(knows(*MODELS))
        assert all(row["healthy"] for row in told["models"])
    rounds = len(first)

    def settled():
        """Between two rounds: nobody holds the lock, and the round that is kept is the last one that was counted."""
        nonlocal rounds, first
        at = checkers.round()
        if at is not None and at != first[-1]:
            first.append(at)
        free = checkers.client.get("{spendd}:health:lock") is None
        calls = {name: checkers.stub.count(name) for name in MODELS}
        if not free or checkers.round() != first[-1]:
            return None
        return len(first), calls

    count, calls = wait_until(settled, 30, "a pause between rounds", logs=all_of_them, look_s=0.005)
    assert calls == {name: count for name in MODELS}
    assert all(later - earlier >= 2000 for earlier, later in zip(first, first[1:]))

    def summed():
        rows = [row for checker in all_of_them for row in checker.told()["models"]]
        return sum(row["checks_total"] for row in rows) >= 3 * count and rows

    rows = wait_until(summed, 10, "figures of every instance", logs=all_of_them)
    made = sum(row["checks_total"] for row in rows)
    assert sum(float(row["cost_usd_total"]) for row in rows) == 0.25 * made

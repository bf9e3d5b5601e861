"""Fixtures of the interop tests: LiteLLM's packages, a Redis and a PostgreSQL with LiteLLM's own schema."""
import pytest

import packages
from deployment import Databases, Pool, Site


@pytest.fixture(scope="session", params=packages.NAMES)
def litellm(request):
    try:
        return packages.environment(request.param)
    except packages.Unreachable as why:
        pytest.skip(f"LiteLLM {request.param} is not installed and PyPI does not answer: {why}")


@pytest.fixture(scope="session")
def newest():
    try:
        return packages.environment("newest")
    except packages.Unreachable as why:
        pytest.skip(f"LiteLLM newest is not installed and PyPI does not answer: {why}")


@pytest.fixture(scope="session")
def databases(place):
    return Databases(place)


@pytest.fixture(scope="session")
def pool(place):
    made = Pool(place)
    yield made
    made.close()


@pytest.fixture
def site(place, databases, pool, litellm):
    made = Site(place, databases, pool, litellm)
    yield made
    made.close()


@pytest.fixture
def newest_site(place, databases, pool, newest):
    made = Site(place, databases, pool, newest)
    yield made
    made.close()

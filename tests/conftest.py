"""Shared by all Python suites: finds the library, and gives each test a place that is always cleaned up."""
import os
import shutil
import signal
import sys
import tempfile

import pytest

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, TESTS)
sys.dont_write_bytecode = True


def pytest_configure(config):
    # A test run that is asked to leave takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config.addinivalue_line("markers", "slow: longer than half a minute")


@pytest.fixture(scope="session")
def place():
    from lib.servers import Place

    made = Place()
    yield made
    made.close()


@pytest.fixture(scope="session")
def shared_data():
    """Directory of the data sets beside the repository; a test that needs one skips when it is absent."""
    return os.path.normpath(os.path.join(TESTS, "..", "..", "shared", "data"))


@pytest.fixture
def stack(place):
    """A Redis and a PostgreSQL of this test's own, running; instances made with stack.spendd(...)."""
    from lib.daemon import Stack

    made = Stack(place).start()
    yield made
    made.close()


@pytest.fixture
def tmpfs():
    """A private directory in memory.  Named before `stack`: it goes when the instances have gone."""
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no tmpfs here")
    made = tempfile.mkdtemp(prefix="spendd-test-", dir="/dev/shm")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def spendd(stack):
    """One instance on them, ready."""
    return stack.spendd().start()


@pytest.fixture
def sites(place):
    """Stacks of this test's own, on PostgreSQL servers that it made: sites(place.postgres(...)), started."""
    from lib.daemon import Stack

    stacks = []

    def make(postgres, start=True):
        stacks.append(Stack(place, postgres=postgres))
        return stacks[-1].start() if start else stacks[-1]

    yield make
    for stack in stacks:
        stack.close()

"""wait_until: the only way in which a test waits.  A condition, a deadline, and, when it fails, the logs.

No test sleeps in order to be in step with something: it names the condition that it waits for.  The pause
between two looks here is only how often we look.

A deadline is for a condition that never comes true, so it may be as long as it likes: it is stretched by the build and
by what else the machine does at the moment at which it passes.
"""
import os
import time

# Which build is tested: see lib/daemon.py, which asks here.
BUILD_DIR = os.environ.get("SPENDD_BUILD_DIR") or os.path.join("build", os.environ.get("SPENDD_MODE", "release"))
SANITIZED = "asan" in BUILD_DIR
SLOW = float(os.environ.get("SPENDD_TEST_PATIENCE", "1"))  # asan builds and loaded machines: 2 or 3


class WaitFailed(AssertionError):
    pass


def crowd():
    """How many want each processor, 1 to 6: on a machine that others use too, a second is less than a second."""
    try:
        return min(6.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
    except OSError:
        return 1.0


def patient(seconds):
    """A deadline, stretched for slow builds and busy machines."""
    return seconds * SLOW * (2.5 if SANITIZED else 1) * crowd()


def wait_until(condition, deadline_s, what="condition", logs=(), look_s=0.02):
    """Calls condition() until it returns something true and returns that.

    logs: objects with tail(); they are shown when the deadline passes.  A condition may raise OSError
    or database errors while a server is away: list them in its own body, not here.
    """
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - began
        if waited > patient(deadline_s):
            shown = "\n".join(f"--- {log.name}\n{log.tail()}" for log in logs)
            raise WaitFailed(f"waited {waited:.0f} s in vain for {what}\n{shown}")
        time.sleep(look_s)


def tail_of(path, lines=60):
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64 * 1024))
            return b"\n".join(file.read().split(b"\n")[-lines:]).decode("utf-8", "replace")
    except OSError as error:
        return f"({error})"

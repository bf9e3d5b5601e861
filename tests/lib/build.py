"""What make does with the build under test, beyond `all`."""
import fcntl
import os
import subprocess

from .daemon import BUILD
from .wire import ROOT


def make(*words):
    """One at a time: all of them write below the same build directory."""
    with open(os.path.join(BUILD, "install.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "SKIP_DEPS=1", f"BUILD={BUILD}",
                        f"MODE={os.environ.get('SPENDD_MODE', 'release')}", *words],
                       check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

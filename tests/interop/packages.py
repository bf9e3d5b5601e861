"""LiteLLM itself: virtual environments with its packages from PyPI, kept under build/interop.

Nothing is pinned but the oldest pair; the other one is the newest that installs on this Python.  Where PyPI
does not answer and an environment is not there yet, the tests that need it skip and say so; where PyPI answers
and the installation fails, they fail.  `rm -r build/interop` to have the newest again.
"""
import contextlib
import fcntl
import functools
import glob
import json
import os
import re
import subprocess

from lib.wire import ROOT

CACHE = os.path.join(ROOT, "build", "interop")
PYTHON = "/usr/bin/python3"
# What the spend path imports of the proxy, without the rest of its sixty packages (prisma: its Python side, the
# query engine is not in it); asyncpg is the stand-in's.
PATH = ("fastapi", "apscheduler", "orjson", "pyyaml", "PyJWT", "cryptography", "python-multipart", "websockets",
        "backoff", "uvicorn", "prisma", "pyzmq", "asyncpg")
WANTED = {
    "oldest": ("litellm==1.82.1", "litellm-proxy-extras==0.4.53", "redis<6", *PATH),
    "newest": ("litellm[proxy]", "litellm-proxy-extras", "redis", "prisma", "pyzmq", "asyncpg"),
}
NAMES = tuple(WANTED)
# These packages are what is tested: nothing of the tests' own environment may reach them.
CLEAN = {name: value for name, value in os.environ.items()
         if not re.match(r"(PYTHON|LITELLM|REDIS|DATABASE|OPENAI|PYTEST)", name)}


class Unreachable(Exception):
    """PyPI does not answer: not a fault of what is tested."""


class Environment:
    def __init__(self, name):
        self.name, self.dir = name, os.path.join(CACHE, name)
        self.python = os.path.join(self.dir, "bin", "python")

    @property
    def site(self):
        return glob.glob(os.path.join(self.dir, "lib", "python3*", "site-packages"))[0]

    @functools.cached_property
    def versions(self):
        text = subprocess.run([self.python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
                              env=CLEAN, capture_output=True, text=True, check=True).stdout
        return {row["name"].lower(): row["version"] for row in json.loads(text)}

    @property
    def version(self):
        return self.versions["litellm"]

    @functools.cached_property
    def migrations(self):
        """LiteLLM's own SQL, in the order in which it applies it."""
        return sorted(glob.glob(os.path.join(self.site, "litellm_proxy_extras", "migrations", "*", "migration.sql")))

    def __str__(self):
        return f"{self.name} (litellm {self.version}, extras {self.versions['litellm-proxy-extras']})"


def pip(environment, *words, timeout=600):
    return subprocess.run([environment.python, "-m", "pip", "--disable-pip-version-check", *words], env=CLEAN,
                          capture_output=True, text=True, timeout=timeout, check=False)


def reachable(environment):
    """Raises Unreachable unless the index that pip is configured for answers."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = pip(environment, "--retries", "0", "--timeout", "15", "download", "--no-deps", "--quiet",
                   "--dest", os.path.join(CACHE, "probe"), "backoff", timeout=60)
        if done.returncode == 0:
            return
        raise Unreachable(done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else "pip failed")
    raise Unreachable("no answer within a minute")


def environment(name):
    """The environment, made if it is not there.  Several test processes ask at once: one makes it."""
    made = Environment(name)
    os.makedirs(CACHE, exist_ok=True)
    stamp = os.path.join(made.dir, "installed")
    wanted = "\n".join(WANTED[name])
    with open(os.path.join(CACHE, name + ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(stamp) and open(stamp, encoding="utf-8").read() == wanted:
            return made
        done = subprocess.run([PYTHON, "-m", "venv", "--clear", made.dir], env=CLEAN, capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"python3 -m venv failed (package python3-venv?)\n{done.stdout}{done.stderr}"
        reachable(made)
        done = pip(made, "install", "--quiet", *WANTED[name])
        assert done.returncode == 0, f"pip install {WANTED[name]}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)
        return made

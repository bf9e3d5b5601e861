"""Clean roots of Debian, made by debootstrap and kept as tarballs, and a machine that systemd boots in one.

A root is a pile of layers, each of them kept in SPENDD_ROOTS (/var/tmp/spendd-roots) under a name that says
what went into it: `base` is what debootstrap makes, another is a base and some packages.  Nothing that we
build is ever in a kept one.
"""
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import processes  # noqa: E402
from lib.waiting import WaitFailed, patient, wait_until  # noqa: E402

KEPT = os.environ.get("SPENDD_ROOTS", "/var/tmp/spendd-roots")
MIRROR = os.environ.get("SPENDD_MIRROR", "http://deb.debian.org/debian")
SECURITY = "http://deb.debian.org/debian-security"
APT = ["apt-get", "-q", "-y", "--no-install-recommends"]
QUIET = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/"}


class Failed(Exception):
    pass


class NoMachine(Exception):
    """systemd cannot be booted on this system: nothing of ours is installed when it tries."""


def run(argv, what, timeout_s=600, **more):
    """Output as one text; Failed with it when the command fails or hangs."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=patient(timeout_s), **more)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{what}: not done after {timeout_s} s\n{(error.output or b'').decode(errors='replace')}") from None
    if done.returncode != 0:
        raise Failed(f"{what}: exit {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


class Root:
    """A directory with a Debian in it."""

    def __init__(self, suite, path):
        self.suite, self.path = suite, path

    def inside(self, *parts):
        return os.path.join(self.path, *parts)

    def write(self, path, text, mode=0o644):
        with open(self.inside(path), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.inside(path), mode)

    def chroot(self, argv, what, timeout_s=600, env=None):
        """Services that packages bring are not started: nothing runs in a chroot."""
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        shutil.copyfile("/etc/resolv.conf", self.inside("etc/resolv.conf"))
        subprocess.run(["mount", "--bind", "/proc", self.inside("proc")], check=True)
        try:
            return run(["chroot", self.path, *argv], what, timeout_s, env={**QUIET, **(env or {})})
        finally:
            subprocess.run(["umount", self.inside("proc")], check=True)
            os.unlink(self.inside("usr/sbin/policy-rc.d"))

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def _unpack(tar, suite, stem):
    path = tempfile.mkdtemp(prefix=f"spendd-{suite}-{stem}-", dir="/var/tmp")
    os.chmod(path, 0o755)
    run(["tar", "-C", path, "-xf", tar], f"unpacking {tar}")
    return Root(suite, path)


def _keep(root, tar):
    part = f"{tar}.{os.getpid()}"
    run(["tar", "-C", root.path, "--exclude=./proc/*", "--exclude=./var/cache/apt/archives/*.deb", "-cf", part, "."],
        f"keeping {tar}")
    os.rename(part, tar)


def _base(suite):
    tar = os.path.join(KEPT, f"{suite}.tar")
    if not os.path.exists(tar):
        root = Root(suite, tempfile.mkdtemp(prefix=f"spendd-{suite}-base-", dir="/var/tmp"))
        try:
            run(["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, root.path, MIRROR],
                f"debootstrap of {suite}", 900)
            _keep(root, tar)
        finally:
            root.remove()
    return tar


def layer(suite, stem, packages=()):
    """A fresh root with these packages in it."""
    os.makedirs(KEPT, exist_ok=True)
    if not packages:
        return _unpack(_base(suite), suite, stem)
    mark = hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()[:12]
    tar = os.path.join(KEPT, f"{suite}-{stem}-{mark}.tar")
    if os.path.exists(tar):
        return _unpack(tar, suite, stem)
    root = _unpack(_base(suite), suite, stem)
    try:
        root.write("etc/apt/sources.list", f"deb {MIRROR} {suite} main\ndeb {MIRROR} {suite}-updates main\n"
                   f"deb {SECURITY} {suite}-security main\n")
        root.chroot(["apt-get", "-q", "update"], f"apt-get update of {suite}")
        root.chroot([*APT, "install", *packages], f"packages for {suite}-{stem}", 900)
        _keep(root, tar)
    except BaseException:
        root.remove()
        raise
    return root


# --- a machine -----------------------------------------------------------------------------------------
class Machine:
    """systemd as PID 1 of a root, with a network of its own (lo alone)."""

    def __init__(self, root):
        self.root, self.nspawn, self.leader, self.name = root, None, 0, f"machine {root.suite}"
        self.log = root.path + ".log"

    def boot(self):
        try:
            return self._boot()
        except (Failed, WaitFailed) as why:
            raise NoMachine(str(why)) from None

    def _boot(self):
        # The hierarchy: a systemd of 256 and later takes nothing but cgroup2.
        with open(self.log, "wb") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network", "--console=pipe",
                 "-D", self.root.path, "-b", "systemd.log_target=journal"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        self.leader = wait_until(self._find, 30, "systemd to be started", [self])
        wait_until(lambda: self.ask("systemctl", "is-system-running").strip() in ("running", "degraded"), 90,
                   "the machine to be up", [self], look_s=0.2)
        return self

    def _find(self):
        """The process that is PID 1 in there."""
        if self.nspawn.poll() is not None:
            raise Failed(f"systemd-nspawn left with {self.nspawn.returncode}\n{self.tail()}")
        below = [self.nspawn.pid]
        for pid in below:
            below += processes.children(pid)
            try:
                with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                    spaces = next((line.split()[1:] for line in file if line.startswith("NSpid:")), [])
                if len(spaces) > 1 and spaces[-1] == "1" and "systemd" in processes.executable(pid):
                    return pid
            except OSError:
                continue
        return 0

    def _argv(self, argv, user):
        change = ["runuser", "-u", user, "--"] if user else []
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", *change, *argv]

    def run(self, *argv, user=None, timeout_s=120):
        return run(self._argv(argv, user), " ".join(argv), timeout_s, env=QUIET)

    def ask(self, *argv, user=None):
        """Output, whatever the exit code."""
        return subprocess.run(self._argv(argv, user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60, env=QUIET).stdout

    def start(self, *argv, user=None):
        return subprocess.Popen(self._argv(argv, user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", env=QUIET)

    def journal(self, unit="spendd"):
        return self.ask("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    def tail(self, lines=60):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            console = "\n".join(file.read().splitlines()[-20:])
        return console + ("\n" + "\n".join(self.journal().splitlines()[-lines:]) if self.leader else "")

    def close(self):
        if self.nspawn is not None and self.nspawn.poll() is None:
            self.nspawn.send_signal(signal.SIGTERM)
            try:
                self.nspawn.wait(20)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        if os.path.exists(self.log):
            os.unlink(self.log)

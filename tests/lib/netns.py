"""A network of its own behind a cable that can be pulled: for links that must fall silent in the kernel.

A proxy of tests/lib/proxy.py that was made with netns= listens inside, at an address that is reached over a
pair of virtual interfaces.  pull() takes the inner one down: no FIN, no RST, no answer to anything, and the
kernel's own timers (keepalive, TCP_USER_TIMEOUT) are all that notices.  plug() puts it back: TCP goes on where
it was, if it still can.

Root only.  require() skips the test, visibly, where it cannot be had.
"""
import ctypes
import itertools
import os
import shutil
import subprocess

import pytest

CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def _ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


class NetNs:
    def __init__(self, place):
        number = next(_numbers)
        self.name = f"spendd-{os.getpid()}-{number}"
        self._outer, self._inner = f"sp{os.getpid()}o{number}", f"sp{os.getpid()}i{number}"
        # 198.18.0.0/15 is for tests of networks; four addresses of it, by our pid.
        base = (os.getpid() * 64 + number) % 32768 * 4
        self.here, self.address = (f"198.{18 + (base >> 16)}.{base >> 8 & 255}.{(base & 255) + n}" for n in (1, 2))
        place.keep(self)
        _ip("netns", "add", self.name)
        _ip("link", "add", self._outer, "type", "veth", "peer", "name", self._inner, "netns", self.name)
        _ip("addr", "add", f"{self.here}/30", "dev", self._outer)
        _ip("link", "set", self._outer, "up")
        _ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", self._inner)
        _ip("-n", self.name, "link", "set", "lo", "up")
        self.plug()

    def enter(self):
        """The calling thread's new sockets are inside from now on."""
        with open(f"/run/netns/{self.name}", "rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")

    def pull(self):
        _ip("-n", self.name, "link", "set", self._inner, "down")

    def plug(self):
        _ip("-n", self.name, "link", "set", self._inner, "up")

    def close(self):
        _ip("link", "del", self._outer, check=False)
        _ip("netns", "del", self.name, check=False)


def require():
    """Skips the test where there are no network namespaces for us."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("no ip (iproute2)")
    probe = f"spendd-probe-{os.getpid()}"
    # To enter one takes more than to make one: in a chroot the mounts of / cannot be kept apart.
    tried = [_ip("netns", "add", probe, check=False), _ip("-n", probe, "link", check=False)]
    _ip("netns", "del", probe, check=False)
    for step in tried:
        if step.returncode != 0:
            pytest.skip(f"no network namespaces here: {step.stderr.strip()}")

"""CURVE keys as an operator makes them, with spendd --curve-keys, and as a client uses them."""
import os
import re
import subprocess

import zmq

from . import daemon


def keys_in(path):
    """(public, secret or None) of a certificate file."""
    with open(path, encoding="ascii") as file:
        text = file.read()
    found = dict(re.findall(r'(public|secret)-key = "(.{40})"', text))
    return found["public"].encode(), found.get("secret", "").encode() or None


class Keys:
    """What one client needs: its own pair, and whom it talks to."""

    def __init__(self, public, secret, server):
        self.public, self.secret, self.server = public, secret, server

    def into(self, socket):
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)


class Curve:
    """A directory of keys: the server's pair, and the allowed clients."""

    def __init__(self, directory):
        self.dir = directory
        self.make()
        self.certificate, self.clients = os.path.join(directory, "server.key"), os.path.join(directory, "clients")
        self.server, _ = keys_in(os.path.join(directory, "server.pub"))

    def make(self, *name):
        return subprocess.run([os.path.join(daemon.BUILD, "bin/spendd"), "--curve-keys", self.dir, *name],
                              capture_output=True, text=True, check=True)

    def file(self, name):
        return os.path.join(self.clients, f"{name}.pub")

    def client(self, name):
        """A new client that is allowed."""
        self.make(name)
        return Keys(*keys_in(os.path.join(self.dir, f"{name}.key")), self.server)

    def stranger(self, server=None):
        return Keys(*zmq.curve_keypair(), server or self.server)

"""A service manager's ear: the socket of NOTIFY_SOCKET, and what came in, one datagram after the other."""
import os
import socket

from .waiting import wait_until


class Manager:
    """path: a directory for the socket, or None for an abstract name."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard = []
        if path is None:
            self.socket.bind(b"\0spendd-test-%d-%d" % (os.getpid(), id(self)))
            self.name = "@" + self.socket.getsockname()[1:].decode()
        else:
            self.name = os.path.join(path, "notify")
            self.socket.bind(self.name)
        self.socket.setblocking(False)

    @property
    def environment(self):
        return {"NOTIFY_SOCKET": self.name}

    def listen(self):
        """Every datagram so far, each as {name: value}."""
        while True:
            try:
                text = self.socket.recv(65536).decode()
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in text.splitlines() if line))

    def values(self, name):
        return [message[name] for message in self.listen() if name in message]

    def wait_for(self, name, what=lambda value: True, deadline_s=20, logs=(), after=0):
        """The first value of that name, from the `after`th datagram on, for which what(value) is true."""
        def found():
            return [message[name] for message in self.listen()[after:] if name in message and what(message[name])]
        return wait_until(found, deadline_s, f"{name} at the manager", logs)[0]

    def close(self):
        self.socket.close()
        if not self.name.startswith("@"):
            os.unlink(self.name)

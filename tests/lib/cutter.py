"""A man in the middle of PostgreSQL's protocol: he cuts connections around a COMMIT.

He stands on a Unix socket of his own and passes everything on.  Armed, he acts once, on the next simple
query that is exactly COMMIT:

    before   the server never sees it; both sides are cut: nothing was committed
    after    the server has answered it; the client never sees the answer: it was committed
    hold     as after, but the client's side stays open and silent: its own deadline must end it
"""
import os
import select
import socket
import threading

COMMIT = b"Q" + (11).to_bytes(4, "big") + b"COMMIT\0"


class Cutter:
    name = "cutter"

    def __init__(self, directory, postgres):
        self.target = os.path.join(postgres.dir, ".s.PGSQL.5432")
        self.dir = directory
        self.armed, self.acted = None, 0
        self._held = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(directory, ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database="postgres", user="spendd"):
        return f"postgresql:///{database}?host={self.dir}&user={user}"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.target)
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client, server):
        try:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 18)
                    if not data:
                        return
                    if ready is client and self.armed and data.endswith(COMMIT):
                        self._act(client, server, data)
                        return
                    (server if ready is client else client).sendall(data)
        except OSError:
            pass
        finally:
            server.close()
            if client not in self._held:
                client.close()

    def _act(self, client, server, data):
        how, self.armed = self.armed, None
        if how != "before":
            server.sendall(data)
            answer = b""
            while b"COMMIT\0" not in answer:
                answer += server.recv(65536) or b"COMMIT\0"
        if how == "hold":
            self._held.append(client)
        self.acted += 1

    def tail(self):
        return f"acted {self.acted} times, armed: {self.armed}"

    def close(self):
        self._listener.close()
        for client in self._held:
            client.close()

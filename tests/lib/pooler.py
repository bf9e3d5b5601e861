"""PgBouncer in transaction mode before a PostgreSQL of ours: the pooler that most managed databases put there."""
import os
import signal

import psycopg2

from .servers import Server, _postgres_user, free_tcp_port
from .waiting import wait_until

CONFIG = """[databases]
* = host={host} port={port} user=spendd
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir = {dir}
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = {clients}
server_lifetime = 5
server_idle_timeout = 5
query_wait_timeout = 5
server_login_retry = 1
admin_users = spendd
pidfile =
logfile =
"""


class Pooler(Server):
    def __init__(self, place, postgres, pool=3, clients=50):
        self.dir = place.sub("b")
        super().__init__("pgbouncer", os.path.join(self.dir, "log"))
        self.port, self.config = free_tcp_port(), os.path.join(self.dir, "ini")
        with open(self.config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(host=postgres.dir, port=postgres.port, listen=self.port, dir=self.dir, pool=pool,
                                     clients=clients))
        user = _postgres_user()
        if user:
            os.chown(self.dir, user["user"], user["group"])
        self._user = user
        place.keep(self)

    def url(self, database="postgres", user="spendd"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?pgbouncer=true"

    def start(self):
        self.spawn(["pgbouncer", self.config], **self._user)
        wait_until(self.answers, 20, "PgBouncer to answer", [self])
        return self

    def _admin(self, text):
        connection = psycopg2.connect(f"postgresql://spendd@127.0.0.1:{self.port}/pgbouncer", connect_timeout=3)
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def answers(self):
        try:
            return bool(self._admin("show version"))
        except psycopg2.Error:
            return False

    def order(self, text):
        return self._admin(text)

    def kill(self):
        self.end(signal.SIGKILL)

    def close(self):
        self.kill()

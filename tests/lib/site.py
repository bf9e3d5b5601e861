"""A site whose database is in trouble: an instance, a producer that never stops, and what an operator looks at."""
import os

from . import conservation
from .daemon import WORKERS
from .events import Generator, batches
from .producer import Producer
from .waiting import wait_until

SEED = 2104
BEFORE = ("aggregator", "redis_writer", "health_checker", "control")  # ready while the gate is closed


class Base:
    """One database of a server, as conservation asks for it."""

    def __init__(self, server, database):
        self.server, self.database = server, database

    def connect(self, **more):
        return self.server.connect(self.database, **more)

    def one(self, sql, args=None):
        return self.server.one(sql, args, database=self.database)


class Site:
    """An instance on a database, a producer that never stops, and what an operator looks at."""

    def __init__(self, stack, books=None, ready=WORKERS, **settings):
        self.stack, self.books = stack, books or stack.postgres
        self.instance = stack.spendd(**settings).start(ready=ready)
        self.producer = Producer(self.instance.ingest, batches(Generator(SEED).events(10**9), 4), window=12, resend_s=2.0,
                                 rate=60).start()

    @property
    def logs(self):
        return [self.producer, *self.stack.logs]

    def acknowledges(self, messages=15):
        """Ingest goes on, whatever PostgreSQL says."""
        target = self.producer.outcome.messages + messages
        wait_until(lambda: self.producer.outcome.messages >= target, 30, "ingest to go on", self.logs)

    def flushes(self, more=3):
        """Commits, of whichever instance holds the lock."""
        def commits():
            return sum(instance.metric("flushes_total") or 0 for instance in self.stack.instances if instance.running())

        before = commits()
        wait_until(lambda: commits() >= before + more, 30, "flushes", self.logs)

    def metric(self, name, at_least=1, deadline_s=30):
        wait_until(lambda: (self.instance.metric(name) or 0) >= at_least, deadline_s, f"{name} to be {at_least}", self.logs)

    def gate(self):
        status = self.instance.status(2)
        return status and status["gate"]["database"]

    def closed(self, *words, deadline_s=30):
        """The gate is closed and says why in these words."""
        def shut():
            gate = self.gate()
            return gate and not gate["open"] and all(word in gate["why"] for word in words)

        wait_until(shut, deadline_s, f"the gate to be closed for {words}", self.logs)

    def opened(self, deadline_s=30):
        wait_until(lambda: (self.gate() or {}).get("open"), deadline_s, "the gate to be open", self.logs)

    def says(self, text, deadline_s=30):
        wait_until(lambda: text in self.instance.log_text(), deadline_s, f"the log to say {text}", self.logs)

    def word(self):
        """What the flusher says of itself."""
        status = self.instance.status(2)
        return next((row["status"] for row in (status or {}).get("workers", ()) if row["name"] == "db_flusher"), "")

    def finish(self):
        self.producer.finish_source()
        self.producer.wait(40, self.logs)
        return conservation.assert_conserved(self.books, self.producer.outcome, logs=self.logs, show=False)


def secret(place, text):
    """A file that database.url names: written whole, then renamed into place."""
    path = os.path.join(place.sub("u"), "url")
    write_secret(path, text)
    return path


def write_secret(path, text):
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text + "\n")
    os.rename(path + ".new", path)


def make_role(server, name="app", more="login password 'first'"):
    server.query(f"create role {name} {more}")
    server.query(f"grant create, temporary on database postgres to {name}")

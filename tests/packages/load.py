"""Runs inside a machine: a gateway that sends, and the conservation check.

  load.py send FILE COUNT SEED   sends COUNT events, or as many as it takes until FILE.stop is there; tells
                                 FILE.progress how many are acknowledged, and leaves all of it in FILE
  load.py examine FILE...        waits until PostgreSQL has what those acknowledged, and examines it
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import psycopg2  # noqa: E402

from lib import conservation  # noqa: E402
from lib.events import Generator, batches  # noqa: E402
from lib.producer import Producer  # noqa: E402
from lib.waiting import wait_until  # noqa: E402


class Database:
    """As conservation.py wants it: connect, one, query."""

    def connect(self, **options):
        connection = psycopg2.connect("dbname=spendd", **options)
        connection.autocommit = True
        return connection

    def query(self, sql, values=()):
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall()
        finally:
            connection.close()

    def one(self, sql, values=()):
        return self.query(sql, values)[0][0]


def write(path, value):
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(path + ".part", path)


def send(path, count, seed):
    producer = Producer("ipc:///run/spendd/ingest.sock", batches(Generator(seed, f"load{seed}").events(count), 20), window=8,
                        resend_s=1.0, rate=20).start()

    def over():
        write(path + ".progress", len(producer.outcome.acked))
        if os.path.exists(path + ".stop"):
            producer.finish_source()
        return producer.done()

    wait_until(over, 600, "every event to be acknowledged", [producer], look_s=0.1)
    outcome = producer.wait(1)
    write(path, {"sent": outcome.sent, "acked": sorted(outcome.acked), "refused": outcome.refused})
    return 0 if len(outcome.acked) == len(outcome.sent) else 1


def examine(paths):
    sent, acked = {}, set()
    for path in paths:
        with open(path, encoding="utf-8") as file:
            part = json.load(file)
        sent.update(part["sent"])
        acked.update(part["acked"])
    conservation.assert_conserved(Database(), None, 120, sent=sent, acked=acked)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "send":
        sys.exit(send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    sys.exit(examine(sys.argv[2:]))

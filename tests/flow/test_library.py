"""The library looks at itself: a conservation check that cannot fail proves nothing.

Needs PostgreSQL and Redis, no daemon.  The tables are made here by hand, filled with what a correct
flush would have written, and then broken one row at a time.
"""
import json
import shutil
import subprocess
from decimal import Decimal

import pytest
from psycopg2.extras import execute_values

from lib import conservation, events, wire
from lib.conservation import COUNTERS, DIMENSIONS, Expected, day_of, examine, money
from lib.producer import event_id_of, payload_of

TABLES = f"""
create schema spendd;
create table spendd.spend_log(day date, event_id text, spend numeric, epoch uuid, seq bigint, n int);
create table spendd.dead_letter(event_id bytea, class text, reason text);
create table spendd.spend(entity_type text, entity_id text, spend numeric, tokens bigint, requests bigint);
create table spendd.spend_daily(date date, entity_type text, entity_id text, api_key text,
  {", ".join(name + " text" for name in DIMENSIONS)}, spend numeric, {", ".join(name + " bigint" for name in COUNTERS[1:])});
create table spendd.ledger(epoch uuid, shard int, applied int8multirange, version bigint);
"""
EPOCH = "0190a000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def postgres(place):
    server = place.postgres().start()
    yield server
    server.stop()


@pytest.fixture
def counted(postgres):
    """300 events, and a database that has exactly them."""
    sent = {event_id_of(event): event for event in events.Generator(7, "lib").events(300)}
    connection = postgres.connect()
    cursor = connection.cursor()
    cursor.execute("drop schema if exists spendd cascade;" + TABLES)
    execute_values(cursor, "insert into spendd.spend_log values %s",
                   [(day_of(event), event_id, money(event["spend"]), EPOCH, 1 + n // 50, n % 50)
                    for n, (event_id, event) in enumerate(sent.items())], page_size=1000)
    expected = Expected(sent, {event_id: day_of(event) for event_id, event in sent.items()})
    execute_values(cursor, "insert into spendd.spend values %s",
                   [(*key, *row) for key, row in expected.spend.items()], page_size=5000)
    execute_values(cursor, "insert into spendd.spend_daily values %s",
                   [(*key, *row) for key, row in expected.daily.items()], page_size=5000)
    cursor.execute("insert into spendd.ledger values (%s, 0, '{[1,7)}', 6)", (EPOCH,))
    connection.close()
    return sent


def test_a_true_state_passes(postgres, counted):
    report = examine(postgres, counted, counted)
    assert report.ok, report.table()
    assert report.figures["counted"] == 300 and report.figures["batches applied"] == 6


BREAKS = {
    "a log row is missing": "delete from spendd.spend_log where n = 3 and seq = 2",
    "a log row is there twice": "insert into spendd.spend_log select day, event_id, spend, epoch, 6, 77 from spendd.spend_log where n = 3 and seq = 2",
    "a log row has the wrong day": "update spendd.spend_log set day = day - 1 where n = 0 and seq = 1",
    "a log row has the wrong money": "update spendd.spend_log set spend = spend + 1e-12 where n = 0 and seq = 1",
    "an entity has a picodollar too much": "update spendd.spend set spend = spend + 1e-12 where entity_id = 'team-00'",
    "an entity has a request too much": "update spendd.spend set requests = requests + 1 where entity_id = 'team-00'",
    "an entity has a token too few": "update spendd.spend set tokens = tokens - 1 where entity_id = 'team-00'",
    "an entity is missing": "delete from spendd.spend where entity_id = 'team-00'",
    "an entity is nobody's": "insert into spendd.spend values ('team', 'nobody', 0, 0, 0)",
    "a day has a picodollar too little": "update spendd.spend_daily set spend = spend - 1e-12 where ctid = (select min(ctid) from spendd.spend_daily)",
    "a day's row moved to another model": "update spendd.spend_daily set model = model || 'x' where ctid = (select min(ctid) from spendd.spend_daily)",
    "a failure counts as a success": "update spendd.spend_daily set successful_requests = requests, failed_requests = 0 where failed_requests > 0",
    "the ledger does not have the batch": "update spendd.ledger set applied = '{[1,3),[4,7)}'",
    "the ledger does not have the epoch": "delete from spendd.ledger",
    "two events have one origin": "update spendd.spend_log set n = 0 where seq = 3 and n = 1",
}


@pytest.mark.parametrize("how", BREAKS, ids=[name.replace(" ", "-") for name in BREAKS])
def test_each_break_is_found(postgres, counted, how):
    postgres.query(BREAKS[how])
    assert not examine(postgres, counted, counted).ok


def test_what_was_not_acknowledged_counts_only_if_allowed(postgres, counted):
    acked = set(list(counted)[1:])
    assert not examine(postgres, counted, acked).ok
    assert examine(postgres, counted, acked, strict=False).ok
    unsent = {key: counted[key] for key in acked}
    assert not examine(postgres, unsent, acked, strict=False).ok


def test_an_expected_dead_letter_must_be_there(postgres, counted):
    sent = dict(counted, bad=dict(next(iter(counted.values())), request_id="bad"))
    assert not examine(postgres, sent, sent, dead={"bad"}).ok
    postgres.query("insert into spendd.dead_letter values ('bad', 'conflict', 'other spend')")
    assert examine(postgres, sent, sent, dead={"bad"}).ok


@pytest.mark.parametrize("text, exact", [
    ("0.1", "0.1"), ("1E-7", "0.0000001"), ("-0", "0"), ("1e-12", "0.000000000001"),
    ("0.0000000000005", "0"), ("0.0000000000015", "0.000000000002"), ("0.0000000000025", "0.000000000002"),
    ("-0.0000000000015", "-0.000000000002"), ("0.12345678901234567", "0.123456789012"),
    ("999999.999999999999", "999999.999999999999"), ("12345678901234567e-16", "1.234567890123")])
def test_money_of_the_check_itself(text, exact):
    assert money(text) == Decimal(exact)


def test_events_are_the_same_for_the_same_seed():
    import datetime

    until = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
    first, second = ([*events.Generator(5, until=until).events(50)] for _ in range(2))
    assert first == second
    assert first != [*events.Generator(6, until=until).events(50)]
    assert len({day_of(event) for event in events.Generator(5, until=until, days=3).events(500)}) == 3


def test_a_number_on_the_wire_is_the_text_of_the_event():
    sent = [*events.Generator(9).events(40)]
    parsed = json.loads(payload_of(sent), parse_float=Decimal, parse_int=Decimal)
    assert [Decimal(event["spend"]) for event in parsed] == [Decimal(event["spend"]) for event in sent]
    assert any(not isinstance(event["spend"], str) for event in parsed)
    assert any(isinstance(event["spend"], str) for event in parsed)


def test_crc32c_of_rfc_3720():
    assert wire.crc32c(bytes(32)) == 0x8A9136AA
    assert wire.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert wire.crc32c(bytes(range(32))) == 0x46DD794E
    assert wire.crc32c(b"123456789") == 0xE3069283


def test_records_are_what_the_decoder_of_the_daemon_reads(tmp_path):
    """Compiles the real reader against the Python writer: envelope, records, every field."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    program = tmp_path / "read.c"
    program.write_text(r"""
#include "common/batch/batch.h"
#include "common/event/event.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    unsigned char *data = malloc(1 << 22);
    FILE *file = fopen(argv[argc - 1], "rb");
    size_t bytes = fread(data, 1, 1 << 22, file), offset = 0, length;
    struct envelope envelope;
    struct err err = {0};
    const unsigned char *payload;
    static struct event event;

    if (envelope_read(data, bytes, &envelope, &err) != ENVELOPE_OK)
        return 2;
    printf("%" PRIu64 " %u\n", envelope.identity.seq, envelope.records);
    while (record_next(envelope.body, envelope.body_bytes, &offset, &payload, &length) == RECORD_OK) {
        if (payload[0] != RECORD_EVENT || event_decode(&event, payload + 1, length - 1, &err) != 0)
            return 3;
        printf("%.*s %" PRId64 " %" PRId64 " %u %.*s\n", (int)event_key(&event).length, event_key(&event).data,
               event.spend, event.prompt_tokens, event.tags.count, (int)event.team_id.length, event.team_id.data);
    }
    return 0;
}
""")
    sent = [*events.Generator(11, "wire").events(60)]
    (tmp_path / "envelope").write_bytes(wire.envelope(wire.uuid7(), 42, [wire.event_record(event) for event in sent]))
    sources = ["common/batch/crc32c.c", "common/batch/envelope.c", "common/batch/record.c", "common/event/codec.c",
               "common/event/event.c", "common/base/utf8.c", "common/base/clock.c", "common/base/err.c"]
    subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-I.", "-o", tmp_path / "read", program, *sources],
                   cwd=wire.ROOT, check=True)
    shown = subprocess.run([tmp_path / "read", tmp_path / "envelope"], capture_output=True, text=True, check=True)
    lines = shown.stdout.splitlines()
    assert lines[0] == "42 60"
    assert lines[1:] == [f"{event['request_id']} {int(money(event['spend']).scaleb(12))} {event['prompt_tokens']}"
                         f" {len(event.get('tags', ()))} {event.get('team_id', '')}" for event in sent]


@pytest.fixture
def queue(place):
    server = place.redis().start()
    yield wire.Queue(server.client())
    server.stop()


def test_scripts_speak_the_contract(queue):
    epoch = wire.uuid7()
    one, two = (wire.envelope(epoch, seq, [wire.dead_record("no", b"x")]) for seq in (1, 2))
    generation = queue.look("f0", epoch)[1].decode()
    assert queue.push("old", "f1", one)[0] == b"generation"
    assert queue.push(generation, "f1", one) == [b"ok", generation.encode(), 1, len(one), 0]
    assert queue.push(generation, "f1", two, most=len(one) + 1)[0] == b"full"
    assert queue.push(generation, "f1", two)[2] == 2
    assert queue.peek("f2")[5:] == [one, two]
    assert queue.publish("old", [], [f"{epoch} 1"])[0] == b"generation"
    assert queue.publish(generation, [(epoch, 1, "{[2,3)}")], [f"{epoch} 2"]) == [b"ok", 0]  # 2 is not at the head
    assert queue.publish(generation, [(epoch, 2, "{[1,3)}")], [f"{epoch} 1", f"{epoch} 2"]) == [b"ok", 2]
    assert queue.publish(generation, [(epoch, 1, "{[1,2)}")], []) == [b"ok", 0]
    assert queue.look("f3", epoch)[-1] == b"2 {[1,3)}"  # a lower version replaces nothing
    queue.client.delete(queue.key("meta"))
    assert queue.look("f4", epoch)[1] == b"f4"


def test_the_list_alone_lost_is_noticed(queue):
    generation = queue.look("f0")[1].decode()
    queue.push(generation, "f1", b"spendd1 x")
    queue.client.delete(queue.key("queue"))
    assert queue.look("f2")[1] == b"f2"


def test_a_light_pusher_pushes_again_after_a_flush(place):
    server = place.redis().start()
    sent = [*events.Generator(3, "light").events(40)]
    pusher = wire.LightPusher(server.client(), events.batches(sent, 10)).start()
    queue = wire.Queue(server.client())

    def length():
        return queue.client.llen(queue.key("queue"))

    conservation.wait_until(lambda: length() == 4, 10, "four batches")
    queue.client.flushall()
    conservation.wait_until(lambda: length() == 4, 10, "four batches again")
    generation = queue.look("f")[1].decode()
    queue.publish(generation, [(pusher.epoch, 4, "{[1,5)}")], [f"{pusher.epoch} {seq}" for seq in range(1, 5)])
    conservation.wait_until(pusher.done, 10, "the pusher to see it", [])
    assert pusher.pushes == 8 and length() == 0
    server.stop()

"""Malformed and hostile input: each is answered with index and reason, its neighbours count, and the
daemon is there for the next one.  One instance takes the whole table, in order, and at the end all that
it accepted is compared with PostgreSQL.
"""
import json
import socket
import time

import pytest

from lib import conservation
from lib.daemon import WORKERS, Stack
from lib.events import Generator
from lib.producer import Asker, Outcome, push_unacked
from lib.waiting import wait_until

GENERATOR = Generator(13, "bad")


class Table:
    """The instance, and what was accepted."""

    def __init__(self, place):
        self.stack = Stack(place).start()
        self.instance = self.stack.spendd().start(ready=WORKERS)
        conservation.wait_schema(self.stack.postgres, self.stack.logs)
        self.outcome = Outcome()
        self.asker = Asker(self.instance.ingest)

    def good(self, **more):
        return dict(GENERATOR.one(), **more)

    def accept(self, *events):
        self.outcome.note_sent(events)
        self.outcome.acked.update(event["request_id"] for event in events)

    def still_there(self):
        event = self.good()
        kind, answer = self.asker.events([event])
        assert (kind, answer and answer["accepted"]) == ("A1", 1), f"{kind} {answer}\n{self.instance.tail()}"
        self.accept(event)


@pytest.fixture(scope="module")
def table(place):
    made = Table(place)
    yield made
    made.asker.close()
    made.stack.close()


@pytest.fixture
def stranger(table):
    with Asker(table.instance.ingest) as asker:
        yield asker


# --- events that are refused alone: name -> (text of the object, a word of the reason) --------------------
def without(name):
    return json.dumps({key: value for key, value in GENERATOR.one().items() if key != name})


def changed(**fields):
    return json.dumps(dict(GENERATOR.one(), **fields))


def raw_spend(text):
    return without("spend")[:-1] + f',"spend":{text}}}'


def nested(levels):
    return without("metadata")[:-1] + ',"metadata":' + '{"a":' * levels + "1" + "}" * levels + "}"


FAR = "2999-01-01T00:00:00Z"
BAD_EVENTS = {
    "no request_id": (without("request_id"), "request_id"),
    "empty request_id": (changed(request_id=""), "request_id"),
    "null request_id": (changed(request_id=None), "request_id"),
    "number as request_id": (changed(request_id=17), "request_id"),
    "request_id of 257 bytes": (changed(request_id="r" * 257), "request_id"),
    "event_id of 257 bytes": (changed(event_id="e" * 257), "event_id"),
    "NUL in an id": (changed(request_id="a\0b"), "request_id"),
    "NUL in a label": (changed(team_id="a\0b"), "team_id"),
    "NUL in a tag": (changed(tags=["a\0b"]), "tags"),
    "NUL in metadata": (changed(metadata={"a": "x\0"}), "metadata"),
    "no spend": (without("spend"), "spend"),
    "null spend": (changed(spend=None), "spend"),
    "empty spend": (changed(spend=""), "spend"),
    "spend is NaN text": (changed(spend="NaN"), "spend"),
    "spend is Infinity text": (changed(spend="Infinity"), "spend"),
    "spend is -inf text": (changed(spend="-inf"), "spend"),
    "spend with a comma": (changed(spend="1,5"), "spend"),
    "spend with a space": (changed(spend=" 1"), "spend"),
    "spend with a unit": (changed(spend="1 USD"), "spend"),
    "spend in hex": (changed(spend="0x10"), "spend"),
    "spend of a million": (raw_spend("1000000"), "spend"),
    "spend of minus a million": (raw_spend("-1000000"), "spend"),
    "spend 1e400": (raw_spend("1e400"), "spend"),
    "spend 1e999999999999": (raw_spend("1e999999999999"), "spend"),
    "spend is a list": (raw_spend("[1]"), "spend"),
    "spend is true": (raw_spend("true"), "spend"),
    "spend twice": (raw_spend('1,"spend":2'), "spend"),
    "team twice": (without("team_id")[:-1] + ',"team_id":"a","team_id":"b"}', "team_id"),
    "a key twice within metadata": (without("metadata")[:-1] + ',"metadata":{"k":1,"k":2}}', ""),
    "negative tokens": (changed(prompt_tokens=-1), "prompt_tokens"),
    "tokens 1.5": (changed(completion_tokens=1.5), "completion_tokens"),
    "tokens beyond 10^12": (changed(prompt_tokens=10**12 + 1), "prompt_tokens"),
    "tokens beyond 64 bits": (changed(prompt_tokens=10**30), "prompt_tokens"),
    "tokens as text": (changed(prompt_tokens="12"), "prompt_tokens"),
    "status unknown": (changed(status="maybe"), "status"),
    "start_time is prose": (changed(start_time="yesterday"), "start_time"),
    "start_time on 30 February": (changed(start_time="2026-02-30T00:00:00Z"), "start_time"),
    "start_time far ahead": (changed(start_time=FAR), "start_time"),
    "start_time 60 hours ahead": (changed(start_time=time.time() + 60 * 3600), "start_time"),
    "start_time long ago": (changed(start_time="1999-01-01T00:00:00Z"), "start_time"),
    "start_time 1e300": (without("start_time")[:-1] + ',"start_time":1e300}', "start_time"),
    "tags is a string": (changed(tags="a"), "tags"),
    "tags with a number": (changed(tags=["a", 1]), "tags"),
    "tags with a list": (changed(tags=[["a"]]), "tags"),
    "65 tags": (changed(tags=[f"t{n}" for n in range(65)]), "tags"),
    "team_id is an object": (changed(team_id={"a": 1}), "team_id"),
    "metadata is a list": (changed(metadata=[1]), "metadata"),
    "nested 17 deep": (nested(17), ""),
    "nested 50 deep": (nested(50), ""),
    "nested 2000 deep": (nested(2000), ""),
    "larger than 64 KiB": (changed(metadata={"a": "x" * 66000}), ""),
    "a number": ("17", "object"),
    "a string": ('"event"', "object"),
    "null": ("null", "object"),
    "a list": ("[]", "object"),
    "an empty object": ("{}", ""),
}


@pytest.mark.parametrize("how", BAD_EVENTS, ids=[name.replace(" ", "-") for name in BAD_EVENTS])
def test_a_bad_event_is_refused_alone(table, how):
    text, word = BAD_EVENTS[how]
    before, after = table.good(), table.good()
    payload = f"[{json.dumps(before)},{text},{json.dumps(after)}]".encode()
    kind, answer = table.asker.payload(payload)
    assert kind == "A1", f"{kind} {answer}\n{table.instance.tail()}"
    table.accept(before, after)
    assert answer["accepted"] == 2 and answer["duplicate"] == 0
    assert [row["index"] for row in answer["rejected"]] == [1]
    assert answer["rejected"][0]["error"] and word in answer["rejected"][0]["error"]


# --- messages that are refused whole ----------------------------------------------------------------------
GOOD = json.dumps(GENERATOR.one()).encode()
BAD_MESSAGES = {
    "empty": b"",
    "blanks": b" \n\t ",
    "no JSON": b"hello",
    "NUL bytes": bytes(100),
    "an open array": b"[" + GOOD,
    "an open object": GOOD[:-1],
    "a comma too many": b"[" + GOOD + b",]",
    "two arrays": b"[" + GOOD + b"][" + GOOD + b"]",
    "NaN literal": b"[" + GOOD[:-1] + b',"spend":NaN}]',
    "invalid UTF-8": b"[" + GOOD[:-1] + b',"team_id":"\xff\xfe"}]',
    "overlong UTF-8": b"[" + GOOD[:-1] + b',"session_id2":"\xc0\xaf"}]',
    "an encoded surrogate": b"[" + GOOD[:-1] + b',"session_id2":"\xed\xa0\x80"}]',
    "a number": b"17",
    "a string": b'"x"',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(60),
    "100,000 brackets": b"[" * 100000,
    "a comment": b"/* x */" + GOOD,
    "a control character in a string": b'[{"request_id":"a\x01b","spend":1}]',
    "an unpaired surrogate escape": b'[{"request_id":"x\\ud800","spend":1}]',
    "more than 4 MiB": b"[" + b" " * (4 * 1024 * 1024) + GOOD + b"]",
}


@pytest.mark.parametrize("how", BAD_MESSAGES, ids=[name.replace(" ", "-") for name in BAD_MESSAGES])
def test_a_bad_message_is_refused_for_good(table, how):
    kind, answer = table.asker.payload(BAD_MESSAGES[how])
    if kind == "A1":  # refused event by event is as good, when nothing of it counts
        assert answer["accepted"] == 0 and answer["rejected"], answer
    else:
        assert kind == "N1" and answer["error"] and "retry_after_ms" not in answer, f"{answer}\n{table.instance.tail()}"
    table.still_there()


def test_a_bad_line_is_refused_alone(table):
    one, two = table.good(), table.good()
    lines = [json.dumps(one), '{"request_id": "x", ', json.dumps(two), "", '{"request_id":"y"}']
    kind, answer = table.asker.payload("\n".join(lines).encode())
    assert kind == "A1" and answer["accepted"] == 2, answer
    assert [row["index"] for row in answer["rejected"]] == [1, 3], answer
    table.accept(one, two)


def test_an_empty_array_is_nothing(table):
    kind, answer = table.asker.payload(b"[]")
    assert kind == "A1" and (answer["accepted"], answer["duplicate"], answer["rejected"]) == (0, 0, [])


# --- what is unusual and yet right ------------------------------------------------------------------------
def test_unusual_events_are_accepted(table):
    events = [
        table.good(tags=[f"t{n}" for n in range(64)]), table.good(tags=["a", "a", "", "b"]),
        table.good(team_id=None, user_id="", api_key=None), table.good(request_id="r" * 256),
        table.good(prompt_tokens=10**12), table.good(status="success", unknown_field={"a": [1, {"b": None}]}),
        table.good(start_time=int(time.time()) - 3600), table.good(start_time=time.time() + 3600),
        table.good(metadata={}), table.good(cache_hit=True), table.good(end_time=None),
    ]
    for event in events:
        event["request_id"] += "" if len(event["request_id"]) == 256 else "-u"
    kind, answer = table.asker.events(events)
    assert kind == "A1" and not answer["rejected"] and answer["accepted"] == len(events), answer
    table.accept(*events)


MONEY = ["0.1", "0.2", "1e-12", "0.12345678901234567", "1E-7", "-0", "0.0000000000005", "0.0000000000015",
         "0.0000000000025", "-0.0000000000015", "999999.999999999999", "-999999.999999999999", "1e5", "12345678901234567e-16",
         "0.1000000000000000055511151231257827", "5e-13", "1.5e-12", "0e0", "1e-400", "0.00000000000050000000000000000001"]


@pytest.mark.parametrize("form", ["number", "text"])
def test_money_is_exact(table, form):
    """Each figure twice for the same team: once through JSON's number, once as text."""
    events = [table.good(spend=text, team_id=f"money-{text}") for text in MONEY]
    texts = [json.dumps(event) for event in events]
    if form == "number":
        texts = [text.replace(f'"spend": "{event["spend"]}"', f'"spend": {event["spend"]}') for text, event in zip(texts, events)]
    kind, answer = table.asker.payload(("[" + ",".join(texts) + "]").encode())
    assert kind == "A1" and not answer["rejected"], answer
    table.accept(*events)


# --- frames outside the protocol --------------------------------------------------------------------------
FRAMES = {
    "the word alone": [b"E1"],
    "no payload": [b"E1", b"id"],
    "an unknown word": [b"E9", b"id", b"[]"],
    "a newer protocol": [b"E2", b"id", b"[]"],
    "lower case": [b"e1", b"id", b"[]"],
    "an empty id": [b"E1", b"", b"[]"],
    "an id of 65 bytes": [b"E1", b"x" * 65, b"[]"],
    "a frame too many": [b"E1", b"id", b"[]", b"more"],
    "nine frames in front": [b"r"] * 9 + [b"E1", b"id", b"[]"],
    "a hundred frames": [b"x"] * 100,
    "empty frames": [b""] * 5,
    "one empty frame": [b""],
    "binary": [bytes(range(256))],
}


@pytest.mark.parametrize("how", FRAMES, ids=[name.replace(" ", "-") for name in FRAMES])
def test_frames_outside_the_protocol(table, stranger, how):
    """Refused for good, or ignored: never acknowledged, never asked to come again, never fatal."""
    stranger.socket.send_multipart(FRAMES[how])
    probe = json.dumps(table.good()).encode()
    stranger.socket.send_multipart([b"E1", b"probe", b"[" + probe + b"]"])
    answers = []
    while not answers or answers[-1][-2] != b"probe":
        frames = stranger.receive(10)
        assert frames is not None, table.instance.tail()
        answers.append(frames)
    assert answers[-1][-3] == b"A1"
    table.accept(json.loads(probe))
    for frames in answers[:-1]:
        assert frames[-3] == b"N1" and "retry_after_ms" not in json.loads(frames[-1])


def test_a_huge_frame_in_front_is_echoed(table, stranger):
    frames = stranger.raw([b"x" * 100000, b"E1", b"id", b"[]"])
    assert frames[:3] == [b"x" * 100000, b"A1", b"id"]
    table.still_there()


BYTES = {
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "zeros": bytes(4096),
    "a greeting and nonsense": b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48) + b"\xff" * 1000,
    "a frame of 2^63 bytes": b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48) + b"\x02\x7f" + b"\xff" * 7,
    "nothing at all": b"",
}


@pytest.mark.parametrize("how", BYTES, ids=[name.replace(" ", "-") for name in BYTES])
def test_bytes_that_are_not_zeromq(table, how):
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(table.instance.ingest[len("ipc://"):])
    try:
        raw.sendall(BYTES[how])
    except BrokenPipeError:
        pass
    table.still_there()
    raw.close()


def test_a_flood_of_small_frames_is_survived(table, stranger):
    """Endless multipart: memory stays within the worker's limit and service is back within seconds."""
    for _ in range(20):
        stranger.socket.send_multipart([b"x"] * 20000)
    table.still_there()


def test_unacked_nonsense_becomes_dead_letters(table):
    before = table.stack.postgres.one("select count(*) from spendd.dead_letter")
    refused = [b'[{"request_id":"u1","spend":"NaN"}]', b'[{"request_id":"u2"}]']
    push_unacked(table.instance.unacked, refused)
    wait_until(lambda: table.stack.postgres.one("select count(*) from spendd.dead_letter") >= before + 2, 20,
               "two dead letters", table.stack.logs)


def test_in_the_end_the_books_are_right(table):
    """Last: everything that was accepted above, and nothing else, is counted; nobody died."""
    table.still_there()
    conservation.assert_conserved(table.stack.postgres, table.outcome, logs=table.stack.logs)
    assert all(row["restarts"] == 0 for row in table.instance.status()["workers"])

"""Elements of LiteLLM's Redis lists, made by hand as its pods write them (json.dumps, ", " and ": "), what they must
add to its tables, and a stand-in for a pod: the real one is tested elsewhere (tests/interop).

Amounts are multiples of 2^-12 USD: such sums are exact in float8, so that totals are compared for equality.
"""
import collections
import json
import random
import threading
from decimal import Decimal

from . import litellm
from .waiting import wait_until

SPEND = "litellm_spend_update_buffer"
LISTS = {  # name here and in lists.def: key, whose rows
    "spend": (SPEND, None),
    "daily_user": ("litellm_daily_spend_update_buffer", "user"),
    "daily_team": ("litellm_daily_team_spend_update_buffer", "team"),
    "daily_org": ("litellm_daily_org_spend_update_buffer", "organization"),
    "daily_tag": ("litellm_daily_tag_spend_update_buffer", "tag"),
    "daily_end_user": ("litellm_daily_end_user_spend_update_buffer", "end_user"),
    "daily_agent": ("litellm_daily_agent_spend_update_buffer", "agent"),
}
WINDOW = "litellm_window_spend_update_buffer"
LOCKS = ("cronjob_lock:db_spend_update_job", "cronjob_lock:db_daily_tag_spend_update_job")
FIELDS = {  # of an entity element: category, stem of the ids
    "user_list_transactions": ("user", "u"), "end_user_list_transactions": ("end_user", "c"),
    "key_list_transactions": ("key", "k"), "team_list_transactions": ("team", "t"),
    "team_member_list_transactions": ("team_member", ""), "org_list_transactions": ("organization", "o"),
    "tag_list_transactions": ("tag", "tag é☃"), "agent_list_transactions": ("agent", "a"),
}
EMPTY = json.dumps({field: {} for field in FIELDS})
IDS = 5


def claim_key(key):
    return f"{key}:spendd:claim" if "{" in key else f"{{{key}}}:spendd:claim"


def make_tables(pg, **more):
    """LiteLLM's tables, with a row for every entity that elements name."""
    litellm.make(pg, **more)
    with pg.connect() as line, line.cursor() as cursor:
        for category, stem in FIELDS.values():
            table, keys = litellm.ENTITIES[category]
            for i in range(IDS if category != "end_user" else 0):
                ids = [f"{stem}{i}"] if category != "team_member" else [f"t::{i}", f"u::{i}"]
                names = ", ".join(f'"{key}"' for key in keys)
                cursor.execute(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(["%s"] * len(ids))})', ids)
    line.close()


class Books:
    """Makes elements, and adds up what they are worth."""

    def __init__(self, seed=1):
        self.rng = random.Random(seed)
        self.entities = collections.defaultdict(Decimal)
        self.days = {}
        self.made = 0

    def amount(self):
        return self.rng.randrange(1, 4000) / 4096

    def totals(self):
        """An entity element."""
        element = {}
        for field, (category, stem) in FIELDS.items():
            element[field] = {}
            for i in self.rng.sample(range(IDS), self.rng.randrange(1, IDS)):
                amount, key = self.amount(), f"{stem}{i}"
                ids = (key,)
                if category == "team_member":
                    key, ids = f"team_id::t::{i}::user_id::u::{i}", (f"t::{i}", f"u::{i}")
                element[field][key] = amount
                self.entities[(category, *ids)] += Decimal(amount)
        return json.dumps(element)

    def transaction(self, category, who):
        rng, worth = self.rng, [self.amount()] + [self.rng.randrange(10 ** 6) for _ in range(7)]
        row = {litellm.DAILIES[category][1]: who, "date": f"2026-11-{rng.randrange(1, 4):02}", "api_key": f"k{rng.randrange(3)}",
               "model": rng.choice(["m", None]), "model_group": rng.choice(["g", None]), "mcp_namespaced_tool_name": None,
               "custom_llm_provider": rng.choice(["openai", None]), "endpoint": rng.choice(["/chat/completions", None])}
        row.update(zip(("spend", *litellm.COUNTERS), worth))
        if category == "tag":
            row["request_id"] = f"r{rng.randrange(10 ** 9)}"
        key = (category, who, row["date"], row["api_key"], *(row[name] or "" for name in (
            "model", "custom_llm_provider", "mcp_namespaced_tool_name", "endpoint")))
        worth[0] = Decimal(worth[0])
        self.days[key] = [a + b for a, b in zip(self.days.get(key, [0] * 8), worth)]
        return f"{who}_{row['date']}_{row['api_key']}_{row['model']}_{row['custom_llm_provider']}_{row['endpoint'] or ''}", row

    def daily(self, category):
        """A daily element: half a dozen keys, each once, as in a dict."""
        element = {}
        for _ in range(self.rng.randrange(1, 7)):
            before = dict(self.days)
            key, row = self.transaction(category, f"{category[0]}_{self.rng.randrange(IDS)}")
            if key in element:
                self.days = before
            else:
                element[key] = row
        return json.dumps(element)

    def element(self, name):
        self.made += 1
        category = LISTS[name][1]
        return self.totals() if category is None else self.daily(category)

    def push(self, client, count=1, names=tuple(LISTS), namespace=""):
        """So many elements to each list, with an idle pod's empty one in between."""
        for _ in range(count):
            for name in names:
                client.rpush(namespace + LISTS[name][0], self.element(name))
            client.rpush(namespace + SPEND, EMPTY)

    def check(self, pg):
        assert litellm.stored_entities(pg) == dict(self.entities)
        assert litellm.stored_days(pg) == self.days


def left(client, namespaces=("",)):
    """What stands in the lists and their claims: (in lists, in claims)."""
    keys = [space + key for space in namespaces for key in (*(row[0] for row in LISTS.values()), WINDOW)]
    return (sum(client.llen(key) for key in keys), sum(client.exists(claim_key(key)) for key in keys))


def settled(client, flushers=(), namespaces=("",), deadline_s=30):
    wait_until(lambda: left(client, namespaces) == (0, 0), deadline_s, "empty lists, and no claim", flushers)


class Pod:
    """A LiteLLM pod's flusher, by its own protocol: lock, LPOP, write, release.  It writes by SQL of its own, and
    what it popped is written before it ends: its own losses are not what is tested here."""

    def __init__(self, client, pg, name="pod"):
        self.client, self.pg, self.value = client, pg, json.dumps(f"{name}-0000-4000-8000")
        self.flushed = 0
        self._stop = threading.Event()

    def win(self):
        """SET NX EX of the one lock, as every version does; held already counts."""
        return bool(self.client.set(LOCKS[0], self.value, nx=True, ex=60)) or self.client.get(LOCKS[0]) == self.value.encode()

    def release(self):
        if self.client.get(LOCKS[0]) == self.value.encode():
            self.client.delete(LOCKS[0])

    def flush(self, most=100):
        """One tick with the lock held."""
        line = self.pg.connect()
        line.autocommit = False
        with line, line.cursor() as cursor:
            for key, category in LISTS.values():
                for element in self.client.lpop(key, most) or ():
                    self.flushed += 1
                    (self._totals if category is None else self._daily)(cursor, category, json.loads(element))
        line.close()

    @staticmethod
    def _totals(cursor, _, element):
        for field, amounts in element.items():
            category = FIELDS[field][0]
            table, keys = litellm.ENTITIES[category]
            for key, amount in amounts.items():
                ids = [key]
                if category == "team_member":
                    ids = key[len("team_id::"):].split("::user_id::")
                if category == "end_user":
                    cursor.execute(f'INSERT INTO "{table}" (user_id) VALUES (%s) ON CONFLICT DO NOTHING', ids)
                where = " AND ".join(f'"{name}" = %s' for name in keys)
                cursor.execute(f'UPDATE "{table}" SET spend = spend + %s WHERE {where}', [amount, *ids])

    @staticmethod
    def _daily(cursor, category, element):
        table, whose = litellm.DAILIES[category]
        keys = (whose, "date", "api_key", "model", "custom_llm_provider", "mcp_namespaced_tool_name", "endpoint")
        adds = ("spend", *litellm.COUNTERS)
        for row in element.values():
            cursor.execute(
                f'INSERT INTO "{table}" AS t (id, updated_at, {", ".join(keys)}, {", ".join(adds)}) VALUES '
                f'(gen_random_uuid()::text, now(), {", ".join(["%s"] * (len(keys) + len(adds)))}) ON CONFLICT ({", ".join(keys)}) '
                f'DO UPDATE SET {", ".join(f"{name} = t.{name} + excluded.{name}" for name in adds)}',
                [*(row[name] or "" for name in keys), *(row[name] for name in adds)])

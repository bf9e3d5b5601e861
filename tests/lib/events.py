"""Realistic events, the same for the same seed.

Prices are list prices in USD per million tokens (input, cached input, output) as their providers
published them; money is Decimal from end to end.  Who spends is drawn from Zipf-like tables, so that
a few keys, teams and users are hot, as they are in life.  A trace in the format of the Azure LLM
inference traces (TIMESTAMP,ContextTokens,GeneratedTokens) can give sizes and moments instead.
"""
import bisect
import csv
import datetime
import hashlib
import itertools
import random
from decimal import Decimal

#      model, provider, input, cached input, output   (USD per 1,000,000 tokens)
PRICES = [
    ("gpt-4o", "openai", "2.50", "1.25", "10.00"),
    ("gpt-4o-mini", "openai", "0.15", "0.075", "0.60"),
    ("gpt-4.1", "openai", "2.00", "0.50", "8.00"),
    ("gpt-4.1-mini", "openai", "0.40", "0.10", "1.60"),
    ("gpt-4.1-nano", "openai", "0.10", "0.025", "0.40"),
    ("o3-mini", "openai", "1.10", "0.55", "4.40"),
    ("claude-3-5-sonnet-20241022", "anthropic", "3.00", "0.30", "15.00"),
    ("claude-3-5-haiku-20241022", "anthropic", "0.80", "0.08", "4.00"),
    ("claude-3-opus-20240229", "anthropic", "15.00", "1.50", "75.00"),
    ("gemini-1.5-pro", "vertex_ai", "1.25", "0.3125", "5.00"),
    ("gemini-2.0-flash", "vertex_ai", "0.10", "0.025", "0.40"),
    ("mistral-large-latest", "mistral", "2.00", "2.00", "6.00"),
    ("deepseek-chat", "deepseek", "0.27", "0.07", "1.10"),
    ("llama-3.1-70b-versatile", "groq", "0.59", "0.59", "0.79"),
    ("text-embedding-3-small", "openai", "0.02", "0.02", "0.00"),
]
MILLION = Decimal(1_000_000)
CALLS = ["acompletion", "acompletion", "acompletion", "aresponses", "aembedding"]
ENDPOINTS = ["/v1/chat/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"]


class Zipf:
    """Ranks 0..n-1, drawn with weight 1/(rank+1)."""

    def __init__(self, n):
        self._sums = list(itertools.accumulate(1 / (rank + 1) for rank in range(n)))

    def draw(self, rng):
        return bisect.bisect(self._sums, rng.random() * self._sums[-1])


def price(model_row, prompt, cached, completion):
    """Exact USD of one request: at most 10 fractional digits."""
    _, _, per_input, per_cached, per_output = model_row
    return (Decimal(prompt - cached) * Decimal(per_input) + Decimal(cached) * Decimal(per_cached)
            + Decimal(completion) * Decimal(per_output)) / MILLION


def plain(amount):
    """Decimal as text without exponent: what goes on the wire."""
    return format(amount, "f")


def utc_midnight(moment=None):
    moment = moment or datetime.datetime.now(datetime.timezone.utc)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


class Generator:
    """events(count) yields dicts as producers send them; ids are unique within (seed, name)."""

    def __init__(self, seed, name="e", keys=200, users=120, teams=12, organizations=4, tags=10,
                 end_users=80, agents=6, days=3, until=None):
        self.seed, self.name = seed, name
        self.rng = random.Random(f"{seed}/{name}")
        self._key, self._user, self._team = Zipf(keys), Zipf(users), Zipf(teams)
        self._organization, self._tag = Zipf(organizations), Zipf(tags)
        self._end_user, self._agent, self._model = Zipf(end_users), Zipf(agents), Zipf(len(PRICES))
        last = until or datetime.datetime.now(datetime.timezone.utc)
        self._until, self._span_s = last, days * 86400 - 1
        self._next = 0

    def _moment(self):
        # Never before the first midnight of the window, so that `days` days are touched and no more.
        first = utc_midnight(self._until) - datetime.timedelta(seconds=self._span_s - 86399)
        span = (self._until - first).total_seconds()
        return first + datetime.timedelta(microseconds=int(self.rng.random() * span * 1e6))

    def _identity(self, event):
        rng = self.rng
        key = self._key.draw(rng)
        event["api_key"] = hashlib.sha256(f"key-{key}".encode()).hexdigest()
        if rng.random() < 0.95:
            event["team_id"] = f"team-{self._team.draw(rng):02d}"
        if rng.random() < 0.9:
            event["user_id"] = f"user-{self._user.draw(rng):03d}@example.com"
        if rng.random() < 0.3:
            event["end_user"] = f"customer-{self._end_user.draw(rng)}"
        if rng.random() < 0.8:
            event["organization_id"] = f"org-{self._organization.draw(rng)}"
        if rng.random() < 0.15:
            event["agent_id"] = f"agent-{self._agent.draw(rng)}"
        if rng.random() < 0.5:
            event["tags"] = sorted({f"tag-{self._tag.draw(rng)}" for _ in range(rng.randint(1, 3))})

    def one(self, prompt=None, completion=None, moment=None):
        rng, number = self.rng, self._next
        self._next += 1
        row = PRICES[self._model.draw(rng)]
        prompt = rng.randint(20, 8000) if prompt is None else prompt
        completion = rng.randint(1, 1500) if completion is None else completion
        cached = rng.randrange(prompt + 1) if prompt and rng.random() < 0.25 else 0
        failed = rng.random() < 0.02
        if failed:
            cached, completion = 0, 0
        moment = moment or self._moment()
        spend = Decimal(0) if failed else price(row, prompt, cached, completion)
        event = {
            "request_id": f"{self.name}-{self.seed}-{number:07d}",
            "spend": plain(spend),
            "model": row[0],
            "model_group": row[0].split("-2")[0],
            "custom_llm_provider": row[1],
            "call_type": rng.choice(CALLS),
            "endpoint": rng.choice(ENDPOINTS),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cache_read_input_tokens": cached,
            "start_time": moment.isoformat().replace("+00:00", "Z"),
            "end_time": (moment + datetime.timedelta(milliseconds=rng.randint(80, 30000))).isoformat(),
        }
        if failed:
            event["status"] = "failure"
        self._identity(event)
        if rng.random() < 0.2:
            event["session_id"] = f"session-{rng.randrange(1000)}"
            event["metadata"] = {"route": rng.choice(["chat", "batch", "eval"]), "attempt": rng.randint(1, 3)}
        return event

    def events(self, count):
        return (self.one() for _ in range(count))

    def trace(self, path, shift_to=None):
        """Events of a trace.  shift_to: the trace is moved by whole days so that it lies on that date
        (spendd refuses what is older than ingest.max_age_days)."""
        with open(path, newline="", encoding="ascii") as file:
            shift = None
            for row in csv.DictReader(file):
                moment = datetime.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=datetime.timezone.utc)
                if shift is None:
                    days = (shift_to - moment.date()).days if shift_to else 0
                    shift = datetime.timedelta(days=days)
                yield self.one(int(row["ContextTokens"]), int(row["GeneratedTokens"]), moment + shift)


def batches(events, shape):
    """Cuts a stream into messages.  shape: an int, or a random.Random (1..200 events each, mostly few)."""
    events = iter(events)
    while True:
        size = shape if isinstance(shape, int) else min(200, 1 + int(shape.expovariate(1 / 20)))
        batch = list(itertools.islice(events, size))
        if not batch:
            return
        yield batch

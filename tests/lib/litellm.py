"""LiteLLM's tables as its migrations leave them (the least of them that its spend path touches), in the variants
of its releases, and what a request must add to them, computed independently of the daemon.

Amounts of the events here are multiples of 2^-12 USD: such sums are exact in float8, so that totals are compared
for equality.
"""
import collections
import datetime
import hashlib
import json
import random
from decimal import Decimal

ENTITIES = {  # category: table, key columns
    "user": ("LiteLLM_UserTable", ["user_id"]),
    "end_user": ("LiteLLM_EndUserTable", ["user_id"]),
    "key": ("LiteLLM_VerificationToken", ["token"]),
    "team": ("LiteLLM_TeamTable", ["team_id"]),
    "team_member": ("LiteLLM_TeamMembership", ["team_id", "user_id"]),
    "organization": ("LiteLLM_OrganizationTable", ["organization_id"]),
    "tag": ("LiteLLM_TagTable", ["tag_name"]),
    "agent": ("LiteLLM_AgentsTable", ["agent_id"]),
}
DAILIES = {  # category: table, whose
    "user": ("LiteLLM_DailyUserSpend", "user_id"),
    "team": ("LiteLLM_DailyTeamSpend", "team_id"),
    "organization": ("LiteLLM_DailyOrganizationSpend", "organization_id"),
    "tag": ("LiteLLM_DailyTagSpend", "tag"),
    "end_user": ("LiteLLM_DailyEndUserSpend", "end_user_id"),
    "agent": ("LiteLLM_DailyAgentSpend", "agent_id"),
}
COUNTERS = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
            "api_requests", "successful_requests", "failed_requests")
SAVINGS = ("compression_savings_spend", "prompt_caching_savings_spend", "gateway_injected_caching_savings_spend",
           "autorouter_savings_spend")
STAMPED = ("user", "key", "team", "organization", "tag", "agent")
NEWEST, BASELINE, OLD = "newest", "1.82.1", "1.80"


def _entity(category, version):
    table, keys = ENTITIES[category]
    columns = [f'"{key}" text NOT NULL' for key in keys]
    if category != "agent" or version != OLD:
        columns.append("spend double precision NOT NULL DEFAULT 0.0")
    if category == "team_member" and version == NEWEST:
        columns.append("total_spend double precision NOT NULL DEFAULT 0.0")
    if category == "team" and version == NEWEST:
        columns.append("members_with_roles jsonb NOT NULL DEFAULT '{}'")
    if category == "key" and version != OLD:
        columns.append("last_active timestamp(3)")
    if category in STAMPED:
        columns.append("updated_at timestamp(3) DEFAULT CURRENT_TIMESTAMP")
    if category == "end_user":
        columns += ["alias text", "blocked boolean NOT NULL DEFAULT false"]
    names = ", ".join(f'"{key}"' for key in reversed(keys))
    return f'CREATE TABLE "{table}" ({", ".join(columns)}, PRIMARY KEY ({names}));'


def _daily(category, version):
    table, whose = DAILIES[category]
    columns = ["id text PRIMARY KEY", f'"{whose}" text', "date text NOT NULL", "api_key text NOT NULL", "model text",
               "model_group text", "custom_llm_provider text", "mcp_namespaced_tool_name text"]
    keys = [whose, "date", "api_key", "model", "custom_llm_provider", "mcp_namespaced_tool_name"]
    if version != OLD:
        columns.append("endpoint text")
        keys.append("endpoint")
    if category == "tag":
        columns.append("request_id text")
    columns += [f"{name} bigint NOT NULL DEFAULT 0" for name in COUNTERS]
    columns.append("spend double precision NOT NULL DEFAULT 0.0")
    if version == NEWEST:
        columns += [f"{name} bigint NOT NULL DEFAULT 0"
                    for name in ("compression_saved_tokens", "total_response_time_ms", "timed_requests")]
        columns += [f"{name} double precision NOT NULL DEFAULT 0.0" for name in SAVINGS]
    columns += ["created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP", "updated_at timestamp(3) NOT NULL"]
    return (f'CREATE TABLE "{table}" ({", ".join(columns)});'
            f'CREATE UNIQUE INDEX "{table}_key" ON "{table}" ({", ".join(keys)});'
            f'CREATE INDEX ON "{table}" (date);')


def _logs(version, partitioned):
    stamps = ", created_at timestamp(3) DEFAULT CURRENT_TIMESTAMP, updated_at timestamp(3)" if version == NEWEST else ""
    duration = ", request_duration_ms integer" if version != OLD else ""
    key = "PRIMARY KEY (request_id, \"startTime\")" if partitioned else "PRIMARY KEY (request_id)"
    text = " text NOT NULL DEFAULT ''"
    made = f"""CREATE TABLE "LiteLLM_SpendLogs" (request_id text NOT NULL, call_type text NOT NULL, api_key{text},
        spend double precision NOT NULL DEFAULT 0.0, total_tokens integer NOT NULL DEFAULT 0,
        prompt_tokens integer NOT NULL DEFAULT 0, completion_tokens integer NOT NULL DEFAULT 0,
        "startTime" timestamp(3) NOT NULL, "endTime" timestamp(3) NOT NULL, "completionStartTime" timestamp(3),
        model{text}, model_id text DEFAULT '', model_group text DEFAULT '', custom_llm_provider text DEFAULT '',
        api_base text DEFAULT '', "user" text DEFAULT '', metadata jsonb DEFAULT '{{}}', cache_hit text DEFAULT '',
        cache_key text DEFAULT '', request_tags jsonb DEFAULT '[]', team_id text, end_user text,
        requester_ip_address text, messages jsonb DEFAULT '{{}}', response jsonb DEFAULT '{{}}',
        proxy_server_request jsonb DEFAULT '{{}}', session_id text, status text, mcp_namespaced_tool_name text,
        organization_id text, agent_id text{duration}{stamps}, {key})"""
    if not partitioned:
        return made + ";"
    return made + """ PARTITION BY RANGE ("startTime");
        CREATE TABLE "LiteLLM_SpendLogs_old" PARTITION OF "LiteLLM_SpendLogs" FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
        CREATE TABLE "LiteLLM_SpendLogs_new" PARTITION OF "LiteLLM_SpendLogs" FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);"""


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def make(pg, schema="public", version=BASELINE, partitioned=False, without=()):
    """LiteLLM's tables, empty."""
    with pg.connect() as line, line.cursor() as cursor:
        cursor.execute(f'CREATE SCHEMA IF NOT EXISTS {quoted(schema)}; SET search_path = {quoted(schema)}')
        for category in ENTITIES:
            if ENTITIES[category][0] not in without:
                cursor.execute(_entity(category, version))
        for category in DAILIES:
            if DAILIES[category][0] not in without:
                cursor.execute(_daily(category, version))
        cursor.execute(_logs(version, partitioned))
    line.close()


def make_daily(pg, category, version=BASELINE):
    with pg.connect() as line, line.cursor() as cursor:
        cursor.execute("SET search_path = public;" + _daily(category, version))
    line.close()


def fill(pg, events, schema="public", but=()):
    """A row for each entity that the events name (end users make their own), but those in `but` (category, *ids)."""
    rows = collections.defaultdict(set)
    for event in events:
        for category, ids in named(event):
            if (category, *ids) not in but:
                rows[category].add(ids)
    with pg.connect() as line, line.cursor() as cursor:
        for category, ids in rows.items():
            table, keys = ENTITIES[category]
            if category == "end_user":
                continue
            columns = ", ".join(f'"{key}"' for key in keys)
            cursor.executemany(f'INSERT INTO {quoted(schema)}."{table}" ({columns}) VALUES ({", ".join(["%s"] * len(keys))}) '
                               "ON CONFLICT DO NOTHING", sorted(ids))
    line.close()


def events(count, seed=1, moment=None, **more):
    """Requests of a small company, all amounts multiples of 2^-12."""
    rng = random.Random(seed)
    moment = moment or datetime.datetime.now(datetime.timezone.utc).replace(hour=1, minute=0, second=0, microsecond=0)
    for number in range(count):
        event = {"request_id": f"chatcmpl-{seed}-{number}", "event_id": f"call-{seed}-{number}",
                 "spend": format(Decimal(rng.randrange(1, 4000)) / 4096, "f"),
                 "api_key": hashlib.sha256(f"k{rng.randrange(6)}".encode()).hexdigest(), "model": f"m{rng.randrange(3)}",
                 "call_type": "acompletion", "prompt_tokens": rng.randrange(2000), "completion_tokens": rng.randrange(500),
                 "start_time": (moment + datetime.timedelta(milliseconds=number)).isoformat(),
                 "end_time": (moment + datetime.timedelta(milliseconds=number + 900)).isoformat()}
        for field, stem, chance in (("user_id", "u", 8), ("team_id", "t", 7), ("organization_id", "o", 6), ("end_user", "c", 5),
                                    ("agent_id", "a", 3), ("custom_llm_provider", "p", 8), ("endpoint", "/e", 7),
                                    ("model_group", "g", 8), ("mcp_namespaced_tool_name", "tool", 1)):
            if rng.randrange(10) < chance:
                event[field] = f"{stem}{rng.randrange(4)}"
        if rng.randrange(10) < 6:
            event["tags"] = sorted({f"tag{rng.randrange(4)}", "User-Agent: python"})
        if rng.randrange(20) == 0:
            event["status"] = "failure"
        if rng.randrange(3) == 0:
            event["metadata"] = {"attempt": number, "text": "ünï"}
        event.update(more)
        yield event


# --- what a request adds -------------------------------------------------------------------------------
def named(event):
    """(category, ids) of each entity."""
    for category, field in (("user", "user_id"), ("end_user", "end_user"), ("key", "api_key"), ("team", "team_id"),
                            ("organization", "organization_id"), ("agent", "agent_id")):
        if event.get(field):
            yield category, (event[field],)
    if event.get("team_id") and event.get("user_id"):
        yield "team_member", (event["team_id"], event["user_id"])
    for tag in event.get("tags", ()):
        yield "tag", (tag,)


def entities_of(events):
    sums = collections.defaultdict(Decimal)
    for event in events:
        for category, ids in named(event):
            sums[category, *ids] += Decimal(str(event["spend"]))
    return dict(sums)


def _worth(event):
    failed = event.get("status") == "failure"
    return [Decimal(str(event["spend"])), event.get("prompt_tokens", 0), event.get("completion_tokens", 0),
            event.get("cache_read_input_tokens", 0), event.get("cache_creation_input_tokens", 0), 1, int(not failed), int(failed)]


def days_of(events, endpoint=True):
    sums = {}
    for event in events:
        whose = [("user", event.get("user_id") or "")]
        whose += [("team", event.get("team_id") or "")]  # days of no user and of no team are kept, as LiteLLM does it
        whose += [(category, ids[0]) for category, ids in named(event)
                  if category in ("organization", "end_user", "agent", "tag")]
        for category, who in whose:
            key = (category, who, event["start_time"][:10], event.get("api_key", ""), event.get("model", ""),
                   event.get("custom_llm_provider", ""), event.get("mcp_namespaced_tool_name", ""),
                   event.get("endpoint", "") if endpoint else "")
            sums[key] = [a + b for a, b in zip(sums.get(key, [0] * 8), _worth(event))]
    return sums


# --- what is there ---------------------------------------------------------------------------------------
def _rows(pg, text):
    line = pg.connect()
    try:
        with line, line.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall()
    finally:
        line.close()


def stored_entities(pg, schema="public", categories=ENTITIES):
    """Those whose spend is not 0."""
    found = {}
    for category in categories:
        table, keys = ENTITIES[category]
        columns = ", ".join(f'"{key}"' for key in keys)
        for *ids, spend in _rows(pg, f'SELECT {columns}, spend FROM {quoted(schema)}."{table}" WHERE spend <> 0'):
            found[category, *ids] = Decimal(spend)
    return found


def stored_days(pg, schema="public", endpoint=True, categories=DAILIES):
    """Summed over rows of the same key (pods of older releases leave several, with NULLs)."""
    found = {}
    for category in categories:
        table, whose = DAILIES[category]
        last = "coalesce(endpoint, '')" if endpoint else "''"
        for row in _rows(pg, f"""SELECT coalesce("{whose}", ''), date, api_key, coalesce(model, ''),
                coalesce(custom_llm_provider, ''), coalesce(mcp_namespaced_tool_name, ''), {last},
                spend, {", ".join(COUNTERS)} FROM {quoted(schema)}."{table}" """):
            key, worth = (category, *row[:7]), [Decimal(row[7]), *row[8:]]
            found[key] = [a + b for a, b in zip(found.get(key, [0] * 8), worth)]
    return found


def logs(pg, schema="public"):
    """request_id -> row as a dict."""
    return {row["request_id"]: row
            for (row,) in _rows(pg, f'SELECT to_jsonb(l) FROM {quoted(schema)}."LiteLLM_SpendLogs" l')}


def catalog(pg, schema="public"):
    """All that there is in that schema, as text: to be compared."""
    return json.dumps(_rows(pg, f"""
        SELECT 'class', c.relname::text, c.relkind::text, a.attname::text, a.atttypid::int::text, a.attnotnull::text
        FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relnamespace = '{quoted(schema)}'::regnamespace
        UNION ALL SELECT 'type', typname::text, '', '', '', '' FROM pg_type WHERE typnamespace = '{quoted(schema)}'::regnamespace
        UNION ALL SELECT 'function', proname::text, '', '', '', '' FROM pg_proc WHERE pronamespace = '{quoted(schema)}'::regnamespace
        UNION ALL SELECT 'constraint', conname::text, '', '', '', '' FROM pg_constraint WHERE connamespace = '{quoted(schema)}'::regnamespace
        UNION ALL SELECT 'trigger', t.tgname::text, c.relname::text, '', '', '' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = '{quoted(schema)}'::regnamespace ORDER BY 1, 2, 3, 4, 5, 6"""))


def check_entities(pg, sent, schema="public", missed=()):
    wanted = {key: amount for key, amount in entities_of(sent).items() if amount and key not in missed}
    assert stored_entities(pg, schema) == wanted


def check(pg, sent, schema="public", endpoint=True, missed=()):
    """Entities and days are what these events add, to the last bit.  `missed`: (category, *ids) without a row."""
    check_entities(pg, sent, schema, missed)
    assert stored_days(pg, schema, endpoint) == days_of(sent, endpoint)

"""Pods: processes of LiteLLM's own code (drivers/pod.py) and what they are asked to do; traffic for them, and
what that traffic must come to, computed from the requests alone."""
import collections
import hashlib
import json
import os
import random
import select
import subprocess
import time

from lib.waiting import patient

import packages

HERE = os.path.dirname(os.path.abspath(__file__))
LISTS = ("litellm_spend_update_buffer", "litellm_daily_spend_update_buffer", "litellm_daily_team_spend_update_buffer",
         "litellm_daily_org_spend_update_buffer", "litellm_daily_end_user_spend_update_buffer",
         "litellm_daily_agent_spend_update_buffer", "litellm_daily_tag_spend_update_buffer")
WINDOW = "litellm_window_spend_update_buffer"
LOCKS = ("cronjob_lock:db_spend_update_job", "cronjob_lock:db_daily_tag_spend_update_job")
ENTITIES = {  # entity -> (table, column of its id)
    "user": ("LiteLLM_UserTable", "user_id"), "end_user": ("LiteLLM_EndUserTable", "user_id"),
    "key": ("LiteLLM_VerificationToken", "token"), "team": ("LiteLLM_TeamTable", "team_id"),
    "org": ("LiteLLM_OrganizationTable", "organization_id"), "tag": ("LiteLLM_TagTable", "tag_name"),
    "agent": ("LiteLLM_AgentsTable", "agent_id"),
}
DAILIES = {
    "user": ("LiteLLM_DailyUserSpend", "user_id"), "team": ("LiteLLM_DailyTeamSpend", "team_id"),
    "org": ("LiteLLM_DailyOrganizationSpend", "organization_id"),
    "end_user": ("LiteLLM_DailyEndUserSpend", "end_user_id"), "agent": ("LiteLLM_DailyAgentSpend", "agent_id"),
    "tag": ("LiteLLM_DailyTagSpend", "tag"),
}
COUNTERS = ("spend", "prompt_tokens", "completion_tokens", "api_requests", "successful_requests", "failed_requests")


class Pod:
    """One worker process of a proxy.  It is started once and opened for each test: importing LiteLLM takes
    seconds.  After open() it is a pod with a pod id, queues and a lock manager of its own."""

    def __init__(self, environment, directory, variables=None, driver="pod.py"):
        self.environment, self.name = environment, f"pod {environment.name}"
        self.ran = None  # calls into LiteLLM's own files since open(), as far as the driver says
        self.log = os.path.join(directory, f"pod-{random.getrandbits(40):x}.log")
        variables = {**packages.CLEAN, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **(variables or {})}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [environment.python, os.path.join(HERE, "drivers", driver)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, env=variables, text=True, cwd="/", start_new_session=True)

    def open(self, redis, database=None, **options):
        """database: for one that drains itself."""
        self.ask("open", redis={"host": "127.0.0.1", "port": redis.port}, database=database, **options)
        return self

    def running(self):
        return self.process.poll() is None

    def tail(self, lines=40):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "\n".join(file.read().splitlines()[-lines:])

    def send(self, command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def read(self, deadline_s=90):
        end = time.monotonic() + patient(deadline_s)
        while not select.select([self.process.stdout], [], [], 0.2)[0]:
            assert time.monotonic() < end, f"{self.name} does not answer\n{self.tail()}"
        line = self.process.stdout.readline()
        assert line, f"{self.name} has ended\n{self.tail()}"
        answer = json.loads(line)
        self.ran = answer.get("ran", self.ran)
        assert "error" not in answer, f"{self.name}: {answer['error']}\n{answer['trace']}\n{self.tail()}"
        return answer.get("ok")

    def ask(self, name, **words):
        self.send({"do": name, **words})
        return self.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()


def worked(counts):
    """Fails unless LiteLLM's own files did the work: queues, buffer, lock, Redis."""
    for part in ("db_spend_update_writer.py", "redis_update_buffer.py", "spend_update_queue.py",
                 "daily_spend_update_queue.py", "redis_cache.py"):
        assert any(name.endswith(part) and n > 0 for name, n in counts.items()), f"none of {part} ran: {counts}"


# --- traffic --------------------------------------------------------------------------------------

class Cast:
    """Who there is.  Costs are multiples of 1/1024: sums of them are exact in a double too, so totals can be
    compared to the last bit; `awkward` costs are what providers really charge."""

    def __init__(self, seed, users=6, teams=3, keys=8, end_users=10, tags=5, agents=2, awkward=False):
        self.random, self.awkward, self.count, self.seed = random.Random(seed), awkward, 0, seed
        self.users = [f"user-{n}" for n in range(users)] + ["söngvari::x"]
        self.teams = [f"team-{n}" for n in range(teams)]
        self.keys = [hashlib.sha256(f"key-{n}".encode()).hexdigest() for n in range(keys)]
        self.orgs = ["org-0", "org-1"]
        self.end_users = [f"customer {n}" for n in range(end_users)]
        self.tags = [f"tag-{n}" for n in range(tags - 1)] + ["User-Agent: curl/8 \"quoted\" \\ 漢字"]
        self.agents = [f"agent-{n}" for n in range(agents)]

    def cost(self):
        if self.awkward:
            return self.random.choice([1.35e-05, 2e-07, 0.0123456789, 0.1, 1e-12]) * self.random.randint(1, 997)
        return self.random.randint(1, 4096) / 1024

    def some(self, among, share=0.8):
        return self.random.choice(among) if self.random.random() < share else None

    def requests(self, count):
        for _ in range(count):
            self.count += 1
            failed = self.random.random() < 0.1
            yield {
                "id": f"chatcmpl-{self.seed}-{self.count}", "key": self.random.choice(self.keys),
                "user": self.some(self.users), "team": self.some(self.teams), "org": self.some(self.orgs, 0.5),
                "end_user": self.some(self.end_users, 0.6), "agent": self.some(self.agents, 0.3),
                "tags": self.random.sample(self.tags, self.random.randint(0, 3)),
                "model": self.random.choice(["gpt-4o", "claude-sonnet-4", "o3_mini"]), "model_group": "group",
                "provider": self.random.choice(["openai", "anthropic"]),
                "prompt": self.random.randint(0, 100000), "completion": self.random.randint(0, 5000),
                "cost": 0.0 if failed else self.cost(), "status": "failure" if failed else "success",
                "start": f"2026-11-{self.random.randint(20, 21)}T{self.random.randint(0, 23):02}:30:00+00:00",
            }

    def populate(self, postgres, database):
        """The rows that the proxy's management endpoints would have made."""
        connection = postgres.connect(database)
        cursor = connection.cursor()
        add = cursor.execute
        for user in self.users:
            add('insert into "LiteLLM_UserTable" (user_id) values (%s)', (user,))
        for key in self.keys:
            add('insert into "LiteLLM_VerificationToken" (token) values (%s)', (key,))
        add("insert into \"LiteLLM_BudgetTable\" (budget_id, created_by, updated_by) values ('b', 't', 't')")
        for org in self.orgs:
            add('insert into "LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id, models,'
                " created_by, updated_by) values (%s, %s, 'b', '{}', 't', 't')", (org, org))
            for user in self.users:
                add('insert into "LiteLLM_OrganizationMembership" (user_id, organization_id) values (%s, %s)',
                    (user, org))
        for team in self.teams:
            add('insert into "LiteLLM_TeamTable" (team_id) values (%s)', (team,))
            for user in self.users:
                add('insert into "LiteLLM_TeamMembership" (user_id, team_id) values (%s, %s)', (user, team))
        for tag in self.tags:
            add('insert into "LiteLLM_TagTable" (tag_name) values (%s)', (tag,))
        for agent in self.agents:
            add('insert into "LiteLLM_AgentsTable" (agent_id, agent_name, agent_card_params, created_by, updated_by)'
                " values (%s, %s, '{}', 't', 't')", (agent, agent))
        connection.close()
        return self


def expected(requests):
    """({entity: {id: spend}}, {daily: {(id, date, key, model, provider): counters}}) of these requests."""
    entities = {name: collections.Counter() for name in (*ENTITIES, "member")}
    dailies = {name: collections.defaultdict(lambda: [0.0] + 5 * [0]) for name in DAILIES}
    for row in requests:
        for name in ("user", "end_user", "key", "team", "org", "agent"):
            if row[name]:
                entities[name][row[name]] += row["cost"]
        for tag in row["tags"]:
            entities["tag"][tag] += row["cost"]
        if row["team"] and row["user"]:
            entities["member"][row["team"], row["user"]] += row["cost"]
        good = row["status"] == "success"
        amounts = [row["cost"], row["prompt"], row["completion"], 1, int(good), int(not good)]
        for name in DAILIES:
            ids = row["tags"] if name == "tag" else [row[name] or ""] if name in ("user", "team") else \
                [row[name]] if row[name] else []
            for one in ids:
                sums = dailies[name][one, row["start"][:10], row["key"], row["model"], row["provider"]]
                sums[:] = [a + b for a, b in zip(sums, amounts)]
    return entities, {name: {key: tuple(sums) for key, sums in rows.items()} for name, rows in dailies.items()}


def totals(postgres, database):
    """The same two, as they stand in LiteLLM's tables."""
    entities, dailies = {}, {}
    for name, (table, column) in ENTITIES.items():
        entities[name] = dict(postgres.query(f'select "{column}", spend from "{table}" where spend <> 0',
                                             database=database))
    entities["member"] = {(team, user): spend for team, user, spend in postgres.query(
        'select team_id, user_id, spend from "LiteLLM_TeamMembership" where spend <> 0', database=database)}
    for name, (table, column) in DAILIES.items():
        rows = postgres.query(
            f'select "{column}", date, api_key, model, custom_llm_provider, '
            + ", ".join(f"sum({counter})" for counter in COUNTERS) + f' from "{table}" group by 1, 2, 3, 4, 5',
            database=database)
        dailies[name] = {tuple(row[:5]): tuple(float(row[5]) if n == 0 else int(value)
                                               for n, value in enumerate(row[5:])) for row in rows}
    return entities, dailies


TABLES = [table for table, _ in (*ENTITIES.values(), *DAILIES.values())] + [
    "LiteLLM_TeamMembership", "LiteLLM_OrganizationMembership"]


def content(postgres, database):
    """Every number of every row, by table and key: {(table, key): {column: number}}."""
    found = {}
    for table in TABLES:
        for (row,) in postgres.query(f'select to_jsonb(t) from "{table}" t', database=database):
            if table.startswith("LiteLLM_Daily"):
                key = tuple(row[column] or "" for column in sorted(row) if isinstance(row[column], (str, type(None)))
                            and column not in ("id", "created_at", "updated_at", "model_group", "request_id"))
            else:
                key = tuple(str(row.get(column)) for column in
                            ("user_id", "token", "team_id", "organization_id", "tag_name", "agent_id"))
            numbers = {column: value for column, value in row.items()
                       if isinstance(value, (int, float)) and not isinstance(value, bool) and value}
            found[table, key] = {**numbers, "model_group": row.get("model_group")}
    return found


def wipe(postgres, database):
    """As before anything was spent; members of teams that have a list of their own are gone, too."""
    for table in TABLES:
        columns = [name for name, in postgres.query(
            "select column_name from information_schema.columns where table_name = %s", (table,), database=database)]
        if table.startswith("LiteLLM_Daily") or table == "LiteLLM_EndUserTable":
            postgres.query(f'delete from "{table}"', database=database)
        else:
            total = ", total_spend = 0" if "total_spend" in columns else ""
            postgres.query(f'update "{table}" set spend = 0{total}', database=database)
    postgres.query('delete from "LiteLLM_TeamMembership" m using "LiteLLM_TeamTable" t where t.team_id = m.team_id'
                   " and jsonb_typeof(t.members_with_roles) = 'array'", database=database)


def unlike(theirs, ours):
    """Rows that are not the same but for the last digits of an amount, as text."""
    found = []
    for key in sorted({*theirs, *ours}, key=str):
        a, b = theirs.get(key, {}), ours.get(key, {})
        near = a.keys() == b.keys() and all(
            a[c] == b[c] if isinstance(a[c], (str, type(None))) else abs(a[c] - b[c]) <= 1e-12 * abs(a[c]) for c in a)
        if not near:
            found.append((key, f"{key}: theirs {a}, ours {b}"))
    return found


def differences(want, have, tolerance=0.0):
    """What differs between two of expected() or totals(), as text; [] when nothing does."""
    found = []

    def near(a, b):
        return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))

    for part, (wanted, had) in (("entity", (want[0], have[0])), ("daily", (want[1], have[1]))):
        for name in wanted:
            for key in sorted({*wanted[name], *had.get(name, {})}, key=str):
                a, b = wanted[name].get(key, 0), had.get(name, {}).get(key, 0)
                same = all(map(near, a, b)) if isinstance(a, tuple) and isinstance(b, tuple) else \
                    not isinstance(a, tuple) and not isinstance(b, tuple) and near(a, b)
                if not same:
                    found.append(f"{part} {name} {key}: wanted {a}, have {b}")
    return found

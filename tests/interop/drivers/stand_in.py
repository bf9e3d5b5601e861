"""Stands in for Prisma's client where its query engine cannot be had: what LiteLLM's writer asks of it is
executed as SQL, through asyncpg, in the transactions that Prisma would have used.

Only what the spend path uses: tx(), batch_(), update_many, upsert, execute_raw and query_raw.  A batch of
equal statements goes out as one pipelined executemany: faster than Prisma's engine, which sends each alone.
"""
import asyncio
import contextlib
import datetime
import re
import uuid

import asyncpg

TABLES = {
    "litellm_usertable": ("LiteLLM_UserTable", True),
    "litellm_endusertable": ("LiteLLM_EndUserTable", False),
    "litellm_verificationtoken": ("LiteLLM_VerificationToken", True),
    "litellm_teamtable": ("LiteLLM_TeamTable", True),
    "litellm_teammembership": ("LiteLLM_TeamMembership", False),
    "litellm_organizationtable": ("LiteLLM_OrganizationTable", True),
    "litellm_organizationmembership": ("LiteLLM_OrganizationMembership", True),
    "litellm_tagtable": ("LiteLLM_TagTable", True),
    "litellm_agentstable": ("LiteLLM_AgentsTable", True),
    "litellm_projecttable": ("LiteLLM_ProjectTable", True),
    "litellm_modelaccessgroupbudgettable": ("LiteLLM_ModelAccessGroupBudgetTable", True),
    "litellm_dailyuserspend": ("LiteLLM_DailyUserSpend", True),
    "litellm_dailyteamspend": ("LiteLLM_DailyTeamSpend", True),
    "litellm_dailyorganizationspend": ("LiteLLM_DailyOrganizationSpend", True),
    "litellm_dailyenduserspend": ("LiteLLM_DailyEndUserSpend", True),
    "litellm_dailyagentspend": ("LiteLLM_DailyAgentSpend", True),
    "litellm_dailytagspend": ("LiteLLM_DailyTagSpend", True),
}


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def plain(value):
    """asyncpg is strict about time zones: LiteLLM's columns have none."""
    if hasattr(value, "tzinfo") and value.tzinfo is not None:
        return value.replace(tzinfo=None)
    return value


def aware(value):
    """Prisma takes a time without a zone for UTC."""
    return value.replace(tzinfo=datetime.timezone.utc) if isinstance(value, datetime.datetime) and not value.tzinfo else value


class Table:
    """litellm_xyz of a batcher: notes statements, runs nothing."""

    def __init__(self, batch, name):
        self.batch = batch
        self.table, self.stamped = TABLES[name]

    def assignments(self, data, start):
        parts, values = [], []
        for column, value in data.items():
            name = quoted(column)
            if isinstance(value, dict) and "increment" in value:
                parts.append(f"{name} = {quoted(self.table)}.{name} + ${start + len(values)}")
                values.append(value["increment"])
            else:
                parts.append(f"{name} = ${start + len(values)}")
                values.append(plain(value))
        if self.stamped:  # @updatedAt is the client's
            parts.append("\"updated_at\" = now() at time zone 'UTC'")
        return ", ".join(parts), values

    def update_many(self, where, data):
        sets, values = self.assignments(data, 1)
        tests = " and ".join(f"{quoted(column)} = ${len(values) + n}" for n, column in enumerate(where, 1))
        self.batch.add(f"update {quoted(self.table)} set {sets} where {tests}", [*values, *where.values()])

    def upsert(self, where, data):
        """Prisma's: found by `where`, else created from data["create"], whatever that says of the key."""
        key = next(iter(where.values())) if isinstance(next(iter(where.values())), dict) else where
        sets, values = self.assignments(data["update"], 1)
        tests = " and ".join(f"{quoted(column)} = ${len(values) + n}" for n, column in enumerate(key, 1))
        values += key.values()
        create = dict(data["create"])
        if self.table.startswith("LiteLLM_Daily"):
            create["id"] = str(uuid.uuid4())
        columns = ", ".join([*map(quoted, create), *(['"updated_at"'] if self.stamped else [])])
        places = ", ".join([*(f"${len(values) + n}" for n in range(1, len(create) + 1)),
                            *(["now() at time zone 'UTC'"] if self.stamped else [])])
        values += map(plain, create.values())
        self.batch.add(f"with found as (update {quoted(self.table)} set {sets} where {tests} returning 1)"
                       f" insert into {quoted(self.table)} ({columns}) select {places}"
                       " where not exists (select 1 from found)", values)


class Batch:
    def __init__(self, connection):
        self.connection, self.statements = connection, []

    def __getattr__(self, name):
        return Table(self, name)

    def add(self, sql, values):
        self.statements.append((sql, values))

    def execute_raw(self, sql, *values):
        self.add(sql, [aware(value) for value in values])

    async def run(self):
        while self.statements:
            sql, values = self.statements[0][0], []
            kinds = [type(value) for value in self.statements[0][1]]  # an amount may be the integer 0
            while self.statements and self.statements[0][0] == sql and \
                    [type(value) for value in self.statements[0][1]] == kinds:
                values.append(self.statements.pop(0)[1])
            await self.connection.executemany(typed(sql, values[0]), values)


def typed(sql, values):
    """Parameters of an INSERT ... SELECT have no column to take their type from."""
    kinds = {str: "text", int: "bigint", float: "double precision", bool: "boolean", type(None): "text"}
    if not sql.startswith("with"):
        return sql
    for n in range(len(values), 0, -1):
        kind = kinds.get(type(values[n - 1]))
        if kind:
            sql = re.sub(rf"\${n}(?!\d)(?!::)", f"${n}::{kind}", sql)
    return sql


class Transaction:
    def __init__(self, connection):
        self.connection = connection

    @contextlib.asynccontextmanager
    async def batch_(self):
        batch = Batch(self.connection)
        yield batch
        await batch.run()

    async def execute_raw(self, sql, *values):
        done = await self.connection.execute(sql, *map(aware, values))
        return int(done.rpartition(" ")[2]) if done.rpartition(" ")[2].isdigit() else 0

    async def query_raw(self, sql, *values):
        return [dict(row) for row in await self.connection.fetch(sql, *map(aware, values))]


class Database(Transaction):
    """client.db.  refuse: names of tables on which the next statement fails, as a lost database would."""

    def __init__(self, url):
        super().__init__(None)
        self.url, self.lock = url, asyncio.Lock()

    async def open(self):
        if self.connection is None or self.connection.is_closed():
            self.connection = await asyncpg.connect(self.url)
        return self.connection

    async def execute_raw(self, sql, *values):
        await self.open()
        return await super().execute_raw(sql, *values)

    async def query_raw(self, sql, *values):
        await self.open()
        return await super().query_raw(sql, *values)

    @contextlib.asynccontextmanager
    async def tx(self, **_):
        async with self.lock:
            connection = await self.open()
            async with connection.transaction():
                yield Transaction(connection)

    @contextlib.asynccontextmanager
    async def batch_(self):  # Prisma: one transaction
        async with self.tx() as transaction, transaction.batch_() as batch:
            yield batch


class Client:
    """What LiteLLM calls prisma_client."""

    def __init__(self, url):
        self.db = Database(url) if url else None
        self.spend_log_transactions = []
        self._spend_log_transactions_lock = asyncio.Lock()

    def get_request_status(self, payload):
        from litellm.proxy.utils import PrismaClient

        return PrismaClient.get_request_status(self, payload)

    def __getattr__(self, name):  # queues of newer builds, which are not this path
        if name.endswith("_lock"):
            value = asyncio.Lock()
        elif name.endswith("_transactions"):
            value = []
        else:
            raise AttributeError(name)
        setattr(self, name, value)
        return value

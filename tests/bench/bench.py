"""Every figure of the promise with its limit beside it, from the same run.  No target fails the run.

  bench.py [--json] [ingest] [batch] [http] [sustained] [merge] [latency] [several] [litellm]
                                                       default: all but litellm, which installs LiteLLM
Environment: BENCH_RUNS (3: a figure is the median), BENCH_SECONDS (of sustained load, default 60).

Everything runs on this machine: daemon, Redis, PostgreSQL (fsync on), load generator.  A limit is the
same work done by the least program that can do it.  `bound by` is the process that used most of a core
(over 85 %), else "waiting".  CPU is that of all processes of the instance and of both stores, from
/proc/PID/stat; where most of all cores was busy with none of ours near a whole one, it is "the machine",
with the cores that others took.  SIGTERM ends it with everything that it started.  The windows are wide: a group commit takes what came during the one before it, so what
is in flight must last for two of them.

The events: see generator.c (keys by 1/rank of 5,000, 6 models; the worst case: uniform keys).  The limit
of `sustained` replays all that spendd wrote for them, transaction by transaction of the same sizes: log
rows (or `seen` keys) by COPY + INSERT, the summed rows of spend and spend_daily by COPY + sorted merge,
into empty tables of the same shape.  No more than REPLAY_MOST events of it: fresh tables favour the limit.
"""
import concurrent.futures
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from lib import daemon, processes  # noqa: E402
from lib.daemon import WORKERS, Stack  # noqa: E402
from lib.poster import ports  # noqa: E402
from lib.servers import Place, postgres_bin  # noqa: E402
from lib.waiting import wait_until  # noqa: E402

LOAD = os.path.join(daemon.BUILD, "tests/bench/generator")
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "60"))
TICK = os.sysconf("SC_CLK_TCK")
TABLE, NOTES = [], []


def load(*words, **options):
    argv = [LOAD, *words]
    for name, value in options.items():
        argv += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr}")
    return json.loads(done.stdout)


def median(function, runs=None):
    results = sorted((function(number) for number in range(runs or RUNS)), key=lambda r: r["per_second"])
    return results[len(results) // 2]


def row(figure, target, value, limit=None, bound="", unit="/s"):
    ratio = f"{value / limit:.2f}" if limit else ""
    TABLE.append((figure, target, f"{value:,.0f}{unit}", f"{limit:,.0f}{unit}" if limit else "", ratio, bound))
    print("  ".join(TABLE[-1]), flush=True)


# --- what the processes used ------------------------------------------------------------------------------
def cpu_of(pid, reaped=False):
    """User and system seconds of a process (with those of its children that have left), 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15 if reaped else 13])) / TICK


def cpu_of_server(server):
    return cpu_of(server.pid, True) + sum(map(cpu_of, processes.children(server.pid)))


def busy_of_machine():
    """CPU seconds that all cores were not idle, since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def cpu_of_us():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)  # the load generator, among others


class Usage:
    """CPU seconds per process since begin(): each worker, and each server as a whole."""

    def __init__(self, instance, *servers):
        self.instance, self.servers = instance, servers

    def _read(self):
        found = {}
        for worker in (*WORKERS, "gateway"):
            for pid in self.instance.pids(worker):
                found[worker] = found.get(worker, 0) + cpu_of(pid)
        for server in self.servers:
            if server.running():
                found[server.name] = cpu_of_server(server)
        return found

    def begin(self):
        self.start, self.at = self._read(), time.monotonic()
        self.busy, self.us = busy_of_machine(), cpu_of_us()
        return self

    def end(self):
        wall = time.monotonic() - self.at
        used = {name: cpu - self.start.get(name, 0) for name, cpu in self._read().items()}
        top = max(used, key=used.get)
        bound = f"{top} {used[top] / wall:.0%} of a core"
        busy, us = busy_of_machine() - self.busy, sum(used.values()) + cpu_of_us() - self.us
        if used[top] / wall > 0.85:
            return used, bound
        if busy / wall > 0.85 * os.cpu_count():
            others = max(busy - us, 0) / wall
            return used, f"the machine ({others:.1f} of {os.cpu_count()} cores taken by others; {bound})"
        return used, f"waiting ({bound})"


def memory(instance):
    found = {}
    for worker in WORKERS:
        for pid in instance.pids(worker):
            figures = {}
            for name in ("status", "smaps_rollup"):
                with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
                    for line in file:
                        if line.startswith(("VmHWM:", "Pss:")):
                            figures[line.split(":")[0]] = int(line.split()[1]) / 1024
            found[worker] = (max(found.get(worker, (0, 0))[0], figures["VmHWM"]), figures["Pss"])
    return found


# --- an instance as an operator would run it ----------------------------------------------------------------
def new_stack(place, **settings):
    postgres = place.postgres(fsync="on", full_page_writes="on", shared_buffers="512MB", max_wal_size="8GB",
                              track_commit_timestamp="on", checkpoint_timeout="30min")
    stack = Stack(place, postgres=postgres).start()
    instance = stack.spendd(quick=False, spool__keep_free_percent=1, spool__allow_volatile=True, log__level="warn", **settings)
    instance.start(ready=WORKERS, deadline_s=60)
    wait_until(lambda: counted(stack, "spend") == 0, 30, "the schema", stack.logs)
    return stack, instance


def counted(stack, table="spend_log"):
    sql = {"spend_log": "select count(*) from spendd.spend_log",
           "spend": "select coalesce(sum(requests), 0)::bigint from spendd.spend where entity_type = 'key'"}[table]
    try:
        return stack.postgres.one(sql)
    except Exception:  # not made yet
        return -1


def drained(stack, events, deadline_s=900):
    wait_until(lambda: counted(stack, "spend") >= events, deadline_s, f"{events} events in PostgreSQL", stack.logs, look_s=0.1)


def ingest(place, figure, target, per, events, window, limits):
    """PostgreSQL is away: what is measured is the acknowledgement, as it is when a database is down."""
    stack = Stack(place)
    stack.redis.start()
    instance = stack.spendd(quick=False, spool__keep_free_percent=1, spool__allow_volatile=True, log__level="warn")
    instance.start(ready=("aggregator", "redis_writer"), deadline_s=60)
    load("ingest", instance.ingest, events=events // 10, per=per, window=window, run="warm")
    usage = Usage(instance, stack.redis, stack.postgres).begin()
    result = median(lambda n: load("ingest", instance.ingest, events=events, per=per, window=window, run=f"{figure}{n}"))
    used, bound = usage.end()
    for limit_name, limit in limits:
        row(f"{figure}; limit: {limit_name}", target, result["per_second"], limit, bound)
    NOTES.append(f"{figure}: CPU s per million events: " + ", ".join(f"{n} {c / (events * RUNS / 1e6):.2f}" for n, c in used.items())
                 + f"; ack p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms; client {result['client_cpu']:.2f} s")
    stack.close()


def bench_ingest(place):
    events = 300_000
    echo = median(lambda n: load("echo", events=events, window=12000))["per_second"]
    ingest(place, "acked events/s, one per message", ">= 150,000", 1, events, 12000, [("ZeroMQ round trips", echo)])


def bench_batch(place):
    events = 600_000
    parse = median(lambda n: load("parse", events=events, per=100))["per_second"]
    with tempfile.TemporaryDirectory(dir=place.root) as directory:
        disk = median(lambda n: load("write", os.path.join(directory, "f"), events=events, per=100))["per_second"]
    ingest(place, "acked events/s, 100 per message", ">= 400,000", 100, events, 1024,
           [("JSON parse alone", parse), ("write + fdatasync", disk)])


def bench_http(place):
    """The same messages over HTTP and over ZeroMQ, into one instance, one after the other.  The limit: the same requests,
    answered by the gateway alone (404)."""
    stack = Stack(place)
    stack.redis.start()
    instance = stack.spendd(quick=False, spool__keep_free_percent=1, spool__allow_volatile=True, log__level="warn", **ports())
    instance.start(ready=("aggregator", "redis_writer", "gateway"), deadline_s=60)
    web = instance.settings["http.ingest_listen"]
    for per, events, window, zeromq in ((1, 100_000, 512, 12000), (100, 400_000, 64, 1024)):
        limit = median(lambda n: load("http", web + "/nothing", events=events, per=per, window=window))["per_second"]
        for way, where, flight in (("ingest", instance.ingest, zeromq), ("http", web + "/v1/events", window)):
            load(way, where, events=events // 10, per=per, window=flight, run=f"warm{way}{per}")
            usage = Usage(instance, stack.redis).begin()
            result = median(lambda n: load(way, where, events=events, per=per, window=flight, run=f"{way}{per}-{n}"))
            used, bound = usage.end()
            name = f"{'HTTP' if way == 'http' else 'ZeroMQ beside it'}: acked events/s, {per} a {'request' if way == 'http' else 'message'}"
            row(name, "", result["per_second"], limit if way == "http" else None, bound)
            NOTES.append(f"{name}: CPU s per million events: " + ", ".join(f"{n} {c / (events * RUNS / 1e6):.2f}" for n, c in used.items())
                         + f"; answer p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms; client {result['client_cpu']:.2f} s"
                         + f"; {flight} in flight")
    stack.close()


def psql(postgres, script):
    """Seconds of the statements between the two \\timing marks, summed."""
    done = subprocess.run([os.path.join(postgres_bin(), "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", postgres.url(), "-f", "-"],
                          input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return sum(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("Time:")) / 1000


REPLAY_MOST = 200_000
DAILY_KEY = ("entity_type, entity_id, api_key, model, model_group, custom_llm_provider, mcp_namespaced_tool_name, "
             "endpoint")
REPLAY_SQL = """
SET search_path = public;
SET work_mem = '256MB';
CREATE TABLE lots AS SELECT x, row_number() OVER (ORDER BY x)::int AS lot, events,
  sum(events) OVER (ORDER BY x) AS upto
  FROM (SELECT xmin::text::bigint AS x, count(*) AS events FROM spendd.spend_log GROUP BY 1) t;
CREATE TABLE lot_log AS SELECT lot, l.* FROM spendd.spend_log l JOIN lots ON x = l.xmin::text::bigint
  WHERE upto - events < %(most)d ORDER BY lot, day, event_id COLLATE "C";
CREATE TABLE lot_daily AS SELECT lot, day AS date, e.entity_type, e.entity_id, coalesce(api_key, '') AS api_key,
  coalesce(model, '') AS model, coalesce(model_group, '') AS model_group,
  coalesce(custom_llm_provider, '') AS custom_llm_provider,
  coalesce(mcp_namespaced_tool_name, '') AS mcp_namespaced_tool_name, coalesce(endpoint, '') AS endpoint,
  sum(spend) AS spend, sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens,
  sum(cache_read_input_tokens)::bigint AS cache_read, sum(cache_creation_input_tokens)::bigint AS cache_creation,
  count(*) AS requests, count(*) FILTER (WHERE status <> 'failure') AS good,
  count(*) FILTER (WHERE status = 'failure') AS bad, now() AS updated_at
  FROM lot_log l CROSS JOIN LATERAL (VALUES ('key', api_key), ('user', user_id), ('end_user', end_user),
    ('team', team_id), ('team_member', '["' || team_id || '","' || user_id || '"]'),
    ('organization', organization_id), ('agent', agent_id)
    UNION ALL SELECT 'tag', tag FROM unnest(l.tags) tag) e (entity_type, entity_id)
  WHERE e.entity_id <> '' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
CREATE TABLE lot_spend AS SELECT lot, entity_type, entity_id, sum(spend) AS spend,
  sum(prompt_tokens + completion_tokens)::bigint AS tokens, sum(requests)::bigint AS requests, now() AS updated_at
  FROM lot_daily GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
CREATE TABLE lot_seen AS SELECT lot, day, md5(event_id)::uuid AS id, n::bigint AS digest, epoch, seq, n, now() AS at
  FROM lot_log ORDER BY 1, 2, 3;
"""


def replay_prepare(stack):
    """One file for each table and each transaction that spendd made.  How many transactions, events, and
    summed rows for each event; raises where the sums are not those of spendd."""
    psql(stack.postgres, REPLAY_SQL % {"most": REPLAY_MOST})
    lots, events = stack.postgres.query("select max(lot), count(*) from lot_log")[0]
    sums = counted_rows(stack, "lot_spend", "public") + counted_rows(stack, "lot_daily", "public")
    if stack.postgres.one("select count(*) from lots") == lots:
        mine, its = (stack.postgres.query(f"select sum(spend), sum(requests), count(distinct ({DAILY_KEY})) from {table}")
                     for table in ("lot_daily", "spendd.spend_daily"))
        if mine != its:
            raise RuntimeError(f"the replay has other sums: {mine}, {its}")
    for table in ("log", "seen", "spend", "daily"):
        columns = [name for name, in stack.postgres.query(
            "select column_name from information_schema.columns where table_schema = 'public' and table_name = %s "
            "and column_name <> 'lot' order by ordinal_position", (f"lot_{table}",))]
        psql(stack.postgres, f"SET search_path = public;\nCREATE INDEX ON lot_{table} (lot);\n" + "".join(
            f"COPY (SELECT {', '.join(columns)} FROM lot_{table} WHERE lot = {lot} ORDER BY ctid) "
            f"TO '{stack.postgres.dir}/{table}.{lot}';\n" for lot in range(1, lots + 1)))
    return lots, events, sums / events


def replay_limit(stack, lots, events, log):
    """Events per second of the same rows by psql, best of two; noted besides what CPU PostgreSQL used, for
    that can be compared on a machine that has other things to do as well."""
    rows = "log" if log else "seen"
    tables = {rows: "spend_log" if log else "seen", "spend": "spend", "daily": "spend_daily"}
    script = "SET client_min_messages = error;\nSET search_path = public;\n"
    for name, table in tables.items():
        fill = {"spend": " WITH (fillfactor = 70)", "daily": " WITH (fillfactor = 80)"}.get(name, "")
        script += (f"DROP TABLE IF EXISTS mine_{name}; CREATE TABLE mine_{name} (LIKE spendd.{table} INCLUDING ALL){fill};\n"
                   f"CREATE TEMP TABLE up_{name} (LIKE spendd.{table}) ON COMMIT DELETE ROWS;\n")
    script += "CHECKPOINT;\n\\timing on\n"
    for lot in range(1, lots + 1):
        script += (f"BEGIN;\nCOPY up_{rows} FROM '{stack.postgres.dir}/{rows}.{lot}';\n"
                   f"INSERT INTO mine_{rows} SELECT * FROM up_{rows} ON CONFLICT DO NOTHING;\n")
        for name in ("spend", "daily"):
            script += (f"COPY up_{name} FROM '{stack.postgres.dir}/{name}.{lot}';\n"
                       + merge_sql(stack, tables[name], f"mine_{name}", f"up_{name}"))
        script += "COMMIT;\n"
    before = cpu_of_server(stack.postgres)
    rate = events / min(psql(stack.postgres, script) for _ in range(2))
    cpu = (cpu_of_server(stack.postgres) - before) / 2 / (events / 1e6)
    NOTES.append(f"the same rows by psql, log rows {'on' if log else 'off'}: CPU s per million events: postgres {cpu:.2f}")
    return rate


def counted_rows(stack, table, schema="spendd"):
    return stack.postgres.one(f"select count(*) from {schema}.{table}")


def sustain(stack, instance, seconds, **options):
    """Events per second until all are in PostgreSQL; the backlog stays bounded meanwhile."""
    usage, events, begin = Usage(instance, stack.redis, stack.postgres).begin(), 0, time.monotonic()
    while time.monotonic() - begin < seconds:  # the spool takes it in; what counts is when it is all there
        load("ingest", instance.ingest, events=100_000, per=20, window=200, run=f"s{events}", keys=5000, **options)
        events += 100_000
        wait_until(lambda: counted(stack, "spend") >= events - 200_000, 900, "the backlog to stay bounded", stack.logs, look_s=0.1)
    drained(stack, events)
    rate, (used, bound) = events / (time.monotonic() - begin), usage.end()
    return events, rate, used, bound


def bench_sustained(place):
    limits = {}
    for log, keys in ((True, "Zipf"), (False, "Zipf"), (True, "uniform")):
        stack, instance = new_stack(place, spend_log__enabled=log)
        uniform = {"uniform": True} if keys == "uniform" else {}
        events, rate, used, bound = sustain(stack, instance, SECONDS // 3 if uniform else SECONDS, **uniform)
        if log:
            lots, replayed, width = replay_prepare(stack)
            limits = {True: replay_limit(stack, lots, replayed, True)}
            if not uniform:
                limits[False] = replay_limit(stack, lots, replayed, False)
        name = f"end to end events/s, log rows {'on' if log else 'off'}" + (", worst case: uniform keys" if uniform else "")
        row(f"{name}; limit: COPY + INSERT + merge by psql", ">= 0.8 of the limit", rate, limits[log], bound)
        NOTES.append(f"{name}: {events:,} events, {replayed / lots:,.0f} in a transaction, {width:.2f} summed rows each; "
                     "CPU s per million events: " + ", ".join(f"{n} {c / (events / 1e6):.2f}" for n, c in used.items()))
        stack.close()


def bench_merge(place):
    keys, laps = 50_000, 6
    stack, instance = new_stack(place, spend_log__enabled=False, dedupe__database=False, flush__ms=50, seal__events=50_000,
                                seal__bytes=16777216)
    load("ingest", instance.ingest, events=keys, per=100, window=200, keys=keys, lean=True, run="fill")
    drained(stack, keys)
    rows_each = counted_rows(stack, "spend") + counted_rows(stack, "spend_daily")
    load("ingest", instance.ingest, events=keys * laps, per=100, window=200, keys=keys, lean=True, run="merge", lap=keys)
    begin, before = time.monotonic(), counted(stack, "spend")
    usage = Usage(instance, stack.redis, stack.postgres).begin()
    drained(stack, keys * (laps + 1))
    seconds, (_, bound) = time.monotonic() - begin, usage.end()
    rate = (keys * (laps + 1) - before) / keys * rows_each / seconds
    limit = merge_limit(stack, rows_each)
    row("merged rows/s, 50,000 existing keys; limit: COPY + sorted merge by psql", ">= 0.8 of the limit", rate, limit, bound)
    stack.close()


def merge_sql(stack, table, into, source):
    """The sorted merge of one table's rows, as a hand would write it."""
    keys, sums = ([name for name, in stack.postgres.query(
        "select column_name from information_schema.columns where table_schema = 'spendd' and table_name = %s "
        "and data_type = any (%s) order by ordinal_position", (table, types))]
        for types in (["text", "date"], ["bigint", "numeric"]))
    adds = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in sums)
    return (f"INSERT INTO {into} AS t SELECT * FROM {source} ORDER BY {', '.join(keys)} "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {adds};\n")


def merge_limit(stack, rows):
    script, timed = "CHECKPOINT;\n", "\\timing on\nBEGIN;\nSET LOCAL synchronous_commit = on;\n"
    for table in ("spend", "spend_daily"):
        path = os.path.join(stack.postgres.dir, table)
        stack.postgres.query(f"COPY spendd.{table} TO '{path}'")
        script += f"CREATE TEMP TABLE up_{table} (LIKE spendd.{table});\n"
        timed += f"COPY up_{table} FROM '{path}';\n" + merge_sql(stack, table, f"spendd.{table}", f"up_{table}")
    return rows / min(psql(stack.postgres, script + timed + "COMMIT;\n") for _ in range(3))


def bench_latency(place):
    stack, instance = new_stack(place)
    events = 1000 * min(SECONDS, 30)
    load("ingest", instance.ingest, events=events, rate=1000, run="latency", keys=5000)
    drained(stack, events)
    late = [float(ms) for ms, in stack.postgres.query(
        "select extract(epoch from pg_xact_commit_timestamp(xmin) - received) * 1000 from spendd.spend_log")]
    cuts = statistics.quantiles(late, n=100)
    bound = 500 + 1000 + 250
    row("arrival -> commit at 1,000 events/s, p50", "", cuts[49], unit=" ms")
    row("arrival -> commit at 1,000 events/s, p99", f"<= {bound} ms", cuts[98], unit=" ms")
    load("ingest", instance.ingest, events=300_000, per=100, window=64, run="keys", keys=100_000, uniform=True)
    drained(stack, events + 300_000)
    for worker, (rss, pss) in memory(instance).items():
        row(f"memory of {worker}, 100,000 keys: peak RSS (PSS {pss:.0f} MB)", "<= 64 MB", rss, unit=" MB")
    stack.close()


def cost_of(place, processes):
    """CPU milliseconds of so many aggregators for a million events, and what bound them."""
    events, producers = 1_000_000, 4
    stack = Stack(place)
    stack.redis.start()
    instance = stack.spendd(quick=False, spool__keep_free_percent=1, spool__allow_volatile=True, log__level="warn",
                            aggregator__processes=processes)
    instance.start(ready=("aggregator", "redis_writer"), deadline_s=60)
    usage = Usage(instance, stack.redis).begin()
    with concurrent.futures.ThreadPoolExecutor(producers) as pool:
        list(pool.map(lambda n: load("ingest", instance.ingest, events=events // producers, per=20, window=200, run=f"p{n}"),
                      range(producers)))
    used, bound = usage.end()
    stack.close()
    return used["aggregator"] / (events / 1e6) * 1000, bound


def bench_several(place):
    """What a second aggregator costs: CPU seconds, since two of them share a machine's cores with their load.  In
    turns, so that what else the machine does meets both."""
    cost = {1: [], 2: []}
    for _ in range(RUNS):
        for processes, costs in cost.items():
            costs.append(cost_of(place, processes))
    two, one = (statistics.median(used for used, _ in cost[processes]) for processes in (2, 1))
    row("CPU of two aggregators for a million events; limit: of one", "<= 1.10 of the limit", two, one, cost[2][-1][1], unit=" ms")
    NOTES.append("CPU ms of a million events, in turns: " + ", ".join(
        f"{processes} aggregator(s): " + " ".join(f"{used:.0f}" for used, _ in costs) for processes, costs in cost.items()))


def bench_litellm(place):
    """LiteLLM's lists, against LiteLLM's own consumer on the same elements."""
    import adoption  # LiteLLM's packages come from PyPI: only for whoever asks

    adoption.run(place, RUNS, Usage, row, NOTES)


BENCHES = {"ingest": bench_ingest, "batch": bench_batch, "http": bench_http, "sustained": bench_sustained, "merge": bench_merge, "latency": bench_latency,
           "several": bench_several, "litellm": bench_litellm}


def main(words):
    as_json = "--json" in words
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers go with us: finally and atexit
    for word in [word for word in words if word != "--json"] or [word for word in BENCHES if word != "litellm"]:
        place = Place()
        try:
            BENCHES[word](place)
        finally:
            place.close()
    head = ("figure", "target", "measured", "limit", "ratio", "bound by")
    if as_json:
        print(json.dumps({"rows": [dict(zip(head, line)) for line in TABLE], "notes": NOTES}, indent=1))
        return
    widths = [max(len(line[i]) for line in [head, *TABLE]) for i in range(len(head))]
    print()
    for line in [head, *TABLE]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    print("\n" + "\n".join(NOTES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Every figure of the promise with its limit beside it, from the same run.  No target fails the run.

  bench.py [--json] [ingest] [batch] [sustained] [merge] [latency]      default: all
Environment: BENCH_RUNS (3: a figure is the median), BENCH_SECONDS (of sustained load, default 60).

Everything runs on this machine: daemon, Redis, PostgreSQL (fsync on), load generator.  A limit is the
same work done by the least program that can do it.  `bound by` is the process that used most of a core
(over 85 %), else "waiting".  CPU is that of all processes of the instance and of both stores, from
/proc/PID/stat.  The windows are wide: a group commit takes what came during the one before it, so what
is in flight must last for two of them (4,000 single events in flight: measured, a third less).
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from lib import daemon, processes  # noqa: E402
from lib.daemon import WORKERS, Stack  # noqa: E402
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


class Usage:
    """CPU seconds per process since begin(): each worker, and each server as a whole."""

    def __init__(self, instance, *servers):
        self.instance, self.servers = instance, servers

    def _read(self):
        found = {}
        for worker in WORKERS:
            for pid in self.instance.pids(worker):
                found[worker] = found.get(worker, 0) + cpu_of(pid)
        for server in self.servers:
            if server.running():
                found[server.name] = cpu_of(server.pid, True) + sum(map(cpu_of, processes.children(server.pid)))
        return found

    def begin(self):
        self.start, self.at = self._read(), time.monotonic()
        return self

    def end(self):
        wall = time.monotonic() - self.at
        used = {name: cpu - self.start.get(name, 0) for name, cpu in self._read().items()}
        top = max(used, key=used.get)
        bound = f"{top} {used[top] / wall:.0%} of a core"
        return used, bound if used[top] / wall > 0.85 else f"waiting ({bound})"


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
    ingest(place, "acked events/s, 100 per message", ">= 400,000", 100, events, 256,
           [("JSON parse alone", parse), ("write + fdatasync", disk)])


def psql(postgres, script):
    """Seconds of the statements between the two \\timing marks, summed."""
    done = subprocess.run([os.path.join(postgres_bin(), "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", postgres.url(), "-f", "-"],
                          input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return sum(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("Time:")) / 1000


def copy_insert_limit(stack, path, table):
    """COPY + INSERT of the same rows into an empty table of the same shape, best of three."""
    stack.postgres.query(f"COPY (SELECT * FROM spendd.{table}) TO '{path}'")
    rows = counted_rows(stack, table)
    best = min(psql(stack.postgres,
                    f"DROP TABLE IF EXISTS mine; CREATE TABLE mine (LIKE spendd.{table} INCLUDING ALL);\n"
                    f"CREATE TEMP TABLE up (LIKE spendd.{table});\nCHECKPOINT;\n\\timing on\nBEGIN;\n"
                    f"COPY up FROM '{path}';\nINSERT INTO mine SELECT * FROM up ON CONFLICT DO NOTHING;\nCOMMIT;\n")
               for _ in range(3))
    return rows / best


def counted_rows(stack, table):
    return stack.postgres.one(f"select count(*) from spendd.{table}")


def bench_sustained(place):
    for log in (True, False):
        stack, instance = new_stack(place, spend_log__enabled=log)
        usage, events, begin = Usage(instance, stack.redis, stack.postgres).begin(), 0, time.monotonic()
        while time.monotonic() - begin < SECONDS:  # the spool takes it in; what counts is when it is all there
            load("ingest", instance.ingest, events=100_000, per=20, window=200, run=f"s{events}", keys=5000)
            events += 100_000
            wait_until(lambda: counted(stack, "spend") >= events - 200_000, 900, "the backlog to stay bounded", stack.logs, look_s=0.1)
        drained(stack, events)
        rate, (used, bound) = events / (time.monotonic() - begin), usage.end()
        path = os.path.join(stack.postgres.dir, "rows")
        limit = copy_insert_limit(stack, path, "spend_log" if log else "seen")
        row(f"end to end events/s, log rows {'on' if log else 'off'}; limit: COPY + INSERT by psql", ">= 0.8 of the limit",
            rate, limit, bound)
        NOTES.append(f"end to end, log rows {'on' if log else 'off'}: {events:,} events; CPU s per million events: "
                     + ", ".join(f"{n} {c / (events / 1e6):.2f}" for n, c in used.items()))
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


def merge_limit(stack, rows):
    keys = {"spend": ["entity_type", "entity_id"]}
    columns = [name for name, in stack.postgres.query(
        "select column_name from information_schema.columns where table_schema = 'spendd' and table_name = 'spend_daily' "
        "and data_type = 'text' order by ordinal_position")]
    keys["spend_daily"] = ["date", *columns]
    script = "CHECKPOINT;\n"
    for table in keys:
        path = os.path.join(stack.postgres.dir, table)
        stack.postgres.query(f"COPY spendd.{table} TO '{path}'")
        script += f"CREATE TEMP TABLE up_{table} (LIKE spendd.{table});\n"
    script += "\\timing on\nBEGIN;\nSET LOCAL synchronous_commit = on;\n"
    for table, key in keys.items():
        path = os.path.join(stack.postgres.dir, table)
        sums = [name for name, in stack.postgres.query(
            "select column_name from information_schema.columns where table_schema = 'spendd' and table_name = %s "
            "and data_type in ('bigint', 'numeric') order by ordinal_position", (table,))]
        adds = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in sums)
        script += (f"COPY up_{table} FROM '{path}';\nINSERT INTO spendd.{table} AS t SELECT * FROM up_{table} "
                   f"ORDER BY {', '.join(key)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {adds};\n")
    return rows / min(psql(stack.postgres, script + "COMMIT;\n") for _ in range(3))


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
    load("ingest", instance.ingest, events=300_000, per=100, window=64, run="keys", keys=100_000)
    drained(stack, events + 300_000)
    for worker, (rss, pss) in memory(instance).items():
        row(f"memory of {worker}, 100,000 keys: peak RSS (PSS {pss:.0f} MB)", "<= 64 MB", rss, unit=" MB")
    stack.close()


BENCHES = {"ingest": bench_ingest, "batch": bench_batch, "sustained": bench_sustained, "merge": bench_merge, "latency": bench_latency}


def main(words):
    as_json = "--json" in words
    for word in [word for word in words if word != "--json"] or BENCHES:
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

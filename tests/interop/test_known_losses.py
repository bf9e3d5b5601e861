"""The regression suite: one test for each loss of LiteLLM's spend path that its issues tell of and that concerns its
lists.  Each brings LiteLLM's own code into the situation; where the pinned oldest release loses or doubles there, the
test sees that too, so that it is known to be the situation.  The table is in README.md."""
import pytest

import pods
from lib.waiting import wait_until
from test_adopt import Traffic, claims, drained, exact, held_by_us, holder, parsed, start


def lost_by_itself(site, pod, sent):
    """What LiteLLM's own drain of the lists leaves wrong, as text."""
    pod.ask("tick")
    return parsed(pods.differences(pods.expected(sent), site.totals(), 1e-9))


def loses(site, pod, sent):
    """On the oldest release the loss is seen; the newest may have mended it."""
    wrong = lost_by_itself(site, pod, sent)
    if site.environment.name == "oldest":
        assert wrong, "this release was known to lose something here"


class Twice:
    """The same elements for both: first LiteLLM drains them, then, in a copy of the database, spendd."""

    def __init__(self, site, traffic):
        client = site.redis.client()
        self.site, self.elements = site, {name: client.lrange(name, 0, -1) for name in pods.LISTS}

    def again(self):
        client = self.site.redis.client()
        client.flushall()
        for table, _ in (*pods.ENTITIES.values(), ("LiteLLM_TeamMembership", "")):
            self.site.query(f'update "{table}" set spend = 0')
        for table, _ in pods.DAILIES.values():
            self.site.query(f'delete from "{table}"')
        for name, texts in self.elements.items():
            if texts:
                client.rpush(name, *texts)


def test_33872_commit_fails_after_the_pop(site):
    """A statement is refused after LPOP: the popped elements, and all later categories of the tick, are gone."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)]).push(5)
    twice = Twice(site, traffic)
    site.query('alter table "LiteLLM_TeamTable" rename to "gone"')
    traffic.pods[0].ask("tick")
    site.query('alter table "gone" rename to "LiteLLM_TeamTable"')
    loses(site, traffic.pods[0], traffic.sent)
    twice.again()
    site.query('alter table "LiteLLM_DailyTagSpend" rename to "gone"')  # spendd keeps what it has no table for
    connection = site.postgres.connect(site.database)
    connection.autocommit = False
    connection.cursor().execute('lock table "LiteLLM_TeamTable" in access exclusive mode')
    spendd = start(site)
    wait_until(lambda: claims(site), 20, "a claim", site.logs)
    connection.cursor().execute('alter table "gone" rename to "LiteLLM_DailyTagSpend"')
    spendd.kill("db_flusher")
    connection.commit()
    connection.close()
    drained(site)
    exact(site, traffic.sent)


def test_35531_dies_between_pop_and_commit(site):
    """The leader is killed with elements in its hands."""
    traffic = Traffic(site, fleet=1)
    spendd = start(site)
    held_by_us(site)
    connection = site.postgres.connect(site.database)
    connection.autocommit = False
    connection.cursor().execute('lock table "LiteLLM_UserTable" in access exclusive mode')
    traffic.push(5)
    wait_until(lambda: claims(site), 20, "a claim", site.logs)
    spendd.kill_all()
    connection.rollback()
    connection.close()
    spendd.start(ready=("db_flusher",))
    drained(site)
    exact(site, traffic.sent)


def lock(site, table):
    """Somebody holds it."""
    connection = site.postgres.connect(site.database)
    connection.autocommit = False
    connection.cursor().execute(f'lock table "{table}" in access exclusive mode')
    return connection


def test_34820_cancelled_between_pop_and_commit(site):
    """A job that is cancelled (a worker that is recycled) forgets what it has popped: cancellation is no Exception."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)]).push(5)
    twice = Twice(site, traffic)
    held = lock(site, "LiteLLM_UserTable")
    traffic.pods[0].ask("cancelled_tick")
    held.rollback()
    loses(site, traffic.pods[0], traffic.sent)
    twice.again()
    site.redis.client().delete(*pods.LOCKS)
    held = lock(site, "LiteLLM_UserTable")
    spendd = start(site, **{"supervisor.drain_ms": 1000})
    wait_until(lambda: claims(site), 20, "a claim", site.logs)
    spendd.stop()
    held.rollback()
    held.close()
    spendd.start(ready=("db_flusher",))
    drained(site)
    exact(site, traffic.sent)


def test_34887_deadlock_drops_the_category(site):
    """A foreign transaction holds a row, and wants one that the flush holds: one of both is ended (#6895, #27989).
    Where LiteLLM is the one, the oldest drops what it had popped; spendd counts it at the next try."""
    # Its one look at who waits for whom must come behind our second update: the flush is who is ended then.
    site.query(f"alter database {site.database} set deadlock_timeout = '3s'")
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    rows = [{**row, "user": f"user-{n % 2}", "cost": 0.5} for n, row in enumerate(traffic.cast.requests(4))]
    add = 'update "LiteLLM_UserTable" set spend = spend + 1 where user_id = %s'

    def deadlocked(flush):
        line = site.postgres.connect(site.database, options="-c deadlock_timeout=100s")
        line.autocommit = False
        line.cursor().execute(add, ("user-1",))
        flush()
        wait_until(lambda: site.query("select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = %s",
                                      (site.database,)), 20, "the flush to wait", site.logs)
        line.cursor().execute(add, ("user-0",))  # comes back when the flush was ended
        line.commit()
        line.close()
        for name in ("user-0", "user-1"):
            site.query(add.replace("+", "-"), (name,))

    traffic.pods[0].ask("requests", rows=rows)
    traffic.pods[0].ask("push")
    traffic.sent += rows
    twice = Twice(site, traffic)
    deadlocked(lambda: traffic.pods[0].send({"do": "tick"}))
    traffic.pods[0].read()
    loses(site, traffic.pods[0], traffic.sent)
    twice.again()
    start(site, **{"database.lock_ms": 20000})
    held_by_us(site)
    deadlocked(lambda: None)
    drained(site)
    exact(site, traffic.sent)


def test_10393_tags_were_never_drained(site):
    """The list of tags has been forgotten once, and has a job and a lock of its own since."""
    traffic = Traffic(site, fleet=1).push(10)
    start(site)
    drained(site)
    assert any(row["tags"] for row in traffic.sent) and site.redis.client().llen(pods.LISTS[-1]) == 0
    assert site.query('select sum(api_requests) from "LiteLLM_DailyTagSpend"')[0][0] == sum(len(row["tags"]) for row in traffic.sent)
    exact(site, traffic.sent)


def test_10379_more_tokens_than_an_integer_holds(site):
    """Days of more than 2^31 tokens, in one element and over several flushes."""
    traffic = Traffic(site, fleet=1)
    start(site)
    for _ in range(2):
        rows = [{**row, "prompt": 3_000_000_000, "user": "user-0"} for row in traffic.cast.requests(2)]
        traffic.pods[0].ask("requests", rows=rows)
        traffic.pods[0].ask("push")
        traffic.sent += rows
        drained(site)
    assert site.query('select sum(prompt_tokens) from "LiteLLM_DailyUserSpend"')[0][0] == 12_000_000_000
    exact(site, traffic.sent)


def test_2814_totals_that_do_not_add_up(site):
    """Keys, users, teams and days disagree with each other and with the provider's bill (#13280, #21023)."""
    traffic = Traffic(site, awkward=True)
    start(site)
    for _ in range(3):
        rows = [{**row, "user": row["user"] or "user-0", "team": row["team"] or "team-0"} for row in traffic.cast.requests(20)]
        for pod in traffic.pods:
            pod.ask("requests", rows=rows)
            pod.ask("push")
            traffic.sent += rows
    drained(site)
    bill = sum(row["cost"] for row in traffic.sent)
    for table in ("LiteLLM_UserTable", "LiteLLM_VerificationToken", "LiteLLM_TeamTable", "LiteLLM_TeamMembership",
                  "LiteLLM_DailyUserSpend", "LiteLLM_DailyTeamSpend"):
        assert site.query(f'select sum(spend) from "{table}"')[0][0] == pytest.approx(bill, rel=1e-12), table
    exact(site, traffic.sent, 1e-12)


def test_29292_more_than_a_hundred_daily_rows(site):
    """Only the first hundred daily rows of a flush were written (#23452 before)."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)], users=30, keys=20).push(260)
    twice = Twice(site, traffic)
    loses(site, traffic.pods[0], traffic.sent)
    twice.again()
    start(site)
    drained(site)
    exact(site, traffic.sent)


def test_34232_null_provider_makes_a_row_each_time(site):
    """A null in the unique key never matches itself: a new row at every flush (#12892, #20394)."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    rows = [{**row, "provider": None, "key": traffic.cast.keys[0], "user": "user-0", "tags": [], "model": "gpt-4o",
             "start": "2026-11-20T10:00:00+00:00"} for row in traffic.cast.requests(6)]

    def push(some):
        traffic.pods[0].ask("requests", rows=some)
        traffic.pods[0].ask("push")

    def daily():
        return site.query('select count(*), sum(spend), sum(api_requests) from "LiteLLM_DailyUserSpend"')[0]

    push(rows[:2])
    traffic.pods[0].ask("tick")
    push(rows[2:4])
    traffic.pods[0].ask("tick")
    if site.environment.name == "oldest":
        assert daily()[0] > 1
    site.query('delete from "LiteLLM_DailyUserSpend"')
    start(site)
    for some in (rows[:2], rows[2:4], rows[4:]):
        push(some)
        drained(site)
    assert daily() == (1, sum(row["cost"] for row in rows), 6)


def test_40385_backlog_of_more_elements_than_a_tick_takes(site):
    """A hundred elements of each list a tick is all that a leader takes, however many worker processes push."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    for _ in range(130):
        traffic.push(1)
    twice = Twice(site, traffic)
    traffic.pods[0].ask("tick")
    assert any(site.lengths().values())
    twice.again()
    start(site)
    drained(site)
    exact(site, traffic.sent)


def test_30600_lock_that_is_never_released(site):
    """A pod holds the lock to its end (1.84.1; a namespace before #29981; a pod that was killed): spendd wins it
    when it runs out, and not before."""
    pod = site.pod(drains=True)
    traffic = Traffic(site, fleet=[pod])
    assert pod.ask("lock")
    start(site)
    traffic.push(3)
    value, client = holder(site), site.redis.client()
    assert value == b'"%s"' % pod.ask("pod_id").encode()
    client.pexpire(pods.LOCKS[0], 300)
    held_by_us(site)
    drained(site)
    exact(site, traffic.sent)


def test_17472_namespace(site):
    """cache_params.namespace: the lock has it in every release, the lists only since mid-2026 (#25006, #26790, #31288):
    a daemon that looks at one name alone waits for ever."""
    client = site.redis.client()
    site.pods.append(site.pool.take(site.environment))
    pod = site.pods[0]
    pod.ask("open", redis={"host": "127.0.0.1", "port": site.redis.port, "namespace": "prod"}, database=None)
    traffic = Traffic(site, fleet=[pod])
    start(site, **{"litellm.lock_namespace": "prod", "litellm.list_namespace": "prod"})
    wait_until(lambda: client.get("prod:" + pods.LOCKS[0]), 20, "the lock with its namespace", site.logs)
    assert not pod.ask("lock")
    traffic.push(6).push(4)
    wait_until(lambda: not any(key for key in client.scan_iter(match="*litellm_*")), 20, "no list and no claim",
               site.logs)
    exact(site, traffic.sent)


def test_two_leaders_after_a_pause(site):
    """The lock has no fencing: a leader that was paused past its lease goes on beside its successor."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)])
    spendd = start(site, **{"litellm.lock_ttl_ms": 1000, "supervisor.hang_ms": 600000})
    held_by_us(site)
    connection = site.postgres.connect(site.database)
    connection.autocommit = False
    connection.cursor().execute('lock table "LiteLLM_UserTable" in access exclusive mode')
    traffic.push(4)
    wait_until(lambda: claims(site), 20, "a claim", site.logs)
    pid = spendd.pid("db_flusher")
    spendd.freeze("db_flusher")
    connection.rollback()
    connection.close()
    wait_until(lambda: traffic.pods[0].ask("lock"), 20, "the pod to be the leader", site.logs)
    traffic.pods[0].ask("release")
    traffic.push(4).pods[0].ask("tick")
    spendd.thaw(pid)
    drained(site)
    wrong = parsed(pods.differences(pods.expected(traffic.sent), site.totals()))
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("poison", ["a\0b", "".join(chr(0x4e00 + n * 7 % 20000) for n in range(2000)), "\ud800"],
                         ids=["NUL", "too long", "lone surrogate"])
def test_poison_takes_others_with_it(site, poison):
    """A tag, often a client's header, that PostgreSQL refuses: LiteLLM loses the category, and all later ones."""
    traffic = Traffic(site, fleet=[site.pod(drains=True)]).push(3)
    (row,) = traffic.cast.requests(1)
    traffic.pods[0].ask("requests", rows=[{**row, "tags": [poison, "tag-0"]}])
    traffic.pods[0].ask("push")
    traffic.sent.append({**row, "tags": ["tag-0"]})
    start(site)
    drained(site)
    wrong = pods.differences(pods.expected(traffic.sent), site.totals())
    letters = site.query("select count(*) from spendd.dead_letter")[0][0]
    if site.environment.name == "newest" and len(poison) < 10:  # mends such a tag itself, before it pushes
        assert all(line.startswith("daily tag") for line in wrong), "\n".join(wrong)
    else:
        assert not wrong and letters > 0, "\n".join(wrong)


def test_nan_poisons_a_total_for_ever(site):
    """NaN + x is NaN: LiteLLM writes it, and the row never has a sum again."""
    traffic = Traffic(site, fleet=1).push(3)
    rows = list(traffic.cast.requests(2))
    traffic.pods[0].ask("requests", rows=[{**row, "cost": float("nan"), "user": "user-0"} for row in rows])
    traffic.pods[0].ask("push")
    start(site)
    drained(site)
    bad = 0
    for table, _ in (*pods.ENTITIES.values(), *pods.DAILIES.values()):
        bad += site.query(f"select count(*) from \"{table}\" where spend = 'NaN'")[0][0]
    assert bad == 0
    assert site.query("select count(*) from spendd.dead_letter")[0][0] > 0

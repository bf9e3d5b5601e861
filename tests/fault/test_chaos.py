"""Everything at once: three instances, two stores behind bad links, and a seeded hand that does to them, one
over the other, all that the other files do one by one.  Ingest goes on, and what was acknowledged is counted once.

CHAOS_SEED and CHAOS_STEPS (default 50) make it another run or a longer one.  A step is a moment ("after so many
more answers"), the end of faults that have lasted long enough, and a new one.
"""
import os
import random
import signal

from redis import RedisError

from lib import conservation, processes
from lib.commits import PostgresProxy
from lib.daemon import WORKERS, Stack
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.proxy import FAULTS, RedisProxy
from lib.waiting import patient, wait_until

SEED, STEPS = int(os.environ.get("CHAOS_SEED", "20261121")), int(os.environ.get("CHAOS_STEPS", "50"))
INSTANCES, RATE = 3, 40
SETTINGS = {"redis__connect_ms": 600, "redis__command_ms": 600, "database__connect_ms": 600, "database__socket_timeout_ms": 600,
            "database__statement_ms": 600, "database__lock_ms": 600, "supervisor__drain_ms": 3000, "supervisor__hang_ms": 4000,
            "redis__repush_s": 2}


class Chaos:
    """What is running, what is held down at the moment, and the acts.  An act returns what ends it, or None."""

    def __init__(self, place, seed):
        self.rng, self.outcome, self.held, self.told = random.Random(seed), Outcome(), [], []
        self.stack = Stack(place).start()
        self.redis, self.postgres = RedisProxy(place, self.stack.redis, seed=seed), PostgresProxy(place, self.stack.postgres, seed=seed)
        self.instances = [self.stack.spendd(redis__url=self.redis.url, database__url=self.postgres.url(), **SETTINGS)
                          for _ in range(INSTANCES)]
        for instance in self.instances:
            instance.start(ready=WORKERS)
        self.producers = [Producer(instance.ingest, batches(Generator(seed, f"chaos{n}").events(10**9), 3), self.outcome, window=16,
                                   resend_s=1.5, rate=RATE).start() for n, instance in enumerate(self.instances)]

    @property
    def logs(self):
        return [self.redis, self.postgres, *self.stack.logs]

    # --- acts: workers and supervisors ---
    def kill_worker(self, rng):
        rng.choice(self.instances).kill_if_there(rng.choice(WORKERS))

    def stop_worker(self, rng):
        pids = rng.choice(self.instances).pids(rng.choice(WORKERS))
        if pids and processes.send(pids[0], signal.SIGSTOP):
            return lambda: processes.send(pids[0], signal.SIGCONT)
        return None

    def _again(self, end):
        instance = self.rng.choice(self.instances)
        end(instance)
        instance.start(ready=())

    def kill_supervisor(self, _):
        self._again(lambda instance: instance.kill_supervisor())

    def kill_instance(self, _):
        self._again(lambda instance: instance.kill_all())

    def restart_instance(self, _):
        """Asked to leave; what a supervisor that died before it has left behind may still be draining."""
        def leave(instance):
            instance.process.terminate()
            instance.process.wait(patient(30))

        self._again(leave)

    def reload(self, rng):
        instance = rng.choice(self.instances)
        instance.write_config(flush__ms=rng.choice((20, 50, 200)), seal__ms=rng.choice((50, 100, 300)),
                              redis__repush_s=rng.choice((2, 3)))
        instance.process.send_signal(signal.SIGHUP)

    # --- acts: stores ---
    def redis_empty(self, _):
        self.stack.redis.restart_empty()

    def redis_forgets_the_queue(self, rng):
        try:
            client = self.stack.redis.client()
            client.delete(rng.choice(("{spendd}:queue:0", "{spendd}:meta:0", "{spendd}:lock:0", "{spendd}:applied:0")))
            client.close()
        except (OSError, RedisError):
            pass  # it is frozen or away

    def redis_frozen(self, _):
        self.stack.redis.freeze()
        return self.stack.redis.thaw

    def postgres_crashes(self, _):
        self.stack.postgres.stop("immediate")
        return self.stack.postgres.start

    def postgres_frozen(self, _):
        self.stack.postgres.freeze()
        return self.stack.postgres.thaw

    # --- acts: links ---
    def link(self, rng):
        proxy = rng.choice((self.redis, self.postgres))
        FAULTS[rng.choice(sorted(FAULTS))](proxy, rng)

        def end():
            proxy.disarm()
            proxy.set("pass")

        return end

    def commit_without_answer(self, rng):
        self.postgres.arm_commit(rng.choice(("before", "after", "reset", "hold")))

    # --- a step ---
    ACTS = {kill_worker: 8, stop_worker: 3, kill_supervisor: 2, kill_instance: 2, restart_instance: 1, reload: 3, redis_empty: 2,
            redis_forgets_the_queue: 3, redis_frozen: 2, postgres_crashes: 2, postgres_frozen: 2, link: 10, commit_without_answer: 4}
    ON_A_STORE = {redis_empty: "redis", redis_frozen: "redis", postgres_crashes: "postgres", postgres_frozen: "postgres"}

    def step(self):
        """One store is not frozen and stopped at the same time: what begins on it ends what was."""
        target = self.outcome.messages + self.rng.randrange(1, 40)
        wait_until(lambda: self.outcome.messages >= target, 60, "ingest to go on", self.logs)
        act = self.rng.choices(list(self.ACTS), list(self.ACTS.values()))[0]
        store = self.ON_A_STORE.get(act)
        for row in list(self.held):
            row[0] -= 1
            if row[0] <= 0 or (store and row[1] == store):
                self.held.remove(row)
                row[2]()
        self.told.append(act.__name__)
        end = act(self, self.rng)
        if end:
            self.held.append([self.rng.randrange(1, 4), store, end])

    def calm(self):
        for _, _, end in self.held:
            end()
        self.held = []
        for proxy in (self.redis, self.postgres):
            proxy.disarm()
            proxy.set("pass")


def test_everything_at_once(place):
    chaos = Chaos(place, SEED)
    try:
        for _ in range(STEPS):
            chaos.step()
        chaos.calm()
        for producer in chaos.producers:
            producer.finish_source()
        for producer in chaos.producers:
            producer.wait(60, chaos.logs)
        conservation.assert_conserved(chaos.stack.postgres, chaos.outcome, deadline_s=90, logs=chaos.logs)
        for instance in chaos.instances:
            instance.wait_ready(*WORKERS, deadline_s=patient(30))
    except BaseException:
        print(f"\nCHAOS_SEED={SEED}, step {len(chaos.told)}: {' '.join(chaos.told)}")
        raise
    finally:
        chaos.calm()
        chaos.stack.close()

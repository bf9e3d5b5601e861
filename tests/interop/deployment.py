"""A deployment of LiteLLM: a Redis, a database made by its own migrations, pods; and, beside them, spendd."""
import os
import subprocess

import pods
from lib.daemon import Spendd
from lib.servers import postgres_bin
from lib.waiting import WaitFailed


class Databases:
    """One PostgreSQL; for each LiteLLM a template made by its own migrations, copied for each test."""

    def __init__(self, place, **settings):
        self.postgres = place.postgres(**{"max_connections": 100, "deadlock_timeout": "100ms", **settings}).start()
        self.made, self.count = set(), 0

    def template(self, environment):
        name = f"template_{environment.name}"
        if name not in self.made:
            self.postgres.query(f"create database {name}")
            assert len(environment.migrations) > 50, environment.migrations
            psql = os.path.join(postgres_bin(), "psql")
            words = [word for path in environment.migrations for word in ("-f", path)]
            done = subprocess.run([psql if os.path.exists(psql) else "psql", "-qX", "-v", "ON_ERROR_STOP=1",
                                   self.postgres.url(name), *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            self.made.add(name)
        return name

    def copy(self, environment):
        self.count += 1
        name = f"litellm_{self.count}"
        self.postgres.query(f"create database {name} template {self.template(environment)}")
        return name


class Pool:
    """Pods that no test uses now, by environment; LiteLLM is imported once for each."""

    def __init__(self, place):
        self.dir, self.idle, self.all = place.sub("pods"), {}, []

    def take(self, environment, variables=None):
        idle = self.idle.setdefault(environment.name, [])
        while idle and not variables:
            pod = idle.pop()
            if pod.running():
                return pod
        self.all.append(pods.Pod(environment, self.dir, variables))
        self.all[-1].own = bool(variables)
        return self.all[-1]

    def give_back(self, pod):
        if pod.running() and not pod.own:
            self.idle[pod.environment.name].append(pod)
        else:
            pod.close()

    def close(self):
        for pod in self.all:
            pod.close()


class Site:
    """What an operator of LiteLLM has: a Redis, a database, pods; and, beside them, spendd."""

    def __init__(self, place, databases, pool, environment):
        self.place, self.pool, self.environment = place, pool, environment
        self.redis = place.redis(tcp=True).start()
        self.postgres, self.database = databases.postgres, databases.copy(environment)
        self.pods, self.instances = [], []

    @property
    def url(self):
        return self.postgres.url(self.database)

    @property
    def dsn(self):
        """As asyncpg reads it."""
        return f"postgresql://spendd@/{self.database}?host={self.postgres.dir}"

    def pod(self, drains=False, variables=None, **options):
        """One that only pushes, or, if it drains, a whole one."""
        self.pods.append(self.pool.take(self.environment, variables))
        return self.pods[-1].open(self.redis, self.dsn if drains else None, **options)

    def fleet(self, count, **options):
        return [self.pod(**options) for _ in range(count)]

    def spendd(self, **settings):
        made = Spendd(self.place.sub("i"), None, self.redis, **{
            "database.url": self.url, "database.layout": "litellm", "litellm.adopt": True, **settings})
        self.instances.append(made)
        return made

    def lengths(self):
        client = self.redis.client()
        return {name: client.llen(name) for name in pods.LISTS}

    def totals(self):
        return pods.totals(self.postgres, self.database)

    def query(self, sql, args=None):
        return self.postgres.query(sql, args, database=self.database)

    @property
    def logs(self):
        return [*self.instances, *self.pods, self.redis, self.postgres]

    def close(self):
        faults = []
        if self.pods and not any(pod.ran for pod in self.pods):
            faults.append("none of LiteLLM's own code ran in this test")
        for pod in self.pods:
            self.pool.give_back(pod)
        for instance in self.instances:
            try:
                instance.close()
            except (AssertionError, WaitFailed) as fault:
                faults.append(str(fault))
        self.redis.close()
        self.postgres.query(f"drop database if exists {self.database} with (force)")
        assert not faults, "\n".join(faults)

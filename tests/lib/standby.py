"""A streaming standby of a PostgreSQL of ours: made with pg_basebackup, promoted when the test says so."""
import os
import shutil
import subprocess

from .servers import Postgres, _postgres_user, postgres_bin
from .waiting import wait_until


class Standby(Postgres):
    """name: its application_name, which synchronous_standby_names may ask for."""

    def __init__(self, primary, name="standby", **settings):
        self.primary, self.standby_name = primary, name
        super().__init__(primary.place, settings)
        self.name = name
        primary.place.keep(self)

    def _fill(self):
        os.chmod(self.dir, 0o755)
        user = _postgres_user()
        if user:
            os.chown(self.dir, user["user"], user["group"])
        shutil.rmtree(self.data, ignore_errors=True)
        line = f"host={self.primary.dir} port={self.primary.port} user=spendd application_name={self.standby_name}"
        subprocess.run([os.path.join(postgres_bin(), "pg_basebackup"), "-d", line, "-D", self.data, "-R", "-X", "stream",
                        "--checkpoint=fast", "--no-sync"], check=True, cwd="/", **user)

    def streams(self):
        return self.primary.one("select count(*) from pg_stat_replication where application_name = %s"
                                " and state = 'streaming'", [self.standby_name]) == 1

    def start(self, wait=True):
        super().start(wait)
        if wait:
            wait_until(self.streams, 20, "the standby to stream", [self, self.primary])
        return self

    def hears_no_more(self):
        """What the primary commits from now on never comes here, whatever it had on its way.  (A standby that is only
        stopped finds that in its socket when it goes on.)"""
        self.query("alter system set primary_conninfo = ''")
        self.query("select pg_reload_conf()")
        wait_until(lambda: self.primary.one("select count(*) from pg_stat_replication") == 0, 30, "the standby to be on its own",
                   [self, self.primary])

    def promote(self):
        self.query("select pg_promote(true, 30)")
        wait_until(lambda: not self.one("select pg_is_in_recovery()"), 30, "the promotion", [self])
        return self

"""packaging/litellm/spendd_callback.py inside a whole proxy of LiteLLM, asked over HTTP."""
import concurrent.futures
import http.client
import json
import os
import secrets
import shutil
import subprocess
import threading

import packages
import pytest

from lib.servers import free_tcp_port, tail_of
from lib.waiting import wait_until
from lib.wire import ROOT
from test_adopt import QUICK
from test_callback import logs

KEY = "sk-" + secrets.token_hex(24)
HERE = os.path.dirname(os.path.abspath(__file__))


class Server:
    """`litellm --config`, as an operator starts it: the callback lies beside config.yaml."""

    def __init__(self, site, spendd, directory):
        self.port, self.log = free_tcp_port(), os.path.join(directory, "proxy.log")
        shutil.copy(os.path.join(HERE, "drivers", "proxy.yaml"), os.path.join(directory, "config.yaml"))
        shutil.copy(os.path.join(ROOT, "packaging", "litellm", "spendd_callback.py"), directory)
        variables = {**packages.CLEAN, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY, "SPENDD_ENDPOINT": spendd.ingest,
                     "SPENDD_SPILL_DIR": os.path.join(directory, "spill"), "SPENDD_ANSWER_MS": "1000",
                     "SPENDD_SPILL_AFTER_MS": "200"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(site.environment.dir, "bin", "litellm"), "--config", os.path.join(directory, "config.yaml"),
                 "--host", "127.0.0.1", "--port", str(self.port)], stdout=log, stderr=log, env=variables, cwd=directory)
        self.name, self.lines = "proxy", threading.local()

    def tail(self, lines=40):
        return tail_of(self.log, lines)

    def ask(self, path, body=None):
        if not hasattr(self.lines, "line"):
            self.lines.line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        line = self.lines.line
        try:
            line.request("POST" if body else "GET", path, json.dumps(body) if body else None, {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
            answer = line.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            line.close()  # the next request opens it again
            return None

    def ready(self):
        assert self.process.poll() is None, self.tail()
        return self.ask("/health/liveliness") == 200

    def complete(self, count, model="answers"):
        body = {"model": model, "user": "customer", "messages": [{"role": "user", "content": "question"}]}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: self.ask("/chat/completions", body), range(count)))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def test_thousand_requests_thousand_rows(newest_site, tmp_path):
    """spendd killed and started again in between; one in a hundred is refused by the provider."""
    site = newest_site
    spendd = site.spendd(**{**QUICK, "litellm.events": "logs"}).start(ready=("aggregator", "db_flusher"))
    server = Server(site, spendd, str(tmp_path))
    try:
        wait_until(server.ready, 120, "the proxy to serve", [server])
        assert set(server.complete(400)) == {200}
        spendd.kill_all()
        assert set(server.complete(300)) == {200}
        assert set(server.complete(10, "fails")) == {429}
        spendd.start(ready=())
        assert set(server.complete(290)) == {200}
        wait_until(lambda: len(logs(site)) >= 1000, 120, "1000 rows", [server, *site.logs])
    finally:
        server.close()
    rows = logs(site)
    assert len(rows) == len({row[0] for row in rows}) == 1000
    assert sorted(row[2] for row in rows).count("failure") == 10
    costs = {row[1] for row in rows if row[2] == "success"}
    assert len(costs) == 1 and costs.pop() > 0
    assert sum(row[1] for row in rows) == pytest.approx(990 * max(row[1] for row in rows))

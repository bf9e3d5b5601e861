"""The environment of a proxy, read by LiteLLM and by spendd: both must come to the same Redis."""
import json
import os
import subprocess
from urllib.parse import unquote, urlsplit

import packages
from lib.daemon import BUILD

ENVIRONMENTS = [
    {"REDIS_HOST": "cache.internal", "REDIS_PORT": "6380"},
    {"REDIS_HOST": "cache", "REDIS_PORT": "6379", "REDIS_PASSWORD": "p@ss:w/rd %", "REDIS_DB": "4"},
    {"REDIS_HOST": "cache", "REDIS_PORT": "1", "REDIS_USERNAME": "app", "REDIS_PASSWORD": "x", "REDIS_SSL": "true"},
    {"REDIS_URL": "redis://user:secret@other:7000/2", "REDIS_HOST": "ignored", "REDIS_PORT": "9"},
    {"REDIS_URL": "rediss://:secret@other:7000?ssl_cert_reqs=none"},
]
# What LiteLLM's RedisCache would connect to; no connection is made.
ASK = """
import json, os, sys
from litellm._redis import get_redis_client
answers = []
for environment in json.load(sys.stdin):
    os.environ.update(environment)
    pool = get_redis_client().connection_pool
    answers.append({key: pool.connection_kwargs.get(key) for key in ("host", "port", "db", "username", "password")})
    answers[-1]["tls"] = pool.connection_class.__name__ == "SSLConnection"
    for name in environment:
        del os.environ[name]
print("ANSWER", json.dumps(answers))
"""


def ours(environment, tmp_path):
    config = tmp_path / "spendd.conf"
    config.write_text('redis: { url = "env:REDIS_*"; };')
    return subprocess.run([os.path.join(BUILD, "bin", "spendd"), "--config", str(config), "--print-config"],
                          capture_output=True, text=True, check=True, timeout=20,
                          env={"PATH": "/usr/bin:/bin", **environment}).stdout


def test_same_redis(litellm, tmp_path):
    done = subprocess.run([litellm.python, "-c", ASK], input=json.dumps(ENVIRONMENTS), capture_output=True, text=True,
                          check=False, timeout=120, env={**packages.CLEAN, "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    assert done.returncode == 0, done.stderr
    for environment, theirs in zip(ENVIRONMENTS, json.loads(done.stdout.partition("ANSWER ")[2])):
        shown = ours(environment, tmp_path)
        (line,) = [line for line in shown.splitlines() if line.strip().startswith("url = \"redis")]
        assert "secret" not in line and "p@ss" not in line  # masked
        url = urlsplit(json.loads(line.partition("= ")[2].rstrip(";")))
        assert (url.hostname, url.port, url.scheme == "rediss") == (theirs["host"], int(theirs["port"]), theirs["tls"])
        assert int(url.path.strip("/") or 0) == int(theirs["db"] or 0)
        assert (unquote(url.username or "") or None) == (theirs["username"] or None)
        assert bool(url.password) == bool(theirs["password"])
        assert ("tls_verify = false" in shown) == ("none" in environment.get("REDIS_URL", ""))

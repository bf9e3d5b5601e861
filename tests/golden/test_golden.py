"""Command lines and configurations against kept texts: what a person or a script sees must not change by
accident.

Each case is a command, run without a daemon; its exit code, standard output and standard error are kept in
tests/golden/texts/NAME.txt.  `make golden-update` writes them anew; review the diff.
"""
import os
import re
import subprocess

import pytest

from lib.daemon import BUILD
from lib.wire import ROOT

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = os.path.join(HERE, "texts")
CONFIGS = os.path.join(HERE, "configs")

ENVIRONMENT = {"LC_ALL": "C.UTF-8", "SPENDD_RUNTIME_DIR": "/nonexistent/environment", "GOLDEN_KEY": "sk-hidden"}

CASES = {
    "spendd-help": ["spendd", "--help"],
    "spendd-states": ["spendd", "--print-states"],
    "spendctl-help": ["spendctl", "--help"],
    "spendctl-no-words": ["spendctl"],
    "spendctl-unknown-word": ["spendctl", "flsuh"],
    "spendctl-hostile-word": ["spendctl", "\x1b[2Jx\u009b"],
    "spendctl-too-many-words": ["spendctl", "status", "now"],
    "spendctl-unknown-option": ["spendctl", "--nope"],
    "spendctl-bad-timeout": ["spendctl", "--timeout", "soon", "status"],
    "spendctl-no-daemon": ["spendctl", "--runtime-dir", "/nonexistent/spendd", "status"],
    "spendctl-no-daemon-from-environment": ["spendctl", "--json", "status"],
    "spendctl-long-path": ["spendctl", "--socket", "ipc:///" + 120 * "x", "status"],
}
# Each configuration is checked and printed.
for config in sorted(os.listdir(CONFIGS)):
    stem, path = config.rpartition(".")[0], os.path.join(CONFIGS, config)
    CASES[f"check-{stem}"] = ["spendd", "--config", path, "--check"]
    CASES[f"print-{stem}"] = ["spendd", "--config", path, "--print-config"]

# conf/litellm.conf as it is shipped, in the environment of a LiteLLM proxy, and in one that has none of it.
PROXY = {"DATABASE_URL": "postgresql://llm:hidden@db.internal:5432/litellm?schema=llm&connection_limit=10&pool_timeout=60"
                         "&socket_timeout=30&max_idle_connection_lifetime=60&pgbouncer=true&sslmode=require",
         "DIRECT_URL": "postgresql://llm:hidden@db.internal:5433/litellm", "REDIS_HOST": "cache.internal",
         "REDIS_PORT": "6380", "REDIS_PASSWORD": "hidden@/ ", "REDIS_SSL": "True", "REDIS_SSL_CA_CERTS": "/etc/ssl/redis.pem",
         "REDIS_SOCKET_TIMEOUT": "0.1", "LITELLM_MASTER_KEY": "sk-hidden"}
LITELLM = os.path.join(ROOT, "conf", "litellm.conf")
CASES["check-litellm"] = ["spendd", "--config", LITELLM, "--check"]
CASES["print-litellm"] = ["spendd", "--config", LITELLM, "--print-config"]
CASES["check-litellm-no-environment"] = ["spendd", "--config", LITELLM, "--check"]
ENVIRONMENTS = {"check-litellm": PROXY, "print-litellm": PROXY}


def seen(argv, environment=None):
    done = subprocess.run(
        [os.path.join(BUILD, "bin", argv[0]), *argv[1:]], capture_output=True, text=True, timeout=20,
        env={**ENVIRONMENT, **(environment or {})})
    text = f"exit {done.returncode}\n--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
    text = re.sub(r"checked: \d+ settings", "checked: N settings", text)
    for here in (os.path.join(BUILD, "bin"), CONFIGS, os.path.join(ROOT, "conf")):
        text = text.replace(here + "/", "")
    return text


@pytest.mark.parametrize("name", CASES)
def test_text(name):
    path = os.path.join(TEXTS, name + ".txt")
    text = seen(CASES[name], ENVIRONMENTS.get(name))
    if os.environ.get("GOLDEN_UPDATE"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(path, encoding="utf-8") as file:
        assert text == file.read()


def printed(path, **environment):
    return subprocess.run([os.path.join(BUILD, "bin", "spendd"), "--config", path, "--print-config"],
                          capture_output=True, text=True, check=True, timeout=20,
                          env={**ENVIRONMENT, **environment}).stdout


@pytest.mark.parametrize("stem", ["defaults", "everything", "models"])
def test_printed_parses_back_to_itself(stem, tmp_path):
    once = printed(os.path.join(CONFIGS, stem + ".conf"))
    again = tmp_path / "again.conf"
    again.write_text(once)
    assert printed(str(again)) == once
    values = [line.partition("=")[2] for line in once.splitlines()]
    assert not [value for value in values if "pass" in value or "secret" in value or "hidden" in value]


def test_environment_fills_in_what_the_file_does_not_say(tmp_path):
    """The names that LiteLLM's users have set; the file wins, and the print says where a value is from."""
    config = tmp_path / "spendd.conf"
    config.write_text("health: { lock_ttl_s = 7; };")
    shown = printed(str(config), USE_SHARED_HEALTH_CHECK="False", DEFAULT_SHARED_HEALTH_CHECK_TTL="120",
                    DEFAULT_SHARED_HEALTH_CHECK_LOCK_TTL="30")
    assert "    shared = false;\n" in shown and "    cache_ttl_s = 120;\n" in shown and "    lock_ttl_s = 7;\n" in shown
    assert [line for line in shown.splitlines() if line.startswith("#")] == [
        "# health.shared came from the environment: USE_SHARED_HEALTH_CHECK",
        "# health.cache_ttl_s came from the environment: DEFAULT_SHARED_HEALTH_CHECK_TTL"]
    refused = subprocess.run([os.path.join(BUILD, "bin", "spendd"), "--config", str(config), "--check"], text=True,
                             capture_output=True, timeout=20,
                             env={**ENVIRONMENT, "DEFAULT_SHARED_HEALTH_CHECK_TTL": "soon"})
    assert refused.returncode == 78 and "environment: DEFAULT_SHARED_HEALTH_CHECK_TTL: " in refused.stderr


def test_shipped_configuration_says_what_the_defaults_are(tmp_path):
    empty = tmp_path / "empty.conf"
    empty.write_text("")
    assert printed(os.path.join(ROOT, "conf", "spendd.conf")) == printed(str(empty))


def test_no_stranger_among_the_texts():
    assert sorted(os.listdir(TEXTS)) == sorted(name + ".txt" for name in CASES)

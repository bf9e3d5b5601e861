"""The manual pages say what the tables and the program say."""
import os
import re
import subprocess

from lib import daemon

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAN = os.path.join(ROOT, "packaging/man")


def rows(name):
    done = subprocess.run(["awk", "-f", os.path.join(MAN, "settings.awk"), os.path.join(ROOT, "common/config", name)],
                          capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.replace("\\-", "-").replace("\\e", "\\")


def plain(text):
    return text.replace("\\-", "-")


def test_every_setting_has_its_entry():
    with open(os.path.join(ROOT, "common/config/settings.def"), encoding="utf-8") as file:
        table = re.findall(r'^(\w+) *\(\w+, "([a-z0-9_.]+)", .*(?<!\\)"((?:[^"\\]|\\.)*)"\)$', file.read(), re.M)
    text = rows("settings.def")
    entries = re.findall(r"^\.TP\n\.B (\S+)\n(.*)\n\.br\n(.*)$", text, re.M)
    assert [entry[0] for entry in entries] == [path for _, path, _ in table] and len(entries) > 80
    for (kind, path, doc), (_, shown, facts) in zip(table, entries):
        assert shown == doc.replace('\\"', '"'), path
        assert re.search(r"(^|; )(live|Live|restarts workers|Restarts workers|full restart|Full restart)\b", facts), (path, facts)
        assert facts.endswith("secret.") == (kind == "SECRET"), path


def test_defaults_and_bounds_are_those_of_the_program():
    """As `--print-config` of an empty file prints them."""
    with open(os.path.join(ROOT, "tests/golden/texts/print-defaults.txt"), encoding="utf-8") as file:
        printed = file.read()
    text = rows("settings.def")
    assert "log.burst\n" in text and "Default 100; 0 to 1000000; live." in text and "burst = 100;" in printed
    assert 'Default "backoff"; backoff, exit; live.' in text and 'on_flapping = "backoff";' in printed
    assert "Default true; true, false; live." in text and "page = true;" in printed


def test_models_and_environment():
    assert re.findall(r"^\.B (\S+)", rows("models.def"), re.M)[:3] == ["name", "url", "method"]
    assert "fills in\n.BR health.shared ." in rows("environment.def")


def test_every_option_is_on_the_page():
    done = subprocess.run([os.path.join(daemon.BUILD, "bin/spendd"), "--help"], capture_output=True, text=True,
                          check=True, timeout=30)
    with open(os.path.join(MAN, "spendd.8.in"), encoding="utf-8") as file:
        page = plain(file.read())
    options = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.M))
    assert options == set(re.findall(r"^\.B[I]? (--[a-z-]+)", page, re.M)), "each option, and no other"
    assert re.search(r"^Exit codes: (.*)$", done.stdout, re.M)[1].split(",")[0] in page

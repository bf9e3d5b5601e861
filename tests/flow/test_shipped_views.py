"""The dashboard, the rules and the alerts that are shipped: what they name exists, and an alert says what to do.

What exists is read from what the renderer writes (the unit test test_exposition leaves it in files)."""
import json
import os
import re
import subprocess

import pytest

from lib import daemon
from test_views import promtool

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROMETHEUS = os.path.join(ROOT, "packaging/prometheus")
NAME = re.compile(r"\b(?:spendd|litellm)_\w+")
RECORDED = re.compile(r"\b\w+:spendd_\w+:\w+")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Every name that a scrape may have."""
    program = os.path.join(daemon.BUILD, "tests/unit/test_exposition")
    if not os.path.exists(program):
        pytest.skip("tests/unit/test_exposition is not built: make unit")
    names = set()
    for variable in ("EXPOSITION_TEXT", "EXPOSITION_MODELS", "EXPOSITION_OPENMETRICS"):
        path = tmp_path_factory.mktemp("e") / variable
        subprocess.run([program], env={**os.environ, variable: str(path)}, check=True, capture_output=True, timeout=60)
        names |= set(re.findall(r"^(\w+)[{ ]", path.read_text(), re.M))
    return names


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(read("packaging/grafana/spendd.json"))


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard):
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def alerts():
    return re.findall(r"- alert: (\w+)", read("packaging/prometheus/alerts.yml"))


def check_names(text, shown):
    recorded = set(re.findall(r"- record: (\S+)", read("packaging/prometheus/rules.yml")))
    assert set(RECORDED.findall(text)) <= recorded
    named = set(NAME.findall(RECORDED.sub("", text)))
    assert named and named <= shown, sorted(named - shown)


def test_dashboard_names_what_exists(dashboard, shown):
    check_names("\n".join(expressions(dashboard)), shown)
    for variable in dashboard["templating"]["list"]:
        assert set(NAME.findall(json.dumps(variable))) <= shown


def test_dashboard_is_whole(dashboard):
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in panels(dashboard):
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"] and panel["targets"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


KINDS = {"stat", "timeseries", "row"}  # of Grafana's own panels, those that each of its releases since 8 has


def test_dashboard_is_grafanas(dashboard):
    """What Grafana wants of a file that is provisioned: known panels, one data source that is a variable, a name for each query."""
    assert dashboard["uid"] and dashboard["schemaVersion"] >= 30 and dashboard.get("id") is None
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert len(variables) == len(dashboard["templating"]["list"])
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert all(variable["datasource"] == source for name, variable in variables.items() if name != "datasource")
    assert "__inputs" not in dashboard and "__requires" not in dashboard
    for panel in dashboard["panels"]:
        assert panel["type"] in KINDS and panel["title"], panel["id"]
    for panel in panels(dashboard):
        assert panel["datasource"] == source and all(target["datasource"] == source for target in panel["targets"]), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]
        assert panel["fieldConfig"].get("overrides") is not None and isinstance(panel["options"], dict), panel["title"]
    named = set(re.findall(r"\$\{?(\w+)", "\n".join(expressions(dashboard)))) - {"__rate_interval"}
    assert named <= set(variables), named


def test_dashboard_is_promql(dashboard, tmp_path):
    rules = tmp_path / "panels.yml"
    lines = ["groups:", "  - name: panels", "    rules:"]
    for number, expr in enumerate(expressions(dashboard)):
        plain = expr.replace("$__rate_interval", "5m").replace("$job", "a").replace("$instance", "b")
        assert "$" not in plain, expr
        lines += [f"      - record: panel:{number}", f"        expr: {json.dumps(plain)}"]
    rules.write_text("\n".join(lines) + "\n")
    done = promtool("check", "rules", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml", "alerts_test.yml"])
def test_rules_name_what_exists(name, shown):
    # A bucket, a sum, a count are named as they are shown; comments name files.
    text = "\n".join(line for line in read("packaging/prometheus", name).splitlines() if "runbook:" not in line)
    check_names(text, shown)


def test_rules_do_what_they_say():
    for words in (("check", "rules", "rules.yml", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool(*words[:2], *(os.path.join(PROMETHEUS, name) for name in words[2:]))
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_both_ways():
    """On the quiet day, and on its own bad day."""
    quiet, *days = re.split(r"^  - name: ", read("packaging/prometheus/alerts_test.yml"), flags=re.M)[1:]
    assert re.findall(r"alertname: (\w+), eval_time: 1h, exp_alerts: \[\]", quiet) == alerts()
    assert [day.split("\n")[0] for day in days] == alerts()
    assert all("exp_labels" in day and f"alertname: {name}\n" in day for day, name in zip(days, alerts()))


def test_each_alert_has_its_section(shown):
    page = read("docs/alerts.md")
    assert re.findall(r"^## (\w+)$", page, re.M) == alerts(), "a section for each alert, in the same order"
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        assert len(section.split()) > 20, section
    text = read("packaging/prometheus/alerts.yml")
    assert re.findall(r"runbook: 'docs/alerts.md#(\w+)'", text) == [name.lower() for name in alerts()]
    assert set(NAME.findall(page)) <= shown | {"spendd_flush_seconds"}, "names on the page (a histogram is shown by its buckets)"


def test_the_page_names_words_and_settings_that_exist():
    page = read("docs/alerts.md")
    words = set(re.findall(r'^[A-Z]+ *\(\w+, +"([a-z -]+)"', read("common/admin/commands.def"), re.M))
    settings = set(re.findall(r'^[A-Z]+ *\(\w+, "([a-z_.]+)"', read("common/config/settings.def"), re.M))
    assert set(re.findall(r"`spendctl ([a-z-]+)", page)) <= words
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", page)) - {"spendd.dead_letter"}
    assert named <= settings, sorted(named - settings)
